"""Every engine, release and profile with the article's two models: a whole plan, or why not and what instead."""

from __future__ import annotations

import re
from itertools import product

import pytest

from backends import load_backends
from backends.contract import Accelerator, HostTraits, Profile
from orchestrator import planning
from orchestrator.domain.cell import RuntimeKind
from orchestrator.errors import RequestError
from orchestrator.planning import Request
from orchestrator.report.plans import text
from tests.goldens import HOSTS

BACKENDS = load_backends()
# As `make plan` sees a host without a GPU, which plans for one that it does not know
UNKNOWN = HostTraits(accelerator=Accelerator.CUDA, cpus=2, memory_bytes=16 * 2**30)
A100 = HOSTS[Accelerator.CUDA]
LARGE = A100.model_copy(update={"gpu_name": "NVIDIA H200", "gpu_memory_bytes": 140 * 2**30})
ASKED = [
    Request(backends=(backend,), release=release, profile=profile, model=model)
    for backend, release, profile, model in product(
        BACKENDS, ("2024-06", "current"), Profile, ("8b", "70b-4bit")
    )
]
# What a release lacks whatever the model is, and what only a larger GPU has room for
ONE_RELEASE = {"llama-cpp", "sglang"}
NO_4BIT = {"llama-cpp"}
PLACEHOLDER = re.compile(r"\{[^}]*\}")
SETTING = re.compile(r"\b(MODEL|RELEASE|PROFILE|BACKEND)=([\w.-]+)")
FIELDS = {"MODEL": "model", "RELEASE": "release", "PROFILE": "profile", "BACKEND": "backends"}


def name(asked: Request) -> str:
    return f"{asked.backends[0]}-{asked.release}-{asked.model}-{asked.profile.value}"


def planned(asked: Request, host: HostTraits) -> str:
    return text(planning.plan(asked, BACKENDS, host, RuntimeKind.DOCKER))


def refusal(asked: Request, host: HostTraits) -> RequestError | None:
    try:
        planned(asked, host)
    except RequestError as error:
        return error
    return None


def is_expected(asked: Request) -> bool:
    """Whether the article, or the engine's release of today, has it."""
    backend = asked.backends[0]
    if backend in ONE_RELEASE and (asked.release == "2024-06" or asked.profile is Profile.PUBLISHED):
        return False
    return backend not in NO_4BIT or asked.model == "8b"


@pytest.mark.parametrize("asked", [a for a in ASKED if is_expected(a)], ids=name)
def test_a_plan_is_whole(asked: Request) -> None:
    """All that will happen, in order, every command in full, every placeholder explained."""
    told = planned(asked, LARGE)
    plan = planning.plan(asked, BACKENDS, LARGE, RuntimeKind.DOCKER)
    (group,) = plan.groups
    *_, legend = told.splitlines()

    words = ["engine", "model", "runtime", "image", "weights", *["step"] * len(group.all_steps), "argv"]
    kinds = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line[2] != " "]
    assert words == [kind for kind in kinds if kind in words]
    assert ["requests", "workload", "cells", "prepare"] == [
        k for k in kinds if k in {"requests", "workload", "cells", "prepare"}
    ]
    assert len(group.deviations) == kinds.count("deviates")
    launches = (*group.all_steps, group.serve)
    assert {step.id for step in group.steps} == {name for launch in launches for name in launch.step_inputs}
    used = {found for launch in launches for word in launch.argv for found in PLACEHOLDER.findall(word)}
    assert used <= set(PLACEHOLDER.findall(legend))


@pytest.mark.parametrize("asked", ASKED, ids=name)
@pytest.mark.parametrize("host", [UNKNOWN, A100, LARGE], ids=["unknown", "80GB", "140GB"])
def test_what_is_refused_is_told_with_what_would_do(asked: Request, host: HostTraits) -> None:
    """A reason, and settings of which each leads on: to a plan, or to another reason."""
    error = refusal(asked, host)
    if error is None:
        return

    assert re.search(r"\w{3} \w", str(error))
    offered = SETTING.findall(error.hint)
    assert offered, error.hint
    for setting, value in offered:
        changed = (value,) if setting == "BACKEND" else value
        again = refusal(Request.model_validate({**asked.model_dump(), FIELDS[setting]: changed}), host)
        assert again is None or str(again) != str(error), f"{setting}={value} does not help"


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        (UNKNOWN, set()),
        (LARGE, set()),
        # 141 GB of 16-bit weights have to be on the GPU at once for AMMO
        (A100, {("tensorrt-llm", "2024-06", "70b-4bit")}),
    ],
    ids=["unknown", "140GB", "80GB"],
)
def test_what_the_article_has_is_planned(host: HostTraits, refused: set[tuple[str, str, str]]) -> None:
    """All but what the GPU has no room for."""
    found = {
        (a.backends[0], a.release, a.model) for a in ASKED if is_expected(a) and refusal(a, host) is not None
    }

    assert refused == found


def test_a_model_too_large_for_this_gpu_is_told_with_the_release_that_fits() -> None:
    """The last word of a family's refusals is about weights that the engine would have taken."""
    error = refusal(Request(backends=("tensorrt-llm",), release="2024-06", model="70b-4bit"), A100)

    assert error is not None
    assert "TensorRT-LLM 0.9.0 quantises 70b-int4-awq with all 141 GB on the GPU, which has 86 GB" in str(
        error
    )
    assert (
        "try RELEASE=current, MODEL=8b, a larger GPU, or what one has made (docs/backends.md)" == error.hint
    )
