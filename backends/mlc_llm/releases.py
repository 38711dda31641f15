"""MLC-LLM's releases: what they are made from and what is known of them."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Build,
    Facts,
    Profile,
    Quantization,
    Release,
    Source,
    WeightsFormat,
    loads,
)

_PROFILES = (Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED)
_FORMATS = (WeightsFormat.SAFETENSORS, WeightsFormat.MLC)
_SERVES = loads((8, 0), Quantization.NONE, Quantization.Q4F16_1)  # FlashInfer's kernels
_NIGHTLY = Build(
    release="2024-06",
    accelerator=Accelerator.CUDA,
    version="0.1.dev1251 (edc434d0)",
    base="nvidia/cuda:12.1.1-devel-ubuntu22.04",
    context=("assembled.py",),
    formats=_FORMATS,
    serves=_SERVES,
    install_bytes=25 * 2**30,
    source=Source(
        text="mlc-llm edc434d0: version.py, ci/task/build_lib.sh, docs/install; the build was not run here",
        verified=False,
    ),
)
_WHEELS = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="0.20",
    base="nvidia/cuda:13.0.3-devel-ubuntu24.04",
    context=("assembled.py",),
    formats=_FORMATS,
    serves=_SERVES,
    install_bytes=25 * 2**30,
    source=Source(
        text="mlc-llm 79d603f0: docs/install/mlc_llm.rst:40,47; the wheels have nightly versions only",
        verified=False,
    ),
)

NIGHTLY_RELEASE = Release(
    id="2024-06",
    date="2024-05",
    builds=(_NIGHTLY,),
    profiles=_PROFILES,
    facts=Facts(
        quantization="its own 3 and 4 bits in groups, q4f16_1 among them; AutoAWQ experimental; FP8",
        hardware="CUDA, ROCm, Metal, Vulkan, OpenCL, WebGPU, iOS, Android",
        releases="nightlies only, pruned",
        compile_step="convert weights, generate a configuration, compile a library",
        prefix_cache="on, since four commits, with known bugs; --prefix-cache-max-num-seqs 0",
        defaults="mode local: 4 sequences and 8192 KV tokens; mode server: the configuration's 80; 0.85 of all memory",
        stop="uvicorn's, then the engine ends; ignored while it loads",
        figures="none",
        sources=(
            Source(
                text="mlc-llm edc434d0: cpp/serve/config.cc:415-480, 498-613; python/mlc_llm/cli/serve.py"
            ),
        ),
    ),
    notes=(
        "no wheel of it exists any more: it is built from its commit",
        "the article's service took weights that MLC had converted; 8b is converted here, from Meta's",
        "its llama-3 template lacks <|eot_id|> and adds a system message: PROFILE=published chats so",
        "profile matched with weights in MLC's format keeps their context of 8192: it stands in their configuration",
    ),
)
WHEELS_RELEASE = Release(
    id="current",
    date="2026-07",
    builds=(_WHEELS,),
    profiles=_PROFILES,
    facts=Facts(
        quantization="its own 3 and 4 bits in groups, AutoAWQ's layout, FP8",
        hardware="CUDA, ROCm, Metal, Vulkan, OpenCL, WebGPU, iOS, Android",
        releases="tags since 2024, wheels nightly only",
        compile_step="convert, generate; compiling is optional: a library is made at the start where none is named",
        prefix_cache="on (radix); --prefix-cache-mode disable",
        defaults="mode local: 4 sequences and 8192 KV tokens; mode server: the configuration's 128; 0.85 of all memory",
        stop="uvicorn's",
        figures="/metrics: sums of tokens and times, not in Prometheus' format; neither running nor waiting",
        sources=(
            Source(text="mlc-llm 79d603f0: cpp/serve/config.cc:660-768, python/mlc_llm/cli/serve.py"),
            Source(text="mlc-llm 79d603f0: python/mlc_llm/interface/jit.py, support/constants.py:12"),
        ),
    ),
    notes=(
        "wheels are named by day: the image's id pins them, /opt/levelbench/wheels.txt lists them",
        "that it loads weights of 2024 follows from their index's new name alone; it was not tried",
    ),
)
