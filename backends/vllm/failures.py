"""What vLLM says when it cannot serve, 0.4.2 and today: most messages have kept their words."""

from __future__ import annotations

from backends.contract import FailureCause, FailureSignature

FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"Insufficient space in /dev/shm|shared-memory allocation",
            FailureCause.SHARED_MEMORY,
            "the engine needs a larger /dev/shm",
        ),
        (
            (
                r"No available memory for the cache blocks"
                r"|KV cache is needed, which is larger"
                r"|max seq len .* larger than the maximum number of tokens"
            ),
            FailureCause.MEMORY_KV_CACHE,
            "no room for the KV cache: lower the sequence length, or free memory",
        ),
        (
            r"Free memory on device .* is less than desired GPU memory utilization",
            FailureCause.MEMORY_WEIGHTS,
            "another program holds the GPU's memory: end it, or lower --gpu-memory-utilization",
        ),
        (
            r"Model architectures .* (are not supported|failed to be inspected)",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot run the model: take RELEASE=current, or another model",
        ),
        (
            (
                r"is not supported for quantization method|does not match the quantization method"
                r"|Unknown quantization method|is not supported for the current GPU"
                r"|Bfloat16 is only supported on GPUs"
            ),
            FailureCause.BAD_FLAG,
            "dtype, quantisation and GPU do not go together; the log names what does",
        ),
        (
            r"InvalidCxxCompiler|No working C\+\+ compiler",
            FailureCause.MISSING_COMPILER,
            "torch.compile needs g++ in the image",
        ),
        (
            r"Failed to load NCCL library|libnccl.* cannot open shared object",
            FailureCause.MISSING_LIBRARY,
            "NCCL of this image lies under /root/.config: run it as root, with nothing mounted there",
        ),
        (
            (
                r"Can't load the configuration of|does not appear to have a file named|Repository Not Found"
                r"|Cannot find any model weights"
            ),
            FailureCause.MODEL_FILES,
            "the model's files are missing or broken; remove its folder in the cache and try again",
        ),
    )
)
