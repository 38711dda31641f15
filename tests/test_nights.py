"""A matrix becomes a run, a run is gone on with, a group is run alone; the engine and the client are fakes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from backends import load_backends
from orchestrator import bench, invocation, nights
from orchestrator.catalog import matrices
from orchestrator.console import Console
from orchestrator.domain.matrix import Notify
from orchestrator.domain.plan import Plan
from orchestrator.errors import CellError, HostError, RequestError
from orchestrator.host.locks import host_lock
from orchestrator.invocation import Place
from orchestrator.matrix import Wish
from orchestrator.notify import Told
from orchestrator.planning import Request
from orchestrator.runtime.daemon import Daemon
from orchestrator.store.past import past
from orchestrator.store.runs import RunFolder
from tests.fakes.client import FakeClient
from tests.fakes.runtime import FakeRuntime
from tests.test_invocation import IDLE
from tests.test_notify import SECRET, Receiver

MATRIX = """
title = "small"
seed = 1
[axes]
backend = "llama-cpp"
model = "tiny"
workload = "short"
users = [1, 2]
prefix_caching = ["profile", "off"]
duration_s = 1
accelerator = "cpu"
[subset.one]
users = 1
"""
DIED = CellError("it died", hint="see the log")

# docker-py leaves its socket unclosed when nothing listens at the address.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What docker-py left open is closed within the test that opened it."""
    yield
    gc.collect()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    nowhere = Daemon(host="unix:///nonexistent")
    return Place(tmp_path / "runs", tmp_path / "cache", nowhere, environment={}, lock_path=tmp_path / "lock")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """What every run gets, and a client that sends nothing."""
    fake = FakeRuntime(gets=IDLE)
    for module in (invocation, nights):
        monkeypatch.setattr(module, "choose", lambda *_, **__: (fake, ()))
    monkeypatch.setattr(bench, "LoadClient", FakeClient)
    return fake


def wish(place: Place, text: str = MATRIX, **changes: object) -> Wish:
    path = place.runs_dir.parent / "my.toml"
    path.write_text(text)
    file = matrices.read(str(path), load_backends())
    return Wish(file=file, seed=1, **changes)  # type: ignore[arg-type]


def run(place: Place, asked: Wish | None = None, *, new: bool = False) -> tuple[RunFolder, bool, str]:
    screen = StringIO()
    folder, sound = nights.run(place, asked or wish(place), Console(screen), new=new)
    return folder, sound, screen.getvalue()


def interrupted(place: Place, runtime: FakeRuntime, at: str = "down") -> RunFolder:
    """A night whose host failed in its first teardown."""
    runtime._fail = {at: HostError("it is stuck", hint="reboot")}
    with pytest.raises(HostError, match="stuck"):
        run(place)
    runtime._fail = {}
    return RunFolder.find(place.runs_dir)


def test_a_matrix_is_one_run(place: Place, runtime: FakeRuntime) -> None:
    """Named after its file, with every cell, its plan and its reports."""
    folder, sound, _ = run(place)
    plan = folder.plan()
    assert plan.night is not None

    assert sound
    assert folder.id.endswith("-night-my")
    assert 4 == len(folder.results())
    assert ("small", "my.toml", 1) == (plan.night.title, plan.night.name, plan.night.seed)
    assert folder.is_over
    assert 4 == (folder.path / "results.csv").read_text().count("llama-cpp-current-tiny")


def test_a_night_that_was_cut_short_is_gone_on_with(place: Place, runtime: FakeRuntime) -> None:
    """By the same command, in the same folder; it says so."""
    first = interrupted(place, runtime)
    folder, sound, said = run(place)

    assert sound
    assert first.path == folder.path
    assert f"going on with {folder.id}" in said
    assert 2 == sum(e["event"] == "cell-reused" for e in folder.read_journal().entries)
    assert 4 == sum(e["event"] == "cell-ended" for e in folder.read_journal().entries)


@pytest.mark.parametrize("how", ["new", "file", "subset", "finished"])
def test_another_night_is_another_run(place: Place, runtime: FakeRuntime, how: str) -> None:
    """When that is asked for, when the file or the part differs, and when the last one came to its end."""
    first = run(place)[0] if how == "finished" else interrupted(place, runtime)
    other = {
        "new": wish(place),
        "file": wish(place, f"{MATRIX}# more\\n"),
        "subset": wish(place, subsets=("one",)),
        "finished": wish(place),
    }[how]
    folder, *_ = run(place, other, new=how == "new")

    assert first.path != folder.path


