"""The policy of the driver, case by case, and its loop against a made-up batch system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from orchestrator.errors import HostError
from orchestrator.fleet import publishing
from orchestrator.fleet.drive import (
    GRACE_S,
    MAX_SUBMISSIONS,
    UNANSWERED_S,
    UNPLACEABLE_S,
    Decision,
    Errand,
    Outcome,
    Sight,
    Verb,
    decide,
    drive,
    excluded,
)
from orchestrator.fleet.jobs import Job, JobSpec, JobState
from orchestrator.fleet.publishing import Attempt, Published

UP = ("gpu1", "gpu2", "gpu3")


def job(state: JobState, number: str = "7", host: str = "gpu1") -> Job:
    return Job(id=number, group="g", state=state, host=host)


def attempt(number: str, host: str) -> Attempt:
    return Attempt(group="g", id=number, host=host, began_at=number)


def sight(*jobs: Job, attempts: Sequence[Attempt] = (), **more: Any) -> Sight:
    seen: dict[str, Any] = {"submitted": 1, "still_s": GRACE_S, "up_hosts": UP} | more
    return Sight(jobs=jobs, attempts=tuple(attempts), **seen)


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.RUNNING, JobState.UNPLACEABLE])
def test_a_live_job_is_waited_for(state: JobState) -> None:
    assert Verb.WAIT is decide(sight(job(JobState.LOST, "6"), job(state))).verb


def test_a_group_that_was_never_submitted_is_submitted_at_once() -> None:
    assert Decision(verb=Verb.SUBMIT) == decide(sight(submitted=0, still_s=0.0))


def test_a_job_that_is_gone_has_a_moment_for_its_result_to_be_seen() -> None:
    assert Verb.WAIT is decide(sight(job(JobState.DONE), still_s=GRACE_S - 1)).verb
    assert Verb.SUBMIT is decide(sight(job(JobState.DONE))).verb


def test_a_lost_try_goes_elsewhere() -> None:
    """The host of the try is excluded, whether its worker began or not."""
    begun = decide(sight(job(JobState.LOST), attempts=[attempt("7.0", "gpu1")]))
    silent = decide(sight(job(JobState.LOST)))

    assert (Verb.SUBMIT, ("gpu1",)) == (begun.verb, begun.exclude)
    assert (Verb.SUBMIT, ("gpu1",)) == (silent.verb, silent.exclude)


def test_a_controller_that_forgot_a_job_costs_no_try() -> None:
    decision = decide(sight(submitted=2))

    assert (Verb.SUBMIT, ()) == (decision.verb, decision.exclude)


def test_what_is_forgotten_each_time_is_given_up() -> None:
    assert Verb.GIVE_UP is decide(sight(submitted=MAX_SUBMISSIONS)).verb


def test_three_tries_without_a_result_are_enough() -> None:
    """A requeued job has several attempts, and each counts."""
    two = [attempt("7.0", "gpu1"), attempt("7.1", "gpu2")]
    third = job(JobState.LOST, "8", "gpu3")

    assert Verb.SUBMIT is decide(sight(job(JobState.LOST), attempts=two)).verb
    given_up = decide(sight(job(JobState.LOST), third, attempts=two))
    assert Verb.GIVE_UP is given_up.verb
    assert "gpu1, gpu2, gpu3" in given_up.why


def test_a_job_that_a_person_cancelled_is_not_sent_again() -> None:
    assert Verb.GIVE_UP is decide(sight(job(JobState.CANCELLED))).verb


def test_a_job_that_we_cancelled_is() -> None:
    assert Verb.SUBMIT is decide(sight(job(JobState.CANCELLED), ours=frozenset({"7"}))).verb


def test_a_held_job_is_cancelled() -> None:
    decision = decide(sight(job(JobState.STUCK)))

    assert (Verb.CANCEL, ("7",)) == (decision.verb, decision.ids)


def test_a_job_without_a_host_is_cancelled_after_a_while() -> None:
    now, later = (
        decide(sight(job(JobState.UNPLACEABLE), still_s=s)) for s in (UNPLACEABLE_S, UNPLACEABLE_S + 1)
    )

    assert (Verb.WAIT, Verb.CANCEL) == (now.verb, later.verb)


@pytest.mark.parametrize(
    ("failed", "up", "left_out"),
    [
        ((), UP, ()),
        (("gpu1",), UP, ("gpu1",)),
        (("gpu1", "gpu2"), UP, ("gpu1", "gpu2")),
        (("gpu1", "gpu2", "gpu3"), UP, ("gpu2", "gpu3")),
        (("gpu1",), ("gpu1",), ()),
        (("",), UP, ()),
        (("gpu1",), (), ()),
    ],
)
def test_the_last_host_is_never_excluded(
    failed: tuple[str, ...], up: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    """Of three that failed, the two that failed last are kept away from."""
    assert left_out == excluded(failed, up)


class MadeUp:
    """A batch system in memory. `work` is called at each look with the jobs, and changes them."""

    def __init__(self, work: Callable[[MadeUp], None]) -> None:
        self.work = work
        self.queue: list[Job] = []
        self.sent: list[tuple[str, tuple[str, ...]]] = []
        self.fails = False

    def submit(self, spec: JobSpec, exclude: Sequence[str] = ()) -> str:
        self.sent.append((spec.group, tuple(exclude)))
        host = next(h for h in UP if h not in exclude)
        self.queue.append(Job(id=str(len(self.sent)), group=spec.group, state=JobState.RUNNING, host=host))
        return str(len(self.sent))

    def jobs(self, run: str) -> tuple[Job, ...]:
        if self.fails:
            raise HostError("no answer")
        self.work(self)
        return tuple(self.queue)

    def ended(self, run: str) -> tuple[Job, ...]:
        return ()

    def up_hosts(self) -> tuple[str, ...]:
        return UP

    def cancel(self, ids: Sequence[str]) -> None:
        self.end(JobState.CANCELLED, ids)

    def end(self, state: JobState, ids: Sequence[str]) -> None:
        self.queue = [j.model_copy(update={"state": state}) if j.id in ids else j for j in self.queue]


def errand(folder: Path, *groups: str) -> tuple[Errand, list[dict[str, Any]]]:
    log: list[dict[str, Any]] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    specs = {
        g: JobSpec(run="r", group=g, command=("true",), minutes=1, log_path=PurePosixPath("/dev/null"))
        for g in groups
    }
    made = Errand(
        run="r",
        folder=folder,
        specs=specs,
        journal=lambda event, **facts: log.append({"event": event, **facts}),
        journalled=lambda: log,
        say=lambda text: log.append({"event": "said", "text": text}),
        clock=lambda: now[0],
        sleep=sleep,
    )
    return made, log


def publish(folder: Path, group: str, number: str, host: str) -> bool:
    done = Attempt(group=group, id=number, host=host, began_at=number)
    publishing.begin(folder, done)
    return publishing.publish(folder, Published(attempt=done, exit_code=0, ended_at="now"))


def test_the_loop_ends_when_every_group_is_published(tmp_path: Path) -> None:
    def work(system: MadeUp) -> None:
        for each in system.queue:
            if each.state is JobState.RUNNING:
                publish(tmp_path, each.group, f"{each.id}.0", each.host)
                system.end(JobState.DONE, [each.id])

    system = MadeUp(work)
    outcome = drive(errand(tmp_path, "a", "b")[0], system)

    assert {"a", "b"} == set(outcome.published)
    assert [("a", ()), ("b", ())] == system.sent


def test_a_driver_that_is_started_again_submits_nothing_twice(tmp_path: Path) -> None:
    """What runs is found in the queue, what is done in the folder."""
    system = MadeUp(lambda _: None)
    system.queue = [Job(id="1", group="a", state=JobState.RUNNING, host="gpu1")]
    publish(tmp_path, "b", "2.0", "gpu2")

    def work(system: MadeUp) -> None:
        publish(tmp_path, "a", "1.0", "gpu1")
        system.end(JobState.DONE, ["1"])

    system.work = work

    outcome = drive(errand(tmp_path, "a", "b")[0], system)

    assert {"a", "b"} == set(outcome.published)
    assert [] == system.sent


def test_a_group_whose_host_dies_each_time_is_given_up_and_the_others_are_not(tmp_path: Path) -> None:
    def work(system: MadeUp) -> None:
        for each in system.queue:
            if each.state is JobState.RUNNING and each.group == "good":
                publish(tmp_path, "good", f"{each.id}.0", each.host)
                system.end(JobState.DONE, [each.id])
            elif each.state is JobState.RUNNING:
                system.end(JobState.LOST, [each.id])

    system = MadeUp(work)
    outcome: Outcome = drive(errand(tmp_path, "bad", "good")[0], system)

    assert {"good"} == set(outcome.published)
    assert {"bad"} == set(outcome.given_up)
    assert [("bad", ()), ("bad", ("gpu1",)), ("bad", ("gpu1", "gpu2"))] == [
        s for s in system.sent if s[0] == "bad"
    ]


def test_a_silent_controller_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    system = MadeUp(lambda _: None)
    system.fails = True
    made, log = errand(tmp_path, "a")

    with pytest.raises(HostError, match="no answer"):
        drive(made, system)

    assert UNANSWERED_S < made.clock() < UNANSWERED_S + 60
    assert [] == [e for e in log if e["event"] == "job-submitted"]


def test_the_first_to_publish_wins_and_the_loser_keeps_its_data(tmp_path: Path) -> None:
    """Two copies of one attempt, alive on both sides of a network split."""
    assert publish(tmp_path, "a", "7.0", "gpu1")
    (publishing.attempt_folder(tmp_path, "a", "7.1")).mkdir(parents=True)
    assert not publish(tmp_path, "a", "7.1", "gpu2")

    assert "gpu1" == publishing.published(tmp_path)["a"].attempt.host
    assert ["7.0", "7.1"] == [a.id for a in publishing.attempts(tmp_path)["a"]]
    assert publishing.attempt_folder(tmp_path, "a", "7.1").is_dir()
    assert ["a.json"] == [p.name for p in (tmp_path / "groups").iterdir()]


def test_a_record_that_a_crash_cut_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "a.json").write_text('{"attempt": {"gro')

    assert {} == publishing.published(tmp_path)
