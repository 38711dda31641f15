"""Why engines die, and the log lines that prove it."""

from __future__ import annotations

from enum import Enum

from backends.contract.values import Value


class FailureCause(str, Enum):
    """Why a cell failed, as read from exit state and log, or seen by whoever watched: HUNG is an engine that loads and
    says nothing any more, NO_TOKENS one that is loaded and answers nobody, DEADLINE a phase that took too long."""

    MEMORY_WEIGHTS = "memory-weights"
    MEMORY_KV_CACHE = "memory-kv-cache"
    SHARED_MEMORY = "shared-memory"
    GATED_MODEL = "gated-model"
    MODEL_FILES = "model-files"
    UNSUPPORTED_ARCHITECTURE = "unsupported-architecture"
    DRIVER_TOO_OLD = "driver-too-old"
    BAD_FLAG = "bad-flag"
    MISSING_LIBRARY = "missing-library"
    MISSING_COMPILER = "missing-compiler"
    PORT_IN_USE = "port-in-use"
    GPU = "gpu"
    KILLED_BY_KERNEL = "killed-by-kernel"
    KILLED = "killed"
    IMAGE_PULL = "image-pull"
    IMAGE_BUILD = "image-build"
    DOWNLOAD = "download"
    DISK_FULL = "disk-full"
    HUNG = "hung"
    NO_TOKENS = "no-tokens"
    DEADLINE = "deadline"
    UNKNOWN = "unknown"


class FailureSignature(Value):
    """A regular expression over an engine's log, and the cause that it proves."""

    pattern: str
    cause: FailureCause
    hint: str


# What engines on Python, PyTorch and CUDA print alike; adapters put their own signatures before these.
COMMON_FAILURES = (
    FailureSignature(
        pattern=r"error: unrecognized arguments|error: argument ",
        cause=FailureCause.BAD_FLAG,
        hint="this release does not know the flag; see the log",
    ),
    FailureSignature(
        pattern=r"CUDA out of memory|OutOfMemoryError|cudaErrorMemoryAllocation|can't allocate memory",
        cause=FailureCause.MEMORY_WEIGHTS,
        hint="the weights do not fit: take a smaller or a quantised model, or free memory",
    ),
    FailureSignature(
        pattern=r"GatedRepoError|Cannot access gated repo|401 Client Error",
        cause=FailureCause.GATED_MODEL,
        hint="accept the model's licence on the hub and set HF_TOKEN",
    ),
    FailureSignature(
        pattern=r"driver version is insufficient|forward compatibility was attempted"
        r"|unsatisfied condition: cuda|driver on your system is too old",
        cause=FailureCause.DRIVER_TOO_OLD,
        hint="the image's CUDA is newer than the driver: update the driver, or take an older release",
    ),
    FailureSignature(
        pattern=r"[Aa]ddress already in use|couldn't bind|bind HTTP server socket",
        cause=FailureCause.PORT_IN_USE,
        hint="another program holds the port; choose one with PORT=",
    ),
    FailureSignature(
        pattern=r"No space left on device|no space left on device|Disk quota exceeded",
        cause=FailureCause.DISK_FULL,
        hint="free disk where the named file lies; LEVELBENCH_CACHE and --runs choose other places",
    ),
    FailureSignature(
        pattern=r"ImportError: .*\.so|cannot open shared object file",
        cause=FailureCause.MISSING_LIBRARY,
        hint="a system library is missing: install the named one, or use RUNTIME=docker",
    ),
)