def test_a_finished_night_whose_repeat_was_cut_short_is_open_again(
    place: Place, runtime: FakeRuntime
) -> None:
    """What counts is the last time that it was gone on with."""
    runtime._fail = {"up": DIED}
    folder, *_ = run(place)
    assert folder.is_over
    runtime._fail = {"up": HostError("no daemon")}
    with pytest.raises(HostError):
        nights.resume(place, folder.id, Console(StringIO()), only_failed=True)

    assert not folder.is_over


def test_an_older_night_that_was_cut_short_stays_so(place: Place, runtime: FakeRuntime) -> None:
    """Once a later one of the same matrix has been made, that is the newest state of things."""
    interrupted(place, runtime)
    run(place, new=True)
    folder, _, said = run(place)

    assert "going on" not in said
    assert 3 == len([p for p in place.runs_dir.iterdir() if p.is_dir() and not p.is_symlink()])
    assert folder.is_over


def test_only_what_failed_is_measured_again(place: Place, runtime: FakeRuntime) -> None:
    """In the groups in which something failed; what they had come to is kept beside."""
    runtime._fail = {"up": DIED}
    folder, sound, _ = run(place)
    runtime._fail = {}
    assert not sound
    runtime.calls.clear()
    _, sound = nights.resume(place, folder.id, Console(StringIO()), only_failed=True)

    assert sound
    assert 4 == len(list((folder.path / "superseded").iterdir()))
    assert ["up", "up"] == [call for call in runtime.calls if call == "up"]


def test_only_failed_without_a_failure_is_a_mistake(place: Place, runtime: FakeRuntime) -> None:
    """Nothing is begun."""
    folder, *_ = run(place)
    with pytest.raises(RequestError, match="no cell of this run has failed"):
        nights.resume(place, folder.id, Console(StringIO()), only_failed=True)
    assert folder.is_over


def test_a_bench_can_be_gone_on_with_too(place: Place, runtime: FakeRuntime) -> None:
    """It is a matrix of one request."""
    asked = Request(backends=("llama-cpp",), model="tiny", users=(1, 2), duration_s=1.0)
    runtime._fail = {"down": HostError("it is stuck")}
    with pytest.raises(HostError):
        invocation.execute(place, asked, Console(StringIO()))
    runtime._fail = {}
    folder, sound = nights.resume(place, "latest", Console(StringIO()), only_failed=False)

    assert sound
    assert 2 == sum(e["event"] == "cell-reused" for e in folder.read_journal().entries)


def test_groups_can_be_run_one_by_one(place: Place, runtime: FakeRuntime) -> None:
    """By whoever hands them out: each leaves the run open, and together they are the night."""
    prepared = nights.prepare(place, wish(place), pull=False)
    folder = invocation.new_run(place, prepared.plan)
    ids = [group.group.id for group in prepared.plan.groups]
    for group_id in reversed(ids):
        assert nights.run_group(place, folder.path, group_id, Console(StringIO()))[1]
        assert not folder.is_over
    events = folder.read_journal().entries

    assert all(stored.result is not None for stored in folder.results())
    assert list(reversed(ids)) == [e["group"] for e in events if e["event"] == "group-began"]
    assert [[i] for i in reversed(ids)] == [e["groups"] for e in events if e["event"] == "group-taken"]


def test_an_unknown_group_is_told_with_the_known_ones(place: Place, runtime: FakeRuntime) -> None:
    """And nothing is written."""
    folder, *_ = run(place)
    before = folder.read_journal()
    with pytest.raises(RequestError, match="unknown group 'llama'"):
        nights.run_group(place, folder.path, "llama", Console(StringIO()))
    assert before == folder.read_journal()


def test_a_second_night_touches_nothing(place: Place, runtime: FakeRuntime) -> None:
    """It ends with the owner's name, before it looks anything up."""
    with host_lock(place.lock_path, "the other"), pytest.raises(HostError, match="the other"):
        run(place)
    assert not place.runs_dir.exists()
    assert [] == runtime.calls


