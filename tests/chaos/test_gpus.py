"""What befalls GPUs, as the stub of their driver tells it: under load it is the cell's, after a teardown the night's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from orchestrator.domain.reasons import Reason
from tests.chaos.conftest import Nights
from tests.chaos.night import Ended, Happening, Night

WELL: tuple[str, ...] = ()
LOAD_S = 2.5  # telemetry looks once a second
THROTTLED = ("throttle * 64",)
XID = ("event_number * 1", "xid * 79")
FOREIGN = ("processes * 1", f"first_pid * {os.getpid()}", "process_bytes * 3000000000")
LEAK = ("memory_used * 60000000000",)
LOST = ("lost 0 1",)


def under_load(name: str, lines: Sequence[str]) -> list[Happening]:
    """From the beginning of its load to the end."""
    return [
        Happening(event="phase-began", name=name, phase="measure", nvml=tuple(lines)),
        Happening(event="phase-ended", name=name, phase="measure", nvml=WELL),
    ]


@dataclass(frozen=True)
class Befallen:
    """A night of three engines, each of which something else befalls while its load runs."""

    night: Night
    ended: Ended


@pytest.fixture(scope="module")
def befallen(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> Befallen:
    night = nights(tmp_path_factory.mktemp("befallen"))
    night.write(("one", "two", "killed"), duration_s=LOAD_S)
    happenings = [*under_load("one", THROTTLED), *under_load("two", XID), *under_load("killed", FOREIGN)]
    return Befallen(night, night.run(happenings=happenings))


@pytest.mark.parametrize(
    ("name", "reason", "told"),
    [
        ("one", Reason.THROTTLED, "hw_thermal"),
        ("two", Reason.XID, "79"),
        ("killed", Reason.FOREIGN_PROCESS, "process"),
    ],
)
def test_what_befalls_a_gpu_under_load_is_in_the_verdict(
    befallen: Befallen, name: str, reason: Reason, told: str
) -> None:
    """By its name, of the cell that it befell and of no other."""
    for engine in ("one", "two", "killed"):
        verdict = befallen.night.result(engine).verdict
        assert verdict is not None
        texts = [f.text for f in verdict.findings if f.reason is reason]
        assert (engine == name) is bool(texts)
        assert all(told in text for text in texts)


def test_invalid_figures_end_a_night_with_4(befallen: Befallen) -> None:
    """It came to its end all the same, and left nothing."""
    assert 4 == befallen.ended.code, befallen.ended.output
    befallen.night.require_nothing_left()
    befallen.night.require_intact(befallen.night.sealed())
    befallen.night.require_whole(3)


def test_a_host_that_is_not_as_before_stops_the_night_each_time(the_night: Night) -> None:
    """Memory that is not given back, a stranger on the GPU, a GPU lost under load: exit 3 by that name, nothing more
    is measured, and once it is mended the same command goes on."""
    the_night.write(("one", "two", "killed", "quitter"), duration_s=LOAD_S)
    for finished, (moment, lines, told) in enumerate(
        [
            ("down", LEAK, "gpu0: 58.9 GB above its idle 1.1 GB"),
            ("down", FOREIGN, f"process {os.getpid()}"),
            ("measure", LOST, "GPU is lost"),
        ],
        1,
    ):
        (the_night.folder / "nvml").write_text("")
        ended = the_night.run(happenings=[Happening(event="phase-began", phase=moment, nvml=lines)])
        before = the_night.sealed()

        assert 3 == ended.code, ended.output
        assert told in ended.output
        assert 3 == the_night.events("run-stopped")[-1]["exit_code"]
        assert finished == len(before)
        the_night.require_nothing_left()
        the_night.require_intact(before)

    (the_night.folder / "nvml").write_text("")
    again = the_night.run()
    assert 4 == again.code, again.output  # for the cell under which the GPU was lost
    the_night.require_nothing_left()
    the_night.require_intact(before)
    the_night.require_whole(4)
    lost = [r for r in the_night.results() if r.verdict and r.verdict.is_invalid]
    assert [[Reason.GPU_LOST]] == [
        [f.reason for f in r.verdict.findings if f.reason is Reason.GPU_LOST] for r in lost if r.verdict
    ]
