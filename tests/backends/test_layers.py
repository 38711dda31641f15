"""What every serving layer promises, before every engine that there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from backends import load_layers
from backends.contract import (
    SERVING_LAYER,
    Dialect,
    FrontSpec,
    LayerRelease,
    Mount,
    Profile,
    RequestSpec,
    ServeSpec,
    ServingLayer,
    SpecFile,
    Template,
    WeightsFormat,
    before,
)
from orchestrator.domain.workload import Sampling
from orchestrator.launching import check
from orchestrator.layering import MAX_TOKENS, PROMPT, SYSTEM, engine_request
from orchestrator.render import FOLDER
from orchestrator.runtime.placement import Placement
from orchestrator.runtime.venvs import lock_path
from tests.goldens import CASES, Case

LAYERS = load_layers()
RELEASES = [(layer, release) for layer in LAYERS.values() for release in layer.releases]
each_release = pytest.mark.parametrize(
    ("layer", "release"), RELEASES, ids=[f"{layer.name}-{r.id}" for layer, r in RELEASES]
)
each_case = pytest.mark.parametrize("case", CASES, ids=str)
BENTOML = LAYERS["bentoml"]
ENGINE = ServeSpec(
    argv=("engine", "--port", "{port}"),
    env={"AT": "{port}"},
    files=(SpecFile(path="a", text="listen {port}"),),
    port=8000,
    weights=WeightsFormat.GGUF,
)
FRONT = FrontSpec(argv=("front", "{port}"), env={"B": "1"}, writable=(Mount.CACHE,), port=3000)


def composed(layer: ServingLayer, release: LayerRelease, case: Case) -> ServeSpec:
    request = case.backend.request(case.setup)
    front = layer.front(release, engine_request(request, case.model.served_name, Sampling(seed=7)))
    return before(front, case.serve)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


@each_release
@each_case
def test_every_engine_is_served_or_refused_with_a_reason(
    layer: ServingLayer, release: LayerRelease, case: Case
) -> None:
    """And what is served takes options that both commands know, in one launch."""
    refusal = layer.supports(case.backend.request(case.setup))
    if refusal is not None:
        assert len(refusal.reason) > 10
        return
    serve = composed(layer, release, case)

    check([serve])
    assert serve == ServeSpec.model_validate_json(serve.model_dump_json())
    assert case.serve.argv[-1] in serve.argv[-1].replace("{engine_port}", "{port}")


@each_case
def test_the_engine_is_asked_as_our_own_client_asks_it(case: Case) -> None:
    """What a request brings stands as whole values of the body: the prompt once, and with messages the system
    prompt once and only where there is one."""
    request = case.backend.request(case.setup)
    if BENTOML.supports(request) is not None:
        return
    asked = engine_request(request, case.model.served_name, Sampling())
    with_system, without = (list(leaves(body)) for body in (asked.with_system, asked.without_system))
    renders = request.template is not Template.MESSAGES

    assert 1 == with_system.count(PROMPT) == without.count(PROMPT)
    assert (0 if renders else 1) == with_system.count(SYSTEM)
    assert 0 == without.count(SYSTEM)
    assert 1 <= without.count(MAX_TOKENS)


@each_release
def test_a_release_is_pinned(layer: ServingLayer, release: LayerRelease) -> None:
    """A lock with a hash of everything, and the programs that it names."""
    build = release.image.build
    for package_set in build.packages:
        lines = lock_path(package_set).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith(" ")]
        assert [] == [line for line in pins if "==" not in line]
        assert "--hash=sha256:" in lock_path(package_set).read_text()
        assert f"{layer.name}=={release.version}" in "".join(pins)
    for name in build.context:
        assert (FOLDER / "context" / name).is_file()
    assert (FOLDER / release.image.template).is_file()


def test_token_ids_are_refused() -> None:
    """The service has no tokenizer, and levelbench's client sends it text."""
    request = RequestSpec(dialect=Dialect.OPENAI_COMPLETIONS, template=Template.TOKENS)
    refusal = BENTOML.supports(request)

    assert refusal is not None
    assert "token ids" in refusal.reason


def test_a_layer_before_a_layer_is_refused() -> None:
    """It would read its own plain text as an engine's events."""
    assert BENTOML.supports(RequestSpec(dialect=Dialect.RAW_TEXT)) is not None


def test_the_engine_moves_to_a_port_of_its_own() -> None:
    """In its words, its environment and its files; the layer takes the port that is asked."""
    serve = before(FRONT, ENGINE)
    place = Placement(model="m", files="/f", port=1, engine_port=2, layer="/l")

    assert (
        "/l/bin/python3",
        "/f/serve_behind.py",
        "front",
        "1",
        "--",
        "engine",
        "--port",
        "2",
    ) == place.argv(serve)
    assert {"AT": "2", "B": "1"} == place.env(serve)
    assert "listen 2" == place.fill(serve.files[0].text)
    assert (3000, 8000) == (serve.port, serve.engine_port)
    assert {Mount.TMP, Mount.CACHE} == set(serve.writable)


def test_two_on_one_port_part() -> None:
    """An engine may have the layer's own port by default."""
    serve = before(FRONT, ENGINE.model_copy(update={"port": FRONT.port}))

    assert (3001, 3000) == (serve.port, serve.engine_port)


def test_only_the_articles_release_makes_its_deviation_good() -> None:
    """`published` tells that BentoML 1.2.16 is missing, until it is there."""
    case = next(c for c in CASES if c.profile is Profile.PUBLISHED)
    (missing,) = SERVING_LAYER.deviations
    told = {
        release.id: BENTOML.deviations(release, None, case.backend.deviations(case.setup))
        for release in BENTOML.releases
    }

    assert missing in case.backend.deviations(case.setup)
    assert missing not in told["2024-06"]
    assert missing in told["current"]
    assert all("SERVING" in {d.setting for d in of} for of in told.values())


def test_how_the_article_had_the_engine_is_told() -> None:
    """In the service's own process, over gRPC, ...: said of each of its five engines, and of no other."""
    held = {case.backend.name: case.backend.held for case in CASES}
    told = {name for name, setting in held.items() if setting is not None}

    assert {"vllm", "lmdeploy", "mlc-llm", "tgi", "tensorrt-llm"} == told
    for setting in filter(None, held.values()):
        release = BENTOML.releases[0]
        assert setting.deviations[0] in BENTOML.deviations(release, setting, ())


def test_what_the_service_is_told_is_json_with_places() -> None:
    """The engine's address is filled in where it lives."""
    case = next(c for c in CASES if c.backend.name == "llama-cpp")
    (file,) = composed(BENTOML, BENTOML.releases[0], case).files
    settings = json.loads(Placement(model="m", files="f", engine_port=9).fill(file.text))

    assert "http://127.0.0.1:9/v1/chat/completions" == settings["url"]
    assert 7 == settings["bodies"]["with"]["seed"]
