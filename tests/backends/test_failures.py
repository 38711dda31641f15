"""Engines' own last words, as their code or their users' reports have them, and what they prove."""

from __future__ import annotations

import re

import pytest

from backends import load_backends
from backends.contract import FailureCause
from orchestrator.domain.failure import classify

BACKENDS = load_backends()
KV, WEIGHTS = FailureCause.MEMORY_KV_CACHE, FailureCause.MEMORY_WEIGHTS
OLD, FLAG, FILES = FailureCause.UNSUPPORTED_ARCHITECTURE, FailureCause.BAD_FLAG, FailureCause.MODEL_FILES
LAST_WORDS = (
    ("vllm", "ValueError: No available memory for the cache blocks. Try increasing", KV),
    (
        "vllm",
        (
            "ValueError: The model's max seq len (8192) is larger than the maximum number of tokens that can be "
            "stored in KV cache (4096). Try increasing"
        ),
        KV,
    ),
    ("vllm", "(1.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.5 GiB)", KV),
    (
        "vllm",
        (
            "ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory "
            "utilization (0.92, 72.8 GiB). Decrease GPU memory utilization"
        ),
        WEIGHTS,
    ),
    ("vllm", "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB", WEIGHTS),
    ("vllm", "ValueError: Model architectures ['X'] are not supported for now. Supported", OLD),
    ("vllm", "ValueError: torch.bfloat16 is not supported for quantization method awq. Supported", FLAG),
    ("vllm", "RuntimeError: Cannot find any model weights with `/models/8b`", FILES),
    ("vllm", "error: unrecognized arguments: --no-such-flag", FLAG),
    (
        "lmdeploy",
        (
            'File "turbomind.py", line 486, in _create_model_instance\n    self.tm_model.model_comm.'
            "create_model_instance(\nRuntimeError: [TM][ERROR] CUDA runtime error: out of memory allocator.h:231"
        ),
        KV,
    ),
    ("lmdeploy", "RuntimeError: [TM][ERROR] CUDA runtime error: out of memory memory_utils.cu:31", WEIGHTS),
    ("lmdeploy", "argparse.ArgumentError: Please set model_name for /models/model", FILES),
    ("lmdeploy", "AssertionError: turbomind does not support /models/x. Plz try pytorch engine", OLD),
    ("lmdeploy", 'ValueError: Unsupported group_size=64 for model_format="awq". Supported', FLAG),
    (
        "tgi",
        (
            "RuntimeError: Not enough memory to handle 4145 prefill tokens. You need to decrease "
            "`--max-batch-prefill-tokens`"
        ),
        KV,
    ),
    ("tgi", "Error: Backend(NotEnoughMemory(2048))", KV),
    ("tgi", "torch.cuda.OutOfMemoryError: CUDA out of memory. rank=0\nError: ShardCannotStart", WEIGHTS),
    ("tgi", "ValueError: Unsupported model type mamba9 rank=0\nError: ShardCannotStart", OLD),
    ("tgi", "error: unexpected argument '--no-such-flag' found", FLAG),
    (
        "tgi",
        (
            "RuntimeError: Only 1 can be set between `dtype` and `quantize`, as they both decide how goes the "
            "final model."
        ),
        FLAG,
    ),
    ("sglang", "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", KV),
    ("sglang", "Capture cuda graph failed: CUDA out of memory.\nPossible solutions:", KV),
    ("sglang", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", WEIGHTS),
    ("sglang", "ValueError: Model architectures ['X'] are not supported for now. Supported", OLD),
    (
        "sglang",
        "ValueError: The quantization method awq is not supported for the current GPU. Minimum capability: 75",
        FLAG,
    ),
    ("sglang", "RuntimeError: Cannot find any model weights with `/models/8b`", FILES),
    ("tgi", "FileNotFoundError: No local weights found in /models/8b with extension .safetensors", FILES),
)


@pytest.mark.parametrize(("name", "log", "cause"), LAST_WORDS)
def test_last_words_are_understood(name: str, log: str, cause: FailureCause) -> None:
    """By every release of the engine: most words have outlived a release."""
    for release in BACKENDS[name].releases:
        for build in release.builds:
            signatures = BACKENDS[name].failures(build)
            assert cause == classify(exit_code=1, oom_killed=False, log=log, signatures=signatures)[0]


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("vllm", "ERROR [core.py:1510] EngineCore failed to start."),
        ("sglang", "ERROR: Scheduler hit an exception: Traceback (most recent call last):"),
        ("tgi", "2023-12-16T09:36:24Z ERROR text_generation_launcher: Shard 0 failed to start"),
    ],
)
def test_an_engine_that_will_never_serve_is_seen_to_say_so(name: str, log: str) -> None:
    """Nobody waits half an hour for it."""
    build = BACKENDS[name].releases[-1].builds[-1]

    assert any(re.search(pattern, log) for pattern in BACKENDS[name].ready(build).fatal)
