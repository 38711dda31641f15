"""TensorRT-LLM's releases: what they are made from and what is known of them."""

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

EXAMPLES = "/opt/tensorrt_llm/examples"
PROGRAMS = "/opt/tensorrtllm_backend/all_models/inflight_batcher_llm"
ULIMITS = {"memlock": -1, "stack": 64 * 2**20}  # as NVIDIA's run lines have them
MODELOPT = "/opt/model-optimizer/examples/hf_ptq/hf_ptq.py"

TRITON = Build(
    release="2024-06",
    accelerator=Accelerator.CUDA,
    version="0.9.0 under Triton 24.04",
    base="nvcr.io/nvidia/tritonserver:24.04-trtllm-python-py3",
    context=("assembled.py",),
    formats=(WeightsFormat.SAFETENSORS,),
    serves=(*loads((7, 0), Quantization.NONE), *loads((8, 0), Quantization.INT4_AWQ)),
    install_bytes=35 * 2**30,
    source=Source(
        text="Triton r24.04 build.py; TensorRT-LLM 250d9c29; tensorrtllm_backend 76464e9b", verified=False
    ),
)
# quantize.py needs ammo and its calibration articles: an image of its own, so that no other model's image
# hangs on a package index and a data set that may move
AMMO = TRITON.model_copy(
    update={
        "version": "0.9.0 with ammo 0.7.4",
        "context": (),
        "install_bytes": 40 * 2**30,
        "source": Source(text="TensorRT-LLM 250d9c29: examples/quantization/README.md", verified=False),
    }
)
SERVE = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="1.2.1",
    base="nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=loads((8, 0), Quantization.NONE, Quantization.INT4_AWQ, Quantization.MODELOPT_INT4),
    install_bytes=60 * 2**30,
    source=Source(text="the tag is named in public recipes", verified=False),
)
MODELOPT_BUILD = SERVE.model_copy(
    update={
        "version": "modelopt 0.46.0",
        "install_bytes": 65 * 2**30,
        "source": Source(text="Model-Optimizer 0.46.0: examples/hf_ptq/README.md:30-41", verified=False),
    }
)

TRITON_RELEASE = Release(
    id="2024-06",
    date="2024-04",
    builds=(TRITON,),
    profiles=(Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED),
    facts=Facts(
        quantization="its own checkpoints only: INT4 AWQ, FP8, SmoothQuant by ammo; weight-only INT8 and INT4",
        hardware="CUDA (Volta is experimental)",
        releases="every one to two months",
        compile_step="convert or quantise, then build an engine for one GPU type: minutes to tens of minutes",
        prefix_cache="off; enable_kv_cache_reuse and --use_paged_context_fmha, whole blocks of 128 tokens",
        defaults="an engine for 1 sequence; 0.90 of the memory that is free after the load; dtype as converted",
        stop="drains up to 30 s; ignored while models load",
        figures=":8002/metrics: requests, KV blocks; no token counts",
        sources=(
            Source(text="TensorRT-LLM 250d9c29: tensorrt_llm/commands/build.py"),
            Source(text="tensorrtllm_backend 76464e9b: docs/llama.md, all_models/inflight_batcher_llm"),
            Source(text="Triton r24.04: src/main.cc, src/http_server.cc"),
        ),
    ),
    notes=(
        "the article's service ran an engine for 64 sequences: of 100 users 36 wait",
        "that tritonserver serves one rank under a plain mpirun -n 1 as another user was not seen",
    ),
)
SERVE_RELEASE = Release(
    id="current",
    date="2026-04",
    builds=(SERVE,),
    profiles=(Profile.DEFAULTS, Profile.MATCHED, Profile.PUBLISHED),
    facts=Facts(
        quantization="modelopt's checkpoints: INT4 AWQ, FP8, NVFP4; AutoAWQ's layout unverified",
        hardware="CUDA",
        releases="every two to three months, candidates weekly",
        compile_step="none (PyTorch backend); the old engines go in 1.3",
        prefix_cache="on; enable_block_reuse: false",
        defaults="2048 sequences, 8192 tokens a step, 0.9 of free memory, dtype of the checkpoint, no chunked prefill",
        stop="unverified",
        figures="JSON that is drained by reading; Prometheus without counts of requests or tokens",
        sources=(
            Source(text="TensorRT-LLM tensorrt_llm/commands/serve.py of 1.2", verified=False),
            Source(
                text="TensorRT-LLM 029e223d: tests/unittest/api_stability/references/trtllm_serve_cli.yaml"
            ),
        ),
    ),
    notes=("names and defaults of 1.2.1's options were read from a stored serve.py, not from its tag",),
)
