"""What can stand between the load client and an engine: a service of its own, in front of the engine's server."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic import JsonValue

from backends.contract.backend import Deviation, Refusal, Setting
from backends.contract.launch import FrontSpec, ReadySpec, ServeSpec
from backends.contract.release import ImageSpec
from backends.contract.request import RequestSpec
from backends.contract.values import Value

# The program that starts an engine and the service before it, and lives as long as both do
TOGETHER = "serve_behind.py"
_APART = "--"


class EngineRequest(Value):
    """How a service asks the engine behind it: `spec`, and the bodies that levelbench's own client would send,
    with and without a system prompt. In these `prompt`, `system` and `max_tokens` stand for what a request
    brings: each is a whole value of the body that occurs for nothing else."""

    spec: RequestSpec
    path: str
    with_system: dict[str, JsonValue]
    without_system: dict[str, JsonValue]
    prompt: str
    system: str
    max_tokens: int


class LayerRelease(Value):
    """A pinned version of a serving layer. `image` is how it is installed beside an engine: its template is put
    around the engine's own. `reproduces` are settings that adapters tell as not reproduced and that hold with it
    (`Setting.unmet`)."""

    id: str
    date: str
    image: ImageSpec
    reproduces: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        return self.image.build.version


class ServingLayer(ABC):
    """One serving layer. Subclasses are stateless; every method is pure."""

    name: str
    title: str
    releases: tuple[LayerRelease, ...]

    def release(self, release_id: str) -> LayerRelease | None:
        return next((r for r in self.releases if r.id == release_id), None)

    @abstractmethod
    def supports(self, engine: RequestSpec) -> Refusal | None:
        """None where it can ask an engine so; otherwise the reason."""

    @abstractmethod
    def front(self, release: LayerRelease, engine: EngineRequest) -> FrontSpec:
        """The command of the service before an engine that is asked so."""

    @abstractmethod
    def request(self, release: LayerRelease) -> RequestSpec:
        """How requests to the service are written."""

    @abstractmethod
    def ready(self, release: LayerRelease) -> ReadySpec:
        """How to see that the service itself is up; the engine behind it is looked at by itself."""

    @abstractmethod
    def settings(self, release: LayerRelease, held: Setting | None) -> tuple[Setting, ...]:
        """What is to be disclosed; `held` is how the article's service had this engine (`Backend.held`)."""

    def deviations(
        self, release: LayerRelease, held: Setting | None, engine: tuple[Deviation, ...]
    ) -> tuple[Deviation, ...]:
        """The engine's own, but for what holds with this layer, and the layer's."""
        kept = tuple(d for d in engine if d.setting not in release.reproduces)
        hop = "each request goes through one more Python HTTP server, whose time is in every figure"
        own = Deviation(setting="SERVING", value=f"{self.title} {release.version}", reason=hop)
        return (*kept, own, *(d for s in self.settings(release, held) for d in s.deviations))


def before(front: FrontSpec, engine: ServeSpec) -> ServeSpec:
    """One launch of both. The engine listens on a port of its own, `{engine_port}`, where its own figures and
    settings are still read."""
    inner = _moved(engine)
    argv = ("{layer}/bin/python3", f"{{files}}/{TOGETHER}", *front.argv, _APART, *inner.argv)
    options = inner.options
    if options is not None:
        start = options.start + len(argv) - len(inner.argv)
        options = options.model_copy(update={"start": start})
    changes: dict[str, object] = {
        "argv": argv,
        "options": options,
        "env": {**inner.env, **front.env},
        "files": (*inner.files, *front.files),
        "writable": tuple(dict.fromkeys((*inner.writable, *front.writable))),
        "port": front.port if front.port != engine.port else front.port + 1,
        "engine_port": engine.port,
    }
    return inner.model_copy(update=changes)


def _moved(engine: ServeSpec) -> ServeSpec:
    def moved(text: str) -> str:
        return text.replace("{port}", "{engine_port}")

    files = tuple(f.model_copy(update={"text": moved(f.text)}) for f in engine.files)
    argv, env = tuple(map(moved, engine.argv)), {name: moved(v) for name, v in engine.env.items()}
    return engine.model_copy(update={"argv": argv, "env": env, "files": files})
