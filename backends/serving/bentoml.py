"""BentoML as the published benchmark had it: a service with one streaming method, `generate`.

The service is dockerfiles/context/bentoml_service.py, the same for both releases; it runs in an environment of
its own, since its packages (pydantic below 2.9 for 1.2.16) would not suit every engine's.
"""

from __future__ import annotations

import json

from backends.contract import (
    SERVING_LAYER,
    Accelerator,
    Build,
    Dialect,
    EngineRequest,
    FrontSpec,
    ImageSpec,
    LayerRelease,
    Mount,
    OptionsRef,
    PackageSet,
    ReadySpec,
    Refusal,
    RequestSpec,
    ServingLayer,
    Setting,
    Source,
    SpecFile,
    Template,
)
from backends.contract.layer import TOGETHER

PORT = 3000
SETTINGS_FILE = "service.json"
TIMEOUT_S = 1200
_PROGRAM = ("{layer}/bin/python3", "-m", "bentoml", "serve")
# Where an event of the engine's stream has its text, and where it says that the text is none
_TEXT: dict[Dialect, tuple[str | int, ...]] = {
    Dialect.OPENAI_CHAT: ("choices", 0, "delta", "content"),
    Dialect.OPENAI_COMPLETIONS: ("choices", 0, "text"),
    Dialect.GENERATE_STREAM: ("token", "text"),
    Dialect.TENSOR_STREAM: ("text_output",),
    Dialect.JSON_LINES: ("text",),
}
_SPECIAL: dict[Dialect, tuple[str | int, ...]] = {Dialect.GENERATE_STREAM: ("token", "special")}

_SERVICES = Source(text="service.py of bentoml/BentoVLLM, BentoTGI and BentoTRTLLM, June 2024")
_LENGTHS = Setting(
    unmet="max_tokens of 128 and more only",
    reason="the article's services refused less; here from 1 on, so that probe and warm-up pass through it too",
    source=_SERVICES,
)


def _release(release_id: str, date: str, build: Build, *reproduces: str) -> LayerRelease:
    template = "serving/bentoml.Dockerfile.j2"
    image = ImageSpec(name="bentoml", release=release_id, template=template, build=build)
    return LayerRelease(id=release_id, date=date, image=image, reproduces=reproduces)


def _build(release_id: str, version: str, source: str, *wheels_for: tuple[int, int]) -> Build:
    return Build(
        release=release_id,
        accelerator=Accelerator.CPU,
        version=version,
        base="debian:bookworm-slim",
        packages=(PackageSet(lock=f"serving-bentoml-{version}.txt"),),
        context=(TOGETHER, "bentoml_service.py"),
        seen="process and container, before llama.cpp",
        python=min(wheels_for),
        max_python=max(wheels_for),
        wheels_for=wheels_for,
        install_bytes=180 * 2**20,
        source=Source(text=source),
    )


_THEN = _build(
    *("2024-06", "1.2.16", "https://pypi.org/project/bentoml/1.2.16/; its packages as of 2024-06-05"),
    *((3, 8), (3, 10), (3, 11), (3, 12)),
)
_NOW = _build(
    *("current", "1.4.40", "https://pypi.org/project/bentoml/1.4.40/"), *((3, 10), (3, 11), (3, 12), (3, 13))
)


class BentoMl(ServingLayer):
    name = "bentoml"
    title = "BentoML"
    releases = (
        _release("2024-06", "2024-05", _THEN, *(d.setting for d in SERVING_LAYER.deviations)),
        _release("current", "2026-11", _NOW),
    )

    def supports(self, engine: RequestSpec) -> Refusal | None:
        if engine.template is Template.TOKENS:
            reason = f"the {self.title} service sends text, and this engine is asked with token ids"
            return Refusal(reason=reason, alternative="PROFILE=published where the engine has it")
        if engine.dialect not in _TEXT:
            return Refusal(reason=f"the {self.title} service does not read {engine.dialect.value}")
        return None

    def front(self, release: LayerRelease, engine: EngineRequest) -> FrontSpec:
        argv = (
            *(*_PROGRAM, "bentoml_service:Llm", "--working-dir", "{files}"),
            *("--host", "{bind}", "--port", "{port}"),
        )
        text = json.dumps(_settings(engine), ensure_ascii=False, indent=1)
        return FrontSpec(
            argv=argv,
            options=OptionsRef(name=f"bentoml-serve-{release.version}", start=len(_PROGRAM)),
            env={
                "LEVELBENCH_SERVICE": f"{{config}}/{SETTINGS_FILE}",
                "BENTOML_HOME": f"{Mount.CACHE.value}/bentoml",
                "BENTOML_DO_NOT_TRACK": "true",
            },
            files=(SpecFile(path=SETTINGS_FILE, text=text),),
            writable=(Mount.TMP, Mount.CACHE),
            port=PORT,
        )

    def request(self, release: LayerRelease) -> RequestSpec:
        return RequestSpec(dialect=Dialect.RAW_TEXT, path="/generate")

    def ready(self, release: LayerRelease) -> ReadySpec:
        return ReadySpec(health_path="/readyz", models_path=None, deadline_s=120)

    def settings(self, release: LayerRelease, held: Setting | None) -> tuple[Setting, ...]:
        """The timeout is the longest of the article's services' own (300 and 1200 s)."""
        why = "the default of 60 s holds for a whole answer; the article's services had 300 or 1200 s"
        timeout = Setting(entry=("traffic.timeout", TIMEOUT_S), reason=why, source=_SERVICES)
        return (timeout, _LENGTHS, *((held,) if held else ()))


def _settings(engine: EngineRequest) -> dict[str, object]:
    """What the service is told: bentoml_service.py says what each is."""
    spec = engine.spec
    rendered = spec.template in {Template.TEXT, Template.TEXT_WITH_BOS}
    bos = spec.template is Template.TEXT_WITH_BOS
    return {
        "url": f"http://127.0.0.1:{{engine_port}}{engine.path}",
        "timeout_s": TIMEOUT_S,
        "bodies": {"with": engine.with_system, "without": engine.without_system},
        "words": {"prompt": engine.prompt, "system": engine.system, "max_tokens": engine.max_tokens},
        "text": _TEXT[spec.dialect],
        "special": _SPECIAL.get(spec.dialect),
        "lines": spec.dialect is Dialect.JSON_LINES,
        "template": {"folder": "{model}", "bos": bos} if rendered else None,
    }
