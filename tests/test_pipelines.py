"""The pipelines of TensorRT-LLM and MLC-LLM in containers, from image to figures, with stand-ins for their tools:
order, mounts, what is made once, what fails, what is resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from backends.contract import FailureCause, Profile
from orchestrator.domain.plan import Plan
from orchestrator.domain.provenance import Image
from orchestrator.domain.reasons import Reason
from orchestrator.domain.result import Failure, Phase
from tests import pipelines_made
from tests.pipelines_made import A100, H200, ROOT, TOKEN, Ran, Rig, plan, with_step
from tests.runtime import made
from tests.workshop import left

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

TRITON = ("tensorrt-llm", "2024-06", "8b")
EVERY = (Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED)
# Of the host, never of an engine: a machine that tests share is often late, and stand-ins answer at once
BUSY = {
    Reason.CLIENT_LATE,
    Reason.CLIENT_LAG,
    Reason.CLIENT_SATURATED,
    Reason.HOST_BUSY,
    Reason.STILL_WAITING,
}
# A stand-in's words are not the model's tokens: the tokenizer counts them otherwise
ALLOWED = {*BUSY, Reason.COUNTS_DISAGREE}
LLAMA = "/models/Meta-Llama-3-8B-Instruct"
STEPS = "/levelbench/steps"
# What a command could do within a step that it should not: a line each
PROBE = """
import json, os, socket, sys
def tried(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return error.strerror
    return "done"
def write(folder):
    open(os.path.join(folder, "mine"), "w").close()
def change(folder):
    open(os.path.join(folder, "config.json"), "a").close()
weights, earlier, out = sys.argv[1:]
found = {
    "write": [tried(write, folder) for folder in (weights, earlier, out)],
    "change": [tried(change, folder) for folder in (weights, earlier)],
    "remove": [tried(os.remove, os.path.join(folder, "config.json")) for folder in (weights, earlier)],
    "interfaces": os.listdir("/sys/class/net"),
    "connect": tried(socket.create_connection, ("192.0.2.1", 80), 2),
    "environment": sorted(os.environ),
}
for name in ("config.json", "rank0.engine"):
    open(os.path.join(out, name), "w").write(json.dumps(found))
"""


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    if not made.base_image_here() and not made.DOCKER_REQUIRED:
        pytest.skip(f"no base image {made.BASE}")
    found = docker.from_env()
    yield found
    found.close()


@pytest.fixture(scope="module")
def stand_ins(client: docker.DockerClient) -> Iterator[Mapping[str, Image]]:
    """Built once, under a name that no other session of tests removes."""
    built = pipelines_made.build_stand_ins(client, f"toolchain-{uuid.uuid4().hex[:8]}")
    yield built
    for image in built.values():
        client.images.remove(image.reference)


@pytest.fixture
def rigs(
    tmp_path: Path,
    stand_ins: Mapping[str, Image],
    client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], Rig]]:
    """A rig for a model of the catalogue. Whatever a test did: nothing that runs is left of it."""
    pipelines_made.no_cards(monkeypatch.setattr)
    with ExitStack() as stack:

        def of(model_id: str) -> Rig:
            hub = stack.enter_context(pipelines_made.hub(model_id, pipelines_made.files_of(model_id)))
            folder = tmp_path / uuid.uuid4().hex[:8]
            folder.mkdir()
            folders.append(folder)
            return Rig(folder, stand_ins, hub.url)

        folders: list[Path] = []
        yield of
    assert [] == [name for folder in folders for name in removed(client, folder.name)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, stand_ins: Mapping[str, Image]) -> Path:
    """A cache in which everything is that TensorRT-LLM 0.9.0 needs for the 8b model on an A100."""
    folder = tmp_path_factory.mktemp("whole")
    with (
        pytest.MonkeyPatch.context() as patch,
        pipelines_made.hub("8b", pipelines_made.files_of("8b")) as hub,
    ):
        pipelines_made.no_cards(patch.setattr)
        rig = Rig(folder, stand_ins, hub.url)
        assert rig.run(plan(*TRITON, Profile.DEFAULTS)).complete, rig.screen.getvalue()
    return rig.cache


@pytest.fixture
def rig(rigs: Callable[[str], Rig], whole: Path) -> Rig:
    """With a copy of that cache."""
    found = rigs("8b")
    shutil.copytree(whole, found.cache)
    return found


def alive(client: docker.DockerClient, part: str) -> list[str]:
    """Names of the containers and networks with that part."""
    containers = client.containers.list(all=True, filters={"label": "levelbench"}, ignore_removed=True)
    networks = client.networks.list(filters={"label": "levelbench"})
    return [str(found.name) for found in (*containers, *networks) if part in str(found.name)]


def removed(client: docker.DockerClient, part: str) -> list[str]:
    """Names of those that were left, which are gone then: a test that fails costs no other one anything."""
    found = alive(client, part)
    for container in client.containers.list(all=True, filters={"label": "levelbench", "name": part}):
        container.remove(force=True)
    for network in client.networks.list(names=[part], filters={"label": "levelbench"}):
        network.remove()
    return found


def failure(ran: Ran) -> Failure:
    (found,) = (result.failure for result in ran.results)
    assert found is not None
    return found


def written(rig: Rig, step_id: str, name: str) -> Any:
    """A file of a step's output, as JSON; of the newest where there are several."""
    found = (rig.cache / "artifacts").glob(f"*-{step_id}-*/content/{name}")
    return json.loads(max(found, key=lambda path: path.stat().st_mtime).read_text())


@pytest.mark.parametrize(
    ("backend", "release", "model", "order"),
    [
        (*TRITON, "convert engine serve | engine serve | convert engine serve"),
        (
            "tensorrt-llm",
            "2024-06",
            "70b-int4-awq",
            "quantize engine serve | engine serve | quantize engine serve",
        ),
        ("tensorrt-llm", "current", "70b-int4-awq", "quantize serve | serve | serve"),
        ("mlc-llm", "2024-06", "8b", "convert config compile serve | config compile serve | serve"),
        ("mlc-llm", "current", "8b", "convert config compile serve | config compile serve | serve"),
        ("mlc-llm", "2024-06", "70b-q4f16_1", "compile serve | compile serve | serve"),
        ("mlc-llm", "current", "70b-q4f16_1", "compile serve | compile serve | serve"),
    ],
)
def test_an_engine_is_made_and_measured_in_every_profile(
    rigs: Callable[[str], Rig], backend: str, release: str, model: str, order: str
) -> None:
    """Weights, steps, up, ready, one real token, figures, down; a profile makes only what it says otherwise."""
    rig, asked = rigs(model), plan(backend, release, model, *EVERY, card=H200)
    ran = rig.run(asked, H200)

    assert ran.complete, rig.screen.getvalue()
    assert order.replace(" |", "").split() == ran.order
    for result, group in zip(ran.results, asked.groups, strict=True):
        assert result.metrics is not None
        assert result.verdict is not None
        assert ["weights", *(step.id for step in group.steps)] == [step.id for step in result.steps]
        assert ALLOWED >= {finding.reason for finding in result.verdict.findings}, result.verdict.findings
        assert result.metrics.completed > 5
        assert {*Phase} - {Phase.DOWN} == set(result.phases_s)
    assert not [c.what for c in ran.started if TOKEN in str(c.options)]


def test_what_a_run_costs_stands_in_its_result(rig: Rig) -> None:
    """Weights and steps, made now or before: their time and disk, and the memory of what took long enough to be
    looked at, as the fetch does; the second time nothing is made."""
    ran = rig.run(plan(*TRITON, Profile.DEFAULTS))
    (result,) = ran.results

    assert ["serve"] == ran.order
    assert ["weights", "convert", "engine"] == [step.id for step in result.steps]
    for step in result.steps:
        assert step.cached
        assert step.wall_s > 0
        assert step.output_bytes > 0
    assert (result.steps[0].peak_memory_bytes or 0) > 2**20
    assert result.steps[0].output_bytes > 5 * 2**20
    assert result.provenance is not None
    assert {"max_batch_size": "64"}.items() <= result.provenance.effective.items()


def test_a_container_gets_what_its_command_reads_and_no_more(rig: Rig) -> None:
    """The weights, and of the steps before it those that it names; what it makes alone may be written; the one
    GPU, by its UUID; steps without any network."""
    ran = rig.run(plan(*TRITON, Profile.PUBLISHED))

    assert ["convert", "engine", "serve"] == ran.order
    phases = [e["phase"] for e in ran.folder.read_journal().entries if e["event"] == "phase-began"]
    after = ["gate before", "up", "ready", "warm-up", "measure u1", "down", "gate after"]
    assert ["image", "weights", "steps convert", "steps engine", *after] == phases
    assert {LLAMA: False, f"{STEPS}/convert": True} == ran.of("convert").mounts
    assert {LLAMA: False, f"{STEPS}/convert": False, f"{STEPS}/engine": True} == ran.of("engine").mounts
    assert {LLAMA: False, f"{STEPS}/engine": False, "/levelbench/config": False} == ran.of("serve").mounts
    for container in ran.started:
        (device,) = container.options["device_requests"]
        assert [A100.uuid] == device["DeviceIDs"]
    assert ["none", "none"] == [ran.of(step).options["network_mode"] for step in ("convert", "engine")]


def test_a_step_cannot_change_its_inputs_nor_reach_a_network(rig: Rig) -> None:
    """Not even as root in its container, which TensorRT-LLM's images ask for."""
    probe = ("python3", "-c", PROBE, "{model}", "{step:convert}", "{out}")
    ran = rig.run(with_step(plan(*TRITON, Profile.DEFAULTS), "engine", argv=probe, env={"ONLY": "this"}))
    found = written(rig, "engine", "config.json")

    assert ["engine", "serve"] == ran.order
    read_only = "Read-only file system"
    assert [read_only, read_only, "done"] == found["write"]
    assert [[read_only] * 2] * 2 == [found["change"], found["remove"]]
    assert (["lo"], "Network is unreachable") == (found["interfaces"], found["connect"])
    assert "ONLY" in found["environment"]
    assert not [name for name in found["environment"] if "HF" in name or "PROXY" in name]


def test_an_engine_is_made_for_one_kind_of_gpu(rig: Rig) -> None:
    """Another GPU gets an engine of its own out of the same checkpoint; a twin of the first needs nothing."""
    twin = A100.model_copy(update={"uuid": "GPU-twin"})
    asked = plan(*TRITON, Profile.DEFAULTS)

    assert ["engine", "serve"] == rig.run(asked, H200).order
    assert ["serve"] == rig.run(asked, twin).order


def test_a_quantised_checkpoint_is_bound_to_no_gpu(rigs: Callable[[str], Rig]) -> None:
    """What one GPU has calibrated, another one serves."""
    rig = rigs("70b-int4-awq")
    asked = plan("tensorrt-llm", "current", "70b-int4-awq", Profile.DEFAULTS, card=H200)

    assert ["quantize", "serve"] == rig.run(asked, H200).order
    assert ["serve"] == rig.run(asked, A100).order


def test_a_step_that_fails_is_told_and_the_next_run_goes_on_from_there(rig: Rig) -> None:
    """With the tool's last words and their cause; what it began is gone, what had been made is kept."""
    good = plan(*TRITON, Profile.PUBLISHED)
    argv = next(step for step in good.groups[0].steps if step.id == "engine").argv
    before = left(rig.cache, "artifacts")
    ran = rig.run(with_step(good, "engine", argv=(*argv, "--max_batch_size", "many")))
    told = failure(ran)

    assert ["convert", "engine"] == ran.order
    assert (Phase.STEPS, FailureCause.BAD_FLAG) == (told.phase, told.cause)
    assert "step engine ended with 2" == told.message
    assert told.hint
    assert told.log_tail.endswith("error: argument --max_batch_size: invalid int value: 'many'")
    (new,) = set(left(rig.cache, "artifacts")) - set(before)
    assert new.startswith("tensorrt-llm-2024-06-8b-convert-")
    again = rig.run(good)
    assert ["engine", "serve"] == again.order
    assert again.complete


def test_a_step_that_writes_nothing_has_failed(rig: Rig) -> None:
    """Though it ended with 0."""
    before = left(rig.cache, "artifacts")
    ran = rig.run(with_step(plan(*TRITON, Profile.DEFAULTS), "engine", argv=("true", "{step:convert}")))

    assert ["engine"] == ran.order
    assert "step engine ended with 0 but made no config.json" == failure(ran).message
    assert before == left(rig.cache, "artifacts")


def test_a_run_that_is_killed_in_a_step_is_cleaned_up_and_resumed(
    rig: Rig, client: docker.DockerClient, tmp_path: Path
) -> None:
    """SIGKILL leaves a container that goes on: it is reaped, its draft is no artifact, and what had been made
    before is not made again."""
    good = plan(*TRITON, Profile.MATCHED)
    (weights,) = (rig.cache / "models").glob("*/content")
    (weights / "hold").touch()
    process = started(rig, good, tmp_path)
    try:
        made.wait_for(lambda: held(client, rig, process), timeout_s=60)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (name,) = alive(client, rig.folder.name)

    assert name.endswith("matched-engine")
    assert [found for found in left(rig.cache, "artifacts") if found.startswith(".")]
    assert (name,) == rig.reap()
    assert [] == alive(client, rig.folder.name)
    (weights / "hold").unlink()
    ran = rig.run(good)
    assert ["engine", "serve"] == ran.order
    assert ran.complete
    assert not [found for found in left(rig.cache, "artifacts") if found.startswith(".")]


def started(rig: Rig, asked: Plan, folder: Path) -> subprocess.Popen[bytes]:
    """The run as a process of its own."""
    texts = {
        "plan": asked.model_dump_json(),
        "images": json.dumps({name: image.model_dump() for name, image in rig.stand_ins.items()}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    words = (str(folder / "plan"), str(folder / "images"), rig.hub_url, str(rig.folder))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.pipelines_made", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def held(client: docker.DockerClient, rig: Rig, process: subprocess.Popen[bytes]) -> bool:
    """Whether the tool has begun, and waits."""
    assert process.poll() is None, "the run ended before it could be killed"
    return any((rig.folder / "runs").glob("*/logs/*-engine.log")) and bool(
        next((rig.folder / "runs").glob("*/logs/*-engine.log")).read_text()
    )
