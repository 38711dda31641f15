"""What MLC-LLM's log says of its settings, and when it dies."""

from __future__ import annotations

from backends.contract import FailureCause, FailureSignature, Readback

READBACKS = (
    Readback(name="mode", pattern=r'The actual engine mode is "(\w+)"'),
    Readback(name="max_sequences", pattern=r"So max batch size is (\d+)"),
    Readback(name="kv_tokens", pattern=r"max KV cache token capacity is (\d+)"),
    Readback(name="prefill_chunk", pattern=r"prefill chunk size is (\d+)\."),
)
FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"Insufficient GPU memory error",
            FailureCause.MEMORY_KV_CACHE,
            "weights and the wanted batch leave no room for the KV cache: take a smaller model, or free memory",
        ),
        (
            r"Cannot open .*(?:ndarray|tensor)-cache\.json",
            FailureCause.MODEL_FILES,
            "the weights are not in this release's format, or broken; remove their artifact and try again",
        ),
        (
            r"runtime (?:context window|prefill chunk) size .* is larger than",
            FailureCause.BAD_FLAG,
            "the library was compiled for less than the configuration says: compile it anew",
        ),
        (
            r"No such file or directory: '(?:[\w/.-]*/)?nvcc'|nvcc: (?:command )?not found",
            FailureCause.MISSING_COMPILER,
            "CUDA's compiler is missing in the image: it takes a -devel base",
        ),
        (
            r"Cannot find PackedFunc",
            FailureCause.MISSING_LIBRARY,
            "the library was compiled for another build of the engine: remove its artifact, and it is made anew",
        ),
        (
            r"Unknown model type",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot compile the model",
        ),
    )
)
