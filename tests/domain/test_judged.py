"""Entries become series; a series says what is wrong with its newest run, what else had changed, and whose doing it is."""

from __future__ import annotations

from typing import Any

import pytest

from backends.contract import Accelerator, FailureCause
from orchestrator.domain.cell import Cell, CellGroup, Load
from orchestrator.domain.costs import Cost, Work, phase_costs
from orchestrator.domain.entry import Entry, Trait, cell_key, entry
from orchestrator.domain.judged import Judged, Part, judged, parts, series
from orchestrator.domain.reasons import Level
from orchestrator.domain.reruns import Cause, Conclusion, Kind, Rerun, conclude, confirmations
from orchestrator.domain.result import Phase
from orchestrator.domain.series import Point, Trend, Watched
from orchestrator.domain.workload import SystemPrompt
from tests.report import made

RATES = (1003, 998, 1011, 994, 1002, 989, 1007, 1000)
OLD, NEW = "sha256:old", "sha256:new"


def night(number: int, rate: float = 1000.0, **changes: Any) -> Entry:
    """A run of the small model under 4 users, by its number."""
    run = f"202611{number:02d}-020000-x"
    result = made.result(made.cell(users=4), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))
    one = entry(run, result, sibling=None, serve=None)
    rates = Point(run=run, value=rate, low=rate * 0.99, high=rate * 1.01)
    plain = {
        "started_at": f"2026-11-{number:02d}T02:00:00+00:00",
        "verdict": Level.VALID,
        "figures": {Watched.TOKEN_RATE: rates},
        "traits": {**one.traits, Trait.IMAGE: OLD, **changes.pop("traits", {})},
    }
    return one.model_copy(update={**plain, **changes})


def nights(*rates: float, **newest: Any) -> list[Entry]:
    *before, last = rates
    return [*(night(i, rate) for i, rate in enumerate(before, 1)), night(len(rates), last, **newest)]


def one(entries: list[Entry]) -> Judged:
    (found,) = series(entries)
    return judged(found)


FAILED: dict[str, Any] = {
    "verdict": None,
    "figures": {},
    "failure": FailureCause.MEMORY_KV_CACHE,
    "failed_in": Phase.READY,
}


def test_an_engines_new_version_stays_in_its_series() -> None:
    """That is what a history is for; nor do other loads of the deployment matter."""
    first = made.cell(users=4)
    alone = made.group(
        version="0.5", loads=(first.load,), workload=made.WORKLOAD.model_copy(update={"users": (4,)})
    )

    assert cell_key(first) == cell_key(Cell(group=alone, load=first.load))


def test_a_run_that_was_brought_back_beside_itself_counts_once() -> None:
    """As an import does in the folder that it was exported from."""
    entries = nights(*RATES)
    again = [e.model_copy(update={"run": f"{e.run}-2"}) for e in entries]
    (found,) = series([*again, *entries])

    assert [e.run for e in entries] == [e.run for e in found.entries]


def test_a_field_that_comes_later_splits_no_series() -> None:
    """As long as it is as its default: that is how everything was measured before there was a choice."""

    class Later(CellGroup):
        choice: str = "as ever"

    known = made.cell(users=4)
    later = Later(**{name: getattr(known.group, name) for name in CellGroup.model_fields})

    assert cell_key(known) == cell_key(Cell(group=later, load=known.load))
    chosen = later.model_copy(update={"choice": "another"})
    assert cell_key(known) != cell_key(Cell(group=chosen, load=known.load))


@pytest.mark.parametrize(
    "other",
    [
        made.cell(users=16),
        made.cell("vllm", 4),
        made.cell(users=4, model="tiny"),
        made.cell(users=4, release="2024-06"),
        made.cell(users=4, extra_args=("--x",)),
        made.cell(users=4, workload=made.WORKLOAD.model_copy(update={"duration_s": 21})),
        Cell(group=made.group(), load=Load(users=4, system_prompt=SystemPrompt.WITH)),
    ],
    ids=["users", "backend", "model", "release", "extra args", "workload", "system prompt"],
)
def test_what_is_measured_otherwise_is_another_series(other: Cell) -> None:
    """Each of these moves a number by being asked for."""
    assert cell_key(made.cell(users=4)) != cell_key(other)


def test_hardware_is_what_no_software_changes() -> None:
    """A driver, a kernel and the megabytes that it keeps for itself are candidates for a cause, no other host."""
    before = made.result(made.cell(users=4, accelerator=Accelerator.CUDA), [])
    assert before.provenance is not None
    host = before.provenance.host.model_copy(update={"gpus": (made.GPU,)})

    def key(**changes: Any) -> str | None:
        on = before.provenance.model_copy(update={"host": host.model_copy(update=changes)})  # type: ignore[union-attr]
        return entry("r", before.model_copy(update={"provenance": on}), sibling=None, serve=None).hardware_key

    driver = made.GPU.model_copy(update={"driver": "580.1"})
    assert key() == key(kernel="6.2", gpus=(driver,), memory_bytes=host.memory_bytes - 30 * 2**20)
    assert key() != key(gpus=(made.GPU.model_copy(update={"name": "NVIDIA Other"}),))
    assert key() != key(gpus=(made.GPU, made.GPU))
    assert key() != key(cpu="Other")
    assert key() != key(memory_bytes=16 * 2**30)


