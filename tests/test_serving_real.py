"""BentoML itself, in both releases, before engines: the real one on the CPU, and a fake one of each wire shape.

`engine`: installed from the index into LEVELBENCH_TEST_CACHE (or a temporary folder).
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends import load_backends, load_layers
from backends.contract import Accelerator, Dialect, RequestSpec
from orchestrator.domain.cell import Load, RuntimeKind
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.provenance import Image
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.errors import CellError
from orchestrator.load.client import LoadClient
from orchestrator.load.dialects import path
from orchestrator.load.draw import Draw
from orchestrator.load.spec import LoadSpec
from orchestrator.planning import Request, plan
from orchestrator.ready import Ladder, require_alive, wait_until_ready
from orchestrator.recount import recounted
from orchestrator.runtime import venvs
from orchestrator.runtime.interface import Deployment, DeploymentSpec
from orchestrator.runtime.process import ProcessRuntime
from tests.backends.test_fakes import PROMPTS, made_folder, template
from tests.fakes.engines import image
from tests.fakes.engines.answers import BOS
from tests.goldens import HOSTS

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
RELEASES = tuple(f"{layer.name}@{r.id}" for layer in load_layers().values() for r in layer.releases)
# One engine of each wire shape that a layer reads
SHAPES = (
    ("llama-cpp", "current", Dialect.OPENAI_CHAT),
    ("tgi", "2024-06", Dialect.GENERATE_STREAM),
    ("lmdeploy", "2024-06", Dialect.JSON_LINES),
)
TOKENS = 6
READY_S = 90.0
TEMPLATE = "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def client() -> Iterator[LoadClient]:
    with LoadClient() as running:
        yield running


def planned(backend: str, release: str, layer: str) -> tuple[GroupPlan, GroupPlan]:
    """The engine by itself and behind the layer."""
    accelerator = Accelerator.CPU if backend == "llama-cpp" else Accelerator.CUDA
    model = "small" if accelerator is Accelerator.CPU else "8b"
    request = Request(backends=(backend,), model=model, release=release, serving=("native", layer))
    native, layered = plan(request, load_backends(), HOSTS[accelerator], RuntimeKind.PROCESS).groups
    return native, layered


class Behind:
    """A fake engine behind a real service, as processes."""

    def __init__(self, layered: GroupPlan, folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
        self.layered = layered
        self.folder = folder
        group = layered.group
        assert layered.image.layer is not None
        name, _ = image.personality(group.backend, group.release)
        programs = folder / "venv" / "bin"
        programs.mkdir(parents=True)
        image.install(name, programs)
        layer = venvs.ready(layered.image.layer, cache / "venvs", dict(os.environ), print).folder
        found = Image(reference=f"fake:{name}", digest="sha256:0", size_bytes=1)
        ready = venvs.Venv(programs.parent, found, layer)
        patch.setattr("orchestrator.runtime.process.ready", lambda *_: ready)
        self.runtime = ProcessRuntime(folder, {})
        self.image = self.runtime.image(layered.image, print)

    @contextmanager
    def up(self, **changes: Any) -> Iterator[Deployment]:
        weights = made_folder(self.folder / "weights")
        config = {"bos_token": BOS, "eos_token": "</s>", "chat_template": TEMPLATE}
        (weights / "tokenizer_config.json").write_text(json.dumps(config))
        spec = DeploymentSpec(
            name=f"levelbench-test-{uuid.uuid4().hex[:8]}",
            image=self.image,
            serve=self.layered.serve.model_copy(update=changes),
            model_folder="weights",
            weights_dir=weights,
            log_path=self.folder / "engine.log",
        )
        deployment = self.runtime.up(spec)
        try:
            yield deployment
        except BaseException:
            print(spec.log_path.read_text(errors="replace"))  # noqa: T201 - why it would not do
            raise
        finally:
            self.runtime.down(deployment)
        assert not self.runtime.state(deployment).running

    def climb(self, deployment: Deployment) -> None:
        """As a group does: the engine first, seen past the layer, then the layer."""
        backend = load_backends()[self.layered.group.backend]
        assert self.layered.layer_ready is not None
        for seen, spec in (
            (deployment.engine, backend.ready(self.layered.image.build)),
            (deployment, self.layered.layer_ready),
        ):
            ladder = Ladder(
                spec=spec.model_copy(update={"deadline_s": READY_S}),
                served_name=self.layered.model.traits.served_name,
                signatures=(),
            )
            wait_until_ready(self.runtime, seen, ladder, progress=lambda _: None)


def ask(client: LoadClient, deployment: Deployment, request: RequestSpec, model: str) -> Exchange:
    draw = Draw(PROMPTS, "be brief", request, model, Sampling(max_tokens=TOKENS), 1, template())
    spec = LoadSpec(
        tag="real",
        host=deployment.host,
        port=deployment.port,
        path=path(request),
        users=1,
        ramp_s=0.0,
        bodies=draw.bodies(Load(users=1, system_prompt=SystemPrompt.WITH)),
        requests=1,
        stall_s=30.0,
    )
    record = client.run(spec, request.dialect, on_live=lambda _: None, watch=lambda: None)
    (x,) = record.exchanges
    return x


@pytest.mark.parametrize("layer", RELEASES)
@pytest.mark.parametrize("shape", SHAPES, ids=[s[2].value for s in SHAPES])
def test_a_service_says_what_its_engine_says(
    shape: tuple[str, str, Dialect],
    layer: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: LoadClient,
) -> None:
    """Text for text, for each wire shape, with the model's template where the client would have rendered it: the
    fakes refuse a prompt with a begin-of-text too many or too few."""
    backend, release, dialect = shape
    native, layered = planned(backend, release, layer)
    behind, model = Behind(layered, tmp_path, cache, monkeypatch), native.model.traits.served_name
    with behind.up() as deployment:
        behind.climb(deployment)
        past = ask(client, deployment.engine, native.request, model)
        through = ask(client, deployment, layered.request, model)

    assert dialect is native.request.dialect
    assert (Outcome.OK, Outcome.OK) == (past.outcome, through.outcome), through.detail
    assert past.text == through.text
    assert len(past.text) > TOKENS
    assert len(through.event_ns) > 1
    assert CountedBy.NONE is through.tokens_from
    (again,) = recounted([through], lambda text: range(len(text.split())), stated=False)
    assert CountedBy.TOKENIZER is again.tokens_from


@pytest.mark.parametrize("layer", RELEASES)
def test_what_an_engine_refuses_is_a_failure_through_the_service(
    layer: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, client: LoadClient
) -> None:
    """1.2.16 has sent its 200 by then and breaks off; 1.4 says 500."""
    native, layered = planned("llama-cpp", "current", layer)
    behind = Behind(layered, tmp_path, cache, monkeypatch)
    lost = [f.model_copy(update={"text": f.text.replace("/chat/", "/chatter/")}) for f in layered.serve.files]
    with behind.up(files=tuple(lost)) as deployment:
        behind.climb(deployment)
        x = ask(client, deployment, layered.request, native.model.traits.served_name)

    assert x.outcome.failed
    assert 0 == x.text_chars


def test_a_dead_engine_is_a_dead_deployment(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its service would have lived on, answering 500."""
    _, layered = planned("llama-cpp", "current", "bentoml@2024-06")
    behind = Behind(layered, tmp_path, cache, monkeypatch)
    with behind.up() as deployment:
        behind.climb(deployment)
        (engine,) = (p for p in psutil.process_iter() if listens(p, deployment.engine.port))
        engine.send_signal(signal.SIGKILL)
        until_s = time.monotonic() + READY_S
        while behind.runtime.state(deployment).running and time.monotonic() < until_s:
            time.sleep(0.1)
        state = behind.runtime.state(deployment)
        with pytest.raises(CellError, match="exit code 137"):
            require_alive(behind.runtime, deployment, ())

    assert (False, 137) == (state.running, state.exit_code)


def listens(process: psutil.Process, port: int) -> bool:
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return False
    return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in found)
