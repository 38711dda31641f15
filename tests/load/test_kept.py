"""What has ended waits on disk, and comes back as it was."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import HostError
from orchestrator.load.kept import Kept
from tests.report import made


def test_everything_comes_back_in_order(tmp_path: Path) -> None:
    """Also after it was read, and then nothing is left."""
    sent = made.load(2, ttft_s=0.05, gap_s=0.01, tokens=3)
    with closing(Kept(tmp_path / "kept")) as kept:
        kept.add(sent[:5])
        kept.add([])
        assert [x.id for x in sent[:5]] == [x.id for x in kept.all()]
        kept.add(sent[5:])
        back = kept.all()

    assert [x.id for x in sent] == [x.id for x in back]
    for one, other in zip(sent, back, strict=True):
        assert np.array_equal(one.event_ns, other.event_ns)
        assert (one.outcome, one.event_tokens.dtype) == (other.outcome, other.event_tokens.dtype)
    assert [] == [*tmp_path.iterdir()]


def test_a_full_disk_is_told_at_once(tmp_path: Path) -> None:
    """While the load runs, not when it is over."""
    (tmp_path / "kept").symlink_to("/dev/full")
    with (
        closing(Kept(tmp_path / "kept")) as kept,
        pytest.raises(HostError, match=r"kept.*No space left on device"),
    ):
        kept.add(made.load(1, ttft_s=0.05, gap_s=0.01, tokens=3))