def test_a_regression_names_the_only_thing_that_changed() -> None:
    """Engine and image go together; nothing else did."""
    found = one(nights(*RATES, 850, traits={Trait.IMAGE: NEW, Trait.ENGINE_VERSION: "0.5"}))

    assert Trend.REGRESSION is found.trend
    assert [Trait.ENGINE_VERSION, Trait.IMAGE] == [d.trait for d in found.differences]
    assert (Part.ENGINE,) == parts(found.differences)
    assert found.last_good is not None
    assert "20261108-020000-x" == found.last_good.run


def test_a_regression_names_all_candidates() -> None:
    """A driver and a kernel of the same night belong to the host, weights to the model."""
    changed = {Trait.DRIVER: "580", Trait.KERNEL: "6.2", Trait.WEIGHTS: "sha256:w", Trait.LEVELBENCH: "2"}

    assert {Part.HOST, Part.MODEL, Part.LEVELBENCH} == set(
        parts(one(nights(*RATES, 850, traits=changed)).differences)
    )


def test_the_last_good_run_is_before_the_shift() -> None:
    """Not yesterday's, which was slow already."""
    found = one(nights(*RATES, *RATES, 850, 855, 845, traits={Trait.KERNEL: "6.2"}))

    assert found.last_good is not None
    assert "20261116-020000-x" == found.last_good.run


def test_only_valid_results_are_held_against_each_other() -> None:
    """A suspect night is passed over, before and as the newest."""
    entries = [*nights(*RATES), night(9, 1001, verdict=Level.SUSPECT)]

    assert (Trend.NOT_COMPARABLE, "the newest run is suspect") == (one(entries).trend, one(entries).reason)
    assert Trend.STEADY is one([*entries, night(10, 1001)]).trend
    assert 8 == len(one([*entries, night(10, 1001)]).judgements[0].baseline)


def test_a_cell_that_fails_now_is_a_regression() -> None:
    """After a single valid night; with what changed, as far as a failed run could note it."""
    entries = [night(1), night(2, **FAILED, traits={Trait.KERNEL: "6.2"})]
    lost = entries[1].model_copy(update={"traits": {Trait.KERNEL: "6.2"}})
    found = one([entries[0], lost])

    assert (Trend.REGRESSION, "it failed in ready (memory-kv-cache) after 1 valid") == (
        found.trend,
        found.reason,
    )
    assert [Trait.KERNEL] == [d.trait for d in found.differences]


def test_a_cell_that_always_failed_is_none() -> None:
    """There is nothing to compare it with."""
    assert Trend.NOT_COMPARABLE is one([night(1, **FAILED), night(2, **FAILED)]).trend


def test_another_method_or_hardware_begins_anew_and_says_so() -> None:
    """Its numbers are of another kind."""
    newer = [*nights(*RATES), night(9, 500, method=4)]
    moved = [*nights(*RATES), night(9, 500, hardware_key="other", hardware="a bigger box")]
    old, new = (judged(s) for s in sorted(series(moved), key=lambda s: s.newest.started_at))

    assert (Trend.NOT_COMPARABLE, "earlier runs have METHOD 3") == (one(newer).trend, one(newer).reason)
    assert Trend.STEADY is old.trend
    assert (Trend.NOT_COMPARABLE, True) == (
        new.trend,
        new.reason.startswith("earlier runs were on 2 x Test CPU"),
    )


def test_a_failed_cell_is_placed_by_what_its_run_noted() -> None:
    """It has no provenance of its own; another cell of the night has."""
    result = made.failed(made.cell(users=4))
    alone = entry("r", result, sibling=None, serve=None)
    known = entry("r", result, sibling=made.provenance(result.cell.group), serve=None)

    assert (None, Trend.NOT_COMPARABLE) == (alone.hardware_key, one([alone]).trend)
    assert night(1).hardware_key == known.hardware_key
    assert "6.1.0" == known.traits[Trait.KERNEL]


ENGINE = {Trait.IMAGE: NEW, Trait.ENGINE_VERSION: "0.5"}
SLOW = one(nights(*RATES, 850, traits=ENGINE))


def test_what_is_flagged_is_measured_again_with_both_images() -> None:
    """As it is, and as the last good run was."""
    asked: list[str | None] = []

    def is_here(rerun: Rerun) -> bool:
        asked.append(rerun.image)
        return True

    again, before = confirmations([SLOW], is_here)

    assert (Kind.AGAIN, "20261109-020000-x", None) == (again.kind, again.run, again.image)
    assert (Kind.LAST_GOOD, "20261108-020000-x", OLD) == (before.kind, before.run, before.image)
    assert [OLD] == asked


