"""A plan as text, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import load_backends
from backends.contract import Accelerator, HostTraits, Refusal, SpecFile, StepSpec
from orchestrator import planning
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.plan import Plan, Refused
from orchestrator.planning import Request
from orchestrator.report.plans import text

GOLDENS = Path(__file__).parents[1] / "golden"
NO_GPU = "no GPU was found here: this plan is for a GPU host"


def plan(
    *names: str, accelerator: Accelerator = Accelerator.CPU, runtime: RuntimeKind, **request: object
) -> Plan:
    host = HostTraits(accelerator=accelerator, cpus=8, memory_bytes=16 * 2**30)
    asked = Request.model_validate({"backends": names, **request})
    notes = (NO_GPU,) if accelerator is Accelerator.CUDA else ()
    return planning.plan(asked, load_backends(), host, runtime, notes)


def test_bare_plan() -> None:
    """What a bare `make plan` prints on a host with a daemon."""
    expected = (GOLDENS / "plan-llama-cpp-small.txt").read_text()

    assert expected == text(plan("llama-cpp", runtime=RuntimeKind.DOCKER))


def test_plan_of_the_articles_pair_without_a_gpu() -> None:
    """It can be planned anywhere, and says that it cannot be run here."""
    made = plan("lmdeploy", model="70b-awq", accelerator=Accelerator.CUDA, runtime=RuntimeKind.DOCKER)

    assert f"note: {NO_GPU}" == text(made).splitlines()[1]
    assert (GOLDENS / "plan-lmdeploy-70b-awq.txt").read_text() == text(made)


def test_plan_of_an_engine_that_is_built_first() -> None:
    """Each step with its command, its size and where it is of use; the files that a command gets."""
    made = plan(
        "tensorrt-llm",
        model="8b",
        release="2024-06",
        accelerator=Accelerator.CUDA,
        runtime=RuntimeKind.DOCKER,
    )

    assert (GOLDENS / "plan-tensorrt-llm-8b.txt").read_text() == text(made)


def test_the_model_that_a_family_gives_an_engine_is_told() -> None:
    """With the name that was asked for."""
    made = plan("mlc-llm", model="70b-4bit", accelerator=Accelerator.CUDA, runtime=RuntimeKind.DOCKER)
    lines = text(made).splitlines()

    (model,) = (line for line in lines if line.startswith("  model"))
    assert model.startswith("  model     70b-q4f16_1, which is 70b-4bit for this engine: Meta Llama 3 70B")
    assert "{step:compile} what step compile makes" in lines[-1]


def test_process_plan_names_what_is_installed() -> None:
    """The lock files instead of an image, and the deviation."""
    lines = text(plan("llama-cpp", model="tiny", runtime=RuntimeKind.PROCESS)).splitlines()

    assert "  install   llama-cpp-cpu.txt" in lines
    assert not any(line.startswith("  image") for line in lines)
    assert any(line.startswith("  deviates  RUNTIME process: no container") for line in lines)


@pytest.mark.parametrize(("alternative", "end"), [(None, ""), ("MODEL=tiny", " (instead: MODEL=tiny)")])
def test_what_is_left_out_is_told(alternative: str | None, end: str) -> None:
    """With its reason and what would do instead."""
    why = Refusal(reason="reads GGUF only", alternative=alternative)
    refused = Refused(backend="other", release="current", model="small", refusal=why)
    made = plan("llama-cpp", runtime=RuntimeKind.PROCESS).model_copy(update={"refused": (refused,)})

    assert f"left out: other with small: reads GGUF only{end}" == text(made).splitlines()[1]


def test_steps_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they run, what they are run with, what they take."""
    made = plan("llama-cpp", model="tiny", runtime=RuntimeKind.PROCESS)
    step = StepSpec(
        id="build",
        title="build the engine",
        argv=("trtllm-build", "--output", "{out}"),
        files=(SpecFile(path="a.json", text="{\n}\n"),),
        gpu=True,
        produces=("*",),
        deadline_s=7200,
        output_bytes=8_100_000_000,
    )
    other = step.model_copy(update={"id": "other", "gpu": False, "image": made.groups[0].image})
    group = made.groups[0].model_copy(update={"steps": (step, other)})
    lines = text(made.model_copy(update={"groups": (group,)})).splitlines()

    assert "  step      build: build the engine; on the GPU, about 8.1 GB, at most 120 min" in lines
    assert "            trtllm-build --output '{out}'" in lines
    assert "            {config}/a.json, 2 lines" in lines
    assert any(", in llama-cpp.Dockerfile.j2 from " in line and "; about 8.1 GB" in line for line in lines)
    assert "up to 16." in lines[0]


def test_counts_are_grammatical() -> None:
    """One is not several."""
    one = text(plan("llama-cpp", runtime=RuntimeKind.PROCESS, users=(1,))).splitlines()[0]
    two = text(plan("llama-cpp", "vllm", runtime=RuntimeKind.PROCESS)).splitlines()[0]

    assert one.startswith("1 deployment, 1 cell, ")
    assert two.startswith("2 deployments, 6 cells, ")
