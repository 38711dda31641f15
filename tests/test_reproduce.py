"""From the name of a result to a verdict; the engine is a fake, the records are real."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from backends.contract import Profile
from orchestrator import bench, invocation, reproduce
from orchestrator.console import Console
from orchestrator.domain.court import Measured
from orchestrator.domain.ruling import Ruling
from orchestrator.errors import HostError, RequestError
from orchestrator.host import facts
from orchestrator.invocation import Place
from orchestrator.planning import Request
from orchestrator.store import stored_runs
from orchestrator.store.runs import IMPORTED, RUN, RunFolder
from tests.domain.results import H100, article
from tests.fakes.client import FakeClient
from tests.fakes.runtime import FakeRuntime
from tests.report import made
from tests.test_invocation import IDLE, NOWHERE

TINY = Request(backends=("llama-cpp",), model="tiny", users=(1, 2), duration_s=1.0)

# docker-py leaves its socket unclosed when nothing listens at the address.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What docker-py left open is closed within the test that opened it."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once for all tests: nothing here is about making them."""
    return tmp_path_factory.mktemp("weights") / "cache"


@pytest.fixture
def place(tmp_path: Path, weights: Path) -> Place:
    return Place(tmp_path / "runs", weights, NOWHERE, environment={})


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime(gets=IDLE)
    for module in (invocation, reproduce):
        monkeypatch.setattr(module, "choose", lambda *_, **__: (fake, ()))
    monkeypatch.setattr(bench, "LoadClient", FakeClient)
    return fake


@pytest.fixture
def run(place: Place, runtime: FakeRuntime) -> RunFolder:
    """An earlier run of two cells."""
    return invocation.execute(place, TINY, Console(StringIO()))[0]


def stored(place: Place, *measured: Measured, name: str = "20261101-article") -> RunFolder:
    """A run on some GPU host, as it lies here after an import."""
    cells = [m.result.cell for m in measured]
    folder = RunFolder.create(place.runs_dir, name, {}, cells=cells)
    for m in measured:
        folder.cell(m.result.cell.id).save(m.result)
    return folder


def own(place: Place, name: str) -> tuple[Any, str]:
    screen = StringIO()
    found = reproduce.run_own(place, stored_runs.find(place.runs_dir, name), Console(screen))
    return found, screen.getvalue()


# Runs of ours.


def test_a_run_is_a_lock_file(place: Place, run: RunFolder) -> None:
    """Its own plan is carried out again, in a run of its own; pins are looked at before the load and told."""
    found, said = own(place, run.id)
    again = RunFolder.find(place.runs_dir)

    assert again.id != run.id
    plan, copy = (json.loads((r.path / RUN).read_bytes())["plan"] for r in (run, again))
    assert plan["groups"] == copy["groups"]
    assert (run.id, again.id) == (found.result, found.judged_by)
    assert "pin  client METHOD: 3" in said
    assert said.index("pin  weights: sha256:") < said.index("measure u1 ...")
    assert "pin  prompts: " in said


def test_one_cell_of_a_run(place: Place, run: RunFolder) -> None:
    """By its load, or its whole name; no other is run."""
    for name in (f"{run.id}/u2", f"{run.id}/llama-cpp-current-tiny-defaults-u2"):
        own(place, name)
        again = RunFolder.find(place.runs_dir)

        assert ["llama-cpp-current-tiny-defaults-u2"] == [s.cell_id for s in again.results()]


