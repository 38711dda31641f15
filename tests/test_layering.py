"""SERVING=: a plan with a serving layer before the engine, beside the plan without."""

from __future__ import annotations

from typing import Any

import pytest

from backends import load_backends
from backends.contract import Accelerator, HostTraits, Profile
from orchestrator import planning
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.errors import RequestError
from orchestrator.layering import choose
from orchestrator.planning import Request
from orchestrator.report import plans
from tests.goldens import HOSTS

CPU = HostTraits(accelerator=Accelerator.CPU, cpus=4, memory_bytes=8 * 2**30)
CUDA = HOSTS[Accelerator.CUDA]


def plan(host: HostTraits = CPU, runtime: RuntimeKind = RuntimeKind.DOCKER, **request: object) -> Plan:
    asked = Request.model_validate({"backends": ("llama-cpp",), "model": "small", **request})
    return planning.plan(asked, load_backends(), host, runtime)


def only(found: Plan) -> GroupPlan:
    (group,) = found.groups
    return group


@pytest.mark.parametrize(
    ("name", "release", "version"),
    [
        ("bentoml", "2024-06", "1.2.16"),
        ("bentoml", "current", "1.4.40"),
        ("bentoml@2024-06", "current", "1.2.16"),
    ],
)
def test_a_layer_is_of_the_engines_age_unless_it_is_said(name: str, release: str, version: str) -> None:
    """The article's own version may stand before today's engines."""
    choice = choose(name, release)

    assert choice is not None
    assert version == choice.release.version


def test_native_is_no_layer() -> None:
    """The plan is the one that there was before layers."""
    assert choose("native", "current") is None
    assert only(plan()).group.serving is None
    assert only(plan()) == only(plan(serving=("native",)))


@pytest.mark.parametrize(("name", "hint"), [("bentolm", "bentoml"), ("bentoml@2024-07", "2024-06")])
def test_an_unknown_layer_is_told_with_the_nearest(name: str, hint: str) -> None:
    """By its name or by its release."""
    with pytest.raises(RequestError) as told:
        plan(serving=(name,))
    assert hint in told.value.hint


def test_both_ways_are_cells_of_their_own() -> None:
    """Their ids differ, so that nothing takes one for the other, and so does the wire shape."""
    native, layered = plan(serving=("native", "bentoml@2024-06")).groups

    assert "llama-cpp-current-small-defaults" == native.group.id
    assert "llama-cpp-current-small-defaults-bentoml-2024-06" == layered.group.id
    assert ("openai-chat", "raw-text") == (native.group.dialect.value, layered.group.dialect.value)
    assert "BentoML 1.2.16" == str(layered.group.serving)
    assert native.group == layered.group.model_copy(update={"serving": None, "dialect": native.group.dialect})


def test_a_layer_is_installed_and_costs_disk() -> None:
    """Beside the engine, in the image or in a venv of its own; steps run in the engine's image all the same."""
    native, layered = (plan(serving=(name,)) for name in ("native", "bentoml"))
    group = only(layered)

    assert group.image.layer is not None
    assert only(native).image == group.engine_image
    assert layered.disk_bytes - native.disk_bytes == group.image.layer.build.install_bytes
    assert "/opt/serving" in str(group.dockerfile)
    assert "/opt/serving" not in str(only(native).dockerfile)


def test_steps_keep_the_engines_own_image() -> None:
    """What they make is the same with a layer and without, so it is made once."""
    group = only(plan(CUDA, backends=("tensorrt-llm",), model="8b", release="2024-06", serving=("bentoml",)))

    assert group.image.layer is not None
    assert group.engine_image in group.images
    assert group.images[0] == group.image


def test_a_plan_says_what_stands_before_the_engine() -> None:
    """With what is installed for it, and what it deviates in."""
    text = plans.text(plan(runtime=RuntimeKind.PROCESS, serving=("bentoml@2024-06",)))

    assert "  serving   BentoML 1.2.16 before the engine's own server" in text
    assert "serving-bentoml-1.2.16.txt" in text
    assert "  deviates  SERVING BentoML 1.2.16: " in text
    assert "{engine_port} the engine's own port" in text


def test_what_a_layer_cannot_ask_is_left_out_with_a_way_round() -> None:
    """MLC's nightly is sent token ids but under `published`; natively it goes on."""
    asked: dict[str, Any] = {"backends": ("mlc-llm",), "model": "8b", "release": "2024-06"}
    found = plan(CUDA, serving=("native", "bentoml"), **asked)

    assert ["native"] == ["native" if g.group.serving is None else "layer" for g in found.groups]
    (refused,) = found.refused
    assert "token ids" in refused.refusal.reason
    with pytest.raises(RequestError, match="token ids"):
        plan(CUDA, serving=("bentoml",), **asked)
    assert only(plan(CUDA, serving=("bentoml",), profile=Profile.PUBLISHED, **asked)).group.serving


def test_a_users_own_words_go_to_the_engine() -> None:
    """--extra-arg is checked against the engine's list, and stands after the layer's words."""
    argv = only(plan(serving=("bentoml",), extra_args=("--ctx-size 4096",))).serve.argv

    assert argv.index("--") < argv.index("--ctx-size")
