"""LMDeploy's releases: what they are made from, what is known of them."""

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

_NOW = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="0.18.0",
    base="openmmlab/lmdeploy:v0.18.0-cu12.8",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=loads(
        (7, 5),
        *(Quantization.NONE, Quantization.AWQ, Quantization.GPTQ, Quantization.W4A16, Quantization.INT4_AWQ),
    ),
    install_bytes=25 * 2**30,
    source=Source(
        text="LMDeploy 0.18.0: the image's tag follows the release workflow's pattern", verified=False
    ),
)
_2024 = Build(
    release="2024-06",
    accelerator=Accelerator.CUDA,
    version="0.4.0",
    base="openmmlab/lmdeploy:v0.4.0",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=(*loads((7, 0), Quantization.NONE), *loads((7, 5), Quantization.AWQ, Quantization.INT4_AWQ)),
    context=("save_as_float16.py",),
    install_bytes=25 * 2**30,
    source=Source(
        text="LMDeploy v0.4.0 (04ba0ff7) docker/Dockerfile: that it can still be pulled", verified=False
    ),
)

_FACTS_NOW = Facts(
    quantization="AWQ, GPTQ, blocked FP8, MXFP4, 4-bit compressed-tensors; 4- and 8-bit KV",
    hardware="CUDA 7.5 and newer; Ascend and others through its PyTorch engine; no CPU",
    releases="monthly",
    compile_step="none (converts on the fly)",
    prefix_cache="off; --enable-prefix-caching; no way to empty it",
    defaults="batch by GPU (A100: 384); KV pool 0.8 of what is free after the weights; dtype of the checkpoint; "
    "top_k 50",
    stop="uvicorn's: waits for open streams",
    figures="/metrics: running, waiting, KV use, tokens, TTFT; gauges refresh every 10 s",
    sources=(
        Source(text="LMDeploy 0.18.0 wheel: messages.py:183, 398, utils.py:404-420, metrics/loggers.py"),
        Source(text="LMDeploy 0.18.0 wheel: turbomind/converter.py:98-104, 181-215 (what it loads)"),
        Source(text="LMDeploy v0.16.0 src/turbomind/turbomind.cc:293-295: a KV share only, no block count"),
        Source(text="top_k 0 means no such filter: read in v0.16.0 src/turbomind/generation/sampling.cc"),
        Source(text="capability per scheme: W4A16 documentation; none was run", verified=False),
    ),
)
_FACTS_2024 = Facts(
    quantization="AWQ (group 128, named by a flag); 4- and 8-bit KV",
    hardware="CUDA 7.0 and newer; 7.5 for AWQ",
    releases="every two to four weeks",
    compile_step="none (converts on the fly)",
    prefix_cache="none (came with 0.4.2)",
    defaults="batch 128; KV pool 0.8 of what is free after the weights; dtype of the checkpoint, with no flag "
    "for it; top_k 40",
    stop="uvicorn's: waits for open streams; while it loads, not at all",
    figures="none",
    sources=(
        Source(text="LMDeploy v0.4.0 (04ba0ff7): messages.py, cli/serve.py, serve/openai/api_server.py"),
        Source(
            text="LMDeploy v0.4.0: turbomind/deploy/converter.py:127-155 (dtype), model.py:1302 (template)"
        ),
        Source(text="LMDeploy v0.4.0: src/turbomind/models/llama/BlockManager.cc (a KV pool in blocks)"),
        Source(text="SIGTERM while loading, as PID 1: by analogy", verified=False),
    ),
)

RELEASES = (
    Release(
        id="2024-06",
        date="2024-04",
        builds=(_2024,),
        profiles=_PROFILES,
        facts=_FACTS_2024,
        notes=(
            (
                "It finds its chat template by the name of the folder that holds the weights, puts begin-of-text "
                "twice, and ends a prompt without the template's last line break (lmdeploy/model.py:653-663)."
            ),
            (
                "It has no dtype flag and runs a bfloat16 checkpoint as such. Under `published` and `matched` a "
                "step first saves 16-bit weights again as float16, as the article's service had; under "
                "`defaults` they stay as they are."
            ),
        ),
    ),
    Release(
        id="current",
        date="2026-11",
        builds=(_NOW,),
        profiles=_PROFILES,
        facts=_FACTS_NOW,
        notes=("It falls back to its PyTorch engine without a word when TurboMind does not know a model.",),
    ),
)