def test_nothing_more_is_measured_than_tells_something() -> None:
    """No image of before, or the same one; no steady series."""
    same = one(nights(*RATES, 850, traits={Trait.KERNEL: "6.2"}))

    assert [Kind.AGAIN] == [r.kind for r in confirmations([SLOW], lambda _: False)]
    assert [Kind.AGAIN] == [r.kind for r in confirmations([same], lambda _: True)]
    assert () == confirmations([one(nights(*RATES, 1001))], lambda _: True)


BOTH = {**ENGINE, Trait.DRIVER: "580"}


@pytest.mark.parametrize(
    ("traits", "again", "before", "expected"),
    [
        (ENGINE, 848, 1001, (True, Cause.ENGINE, True)),
        (BOTH, 848, 1001, (True, Cause.ENGINE, True)),
        (BOTH, 848, 852, (True, Cause.HOST, True)),
        (ENGINE, 848, 852, (True, Cause.HOST, True)),
        ({**BOTH, Trait.LEVELBENCH: "2"}, 848, 852, (True, Cause.UNKNOWN, True)),
        (ENGINE, 998, 1001, (False, Cause.UNKNOWN, False)),
        (ENGINE, 945, 1001, (False, Cause.UNKNOWN, False)),
        (ENGINE, 848, None, (True, Cause.ENGINE, False)),
        ({Trait.KERNEL: "6.2"}, 848, None, (True, Cause.HOST, False)),
        (BOTH, 848, None, (True, Cause.UNKNOWN, False)),
        ({}, 848, None, (True, Cause.UNKNOWN, False)),
        (ENGINE, None, 1001, (None, Cause.ENGINE, False)),
    ],
)
def test_two_runs_of_the_same_night_tell_the_cause(
    traits: dict[Trait, str],
    again: float | None,
    before: float | None,
    expected: tuple[bool | None, Cause, bool],
) -> None:
    """Slow with the old engine too: not the engine. Fast with it: the engine. Without it: what was noted."""
    flagged = one(nights(*RATES, 850, traits=traits))
    reruns = (None if rate is None else night(10, rate) for rate in (again, before))
    found = conclude(flagged, *reruns)

    assert expected == (found.confirmed, found.cause, found.tried)


def test_candidates_are_what_is_left_to_look_at() -> None:
    """The engine's own changes where it was the engine, the others where it was not."""
    flagged = one(nights(*RATES, 850, traits=BOTH))

    def traits(found: Conclusion) -> list[Trait]:
        return [d.trait for d in found.candidates]

    assert [Trait.ENGINE_VERSION, Trait.IMAGE] == traits(conclude(flagged, night(10, 848), night(11, 1001)))
    assert [Trait.DRIVER] == traits(conclude(flagged, night(10, 848), night(11, 852)))


def test_a_rerun_that_is_not_valid_tells_nothing() -> None:
    """Nor does one that fails, of a cell that was slow."""
    suspect, failed = night(10, 848, verdict=Level.SUSPECT), night(10, **FAILED)

    assert [None, None] == [conclude(SLOW, rerun, None).confirmed for rerun in (suspect, failed)]
    assert not conclude(SLOW, night(10, 848), failed).tried


def test_a_failure_is_confirmed_by_a_failure() -> None:
    """And is the engine's where the old one still comes up."""
    flagged = one([night(1), night(2, **FAILED, traits=ENGINE)])
    failed, well = night(3, **FAILED), night(3)

    assert (True, Cause.ENGINE) == (
        (found := conclude(flagged, failed, well)).confirmed,
        found.cause,
    )
    assert Cause.HOST is conclude(flagged, failed, failed).cause
    assert conclude(flagged, well, None).confirmed is False


def test_an_improvement_is_confirmed_likewise() -> None:
    """By a run that is as fast."""
    flagged = one(nights(*RATES, 1200, traits=ENGINE))

    assert Trend.IMPROVEMENT is flagged.trend
    assert (True, Cause.ENGINE) == (
        (found := conclude(flagged, night(10, 1195), night(11, 1001))).confirmed,
        found.cause,
    )
    assert conclude(flagged, night(10, 900), None).confirmed is False


def test_phases_cost_what_they_usually_took() -> None:
    """A group's phases once, each cell's measuring by itself."""
    took = ({Phase.READY: 10.0, Phase.MEASURE: 30.0}, {Phase.READY: 10.0, Phase.MEASURE: 31.0})
    first = [night(1, phases_s=phases, cell=f"c{i}") for i, phases in enumerate(took)]
    later = night(2, phases_s={Phase.READY: 40.0})
    found = phase_costs([later, *first])

    def work(phase: Phase) -> Work:
        return Work(phase, "llama-cpp", "current", "small", Accelerator.CPU, "docker")

    assert {
        work(Phase.READY): Cost(25.0, 40.0, 40.0, 2),
        work(Phase.MEASURE): Cost(30.5, 31.0, 31.0, 2),
    } == found
    assert {} == phase_costs(first, hardware_key="another")
