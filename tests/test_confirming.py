"""A night is held against the nights before it: what changed is measured once more, and with the engine of before."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from backends import load_backends
from backends.contract import ImageSpec
from orchestrator import bench, invocation, nights
from orchestrator.catalog import matrices
from orchestrator.console import Console
from orchestrator.domain.cell import Role
from orchestrator.domain.provenance import Image
from orchestrator.domain.reruns import Cause, Kind
from orchestrator.domain.series import BASELINE, Trend
from orchestrator.errors import CellError, HostError, Interrupted
from orchestrator.invocation import Place
from orchestrator.load.client import Record
from orchestrator.matrix import Wish
from orchestrator.report import junit, summary
from orchestrator.retrospect import look_back
from orchestrator.retrospect import summary as summarised
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Progress
from orchestrator.store.runs import RunFolder
from tests.domain.made import START_NS
from tests.fakes.client import FakeClient
from tests.fakes.runtime import FakeRuntime
from tests.report import made
from tests.test_invocation import IDLE

MATRIX = """
title = "ours"
seed = 1
[axes]
backend = "llama-cpp"
model = "tiny"
workload = "short"
users = [2, 4]
duration_s = 23
accelerator = "cpu"
"""
OLD, NEW = "sha256:old", "sha256:new"
QUIET = (1.0, 1.004, 0.997, 1.003, 0.998, 1.002, 0.996)  # what nights differ by
LOADS = ("u2", "u4")
CELL = "llama-cpp-current-tiny-defaults"

# docker-py leaves its socket unclosed when nothing listens at the address.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What docker-py left open is closed within the test that opened it."""
    yield
    gc.collect()


class Engines(FakeRuntime):
    """A host with several builds of an engine: `slowness` by digest, of which `newest` is built and `here` can be
    run; `host` is the slowness of everything tonight, `once` that of the first deployment alone."""

    def __init__(self) -> None:
        super().__init__(gets=IDLE)
        self.slowness = {OLD: 1.0, NEW: 1.0}
        self.here = {OLD, NEW}
        self.newest = OLD
        self.host = 1.0
        self.once = 1.0
        self.up_now = OLD
        self.fails: dict[str, BaseException] = {}

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        found = super().image(spec, progress)
        if spec.digest is not None and spec.digest not in self.here:
            raise CellError(f"the image {spec.digest} is not here any more")
        return found.model_copy(update={"digest": spec.digest or self.newest})

    def up(self, spec: DeploymentSpec) -> Deployment:
        self.up_now = spec.image.digest
        return super().up(spec)

    def down(self, deployment: Deployment) -> None:
        self.once = 1.0
        super().down(deployment)

    @property
    def slow(self) -> float:
        return self.slowness[self.up_now] * self.host * self.once


class Client(FakeClient):
    """Gets as many tokens as the engine that is up is fast."""

    def __init__(self, engines: Engines) -> None:
        super().__init__(engines.calls, fail=engines.fails)
        self._engines = engines

    def run(self, spec: Any, dialect: Any, **how: Any) -> Record:
        record = super().run(spec, dialect, **how)
        if spec.tag not in LOADS:
            return record
        slow = self._engines.slow
        exchanges = made.load(spec.users, ttft_s=0.05 * slow, gap_s=0.005 * slow, tokens=40)
        uncounted = [replace(x, prompt_tokens=None) for x in exchanges]  # no prompt of ours was sent
        return replace(record, exchanges=uncounted, end_ns=START_NS + 25 * 10**9)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return used(monkeypatch)


