"""The host itself: a full disk, a clock that is set, a second night, a daemon that is restarted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.tables import read_exchanges
from tests.chaos.night import LIVE, Happening, Night, Reading
from tests.runtime.made import DOCKER_REQUIRED

DISK = "256m"  # preflight wants 200 MB of it for a run
BACK_NS = 50_000_000
TOKEN_S = 0.01  # tests/fakes/stream_program.py


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for a night's runs."""
    runs = tmp_path / "runs"
    runs.mkdir()
    if os.geteuid() != 0 and not DOCKER_REQUIRED:
        pytest.skip("only root may mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(runs)], check=True)
    try:
        yield runs
    finally:
        subprocess.run(["umount", "--lazy", str(runs)], check=True)


def fill(path: Path) -> None:
    """Until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            pass


def first_tokens_s(night: Night) -> list[float]:
    """Of every request, how long its first token took."""
    (path,) = night.run_folder.path.glob("cells/*/exchanges.parquet")
    found = [x for x in read_exchanges(path) if x.first_token_ns]
    return [(x.first_token_ns - x.begin_ns) / 1e9 for x in found]


def test_a_full_disk_ends_the_night_and_costs_what_was_not_written(
    small_disk: Path, cut_night: Night
) -> None:
    """Exit 3 by that name; the engine is down although nobody could note it; finished cells stay. With room again
    the same command goes on."""
    at = Happening(event="phase-began", name=cut_night.due_engine, phase="measure u2")
    with cut_night.held(at) as held:
        before = cut_night.sealed()
        fill(small_disk / "ballast")
        held.let_go()
        ended = held.end()

    assert 3 == ended.code, ended.output
    assert "No space left on device" in ended.output
    assert "free some disk space" in ended.output
    assert 3 == len(before)
    cut_night.require_nothing_left()
    cut_night.require_intact(before, torn=1)

    (small_disk / "ballast").unlink()
    again = cut_night.run()
    assert 0 == again.code, again.output
    cut_night.require_nothing_left()
    cut_night.require_intact(before, torn=1)
    cut_night.require_whole(4)


def test_a_clock_that_is_set_back_under_load_moves_no_figure(the_night: Night) -> None:
    """The kernel stamps arrivals by the wall clock: that it was set is noted, and no time is off by it."""
    the_night.write(("one",), duration_s=3.0)
    ended = the_night.run(
        happenings=[
            Happening(event=LIVE, clock_step_ns=-BACK_NS),
            Happening(event="phase-ended", phase="measure", clock_step_ns=BACK_NS),
        ]
    )

    assert 0 == ended.code, ended.output
    metrics = the_night.result("one").metrics
    assert metrics is not None
    assert metrics.client_clock_steps >= 1
    assert min(first_tokens_s(the_night)) >= TOKEN_S
    assert metrics.client_kernel_share > 0.5
    the_night.require_nothing_left()
    the_night.require_intact(the_night.sealed())
    the_night.require_whole(1)


def test_a_second_night_is_told_whose_the_host_is_or_waits(the_night: Night) -> None:
    """Exit 3 with the owner's name, and nothing touched; with --wait it goes on once the owner was killed, with what
    the owner left."""
    the_night.write(("one",))
    with the_night.held(Happening(event="phase-began", phase="ready")) as first:
        (container,) = [name for name in the_night.containers() if "one" in name][:1]
        second = the_night.run()
        still_there = the_night.containers()
        with the_night.start("--wait", "matrix", str(the_night.folder / "matrix.toml")) as third:
            waiting = Reading(third)
            waiting.read_until(f"held by process {first.program.pid} ")
            first.program.send_signal(signal.SIGKILL)
            ended = waiting.end()

    assert 3 == second.code, second.output
    assert f"another run holds this host: process {first.program.pid} (levelbench matrix" in second.output
    assert container in still_there
    assert 0 == ended.code, ended.output
    assert "going on with" in ended.output
    the_night.require_nothing_left()
    the_night.require_intact(the_night.sealed())
    the_night.require_whole(1)