def test_other_weights_are_refused_before_the_load(
    place: Place, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to an engine that holds something else; every cell says why."""
    source = stored_runs.find(place.runs_dir, run.id)
    results = tuple(_with(r, weights_digest="sha256:other") for r in source.results)
    screen = StringIO()
    found = reproduce.run_own(place, dataclasses.replace(source, results=results), Console(screen))
    again = RunFolder.find(place.runs_dir)

    assert Ruling.NOT_MEASURED is found.ruling
    assert "measure u1" not in screen.getvalue()
    for one in again.results():
        assert one.result is not None
        assert one.result.failure is not None
        assert "weights: sha256:other, but here it is sha256:" in one.result.failure.message


def test_other_packages_are_told_and_measured(place: Place, run: RunFolder) -> None:
    """They are no other measurement, but a difference that a reader must know."""
    source = stored_runs.find(place.runs_dir, run.id)
    screen = StringIO()
    results = tuple(_with(r, levelbench="0.0.9") for r in source.results)
    found = reproduce.run_own(place, dataclasses.replace(source, results=results), Console(screen))

    assert "pin  levelbench: 0.0.9, but here it is 0.1.0" in screen.getvalue()
    assert "levelbench" in {d.field for d in found.differences}
    assert "measure u1 done" in screen.getvalue()


@pytest.mark.parametrize(("field", "word"), [("method", "client METHOD"), ("schema_version", "SCHEMA")])
def test_another_method_is_refused_before_anything_is_started(
    place: Place, run: RunFolder, runtime: FakeRuntime, field: str, word: str
) -> None:
    """Its figures could not be held against new ones. The version that can is named."""
    source = stored_runs.find(place.runs_dir, run.id)
    old = dataclasses.replace(source, results=tuple(r.model_copy(update={field: 2}) for r in source.results))
    runtime.calls.clear()
    with pytest.raises(RequestError, match=f"{word}: 2, but here it is 3") as caught:
        reproduce.run_own(place, old, Console(StringIO()))

    assert "levelbench 0.1.0, git " in caught.value.hint
    assert [] == runtime.calls


def test_a_release_that_is_gone_is_refused(place: Place, run: RunFolder) -> None:
    """The plan names versions that this checkout does not pin."""
    head = json.loads((run.path / RUN).read_bytes())
    head["plan"]["groups"][0]["image"]["build"]["version"] = "b1"
    (run.path / RUN).write_text(json.dumps(head))

    with pytest.raises(RequestError, match="this checkout does not pin"):
        own(place, run.id)


def test_commands_that_came_in_a_file_are_not_run(
    place: Place, run: RunFolder, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an imported run this checkout's own plan of the same request is carried out, and that it is another is
    told; of our own run its own."""
    head = json.loads((run.path / RUN).read_bytes())
    head["plan"]["groups"][0]["serve"]["argv"] = ["sh", "-c", "touch /evil"]
    head["plan"]["groups"][0]["base"] = "evil/image:1"
    (run.path / RUN).write_text(json.dumps(head))
    bases: list[Any] = []

    def choose(*_: Any, **how: Any) -> tuple[FakeRuntime, tuple[str, ...]]:
        bases.append(how["base"])
        return runtime, ()

    monkeypatch.setattr(reproduce, "choose", choose)
    reproduce.own_plan(place, stored_runs.find(place.runs_dir, run.id), Console(StringIO()), pull=False)
    (run.path / IMPORTED).write_text("{}")
    _, said = own(place, run.id)
    again = json.loads((RunFolder.find(place.runs_dir).path / RUN).read_bytes())["plan"]["groups"][0]

    assert ["evil/image:1", None] == bases
    assert "serve is this checkout's own, not that of the run" in said
    assert "base is this checkout's own, not that of the run" in said
    assert "llama_cpp_server.py" in " ".join(again["serve"]["argv"])
    assert ["u1", "u2"] == [f"u{load['users']}" for load in again["group"]["loads"]]
    assert 1.0 == again["group"]["workload"]["duration_s"]


def test_prompts_of_a_file_that_was_not_handed_on(place: Place, run: RunFolder) -> None:
    """Of an imported run a path leads nowhere, or to a file that is none of its business."""
    head = json.loads((run.path / RUN).read_bytes())
    head["plan"]["groups"][0]["group"]["workload"]["prompts"] |= {"source": "file", "path": "/etc/passwd"}
    (run.path / RUN).write_text(json.dumps(head))
    (run.path / IMPORTED).write_text("{}")
    with pytest.raises(RequestError, match="prompts from a file of its own"):
        own(place, run.id)


def test_a_run_is_not_judged_by_itself(place: Place, run: RunFolder) -> None:
    """Nor does it hold any cell that it has not."""
    source = stored_runs.find(place.runs_dir, run.id)
    with pytest.raises(RequestError, match="cannot be judged by itself"):
        reproduce.judge_own(source, [source], place.runs_dir)
    with pytest.raises(RequestError, match="unknown finished cell"):
        stored_runs.find(place.runs_dir, f"{run.id}/u9")


def test_further_runs_tell_how_far_runs_differ(place: Place) -> None:
    """Of the same cell on the same machine alone; without them a pair knows only itself."""
    for i, rate in enumerate((1000.0, 1100.0, 900.0, 950.0, 1050.0)):
        stored(place, article("8b/vllm/u10", rate), name=f"20261101-{i}")
    stored(place, article("8b/vllm/u10", 5000.0, gpu=H100), name="20261102-elsewhere")
    first, second = (stored_runs.find(place.runs_dir, f"20261101-{i}") for i in (0, 1))
    found = reproduce.judge_own(first, [second], place.runs_dir)
    alone = reproduce.judge_own(first, [second], place.cache_dir)

    assert (Ruling.UNDECIDED, Ruling.NOT_REPRODUCED) == (found.ruling, alone.ruling)
    assert {3} == {t.test.kin for t in found.tests}
    assert {0} == {t.test.kin for t in alone.tests}


def test_a_run_of_an_endpoint_has_no_plan(place: Place) -> None:
    """Nobody here can start it."""
    folder = stored(place, article("8b/vllm/u10"))
    with pytest.raises(RequestError, match="holds no plan"):
        own(place, folder.id)


@pytest.mark.parametrize("form", ["{id}", "runs/{id}", "{path}", "latest", "{id}/u1", "{path}/cells/{cell}"])
def test_runs_are_found_by_what_people_type(place: Place, run: RunFolder, form: str) -> None:
    """A name, a path, a path to a cell."""
    text = form.format(id=run.id, path=run.path, cell="llama-cpp-current-tiny-defaults-u1")
    found = stored_runs.find(place.runs_dir, text)

    assert run == found.folder
    assert (1 if "u1" in text else 2) == len(found.results)


# Published results.


def test_a_published_result_is_one_cell_with_its_pins(place: Place) -> None:
    """Release, profile, workload, users and system prompt, on the GPU; also under `matched`."""
    wanted = reproduce.published("article/8b/tensorrt-llm/u100-sys", Profile.MATCHED)
    plan = reproduce.prepare(place, wanted, pull=False).plan

    assert [
        ("tensorrt-llm", "2024-06", "8b", profile, "article", ["u100-sys"])
        for profile in ("published", "matched")
    ] == [
        (g.backend, g.release, g.model, g.profile and g.profile.value, g.workload.id, [x.id for x in g.loads])
        for g in (group.group for group in plan.groups)
    ]
    assert "64" in [d.value for d in plan.groups[0].deviations if d.setting == "--max_batch_size"]
    assert "256" in [d.value for d in plan.groups[1].deviations if d.setting == "--max_batch_size"]


def test_every_published_result_can_be_planned(place: Place) -> None:
    """For each engine and model, on a host without a GPU."""
    for model in ("8b", "70b-4bit"):
        for name in ("vllm", "lmdeploy", "mlc-llm", "tensorrt-llm", "tgi"):
            plan = reproduce.prepare(
                place, reproduce.published(f"article/{model}/{name}/u50"), pull=False
            ).plan

            assert [name] == [g.group.backend for g in plan.groups]
            assert model == plan.groups[0].group.compared_as


def test_without_a_gpu_nothing_is_started(
    place: Place, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing, and what can be done here instead."""
    monkeypatch.setattr(facts, "host", lambda: made.provenance(made.group()).host)
    with pytest.raises(HostError, match="one A100; this host has no GPU") as caught:
        reproduce.run_published(place, reproduce.published("article/8b/vllm/u10"), Console(StringIO()))

    assert "--plan" in caught.value.hint
    assert "--from" in caught.value.hint
    assert 3 == caught.value.exit_code
    assert [] == runtime.calls


def test_a_stored_run_is_judged_without_running(place: Place) -> None:
    """Verdict, the claims that speak of the cell, confounders, and the matched setting beside it."""
    cells = [
        article("8b/lmdeploy/u100", 4000),
        article("8b/lmdeploy/u100", 5000, profile=Profile.MATCHED),
        article("8b/vllm/u100", 2400),
    ]
    wanted = reproduce.published("article/8b/lmdeploy/u100")
    found = reproduce.judge_published(place, wanted, stored(place, *cells))

    assert Ruling.REPRODUCED is found.ruling
    assert {"1", "2", "4", "6"} <= {c.claim.id for c in found.claims}
    assert {"lmdeploy-pool", "serving-layer"} <= {c.id for c in found.confounders}
    assert not {"trtllm-batch", "four-bits"} & {c.id for c in found.confounders}
    assert found.matched is not None
    rate = next(c for c in found.matched.contrasts if c.figure.value == "tokens_per_s")
    assert 1.25 == pytest.approx(rate.ratio)


def test_claims_are_judged_over_all_runs(place: Place) -> None:
    """The newest result of each cell, whichever run it is of."""
    stored(place, article("8b/mlc-llm/u100", 4500), article("8b/lmdeploy/u100", 4000), name="20261101-a")
    stored(place, article("8b/mlc-llm/u100", 3000, 0.3), name="20261102-b")
    (found,) = reproduce.claims(place.runs_dir, ["4"])

    assert Ruling.REPRODUCED is found.ruling
    assert {"20261101-a", "20261102-b"} == {e.run for part in found.parts for e in part.exhibits}


def test_claims_without_any_run(tmp_path: Path) -> None:
    """None is measured, and each says which cells it needs."""
    found = reproduce.claims(tmp_path / "nothing")

    assert [Ruling.NOT_MEASURED] * 12 == [c.ruling for c in found]


def test_runs_are_compared_by_name(place: Place) -> None:
    """Commas make repetitions of one side."""
    for i, rate in enumerate((1000.0, 1010.0, 1500.0, 1510.0)):
        stored(place, article("8b/vllm/u10", rate), name=f"20261101-{i}")
    (found,) = reproduce.compare_runs(place.runs_dir, ["20261101-0,20261101-1", "20261101-2,20261101-3"])

    assert {(2, 2)} == {c.runs for c in found.contrasts}
    assert "20261101-0 + 20261101-1" == found.first


def _with(result: Any, **changes: Any) -> Any:
    return result.model_copy(update={"provenance": result.provenance.model_copy(update=changes)})
