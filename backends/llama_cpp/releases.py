"""llama.cpp's builds, what is known of them, what their logs say."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Build,
    Facts,
    FailureCause,
    FailureSignature,
    PackageSet,
    Quantization,
    Source,
    WeightsFormat,
    loads,
)

SERVER_SOURCE = Source(text="llama.cpp tools/server/server.cpp:156-160, common/arg.cpp at 0c1e57098")

CPU = Build(
    release="current",
    accelerator=Accelerator.CPU,
    version="xllamacpp 2026.10.11549",
    base="debian:bookworm-slim",
    packages=(PackageSet(lock="llama-cpp-cpu.txt"),),
    system_packages=("libgomp1",),
    context=("llama_cpp_server.py",),
    formats=(WeightsFormat.GGUF,),
    serves=loads(None, Quantization.NONE),
    seen="process and container",
    python=(3, 10),
    install_bytes=110 * 2**20,
    source=Source(text="https://pypi.org/project/xllamacpp/2026.10.11549/"),
)

CUDA = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="b11206",
    base="ghcr.io/ggml-org/llama.cpp:server-cuda-b11206",
    formats=(WeightsFormat.GGUF, WeightsFormat.SAFETENSORS),
    serves=loads(None, Quantization.NONE),
    install_bytes=4 * 2**30,
    source=Source(
        text="llama.cpp .devops/cuda.Dockerfile:3,125-133; the tag is named in public deployments",
        verified=False,
    ),
)
CONVERTER = CUDA.model_copy(
    update={
        "base": "ghcr.io/ggml-org/llama.cpp:full-b11206",
        "source": Source(
            text="llama.cpp docs/docker.md; the tag follows the project's pattern", verified=False
        ),
    }
)

FACTS = Facts(
    quantization="GGUF: 1.5 to 8 bits",
    hardware="CPU, CUDA, Metal, ROCm, Vulkan, SYCL",
    releases="a build number a commit, several a day",
    compile_step="none (weights converted to GGUF)",
    prefix_cache="on, per slot",
    defaults="4 slots over one KV cache; batch 2048, ubatch 512",
    stop="waits for open streams",
    figures="with --metrics: running, waiting, tokens",
    sources=(SERVER_SOURCE,),
)

FAILURES = (
    FailureSignature(
        pattern=r"failed to allocate|unable to allocate|bad_alloc",
        cause=FailureCause.MEMORY_WEIGHTS,
        hint="free memory, or take a smaller model",
    ),
    FailureSignature(
        pattern=r"unknown model architecture",
        cause=FailureCause.UNSUPPORTED_ARCHITECTURE,
        hint="this release cannot run the model; take a newer release",
    ),
    FailureSignature(
        pattern=r"failed to load model|failed to open GGUF|invalid magic",
        cause=FailureCause.MODEL_FILES,
        hint="the model's files are missing or broken; remove its folder in the cache and try again",
    ),
)
