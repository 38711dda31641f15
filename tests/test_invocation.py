"""From a request to a finished run, with the host's checks, the lock and the reports; the engine is a fake."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from orchestrator import bench, invocation
from orchestrator.console import Console
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice, RuntimeKind
from orchestrator.errors import CellError, HostError, Interrupted, RequestError
from orchestrator.host import facts
from orchestrator.host.locks import host_lock
from orchestrator.invocation import Place
from orchestrator.planning import Request
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.store.runs import RunFolder
from tests.fakes.client import FakeClient
from tests.fakes.runtime import FakeRuntime

NOWHERE = Daemon(host="unix:///nonexistent")
TINY = Request(backends=("llama-cpp",), model="tiny", users=(1,), duration_s=1.0)
IDLE = {"/metrics": (200, "llamacpp:requests_processing 0\n")}

# docker-py leaves its socket unclosed when nothing listens at the address.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What docker-py left open is closed within the test that opened it."""
    yield
    gc.collect()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "runs", tmp_path / "cache", NOWHERE, environment={})


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """What every run gets, and a client that sends nothing."""
    fake = FakeRuntime(gets=IDLE)
    monkeypatch.setattr(invocation, "choose", lambda *_, **__: (fake, ("a note",)))
    monkeypatch.setattr(bench, "LoadClient", FakeClient)
    return fake


def execute(place: Place, request: Request = TINY) -> tuple[RunFolder, bool, str]:
    screen = StringIO()
    folder, complete = invocation.execute(place, request, Console(screen))
    return folder, complete, screen.getvalue()


def test_run_ends_with_reports(place: Place, runtime: FakeRuntime) -> None:
    """Plan, journal, cell, report and table; and what was decided for the user was said."""
    folder, complete, said = execute(place)

    assert complete
    assert {
        "run.json",
        "journal.jsonl",
        "cells",
        "report.md",
        "report.html",
        "results.csv",
        "ledger.json",
        "logs",
        "gates",
    } == {p.name for p in folder.path.iterdir()}
    assert folder.path == (place.runs_dir / "latest").resolve()
    assert "a note\n" in said
    assert f"run {folder.id}: 1 cell, results in {folder.path}" in said