def used(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """What every night gets from now on, and a client that sends nothing."""
    fake = Engines()
    for module in (invocation, nights):
        monkeypatch.setattr(module, "choose", lambda *_, **__: (fake, ()))
    monkeypatch.setattr(bench, "LoadClient", lambda: Client(fake))
    return fake


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """As many good nights as a judgement takes."""
    folder = tmp_path_factory.mktemp("good")
    nowhere = Daemon(host="unix:///nonexistent")
    place = Place(folder / "runs", folder / "cache", nowhere, environment={}, lock_path=folder / "lock")
    with pytest.MonkeyPatch.context() as monkeypatch:
        engines = used(monkeypatch)
        for engines.host in QUIET:
            night(place)
    return place


@pytest.fixture
def history(good: Place, tmp_path: Path) -> Place:
    """The good nights, to go on with."""
    runs = shutil.copytree(good.runs_dir, tmp_path / "runs", symlinks=True)
    return replace(good, runs_dir=runs, lock_path=tmp_path / "lock")


def night(place: Place, text: str = MATRIX, *, sound: bool = True) -> tuple[RunFolder, str]:
    path = place.runs_dir.parent / "ours.toml"
    path.write_text(text)
    wish = Wish(file=matrices.read(str(path), load_backends()), seed=1)
    screen = StringIO()
    folder, ended_well = nights.run(place, wish, Console(screen), new=True)
    assert sound is ended_well
    return folder, screen.getvalue().replace("\n", " ")


def events(folder: RunFolder, name: str) -> list[dict[str, Any]]:
    return [e for e in folder.read_journal().entries if e["event"] == name]


def causes(folder: RunFolder) -> list[tuple[Trend, bool | None, Cause]]:
    return [(one.trend, one.conclusion.confirmed, one.conclusion.cause) for one in folder.record().changes]


def test_a_quiet_night_is_measured_once(history: Place, engines: Engines) -> None:
    """Held against those before it; nothing is measured again."""
    folder, _ = night(history)

    assert 1 == engines.calls.count("up")
    assert [[]] == [e["flagged"] for e in events(folder, "history-judged")]
    assert () == folder.record().changes


def test_a_slower_engine_is_confirmed_and_named(history: Place, engines: Engines) -> None:
    """Both loads are slower; each is measured again on one deployment of tonight's engine and on one of the engine of
    before, which is as fast as ever."""
    engines.newest, engines.slowness[NEW] = NEW, 1.3
    folder, said = night(history)

    assert 3 == engines.calls.count("up")
    assert [OLD] == [spec.image.digest for spec in engines.deployed[-1:]]
    assert [(Trend.REGRESSION, True, Cause.ENGINE)] * 2 == causes(folder)
    assert "confirmed by a second run; cause: engine (by a run with the engine of before)" in said
    assert "cause: engine" in (folder.path / "report.md").read_text()
    assert "with the engine of before" in (folder.path / "report.md").read_text()
    text = summary.markdown(summarised(folder))
    assert 2 == text.count("cause: engine (by a run with the engine of before)")
    assert 2 == junit.xml(summarised(folder)).count("<failure")


def test_a_slower_host_is_told_from_a_slower_engine(history: Place, engines: Engines) -> None:
    """The engine is new, but the old one is as slow tonight: it is the host."""
    engines.newest, engines.host = NEW, 1.3
    folder, said = night(history)

    assert [(Trend.REGRESSION, True, Cause.HOST)] * 2 == causes(folder)
    assert "cause: host (by a run with the engine of before)" in said


def test_without_the_engine_of_before_there_is_no_experiment(history: Place, engines: Engines) -> None:
    """Tonight's is measured once more all the same; the cause is what is noted, and that is said."""
    engines.newest, engines.slowness[NEW], engines.here = NEW, 1.3, {NEW}
    folder, said = night(history)

    assert 2 == engines.calls.count("up")
    assert [(Trend.REGRESSION, True, Cause.ENGINE)] * 2 == causes(folder)
    assert "cause: engine (by what is noted)" in said
    assert [[Kind.AGAIN]] * 2 == [list(one.reruns) for one in folder.record().changes]


def test_a_change_that_is_gone_again_is_no_alarm(history: Place, engines: Engines) -> None:
    """It is told, and the night is well; in JUnit's words nothing failed."""
    engines.once = 1.3
    folder, said = night(history)

    assert [(Trend.REGRESSION, False, Cause.UNKNOWN)] * 2 == causes(folder)
    assert "not confirmed by a second run" in said
    found = summarised(folder)
    assert found.is_well
    assert 2 == len(found.findings)
    assert "<failure" not in junit.xml(found)
    assert [False, False] == [one["conclusion"]["confirmed"] for one in summary.as_json(found)["history"]]


def test_what_confirms_is_no_cell_of_the_night(history: Place, engines: Engines) -> None:
    """Not in its table, its tally, its plan, nor in any series: they were picked for what had been found."""
    engines.newest, engines.slowness[NEW] = NEW, 1.3
    folder, _ = night(history)
    record = folder.record()

    assert [f"{CELL}-{load}" for load in LOADS] == [stored.cell_id for stored in record.cells]
    stamp = record.changes[0].reruns[Kind.LAST_GOOD].removeprefix(f"{CELL}-last-good-").removesuffix("-u2")
    marks = ("again", f"last-good-{stamp}")
    assert {f"{CELL}-{m}-{u}" for m in marks for u in LOADS} == {s.cell_id for s in record.reruns}
    assert all(s.cell and s.cell.group.role is Role.CONFIRM for s in record.reruns)
    assert 3 == len((folder.path / "results.csv").read_text().splitlines())
    assert "2 cells: 2 valid" in (folder.path / "report.md").read_text()
    assert [BASELINE + 2] * 2 == [len(one.series.entries) for one in look_back(history.runs_dir).judged]


@pytest.mark.parametrize("at", ["again", "last-good"])
def test_a_confirmation_that_was_cut_short_is_gone_on_with(
    history: Place, engines: Engines, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """By the same command: the night was not over. What had ended counts, the rest is measured."""
    engines.newest, engines.slowness[NEW] = NEW, 1.3
    up = Engines.up

    def killed(self: Engines, spec: DeploymentSpec) -> Deployment:
        if at in spec.name:
            raise Interrupted("SIGTERM")
        return up(self, spec)

    monkeypatch.setattr(Engines, "up", killed)
    with pytest.raises(Interrupted):
        night(history)
    folder = RunFolder.find(history.runs_dir)
    assert not folder.is_over
    monkeypatch.setattr(Engines, "up", up)
    engines.calls.clear()
    _, sound = nights.resume(history, folder.id, Console(StringIO()), only_failed=False)

    assert sound
    assert folder.is_over
    assert {"again": 2, "last-good": 1}[at] == engines.calls.count("up")
    assert [(Trend.REGRESSION, True, Cause.ENGINE)] * 2 == causes(folder)


def test_a_night_without_a_usable_history_comes_to_its_end(
    history: Place, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is no part of the run."""
    engines.newest, engines.slowness[NEW] = NEW, 1.3
    monkeypatch.setattr("orchestrator.confirming.retrospect.tonight", _unusable)
    folder, said = night(history)

    assert "no history: the index is read-only" in said
    assert folder.is_over
    assert () == folder.record().changes


def _unusable(_: RunFolder) -> Sequence[object]:
    raise HostError("the index is read-only")


def test_what_there_is_no_time_for_is_not_measured_again(
    history: Place, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget is the whole night's, and the first deployment took an hour of it: what is noted is all that is said."""
    engines.newest, engines.slowness[NEW] = NEW, 1.3
    monkeypatch.setattr(
        "orchestrator.budgets.perf_counter", lambda: perf_counter() + 3600.0 * ("down" in engines.calls)
    )
    folder, said = night(history, f"{MATRIX}\n[budget]\nminutes = 30.0\n")

    assert 1 == engines.calls.count("up")
    assert [(Trend.REGRESSION, None, Cause.ENGINE)] * 2 == causes(folder)
    assert "could not be measured again" in said
    assert folder.is_over


@pytest.mark.parametrize(("waived", "flagged"), [(False, [f"{CELL}-u4"]), (True, [])])
def test_a_failure_that_is_waived_is_no_news(
    history: Place, engines: Engines, waived: bool, flagged: list[str]
) -> None:
    """It used to be valid, and is known to fail now: nothing is measured again, and the night is well. One that is
    not known is tried again, and fails with the engine of before too."""
    engines.fails = {"u4": CellError("it died")}
    known = '\n[[waive]]\nbackend = "llama-cpp"\nusers = 4\nreason = "known"\nuntil = 2999-01-01\n'
    folder, _ = night(history, MATRIX + known * waived, sound=waived)

    assert [flagged] == [e["flagged"] for e in events(folder, "history-judged")]
    assert [(Trend.REGRESSION, True, Cause.HOST)] * len(flagged) == causes(folder)
    assert waived is summarised(folder).is_well
    assert waived is ("<failure" not in junit.xml(summarised(folder)))
