"""What Slurm's accounting tells, as sacct prints it, and a site that has none."""

from __future__ import annotations

import pytest

from orchestrator.fleet.jobs import Job, JobState
from orchestrator.fleet.slurm import Slurm, SlurmSettings
from orchestrator.runtime.command import CommandError

SAID = """\
7\x1flevelbench:night:a\x1fCOMPLETED\x1fgpu1
12\x1flevelbench:night:b\x1fCANCELLED by 1000\x1fgpu2
9\x1flevelbench:night:b\x1fNODE_FAIL\x1fgpu3
10\x1flevelbench:night:c\x1fTIMEOUT\x1fgpu1
11\x1flevelbench:night:d\x1fCANCELLED by 1000\x1fNone assigned
13\x1flevelbench:another:a\x1fCOMPLETED\x1fgpu1
14\x1fsomebody's\x1fFAILED\x1fgpu1
"""


def test_jobs_that_the_queue_forgot_are_found_by_their_name() -> None:
    """In the order of their numbers; those of other runs and other people are none of ours."""
    asked: list[tuple[str, ...]] = []

    def sacct(argv: tuple[str, ...], **_: object) -> str:
        asked.append(argv)
        return SAID

    found = Slurm(SlurmSettings(), sacct).ended("night")

    assert [
        Job(id="7", group="a", state=JobState.DONE, host="gpu1", words="COMPLETED"),
        Job(id="9", group="b", state=JobState.LOST, host="gpu3", words="NODE_FAIL"),
        Job(id="10", group="c", state=JobState.LOST, host="gpu1", words="TIMEOUT"),
        Job(id="11", group="d", state=JobState.CANCELLED, host="", words="CANCELLED by 1000"),
        Job(id="12", group="b", state=JobState.CANCELLED, host="gpu2", words="CANCELLED by 1000"),
    ] == list(found)
    assert "sacct" == asked[0][0]


def test_a_site_without_accounting_has_nothing_to_tell() -> None:
    """sacct fails there, in words; the results are the truth anyway."""

    def sacct(argv: tuple[str, ...], **_: object) -> str:
        raise CommandError("sacct ended with 1", 1, "Slurm accounting storage is disabled")

    assert () == Slurm(SlurmSettings(), sacct).ended("night")


@pytest.mark.parametrize("where", ["gpubox", None])
def test_every_command_goes_to_the_login_node(where: str | None) -> None:
    """As one line for its shell, words kept apart."""
    asked: list[tuple[str, ...]] = []

    def call(argv: tuple[str, ...], **_: object) -> str:
        asked.append(argv)
        return ""

    system = Slurm(SlurmSettings(login=where), call)
    system.jobs("night")
    system.cancel(["7", "8"])

    assert ("scancel", "7", "8") == (tuple(asked[1][-1].split()) if where else asked[1])
    assert (("ssh", "gpubox") == (asked[0][0], asked[0][-2])) == (where is not None)
