"""Each adapter's real launch, readiness, requests, figures and teardown, against a server that behaves on the
wire as its release does (tests/fakes/engines). In a process for the quick suite, in a container for `docker`."""

from __future__ import annotations

import resource
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from backends.contract import Gauge, RequestField, RequestSpec
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.catalog.prompts import PromptSet
from orchestrator.domain.cell import Load
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.prompt import Prompt
from orchestrator.domain.provenance import Image
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.host.prometheus import scrape
from orchestrator.load.client import LoadClient
from orchestrator.load.dialects import carries, path
from orchestrator.load.draw import Draw
from orchestrator.load.spec import LoadSpec
from orchestrator.ready import Ladder, effective, wait_until_ready
from orchestrator.runtime import venvs
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Runtime
from orchestrator.runtime.process import ProcessRuntime
from tests.fakes.engines import image
from tests.fakes.engines.answers import BOS, BOS_ID, NATURAL_LENGTH
from tests.fakes.engines.personalities import PERSONALITIES, Personality
from tests.fakes.engines.server import PREFILL_S
from tests.goldens import CASES, Case
from tests.runtime import made

each_case = pytest.mark.parametrize("case", CASES, ids=str)
BUILDS = {case.stem: case for case in reversed(CASES)}
each_build = pytest.mark.parametrize("case", BUILDS.values(), ids=BUILDS)
PROMPTS = PromptSet(name="own", digest="0", prompts=tuple(Prompt.of(f"prompt {i}") for i in range(4)))
LOAD = Load(users=1, system_prompt=SystemPrompt.WITH)
TOKENS = 6
READY_S = 20.0
# files that launches name: of weights in each format, and of what steps make
MADE = (
    *("config.json", "model.gguf", "mlc-chat-config.json", "ndarray-cache.json", "tensor-cache.json"),
    *("lib.so", "rank0.engine"),
)
# what a workload may ask: the defaults, which some engines refuse in part; an answer without chance; one
# that goes on where a fake would end by itself
SAMPLINGS = (
    Sampling(max_tokens=TOKENS, seed=3),
    Sampling(max_tokens=TOKENS, temperature=0.0, top_p=0.9),
    Sampling(max_tokens=NATURAL_LENGTH + TOKENS, ignore_eos=True),
)


@pytest.fixture(scope="module")
def client() -> Iterator[LoadClient]:
    with LoadClient() as running:
        yield running


@pytest.fixture(scope="module")
def images() -> Iterator[Callable[[str], Image]]:
    """Builds each fake engine's image once, and removes them all at the end."""
    daemon = Daemon().client()
    found: dict[str, Image] = {}

    def of(name: str) -> Image:
        if name not in found:
            found[name] = image.build(daemon, name, made.BASE)
        return found[name]

    if not made.base_image_here() and not made.DOCKER_REQUIRED:
        pytest.skip(f"no base image {made.BASE}")
    yield of
    for built in found.values():
        daemon.images.remove(built.reference, force=True)
    daemon.close()


def made_folder(folder: Path) -> Path:
    """What a model's folder and a step's output look like to a launch, readable for whoever runs it."""
    folder.mkdir(mode=0o755)
    for name in MADE:
        (folder / name).write_text("{}")
    return folder


def granted(ulimits: dict[str, int]) -> dict[str, int]:
    """Those that this host can give: a daemon that itself lives in a container cannot raise its limits."""
    most = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1] for name in ulimits}
    return {n: v for n, v in ulimits.items() if most[n] == resource.RLIM_INFINITY or 0 <= v <= most[n]}


def template() -> ChatTemplate:
    """Begin-of-text is what the fakes look for in a rendered prompt."""
    tokenizer = Tokenizer(WordLevel({BOS: BOS_ID, "?": 1}, unk_token="?"))  # noqa: S106 - a word
    tokenizer.pre_tokenizer = WhitespaceSplit()
    source = "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}"
    return ChatTemplate(source, {"bos_token": BOS}, tokenizer)


