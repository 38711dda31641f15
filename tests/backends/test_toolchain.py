"""The pipelines' commands against stand-in tools that take the words, read the inputs and write the files of
the real ones. What mounts, caching, failure and resume do is the runtime's: see its tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import load_backends
from backends.contract import Profile, Setup, StepSpec, WeightsFormat
from orchestrator.catalog import loader
from quantize import synthetic
from tests.goldens import HOSTS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "fakes" / "toolchain" / "toolchain.py"
A100 = next(host for host in HOSTS.values() if host.gpu_memory_bytes)
MLC = {"2024-06": "0.1.dev1251", "current": "0.20.0"}


def setups() -> Iterator[Setup]:
    """Whatever has steps with a stand-in, and safetensors to begin with."""
    for name in ("tensorrt-llm", "mlc-llm"):
        backend = load_backends()[name]
        for release in backend.releases:
            for profile in release.profiles:
                for model in ("8b", "70b-int4-awq"):
                    setup = Setup(
                        build=release.builds[0],
                        model=loader.model(model).traits,
                        profile=profile,
                        host=A100,
                        finished=("quantize",),
                    )
                    if backend.supports(setup) is None and backend.steps(setup):
                        yield setup


def label(setup: Setup) -> str:
    return f"{setup.build.version}-{setup.model.id}-{setup.profile.value}"


def steps(setup: Setup) -> tuple[StepSpec, ...]:
    owner = next(
        b for b in load_backends().values() if setup.build in [x for r in b.releases for x in r.builds]
    )
    return owner.steps(setup)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    folder.mkdir()
    synthetic.make("tiny", folder)
    return folder


def run(words: tuple[str, ...], folder: Path, release: str = "2024-06") -> subprocess.CompletedProcess[str]:
    """A command whose program bears the name of the real one."""

    at = 1 if words[0] == "python3" else 0
    link = folder / Path(words[at]).name
    link.unlink(missing_ok=True)
    link.symlink_to(PROGRAM)
    return subprocess.run(
        [sys.executable, str(link), *words[at + 1 :]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "TOOLCHAIN_LISTS": str(ROOT / "backends" / "options"),
            "TOOLCHAIN_MLC": MLC[release],
        },
    )


def filled(step: StepSpec, model: Path, folder: Path) -> tuple[str, ...]:
    """The words with every placeholder a folder here."""

    def place(found: re.Match[str]) -> str:
        name = found[1]
        return str(model) if name == "model" else str(folder / (step.id if name == "out" else name[5:]))

    return tuple(re.sub(r"\{(model|out|step:[\w-]+)\}", place, word) for word in step.argv)


@pytest.mark.parametrize("setup", tuple(setups()), ids=label)
def test_each_step_takes_its_words_and_makes_what_it_says(setup: Setup, model: Path, tmp_path: Path) -> None:
    """One after the other, each out of what those before it have written."""
    assert WeightsFormat.SAFETENSORS in setup.model.formats
    for step in steps(setup):
        (tmp_path / step.id).mkdir()
        done = run(filled(step, model, tmp_path), tmp_path, setup.build.release)

        assert (0, "") == (done.returncode, done.stderr)
        for pattern in step.produces:
            assert list((tmp_path / step.id).glob(pattern)), f"{step.id} made no {pattern}"


def test_the_engine_is_built_as_it_was_asked(model: Path, tmp_path: Path) -> None:
    """The stand-in writes down what it was told, so that a pipeline's settings can be read at its end."""
    setup = next(s for s in setups() if s.build.release == "2024-06" and s.profile is Profile.MATCHED)
    for step in steps(setup):
        (tmp_path / step.id).mkdir()
        run(filled(step, model, tmp_path), tmp_path)
    built = json.loads((tmp_path / "engine" / "config.json").read_text("utf-8"))["build_config"]

    assert {
        "max_batch_size": 256,
        "max_input_len": 1024,
        "max_output_len": 1024,
        "max_num_tokens": 8192,
        "plugin_config": {"use_paged_context_fmha": True},
    } == built


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trtllm-build", "--max_batchsize", "64"), "error: unrecognized arguments: --max_batchsize"),
        (("trtllm-build", "--max_batch_size", "many"), "error: argument --max_batch_size: invalid int value"),
        (("trtllm-build", "--gemm_plugin", "fp16"), "error: argument --gemm_plugin: invalid choice: 'fp16'"),
        (("trtllm-build", "--checkpoint_dir"), "error: argument --checkpoint_dir: expected 1"),
        (("python3", "quantize.py", "--qformat", "int4_awq"), "arguments are required: --model_dir"),
        (("mlc_llm", "compile", "x.json", "--device", "cuda"), "arguments are required: --output"),
    ],
)
def test_a_stand_in_refuses_what_the_real_one_refuses(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """As a parser of arguments says it, with exit code 2."""
    done = run(words, tmp_path)

    assert 2 == done.returncode
    assert message in done.stderr


def test_a_checkpoint_of_another_type_is_not_built(model: Path, tmp_path: Path) -> None:
    """The attention plugin's type is the checkpoint's: both are set together."""
    convert = ("python3", "convert_checkpoint.py", "--model_dir", str(model), "--output_dir", "made")
    run((*convert, "--dtype", "bfloat16"), tmp_path)
    done = run(("trtllm-build", "--checkpoint_dir", "made", "--output_dir", "engine"), tmp_path)

    assert 1 == done.returncode
    assert "the attention plugin's type is not the checkpoint's, bfloat16" in done.stderr
