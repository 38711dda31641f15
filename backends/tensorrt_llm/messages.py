"""What the logs of TensorRT-LLM's releases say when they die."""

from __future__ import annotations

from backends.contract import FailureCause, FailureSignature

_STALE = "the engine was built for another GPU or release: remove its artifact, and it is built anew"

TRITON_FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"engine plan file is not compatible|Engine deserialization failed",
            FailureCause.MODEL_FILES,
            _STALE,
        ),
        (
            r"increase the shared memory pool size|Failed to initialize Python stub",
            FailureCause.SHARED_MEMORY,
            "Triton's Python models talk over /dev/shm: it must be larger",
        ),
        (
            r"AWQ is only supported by quantize\.py",
            FailureCause.MODEL_FILES,
            "an AutoAWQ checkpoint cannot be converted: take MODEL=70b-int4-awq",
        ),
        (
            r"must be large enough to process at least 1 sequence",
            FailureCause.MEMORY_KV_CACHE,
            "no room for the KV cache beside the engine: take a smaller model, or free memory",
        ),
        (
            r"CUDA runtime error in .*out of memory|Cuda Runtime \(out of memory\)",
            FailureCause.MEMORY_WEIGHTS,
            "engine and buffers do not fit: take a smaller or a quantised model, or free memory",
        ),
        (
            r"Socket '.*' already in use",
            FailureCause.PORT_IN_USE,
            "another program holds the port; choose one with PORT=",
        ),
        (
            r"Unsupported model architecture",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot convert the model",
        ),
        (
            r"unrecognized option|unexpected keyword argument",
            FailureCause.BAD_FLAG,
            "this release does not know the flag; see the log",
        ),
    )
)
SERVE_FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"No such option|Extra inputs are not permitted",
            FailureCause.BAD_FLAG,
            "this release does not know the option, or the entry of its YAML file; see the log",
        ),
        (
            r"Unknown architecture for AutoModelForCausalLM",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot run the model",
        ),
        (
            r"No weight files found",
            FailureCause.MODEL_FILES,
            "the model's files are missing or broken; remove its folder in the cache and try again",
        ),
    )
)
