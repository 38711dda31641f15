"""A night of 60 cells against engines that are small programs in real processes: what levelbench itself takes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.test_crashes import WORKLOAD, Night

CELLS = 60
BUSY_PER_CELL_S = 2.0
MATRIX = """
title = "thirty deployments of two loads"
seed = 1

[axes]
backend = ["one", "two"]
model = "tiny"
workload = "blink.toml"
users = [1, 2]
prefix_caching = ["profile", "on", "off"]
accelerator = "cpu"

[[include]]
duration_s = 0.61

[[include]]
duration_s = 0.62

[[include]]
duration_s = 0.63

[[include]]
duration_s = 0.64
"""

pytestmark = [
    pytest.mark.night,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(sys.platform != "linux", reason="engines are processes of this host"),
]


def test_sixty_cells_run_to_the_end(tmp_path: Path) -> None:
    """All have figures; beside what is measured and waited for, each takes less than two seconds."""
    (tmp_path / "blink.toml").write_text(WORKLOAD)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    night = Night(tmp_path)
    code, output = night.run(in_time_s=1100.0)
    ledger = night.run_folder.ledger()
    record = json.loads((night.run_folder.path / "ledger.json").read_text())

    assert 0 == code, output
    assert CELLS == len(night.sealed()) == ledger.measured
    assert [] == night.left()
    assert ledger.wall_s == pytest.approx(sum(ledger.phases_s.values()) + ledger.overhead_s)
    assert ledger.busy_s / CELLS < BUSY_PER_CELL_S, ledger
    assert record["busy_s"] == ledger.busy_s
