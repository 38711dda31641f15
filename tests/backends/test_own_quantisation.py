"""16-bit weights that an engine's own tool compresses before it serves them."""

from __future__ import annotations

import pytest

from backends import load_backends
from backends.contract import Accelerator, Profile, Setup
from orchestrator.catalog import loader
from orchestrator.launching import check
from tests.goldens import HOSTS


def setup(backend: str, release: str, model: str, profile: Profile = Profile.DEFAULTS) -> Setup:
    found = load_backends()[backend].release(release)
    assert found is not None
    build = found.build(Accelerator.CUDA)
    assert build is not None
    traits = loader.model(model).traits
    return Setup(build=build, model=traits, profile=profile, host=HOSTS[Accelerator.CUDA])


@pytest.mark.parametrize(("release", "texts"), [("2024-06", "ptb"), ("current", "wikitext2")])
@pytest.mark.parametrize("profile", [Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED])
def test_lmdeploy_serves_what_its_own_quantiser_made(release: str, texts: str, profile: Profile) -> None:
    """AWQ in AutoAWQ's layout, under the folder's name in which the old release looks for a template."""
    backend, asked = load_backends()["lmdeploy"], setup("lmdeploy", release, "8b-int4-awq", profile)
    (step,) = backend.steps(asked)
    serve = backend.serve(asked)

    check((step, serve))
    assert backend.supports(asked) is None
    assert ("lmdeploy", "lite", "auto_awq", "{model}") == step.argv[:4]
    assert texts == step.argv[step.argv.index("--calib-dataset") + 1]
    assert "{step:quantize}/Meta-Llama-3-8B-Instruct" == serve.argv[3]
    assert "awq" == serve.argv[serve.argv.index("--model-format") + 1]
    assert {"--calib-dataset", "--w-bits"} <= {d.setting for d in backend.deviations(asked)}


@pytest.mark.parametrize("release", ["2024-06", "current"])
@pytest.mark.parametrize(("model", "scheme"), [("8b", "q0f16"), ("8b-q4f16_1", "q4f16_1")])
def test_mlc_converts_to_what_the_model_is_asked_for_as(release: str, model: str, scheme: str) -> None:
    """Weights and configuration alike."""
    backend, asked = load_backends()["mlc-llm"], setup("mlc-llm", release, model)
    steps = {step.id: step for step in backend.steps(asked)}

    check(steps.values())
    assert ["convert", "config", "compile"] == list(steps)
    for name in ("convert", "config"):
        argv = steps[name].argv
        assert scheme == argv[argv.index("--quantization") + 1]


@pytest.mark.parametrize("backend", ["vllm", "tgi", "mlc-llm"])
def test_engines_without_such_a_tool_say_so(backend: str) -> None:
    """They are given quantised weights instead."""
    assert load_backends()[backend].supports(setup(backend, "current", "8b-int4-awq")) is not None