@dataclass(frozen=True)
class Drive:
    """One case against its fake, from `up` to `down`."""

    case: Case
    personality: Personality
    runtime: Runtime
    image: Image
    folder: Path
    client: LoadClient

    @property
    def request(self) -> RequestSpec:
        return self.case.backend.request(self.case.setup)

    def run(self) -> Deployment:
        deployment = self.runtime.up(self._spec())
        try:
            self._climb(deployment)
            for sampling in SAMPLINGS:
                self._ask(deployment, sampling)
            self._read(deployment)
        except BaseException:
            print(deployment.log_path.read_text(errors="replace"))  # noqa: T201 - why a fake would not do
            raise
        finally:
            self.runtime.down(deployment)
        return deployment

    def _spec(self) -> DeploymentSpec:
        """With a folder for each step's output that the launch reads."""
        name = f"levelbench-fake-{uuid.uuid4().hex[:8]}"
        serve = self.case.serve
        return DeploymentSpec(
            name=name,
            image=self.image,
            serve=serve.model_copy(update={"ulimits": granted(serve.ulimits)}),
            model_folder=self.case.model.folder,
            weights_dir=made_folder(self.folder / "weights"),
            log_path=self.folder / f"{name}.log",
            steps={step: self._output(step) for step in serve.step_inputs},
        )

    def _output(self, step: str) -> Path:
        """Some steps write into a folder of the model's name."""
        found = made_folder(self.folder / step)
        made_folder(found / self.case.model.folder)
        return found

    def _climb(self, deployment: Deployment) -> None:
        """Up the real ladder; loading is seen as this engine shows it."""
        ready = self.case.backend.ready(self.case.build).model_copy(update={"deadline_s": READY_S})
        signatures = self.case.backend.failures(self.case.build)
        rungs: list[str] = []
        ladder = Ladder(spec=ready, served_name=self.case.model.served_name, signatures=signatures)
        wait_until_ready(self.runtime, deployment, ladder, progress=rungs.append)
        loading = self.personality.loading
        assert ("waiting for its port" if loading is None else f"health says {loading}") in rungs

    def _ask(self, deployment: Deployment, sampling: Sampling) -> None:
        """A request as the adapter would have it is understood, and so is its answer."""
        if sampling.ignore_eos and not carries(self.request, RequestField.IGNORE_EOS):
            return
        x = self._exchange(deployment, sampling)
        assert (Outcome.OK, "") == (x.outcome, x.detail)
        assert (x.first_token_ns - x.send_ns) / 1e9 >= PREFILL_S
        assert x.text_chars > 0
        if x.counted_by is not CountedBy.NONE:
            assert sampling.max_tokens == x.tokens
        if x.counted_by is CountedBy.CUMULATIVE:
            assert sampling.max_tokens == x.event_tokens.sum()

    def _exchange(self, deployment: Deployment, sampling: Sampling) -> Exchange:
        served = self.case.model.served_name
        draw = Draw(PROMPTS, "be brief", self.request, served, sampling, 1, template())
        spec = LoadSpec(
            tag="fake",
            host=deployment.host,
            port=deployment.port,
            path=path(self.request),
            users=1,
            ramp_s=0.0,
            bodies=draw.bodies(LOAD),
            requests=1,
            stall_s=10.0,
        )
        record = self.client.run(spec, self.request.dialect, on_live=lambda _: None, watch=lambda: None)
        (x,) = record.exchanges
        return x

    def _read(self, deployment: Deployment) -> None:
        """The engine's own figures, its settings in force, and the way to empty its prefix cache."""
        backend, build = self.case.backend, self.case.build
        metrics = backend.metrics(build)
        if metrics is not None:
            figures = scrape(deployment.url, metrics)
            assert {f"metrics.{gauge.value}" for gauge in metrics.names} == set(figures)
            assert 0 == figures[f"metrics.{Gauge.RUNNING.value}"]
            assert figures.get(f"metrics.{Gauge.GENERATED_TOKENS.value}", TOKENS) >= TOKENS
        found = effective(deployment, backend.readbacks(build))
        assert set(self.personality.tells) <= set(found)
        reset_path = backend.prefix_cache(build).reset_path
        if reset_path is not None:
            request = urllib.request.Request(deployment.url + reset_path, method="POST")  # noqa: S310
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - http of our own
                assert 200 == answer.status


@each_case
def test_every_case_has_a_fake_engine(case: Case) -> None:
    """A new release needs one; the failure says what to add."""
    image.personality(case.backend.name, case.release.id)


def test_a_release_without_a_fake_engine_is_told_what_to_add() -> None:
    """By name and file."""
    with pytest.raises(AssertionError, match=r"add a Personality of that name to tests/fakes/engines/"):
        image.personality("new-engine", "current")


@each_build
def test_an_adapter_drives_its_engine_in_a_process(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: LoadClient
) -> None:
    """From `up` to `down` with the adapter's own words; nothing runs afterwards."""
    metrics = case.backend.metrics(case.build)
    fixed = any(word.startswith("/") for word in case.serve.argv)
    if fixed or (metrics is not None and metrics.port is not None):
        pytest.skip(
            "its program, its folder or its figures have a fixed place, which only a container can give"
        )
    name, personality = image.personality(case.backend.name, case.release.id)
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    image.install(name, programs)
    found = Image(reference=f"fake:{name}", digest="sha256:0", size_bytes=1)
    ready = venvs.Venv(folder=programs.parent, image=found)
    monkeypatch.setattr("orchestrator.runtime.process.ready", lambda *_: ready)
    runtime = ProcessRuntime(tmp_path, made.PIP_OFFLINE)
    runtime.image(made.image_spec(), print)
    deployment = Drive(case, personality, runtime, found, tmp_path, client).run()

    assert not runtime.state(deployment).running


@pytest.mark.docker
@each_case
def test_an_adapter_drives_its_engine_in_a_container(
    case: Case, tmp_path: Path, images: Callable[[str], Image], client: LoadClient
) -> None:
    """The same as it is really run: hardened, with its own user, port and read-only root; nothing is left."""
    name, personality = image.personality(case.backend.name, case.release.id)
    runtime = DockerRuntime(Daemon(), tmp_path, made.PIP_OFFLINE, made.BASE)
    try:
        deployment = Drive(case, personality, runtime, images(name), tmp_path, client).run()
        left = [
            *runtime.client.containers.list(all=True, filters={"name": deployment.name}),
            *runtime.client.networks.list(names=[deployment.name]),
        ]
    finally:
        runtime.close()

    assert [] == left


@pytest.mark.parametrize("name", PERSONALITIES)
def test_a_fake_engine_is_named_after_a_backend_and_a_release(name: str) -> None:
    """So that it is found by its case."""
    backend, release = name.split(" ")

    assert backend
    assert release in {"2024-06", "current"}