def test_minutes_come_from_earlier_runs(place: Place, runtime: FakeRuntime) -> None:
    """Once there are any; a run that cannot be read tells nothing."""
    guessed = nights.prepare(place, wish(place), pull=False).plan
    folder, *_ = run(place)
    (place.runs_dir / "20200101-broken").mkdir()
    (place.runs_dir / "20200101-broken" / "run.json").write_text("{")
    known = nights.prepare(place, wish(place), pull=False).plan

    assert [0, 0] == [g.estimate.groups for g in guessed.groups if g.estimate]
    assert [2, 2] == [g.estimate.groups for g in known.groups if g.estimate]
    assert 2 == len(past(place.runs_dir))
    assert known.minutes < guessed.minutes
    assert isinstance(folder.plan(), Plan)


def test_a_plan_touches_nothing(place: Place, runtime: FakeRuntime) -> None:
    """It is a question."""
    nights.prepare(place, wish(place), pull=False)

    assert not place.runs_dir.exists()
    assert not place.cache_dir.exists()


def test_a_run_without_a_plan_cannot_be_gone_on_with(place: Place, runtime: FakeRuntime) -> None:
    """Such as one of `levelbench load`, or of another version."""
    folder = RunFolder.create(place.runs_dir, "x", {"url": "http://there"})
    with pytest.raises(RequestError, match="holds no plan") as caught:
        nights.resume(place, folder.id, Console(StringIO()), only_failed=False)
    assert caught.value.hint


NOTIFY = f'{MATRIX}\n[notify]\nwebhook_env = "OURS"\n'


@pytest.mark.parametrize(
    ("on", "failed", "told"),
    [("always", False, 1), ("always", True, 1), ("trouble", False, 0), ("trouble", True, 1)],
)
def test_who_is_told_stands_in_the_matrix(
    place: Place, runtime: FakeRuntime, on: str, failed: bool, told: int
) -> None:
    """At the address in the variable that it names, after every night or after a bad one."""
    receiver = Receiver()
    runtime._fail = {"up": DIED} if failed else {}
    with receiver.running():
        there = replace(place, environment={"OURS": receiver.address, "HTTPS_PROXY": "p"})
        folder, _, said = run(there, wish(there, f'{NOTIFY}on = "{on}"\n'))

    assert [folder.id] * told == [body["levelbench"]["run"] for body in receiver.bodies]
    assert SECRET not in said
    assert SECRET not in (folder.path / "run.json").read_text()


def test_going_on_tells_whom_the_stored_plan_names(place: Place, runtime: FakeRuntime) -> None:
    """The variable is read again: the address is stored nowhere."""
    asked = wish(place, NOTIFY)
    runtime._fail = {"down": HostError("it is stuck")}
    with pytest.raises(HostError):
        run(place, asked)
    runtime._fail = {}
    receiver = Receiver()
    with receiver.running():
        there = replace(place, environment={"OURS": receiver.address})
        nights.resume(there, "latest", Console(StringIO()), only_failed=False)

    assert 1 == len(receiver.bodies)


def test_a_webhook_without_an_address_is_told_at_the_start(place: Place, runtime: FakeRuntime) -> None:
    """Not in the morning; the night is measured all the same, and nobody else's address is taken for it."""
    other = replace(place, told=Told(webhook="http://127.0.0.1:1/"))
    _, sound, said = run(other, wish(other, NOTIFY))

    assert sound
    assert "OURS is not set: no webhook will be told" in said
    assert "127.0.0.1" not in said


@pytest.mark.parametrize(
    ("name", "left"), [("OURS", {"P": "p"}), ("LEVELBENCH_WEBHOOK", {"P": "p", "OURS": "a"})]
)
def test_the_address_is_no_part_of_what_pip_gets(place: Place, name: str, left: dict[str, str]) -> None:
    """It is a secret: whoever builds an image or fetches weights has no use for it."""
    there = replace(place, environment={"OURS": "a", "P": "p"}, told=Told(webhook="b"))
    found = nights.telling(there, Notify(webhook_env=name), Console(StringIO()))

    assert left == found.environment
    assert {"OURS": "a", "LEVELBENCH_WEBHOOK": "b"}[name] == found.told.webhook
