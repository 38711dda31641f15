"""A night that keeps its budget, waives what is known, and tells where it went."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from backends.contract import FailureCause
from orchestrator import budgets, ends
from orchestrator.artifacts import Store
from orchestrator.domain.cell import Role
from orchestrator.domain.matrix import Budget, Rules, Waiver
from orchestrator.domain.plan import Estimate, GroupPlan, Night, Plan
from orchestrator.domain.result import Phase
from orchestrator.domain.shelf import Shelved
from orchestrator.errors import CellError, HostError
from orchestrator.report import console
from orchestrator.report.records import State
from orchestrator.store.runs import RunFolder
from tests.fakes.runtime import FakeRuntime
from tests.test_bench import Rig, cache_dir, cell, rig

__all__ = ["cache_dir", "rig"]
DIED = CellError("the engine died", cause=FailureCause.MEMORY_KV_CACHE)
TODAY = date(2026, 11, 28)
WAIVER = Waiver(cause="memory-kv-cache", reason="one card is too small", until=TODAY)


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "today", lambda: TODAY)


def night(plan: Plan, **budget: Any) -> Plan:
    rules = Rules(budget=Budget(**budget))
    return plan.model_copy(
        update={"night": Night(title="t", name="n.toml", digest="sha256:0", seed=1, rules=rules)}
    )


def lasting(group: GroupPlan, minutes: float, value: int = 0, role: Role = Role.MEASURED) -> GroupPlan:
    """One that is thought to take so long."""
    estimate = Estimate(prepare_s=minutes * 60, per_cell_s=0.0, down_s=0.0, groups=1)
    cells = group.group.model_copy(update={"role": role, "mark": role.value if role is Role.CONTROL else ""})
    return group.model_copy(update={"estimate": estimate, "value": value, "group": cells})


def three(of: Rig, **budget: Any) -> Plan:
    """A little more than an hour, an hour that is worth more, and a control cell of a minute that closes."""
    of.names = ("one", "two", "three")
    plan = of.plan(users=(1,))
    one, two, last = plan.groups
    groups = (lasting(one, 62), lasting(two, 60, 5), lasting(last, 1, role=Role.CONTROL))
    return night(plan.model_copy(update={"groups": groups}), **budget)


def events(of: Rig, name: str) -> list[dict[str, Any]]:
    return [e for e in of.folder.read_journal().entries if e["event"] == name]


def ran(of: Rig) -> list[str]:
    return [e["group"].partition("-")[0] for e in events(of, "group-began")]


def test_what_there_is_no_time_for_is_left_out_and_listed(rig: Rig) -> None:
    """It is no failure, and nothing is written into its folder; the closing control cell is measured."""
    plan = three(rig, minutes=62.5)
    rig.folder = RunFolder.create(
        rig.folder.path.parent,
        "n",
        plan.model_dump(mode="json"),
        cells=[c for g in plan.groups for c in g.group.cells],
    )

    assert rig.run(plan)
    assert ["two", "three"] == ran(rig)
    (out,) = events(rig, "cell-left-out")
    assert (cell("u1"), "one-current-tiny-defaults") == (out["cell"], out["group"])
    assert "no time: its deployment takes about 62.0 min" in out["why"]
    record = rig.folder.record()
    assert {cell("u1"): out["why"]} == record.left_out
    assert [State.LEFT_OUT, State.COMPLETE, State.COMPLETE] == [s.state for s in record.cells]
    assert not rig.folder.cell(cell("u1")).path.exists()
    rig.folder.write_reports()
    assert f"`{cell('u1')}`: left out, no time" in (rig.folder.path / "report.md").read_text()
    assert "3 cells: 1 left out, 2 " in (rig.folder.path / "report.md").read_text()
    assert "left out: one-current-tiny-defaults, 1 cell: no time" in rig.screen.getvalue()
    assert f"{cell('u1')}: left out" in console.plain(record.cells)


def test_what_had_to_wait_is_run_when_the_others_took_less(rig: Rig) -> None:
    """Before the night closes: here everything takes a second."""
    assert rig.run(three(rig, minutes=92.5))
    assert ["two", "one", "three"] == ran(rig)
    assert [] == events(rig, "cell-left-out")


def test_a_night_without_budget_leaves_nothing_out(rig: Rig) -> None:
    """Whatever it is thought to take."""
    plan = three(rig)

    assert rig.run(plan)
    assert ["one", "two", "three"] == ran(rig)
    assert [] == events(rig, "cell-left-out")


def test_a_night_without_any_time_is_not_well(rig: Rig) -> None:
    """Though nothing failed: nothing was measured but the control cell."""
    assert not rig.run(three(rig, minutes=10))
    assert ["three"] == ran(rig)


def test_whoever_goes_on_has_a_new_budget(rig: Rig) -> None:
    """What was left out is taken then, and is left out no longer."""
    plan = three(rig, minutes=62.5)
    rig.folder.journal("run-began")
    rig.run(plan)
    rig.folder.journal("run-resumed")
    only = plan.model_copy(update={"groups": plan.groups[:1]})

    assert rig.run(only)
    assert ["two", "three", "one"] == ran(rig)
    assert {} == rig.folder.record().left_out


def test_a_cell_that_was_begun_is_not_left_out(rig: Rig) -> None:
    """Whatever was decided about it before."""
    plan = three(rig)
    one = plan.groups[0].group.cells[0]
    rig.folder.cell(one.id).begin(one)
    rig.folder.journal("cell-left-out", cell=one.id, why="no time")
    assert {one.id: "no time"} == rig.folder.record().left_out
    rig.folder.journal("cell-began", cell=one.id)

    assert {} == rig.folder.record().left_out
    assert [State.UNFINISHED] == [s.state for s in rig.folder.results()]


def test_a_night_that_was_cut_short_has_the_rest_of_its_budget(rig: Rig) -> None:
    """What its earlier sittings took is gone; what had ended takes no time."""
    plan = three(rig, minutes=122.5)
    rig.folder.journal("run-began")
    rig.folder.journal("phase-ended", phase="image", took_s=3600.0)
    rig.folder.journal("run-resumed")

    assert rig.run(plan)
    assert ["two", "three"] == ran(rig)
    rig.folder.journal("run-began")
    rig.folder.journal("phase-ended", phase="image", took_s=3600.0)
    rig.folder.journal("run-resumed")
    assert rig.run(plan)
    assert ["one", "two", "three"] == ran(rig)[2:]


def waived(plan: Plan, *waivers: Waiver, load: str = "u1") -> Plan:
    groups = [g.model_copy(update={"waivers": {load: waivers}}) for g in plan.groups]
    return plan.model_copy(update={"groups": tuple(groups)})


def test_a_known_failure_is_waived(rig: Rig) -> None:
    """It is run all the same, shown as waived everywhere, and nobody is called."""
    rig.runtime = FakeRuntime(fail={"up": DIED})

    assert rig.run(waived(rig.plan(users=(1,)), WAIVER))
    assert "up" in rig.runtime.calls
    (end,) = events(rig, "cell-ended")
    assert (True, "one card is too small", "2026-11-28") == (end["failed"], end["waived"], end["until"])
    record = rig.folder.record()
    assert {cell("u1"): "one card is too small"} == record.waived
    rig.folder.write_reports()
    report = (rig.folder.path / "report.md").read_text()
    assert "1 cell: 1 waived." in report
    assert "## 1 failure waived" in report
    assert "Waived until 2026-11-28: one card is too small" in report
    assert "waived: memory-kv-cache" in report
    assert "one card is too small" in (rig.folder.path / "results.csv").read_text()
    assert "waived: memory-kv-cache" in console.plain(record.cells)


@pytest.mark.parametrize(
    ("waiver", "told"),
    [
        (WAIVER.model_copy(update={"until": date(2026, 11, 27)}), "waiver ran out on 2026-11-27"),
        (WAIVER.model_copy(update={"cause": (FailureCause.HUNG,)}), ""),
    ],
)
def test_a_waiver_that_does_not_hold_waives_nothing(rig: Rig, waiver: Waiver, told: str) -> None:
    """One that ran out is told on the screen, in the result and in the journal."""
    rig.runtime = FakeRuntime(fail={"up": DIED})

    assert not rig.run(waived(rig.plan(users=(1,)), waiver))
    (end,) = events(rig, "cell-ended")
    assert "waived" not in end
    assert bool(told) == any(told in note for note in end["waivers"])
    assert told in rig.screen.getvalue()
    assert bool(told) == any(told in note for note in rig.result(cell("u1")).notes)


def test_only_the_cell_that_is_named_is_waived(rig: Rig) -> None:
    """Others of its deployment count."""
    rig.runtime = FakeRuntime(fail={"up": DIED})

    assert not rig.run(waived(rig.plan(), WAIVER))
    assert [cell("u1")] == list(rig.folder.record().waived)


def test_a_waiver_that_is_no_longer_needed_is_told(rig: Rig) -> None:
    """By whoever came to figures."""
    assert rig.run(waived(rig.plan(users=(1,)), WAIVER))
    assert "u1: waiver no longer needed" in rig.screen.getvalue()
    assert ["waiver no longer needed"] == [
        note.partition(",")[0] for note in events(rig, "cell-ended")[0]["waivers"]
    ]


def test_a_night_tells_where_it_went(rig: Rig) -> None:
    """On the screen, in the report and as JSON, every phase of it."""
    rig.folder.journal("run-began")
    rig.run()
    rig.folder.write_reports()
    record = json.loads((rig.folder.path / "ledger.json").read_text())
    found = rig.folder.ledger()

    assert record["phases_s"] == found.phases_s
    assert {"image", "weights", "gate", "up", "ready", "warm-up", "measure", "down"} == set(found.phases_s)
    assert sum(found.phases_s.values()) <= found.wall_s
    assert 2 == found.measured
    assert "## Where the time went: " in (rig.folder.path / "report.md").read_text()
    assert "were spent measuring" in rig.screen.getvalue()
    assert "teardown" in rig.screen.getvalue()


def test_a_stopped_night_tells_it_too(rig: Rig) -> None:
    """As far as it came."""
    rig.folder.journal("run-began")
    with pytest.raises(HostError):
        rig.run(fail={"u2": HostError("gone")})

    assert 1 == rig.folder.ledger().cut_short
    assert {"image", "measure", "down"} <= set(rig.folder.ledger().phases_s)
    assert Phase.MEASURE.value in rig.folder.record().ledger.phases_s  # type: ignore[union-attr]


def shelved(name: str, label: str, used_s: float, size_bytes: int = 100) -> Shelved:
    return Shelved(name, label, size_bytes, used_s)


OLD, DONE, COMING = (
    shelved("old", "x-1", 1),
    shelved("done", "two-current", 2),
    shelved("coming", "one-current", 0),
)


@pytest.mark.parametrize(
    ("limit_bytes", "in_use", "left"),
    [
        (None, [], [OLD, DONE, COMING]),
        (300, [], [OLD, DONE, COMING]),
        (299, [], [DONE, COMING]),  # the oldest of those that nobody waits for
        (150, [], [COMING]),
        (10, [], [COMING]),  # what is still to come stays, though it is too much
        (150, ["old"], [OLD, COMING]),  # what somebody uses stays, and the next one goes
    ],
)
def test_images_make_room(
    rig: Rig, tmp_path: Path, limit_bytes: int | None, in_use: list[str], left: list[Shelved]
) -> None:
    """Least recently used first."""
    rig.runtime.shelf, rig.runtime.in_use = [OLD, DONE, COMING], set(in_use)
    budgets.make_room(rig.plan().groups, rig.kit(), Store(tmp_path, limit_bytes))

    assert left == rig.runtime.shelf
    for one in {OLD, DONE, COMING} - set(left):
        assert f"removed {one.name}, which was used least recently" in rig.screen.getvalue()


def test_room_is_made_for_what_has_to_be_built(rig: Rig, tmp_path: Path) -> None:
    """The next deployment's image takes 40 MB that are not here yet; what models take counts too."""
    rig.runtime.shelf = [OLD]
    budgets.make_room(rig.plan().groups, rig.kit(), Store(tmp_path, 40_000_100))
    assert [OLD] == rig.runtime.shelf
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "file").write_bytes(b"x")
    budgets.make_room(rig.plan().groups, rig.kit(), Store(tmp_path, 40_000_100))
    assert [] == rig.runtime.shelf


