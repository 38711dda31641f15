"""What only llama.cpp has: GGUF, made from safetensors for a GPU."""

from __future__ import annotations

import pytest

from backends import load_backends
from backends.contract import Accelerator, Profile, Setup, WeightsFormat
from orchestrator.catalog import loader
from tests.goldens import HOSTS

BACKEND = load_backends()["llama-cpp"]


def setup(model: str, accelerator: Accelerator) -> Setup:
    build = BACKEND.releases[0].build(accelerator)
    assert build is not None
    return Setup(
        build=build, model=loader.model(model).traits, profile=Profile.DEFAULTS, host=HOSTS[accelerator]
    )


def test_a_gpu_serves_what_is_converted_first() -> None:
    """In the project's image that holds the converter, as FP16; on the CPU it is refused."""
    asked = setup("8b", Accelerator.CUDA)
    (step,) = BACKEND.steps(asked)

    assert step.image is not None
    assert "ghcr.io/ggml-org/llama.cpp:full-b11206" == step.image.build.base
    assert ("--outtype", "f16") == step.argv[-2:]
    assert "{step:convert}/model.gguf" in BACKEND.serve(asked).argv
    assert WeightsFormat.SAFETENSORS is BACKEND.serve(asked).weights
    assert BACKEND.supports(setup("8b", Accelerator.CPU)) is not None


@pytest.mark.parametrize("model", ["tiny", "small"])
def test_gguf_is_served_as_it_is(model: str) -> None:
    """On either accelerator."""
    for accelerator in Accelerator:
        asked = setup(model, accelerator)
        assert () == BACKEND.steps(asked)
        assert "{model}/model.gguf" in BACKEND.serve(asked).argv


def test_no_layer_is_left_to_the_cpu() -> None:
    """The default fits in silence what it can and computes the rest elsewhere."""
    argv = BACKEND.serve(setup("8b", Accelerator.CUDA)).argv

    assert "999" == argv[argv.index("--n-gpu-layers") + 1]
    assert "off" == argv[argv.index("--fit") + 1]
    assert "--threads" not in argv
