"""quantize/methods.py: what the table says, and what a quantisation needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backends import load_backends
from backends.contract import Accelerator, ModelTraits, Quantization, WeightsFormat
from orchestrator.render import FOLDER, render
from orchestrator.runtime.venvs import lock_path
from quantize.methods import LAYOUTS, METHODS, RECORD, Example, Method, Settings, calibrated, refuses, step

TRAITS = ModelTraits(
    id="8b",
    served_name="8b",
    folder="8b",
    formats=(WeightsFormat.SAFETENSORS,),
    quantization=Quantization.NONE,
    dtype="float16",
    parameters=8_000_000_000,
    weights_bytes=16_000_000_000,
    served_bytes=16_000_000_000,
    context_tokens=8192,
)
EXAMPLES = (Example(prompt="Why?", response="Because."), Example(prompt="Où ?"))
PROGRAMS = FOLDER / "context"
EVERY = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
ON = pytest.mark.parametrize("accelerator", Accelerator, ids=lambda a: a.value)


def test_the_methods_are_these() -> None:
    """Portable 4-bit in three layouts, FP8, and TensorRT-LLM's own."""
    assert ["awq", "gptq", "w4a16", "fp8", "int4_awq"] == list(METHODS)
    assert set(METHODS) == set(LAYOUTS)


@EVERY
def test_every_method_is_whole(method: Method) -> None:
    """A program, a template and hashed locks exist for each tool."""
    tool = method.tool
    packages = tool.build(Accelerator.CUDA).packages

    assert all((PROGRAMS / name).is_file() for name in tool.build(Accelerator.CPU).context)
    assert all("--hash=sha256:" in lock_path(package_set).read_text() for package_set in packages)
    assert f'"{method.id}"' in (PROGRAMS / tool.program).read_text(encoding="utf-8")


@EVERY
def test_the_pinned_version_is_the_one_in_the_lock(method: Method) -> None:
    """What a report says of a tool is what was installed."""
    names = {"gptqmodel": "gptqmodel", "llmcompressor": "llmcompressor", "modelopt": "nvidia-modelopt"}
    lock = lock_path(method.tool.build(Accelerator.CPU).packages[1]).read_text()

    assert f"{names[method.tool.id]}=={method.tool.version} " in lock


@EVERY
@ON
def test_every_image_renders(method: Method, accelerator: Accelerator) -> None:
    """Each tool's Dockerfile stands on the base that was asked for and holds the tool's program."""
    text = render(method.tool.image(accelerator), base="a-base")

    assert "FROM a-base" in text
    assert "COPY files/ /opt/levelbench/" in text
    assert "COPY --from=wheels /opt/venv /opt/venv" in text


def test_no_template_is_left_over() -> None:
    """Each template in dockerfiles/quantize/ belongs to a tool."""
    used = {method.tool.image(Accelerator.CPU).template for method in METHODS.values()}

    assert used == {f"quantize/{path.name}" for path in (FOLDER / "quantize").iterdir()}


def test_step_names_places_by_placeholders() -> None:
    """argv carries no path of a host: the runtime fills in where weights, output and files are."""
    made = step(METHODS["awq"], TRAITS, Accelerator.CUDA, Settings(seed=7, samples=2, tokens=64))

    assert (
        *("python3", "{files}/quantize_gptqmodel.py", "{model}", "{config}/calibration.jsonl", "{out}"),
        *("--method", "awq", "--seed", "7", "--samples", "2", "--tokens", "64"),
    ) == made.argv
    assert made.gpu
    assert "8b: AWQ 4-bit, AutoAWQ layout, by GPTQModel 7.7.0" == made.title
    assert ("config.json", "tokenizer.json", "*.safetensors", RECORD) == made.produces


def test_step_carries_its_calibration() -> None:
    """The texts travel as JSON lines, unescaped, in the order given."""
    (file,) = calibrated(step(METHODS["w4a16"], TRAITS, Accelerator.CPU), EXAMPLES).files

    assert "calibration.jsonl" == file.path
    assert [e.model_dump() for e in EXAMPLES] == [json.loads(line) for line in file.text.splitlines()]
    assert "Où ?" in file.text


def test_step_grows_with_the_model() -> None:
    """A larger model gets more time, memory and disk."""
    larger = TRAITS.model_copy(update={"weights_bytes": 140_000_000_000})
    small, large = (step(METHODS["gptq"], t, Accelerator.CUDA) for t in (TRAITS, larger))

    assert (3720.0, 6_000_000_000) == (small.deadline_s, small.output_bytes)
    assert 18600.0 == large.deadline_s
    assert large.memory_bytes > 280_000_000_000 > small.memory_bytes


@ON
def test_step_has_no_egress(accelerator: Accelerator) -> None:
    """The hub is never asked; on a CPU one thread computes, so that sums keep their order."""
    env = step(METHODS["fp8"], TRAITS, accelerator).env

    assert "1" == env["HF_HUB_OFFLINE"]
    assert (accelerator is Accelerator.CPU) == ("OMP_NUM_THREADS" in env)


def test_a_quantised_model_is_refused() -> None:
    """Rounding what is rounded already is a mistake, told with what to take instead."""
    awq = TRAITS.model_copy(update={"quantization": Quantization.AWQ})
    refusal = refuses(METHODS["gptq"], awq)

    assert refusal is not None
    assert ("8b is quantised already (awq)", "a 16-bit model") == (refusal.reason, refusal.alternative)


def test_another_architecture_is_refused() -> None:
    """The read-back knows where Llama's factors move to, and no other's."""
    refusal = refuses(METHODS["awq"], TRAITS.model_copy(update={"architecture": "GemmaForCausalLM"}))

    assert refusal is not None
    assert "8b is GemmaForCausalLM" in refusal.reason


@EVERY
def test_a_llama_model_is_accepted(method: Method) -> None:
    """Every method takes a 16-bit Llama model."""
    assert refuses(method, TRAITS) is None


@EVERY
def test_every_method_has_its_row_in_the_docs(method: Method) -> None:
    """docs/quantize.md says of each method which engines' builds load what it makes."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "quantize.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{method.id}` |"))

    assert f"{method.tool.title} {method.tool.version}" in row
    for name, backend in load_backends().items():
        builds = [build for release in backend.releases for build in release.builds]
        loads = any(method.makes in dict(build.serves) for build in builds)
        assert loads is (name in row.split("|")[4].replace(",", " ").split()), name