def test_leftovers_are_removed_before_anything_is_started(
    place: Place, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be measured too; each is named."""

    def reap(*, dry_run: bool = False) -> tuple[str, ...]:
        if dry_run:
            return ()
        runtime.calls.append("reap")
        return ("old-engine",)

    monkeypatch.setattr(runtime, "reap", reap)
    _, _, said = execute(place)

    assert ["reap", "image"] == runtime.calls[:2]
    assert "removed old-engine, left by a run that is dead" in said


def test_another_run_on_this_host_is_an_error(place: Place, runtime: FakeRuntime) -> None:
    """Two would measure each other; the second leaves no folder."""
    with (
        host_lock(place.lock_path, "the other"),
        pytest.raises(HostError, match="another run"),
    ):
        execute(place)

    assert [] == runtime.calls
    assert not place.runs_dir.exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [(HostError("no disk", hint="free it"), 3), (Interrupted("interrupted by SIGINT"), 130)],
)
def test_stopped_run_is_reported_as_what_it_is(
    place: Place, runtime: FakeRuntime, error: Exception, code: int
) -> None:
    """The journal says why; the report says that nothing was measured; the lock is free again."""
    runtime._fail = {"image": error}
    with pytest.raises(type(error)):
        execute(place)
    folder = RunFolder.find(place.runs_dir)
    last = folder.read_journal().entries[-1]

    assert ("run-stopped", str(error), code) == (last["event"], last["error"], last["exit_code"])
    assert "not begun" in (folder.path / "report.md").read_text()
    runtime._fail = {}
    assert execute(place)[1]


def test_failed_cell_is_no_error_of_the_run(place: Place, runtime: FakeRuntime) -> None:
    """It is told by the second value, and the report has it."""
    runtime._fail = {"up": CellError("no such file", hint="see argv")}
    folder, complete, said = execute(place)

    assert not complete
    assert "error: no such file" in said
    assert "no such file" in (folder.path / "report.md").read_text()


def test_the_runtime_is_given_back(
    place: Place, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections are closed with the run, after everything else."""
    monkeypatch.setattr(runtime, "close", lambda: runtime.calls.append("close"))
    execute(place)

    assert "close" == runtime.calls[-1]


def test_runs_in_the_same_second_get_folders_of_their_own(place: Place, runtime: FakeRuntime) -> None:
    """No run writes into another one's."""
    assert execute(place)[0].path != execute(place)[0].path


# What is refused before anything is started.


def refused(place: Place, kind: type[Exception], match: str, **changes: object) -> Exception:
    with pytest.raises(kind, match=match) as caught:
        execute(place, TINY.model_copy(update=changes))
    assert not place.runs_dir.exists()
    return caught.value


def test_docker_that_was_asked_for_is_never_replaced(place: Place) -> None:
    """No daemon: the host's fault, with where it was looked for."""
    error = refused(place, HostError, "Docker: .*unix:///nonexistent", runtime=RuntimeChoice.DOCKER)

    assert "make doctor" in getattr(error, "hint", "")


def test_gpu_engine_without_a_gpu_is_told(place: Place) -> None:
    """All faults at once: no daemon, no GPU."""
    error = refused(place, HostError, "GPU: ", backends=("lmdeploy",), model="70b-awq", duration_s=None)

    assert "Docker: " in str(error)


def test_disk_that_is_too_small_is_told_before(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both folders count, and how much is missing."""
    usage = shutil.disk_usage("/")._replace(free=50 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    refused(place, HostError, "disk: 0.1 GB free .* needed -> free", runtime=RuntimeChoice.PROCESS)


def test_no_daemon_is_told_and_a_process_serves(place: Place) -> None:
    """`auto` says in one line what it chose and why."""
    prepared = invocation.prepare(place, TINY, pull=True)

    assert RuntimeKind.PROCESS is prepared.runtime.kind
    (note,) = prepared.plan.notes
    assert note.startswith("no Docker daemon answers at unix:///nonexistent")
    assert note.endswith("(RUNTIME=process)")


def test_prepare_touches_nothing(place: Place) -> None:
    """A plan is a question."""
    invocation.prepare(place, TINY, pull=False)

    assert not place.cache_dir.exists()
    assert not place.runs_dir.exists()


def test_plan_for_a_gpu_host_says_that_this_is_none(place: Place) -> None:
    """It can be made anywhere."""
    if facts.host().gpus:
        pytest.skip("this host has a GPU")
    request = Request(backends=("lmdeploy",), model="70b-awq", accelerator=AcceleratorChoice.AUTO)
    prepared = invocation.prepare(place, request, pull=False)

    assert "no GPU was found here: this plan is for a GPU host" in prepared.plan.notes


def test_unknown_docker_context_is_an_error(place: Place, tmp_path: Path) -> None:
    """Never the local daemon, nor a process, instead."""
    lost = Place(place.runs_dir, place.cache_dir, Daemon(context="staging", config_dir=tmp_path), {})
    with pytest.raises(RequestError, match="unknown Docker context 'staging'"):
        invocation.prepare(lost, TINY, pull=False)


# clean


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was swept, and whether only to look. Docker has one thing, the process runtime none."""
    done: list[tuple[str, bool]] = []

    def sweep(name: str, *found: str) -> Callable[..., tuple[str, ...]]:
        def run(_: Any, *, dry_run: bool = False) -> tuple[str, ...]:
            done.append((name, dry_run))
            return found

        return run

    monkeypatch.setattr(ProcessRuntime, "reap", sweep("processes"))
    monkeypatch.setattr(DockerRuntime, "reap", sweep("containers", "levelbench-x"))
    monkeypatch.setattr(DockerRuntime, "remove_images", sweep("images"))
    return done


def test_clean_removes_leftovers_images_and_cache(place: Place, sweeps: list[tuple[str, bool]]) -> None:
    """And tells each; runs stay."""
    (place.cache_dir / "models").mkdir(parents=True)
    place.runs_dir.mkdir()
    said = list(invocation.clean(place, dry_run=False))

    assert ["removed levelbench-x", f"removed {place.cache_dir}"] == said
    assert [("processes", False), ("containers", False), ("images", False)] == sweeps
    assert not place.cache_dir.exists()
    assert place.runs_dir.exists()


def test_dry_clean_touches_nothing(place: Place, sweeps: list[tuple[str, bool]]) -> None:
    """Not even a lock file is written."""
    (place.cache_dir / "models").mkdir(parents=True)
    before = sorted(place.cache_dir.parent.rglob("*"))
    said = list(invocation.clean(place, dry_run=True))

    assert ["would remove levelbench-x", f"would remove {place.cache_dir}"] == said
    assert {True} == {dry_run for _, dry_run in sweeps}
    assert before == sorted(place.cache_dir.parent.rglob("*"))


def test_clean_without_a_daemon_cleans_the_rest(place: Place) -> None:
    """What could not be looked at is said."""
    place.cache_dir.mkdir()
    said = list(invocation.clean(place, dry_run=False))

    assert 2 == sum(line.startswith("not looked at: no Docker daemon answers") for line in said)
    assert f"removed {place.cache_dir}" == said[-1]


def test_clean_leaves_what_is_not_ours(place: Place, sweeps: list[tuple[str, bool]]) -> None:
    """CACHE= may name a folder that holds a person's own files."""
    for name in ("models", "levelbench-build-1", "theses"):
        (place.cache_dir / name).mkdir(parents=True)
    (place.cache_dir / "images.lock").touch()
    list(invocation.clean(place, dry_run=False))

    assert [place.cache_dir / "theses"] == list(place.cache_dir.iterdir())


def test_clean_waits_for_no_run(place: Place, sweeps: list[tuple[str, bool]]) -> None:
    """A cache that a run uses is not pulled from under it."""
    place.cache_dir.mkdir()
    with host_lock(place.lock_path, "a run"), pytest.raises(HostError, match="a run"):
        list(invocation.clean(place, dry_run=False))

    assert place.cache_dir.exists()


def test_a_mistake_is_told_before_anybody_is_waited_for(place: Place, runtime: FakeRuntime) -> None:
    """Another run may take hours."""
    waits = replace(place, lock_path=place.runs_dir.parent / "lock", wait=True)
    with host_lock(waits.lock_path, "the other"), pytest.raises(RequestError, match="llama"):
        execute(waits, TINY.model_copy(update={"backends": ("llamma-cpp",)}))