def test_no_image_goes_for_what_is_measured_again(rig: Rig, tmp_path: Path) -> None:
    """One of an earlier build is what it is there for."""
    (planned,) = rig.plan().groups
    group = planned.group.model_copy(update={"role": Role.CONFIRM})
    rig.runtime.shelf = [OLD]
    budgets.make_room([planned.model_copy(update={"group": group})], rig.kit(), Store(tmp_path, 1))

    assert [OLD] == rig.runtime.shelf


@pytest.mark.parametrize(
    ("host", "night_gb", "limit"),
    [(None, None, None), (5, None, 5), (None, 2, 2 * 10**9), (5, 2, 5), (3 * 10**9, 2, 2 * 10**9)],
)
def test_the_smaller_disk_limit_counts(
    rig: Rig, host: int | None, night_gb: float | None, limit: int | None
) -> None:
    """The host's or the night's."""
    plan = night(rig.plan(), disk_gb=night_gb)

    assert limit == budgets.limit_bytes(plan, replace(rig.kit(), cache_limit_bytes=host))


def test_a_nights_disk_budget_is_kept_while_it_runs(rig: Rig) -> None:
    """Images go between deployments, when no more of their kind is to come."""
    rig.names = ("one", "two")
    rig.runtime.shelf = [shelved("one:1", "one-current", 1, 10**9), shelved("two:1", "two-current", 2, 10**9)]
    plan = night(rig.plan(users=(1,)), disk_gb=1)

    assert rig.run(plan)
    assert ["image", "up", "probe", "warm-up", "u1", "down", "discard one:1"] == rig.runtime.calls[:7]
    assert ["two:1"] == [one.name for one in rig.runtime.shelf]
