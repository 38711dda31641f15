"""Exit state and log tell the cause."""

from __future__ import annotations

import pytest

from backends import load_backends
from backends.contract import Accelerator, FailureCause
from orchestrator.domain.failure import classify

BACKENDS = load_backends()

# Lines as the engines print them; those of the CPU builds were seen (reference/cpu-engine.md, section 7).
SEEN = [
    (
        "vllm",
        "Insufficient space in /dev/shm for shared-memory allocation: 160 MiB required, 64 MiB free",
        FailureCause.SHARED_MEMORY,
    ),
    ("vllm", "InvalidCxxCompiler: No working C++ compiler found", FailureCause.MISSING_COMPILER),
    ("vllm", "vllm: error: unrecognized arguments: --no-such-flag", FailureCause.BAD_FLAG),
    ("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", FailureCause.MEMORY_WEIGHTS),
    (
        "vllm",
        "ValueError: No available memory for the cache blocks. Try increasing",
        FailureCause.MEMORY_KV_CACHE,
    ),
    ("vllm", "GatedRepoError: 401 Client Error.", FailureCause.GATED_MODEL),
    ("llama-cpp", "server.py: error: unrecognized arguments: --oops", FailureCause.BAD_FLAG),
    (
        "llama-cpp",
        "ImportError: libgomp.so.1: cannot open shared object file: No such file",
        FailureCause.MISSING_LIBRARY,
    ),
    ("llama-cpp", "llama_model_load: failed to load model", FailureCause.MODEL_FILES),
    ("lmdeploy", "RuntimeError: [TM][ERROR] CUDA out of memory", FailureCause.MEMORY_WEIGHTS),
    ("lmdeploy", "CUDA driver version is insufficient for CUDA runtime", FailureCause.DRIVER_TOO_OLD),
]


@pytest.mark.parametrize(("name", "line", "cause"), SEEN)
def test_log_lines_name_their_cause(name: str, line: str, cause: FailureCause) -> None:
    """Each adapter's signatures recognise what its engine prints, and say what to do."""
    backend = BACKENDS[name]
    build = backend.releases[-1].builds[0]
    found, hint = classify(exit_code=1, oom_killed=False, log=line, signatures=backend.failures(build))

    assert cause is found
    assert hint


def test_the_kernels_word_comes_first() -> None:
    """An out-of-memory kill is the cause, whatever stands in the log."""
    signatures = BACKENDS["vllm"].failures(BACKENDS["vllm"].releases[-1].builds[0])
    cause, _ = classify(
        exit_code=137, oom_killed=True, log="error: unrecognized arguments", signatures=signatures
    )

    assert FailureCause.KILLED_BY_KERNEL is cause


@pytest.mark.parametrize("code", [137, 143])
def test_a_kill_is_not_taken_for_lack_of_memory(code: int) -> None:
    """137 after a stop is no proof of an out-of-memory kill."""
    assert FailureCause.KILLED is classify(exit_code=code, oom_killed=False, log="", signatures=())[0]


def test_unknown_is_said_to_be_unknown() -> None:
    """No guess is made up."""
    cause, hint = classify(exit_code=1, oom_killed=False, log="whatever", signatures=())

    assert FailureCause.UNKNOWN is cause
    assert "log" in hint


def test_every_build_of_every_backend_has_an_accelerator_of_its_own() -> None:
    """A release never has two builds for one accelerator."""
    for backend in BACKENDS.values():
        for release in backend.releases:
            kinds = [b.accelerator for b in release.builds]
            assert len(set(kinds)) == len(kinds)
            assert set(kinds) <= set(Accelerator)
