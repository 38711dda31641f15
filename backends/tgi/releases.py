"""TGI's releases: what they are made from, what is known of them. 3.3.7 is the last one."""

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

_ALL = (Quantization.NONE, Quantization.AWQ, Quantization.GPTQ, Quantization.W4A16, Quantization.FP8)
_PROFILES = (Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED)

_LAST = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="3.3.7",
    base="ghcr.io/huggingface/text-generation-inference:3.3.7",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=loads((8, 0), *_ALL),
    install_bytes=20 * 2**30,
    source=Source(text="text-generation-inference v3.3.7 Dockerfile: that the tag exists", verified=False),
)
_2024 = Build(
    release="2024-06",
    accelerator=Accelerator.CUDA,
    version="2.0.4",
    base="ghcr.io/huggingface/text-generation-inference:2.0.4",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=(*loads((7, 5), Quantization.NONE), *loads((8, 0), Quantization.AWQ, Quantization.GPTQ)),
    install_bytes=16 * 2**30,
    source=Source(
        text="text-generation-inference v2.0.4 Dockerfile: that it can still be pulled", verified=False
    ),
)

_FACTS_LAST = Facts(
    quantization="AWQ, GPTQ, FP8, compressed-tensors, Marlin, EXL2, EETQ, bits-and-bytes; 8-bit KV",
    hardware="CUDA 8.0 and newer, ROCm, Gaudi, Neuron, XPU",
    releases="ended: 3.3.7 of December 2025 is the last",
    compile_step="none (CUDA graphs for batches up to 32)",
    prefix_cache="on with flashinfer and flashdecoding; PREFIX_CACHING=0; no way to empty it",
    defaults="128 requests, then 429; token limits derived from the memory at start; FP16; chunked prefill on",
    stop="the launcher waits up to 90 s for the router, then for the shard",
    figures="/metrics: running, waiting, durations, tokens of finished requests; no TTFT, no KV use",
    sources=(
        Source(text="TGI v3.3.7: launcher/src/main.rs:130-199 and 2086, router/src/server.rs:2204-2285"),
        Source(text="TGI v3.3.7: router/src/validation.rs:256-268 (top_p of 1 is refused)"),
        Source(text="TGI v3.3.7: backends/v3/src/lib.rs:85-105 (the KV pool is what warm-up finds)"),
        Source(text="TGI v3.3.7: server/.../layers/marlin/util.py (8.0 for 4-bit weights)"),
        Source(text="no CUDA build of it was run", verified=False),
    ),
)
_FACTS_2024 = Facts(
    quantization="AWQ, GPTQ, EETQ, bits-and-bytes, FP8 at load",
    hardware="CUDA 7.5 and newer (8.0 for 4 bits), ROCm, Gaudi, Inferentia",
    releases="every two to four weeks",
    compile_step="none (CUDA graphs for batches up to 32)",
    prefix_cache="none",
    defaults="128 requests; 4096 tokens a sequence; KV pool by warm-up, 0.95 of what is free; FP16",
    stop="its entry script drops the signal; the launcher, called directly as here, waits up to 90 s each "
    "for router and shard",
    figures="/metrics: running, waiting, durations, tokens of finished requests; no TTFT, no KV use",
    sources=(
        Source(text="TGI v2.0.4 (8f22cb96): launcher/src/main.rs:1360-1480, router/src/main.rs:315-355"),
        Source(text="TGI v2.0.4: tgi-entrypoint.sh; huggingface/text-generation-inference#1842"),
        Source(text="TGI v2.0.4: router/src/validation.rs, server/.../models/flash_causal_lm.py:775-830"),
        Source(text="compute capability of its kernels: by the Dockerfile's arch lists", verified=False),
    ),
)

RELEASES = (
    Release(id="2024-06", date="2024-05", builds=(_2024,), profiles=_PROFILES, facts=_FACTS_2024),
    Release(
        id="current",
        date="2025-12",
        builds=(_LAST,),
        profiles=_PROFILES,
        facts=_FACTS_LAST,
        notes=(
            (
                "TGI is in maintenance mode since December 2025: 3.3.7 is its last release, and its authors point "
                "to other engines."
            ),
        ),
    ),
)
