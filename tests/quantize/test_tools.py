"""`tiny` quantised for real on the CPU by each tool, read back, and served.

The environments are made from the locks, as the process runtime makes an engine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from backends.contract import (
    Accelerator,
    HostTraits,
    ModelTraits,
    Profile,
    Quantization,
    Setup,
    StepSpec,
    WeightsFormat,
)
from backends.vllm import Vllm
from orchestrator.catalog.prompts import OWN_PATH, parse
from orchestrator.render import FOLDER
from orchestrator.runtime.interface import Deployment, DeploymentSpec
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.venvs import ready
from quantize.check import check
from quantize.methods import LAYOUTS, METHODS, RECORD, Example, Settings, calibrated, step
from tests.runtime.test_venvs import quiet

# each tool takes minutes to install; that one of them does all this stands in test_end_to_end.py, for every run
pytestmark = [pytest.mark.timeout(1800), pytest.mark.tools]

TRAITS = ModelTraits(
    id="tiny",
    served_name="tiny",
    folder="tiny",
    formats=(WeightsFormat.SAFETENSORS,),
    quantization=Quantization.NONE,
    dtype="float16",
    parameters=3_280_000,
    weights_bytes=6_558_384,
    served_bytes=6_558_384,
    context_tokens=8192,
)
SETTINGS = Settings(samples=16, tokens=128)
VLLM = Vllm().releases[-1].build(Accelerator.CPU)
SERVED_BY_VLLM = tuple(m.id for m in METHODS.values() if VLLM and m.makes in dict(VLLM.serves))
UP_S = 240


def make(method_id: str, tiny: Path, cache: Path, folder: Path) -> Path:
    """Run a method's program as a step would; the finished checkpoint."""
    prompts = parse(OWN_PATH.read_bytes(), OWN_PATH)
    examples = [Example(prompt=p.text, response=p.response) for p in prompts]
    asked = calibrated(step(METHODS[method_id], TRAITS, Accelerator.CPU, SETTINGS), examples)
    assert asked.image is not None
    venv = ready(asked.image, cache / "venvs", os.environ, quiet)
    config, out = folder / "config", folder / "out"
    config.mkdir(parents=True)
    out.mkdir()
    for file in asked.files:
        (config / file.path).write_text(file.text, encoding="utf-8")
    places = {"{model}": tiny, "{out}": out, "{files}": FOLDER / "context", "{config}": config}
    run(asked, places, venv.folder, folder)
    assert all(list(out.glob(pattern)) for pattern in asked.produces)
    return out


def run(asked: StepSpec, places: dict[str, Path], venv: Path, scratch: Path) -> None:
    words = list(asked.argv)
    for placeholder, place in places.items():
        words = [word.replace(placeholder, str(place)) for word in words]
    home = {"PATH": f"{venv}/bin:/usr/bin:/bin", "HOME": str(scratch), "TMPDIR": str(scratch)}
    ended = subprocess.run(words, env={**asked.env, **home}, capture_output=True, text=True, check=False)

    assert 0 == ended.returncode, ended.stderr[-3000:]


@pytest.mark.parametrize("method_id", METHODS)
def test_tiny_is_quantised_and_read_back(method_id: str, tiny: Path, cache: Path, tmp_path: Path) -> None:
    """Each tool writes what its method promises: config, tensors, error; the tokenizer stays; the same
    bytes again from the same seed."""
    first = make(method_id, tiny, cache, tmp_path / "first")
    second = make(method_id, tiny, cache, tmp_path / "second")
    record = json.loads((first / RECORD).read_text())

    assert 14 == len(check(first, tiny, LAYOUTS[method_id]).errors)
    assert (tiny / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    assert {"samples": 16, "tokens": 128} == {k: record["calibration"][k] for k in ("samples", "tokens")}
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {
        p.name: p.read_bytes() for p in second.iterdir()
    }


@pytest.mark.parametrize("method_id", SERVED_BY_VLLM)
def test_vllm_serves_it(method_id: str, tiny: Path, cache: Path, tmp_path: Path) -> None:
    """vLLM's CPU build loads the checkpoint and generates tokens from it."""
    weights = make(method_id, tiny, cache, tmp_path / "made")
    runtime = ProcessRuntime(cache, os.environ)
    deployment = up(runtime, weights, tmp_path / "engine.log")
    try:
        wait(runtime, deployment)
        reply = complete(deployment.url)
    finally:
        runtime.down(deployment)

    assert 16 == reply["usage"]["completion_tokens"]
    assert reply["choices"][0]["text"].strip()


def test_vllm_refuses_what_only_tensorrt_llm_reads(tiny: Path, cache: Path, tmp_path: Path) -> None:
    """Model Optimizer's int4_awq ends vLLM before it serves, in words that docs/quantize.md quotes."""
    weights = make("int4_awq", tiny, cache, tmp_path / "made")
    runtime = ProcessRuntime(cache, os.environ)
    deployment = up(runtime, weights, tmp_path / "engine.log")
    try:
        until_s = time.monotonic() + UP_S
        while runtime.state(deployment).running and time.monotonic() < until_s:
            time.sleep(0.5)
        ended = runtime.state(deployment)
    finally:
        runtime.down(deployment)

    assert not ended.running
    assert "ModelOpt currently only supports: ['FP8'" in deployment.log_path.read_text(errors="replace")


def up(runtime: ProcessRuntime, weights: Path, log_path: Path) -> Deployment:
    vllm = Vllm()
    assert VLLM is not None
    host = HostTraits(accelerator=Accelerator.CPU, cpus=2, memory_bytes=16 * 2**30)
    setup = Setup(build=VLLM, model=TRAITS, profile=Profile.MATCHED, host=host)
    return runtime.up(
        DeploymentSpec(
            name="quantised",
            image=runtime.image(vllm.image(VLLM), quiet),
            serve=vllm.serve(setup),
            model_folder="tiny",
            weights_dir=weights,
            log_path=log_path,
        )
    )


def wait(runtime: ProcessRuntime, deployment: Deployment) -> None:
    until_s = time.monotonic() + UP_S
    while True:
        try:
            with urllib.request.urlopen(f"{deployment.url}/health", timeout=5):  # noqa: S310 - loopback
                return
        except OSError:
            alive = runtime.state(deployment).running and time.monotonic() < until_s
            assert alive, deployment.log_path.read_text(errors="replace")[-3000:]
        time.sleep(0.5)


def complete(url: str) -> Any:
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": 16, "ignore_eos": True, "temperature": 0}
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - loopback
        return json.load(reply)
