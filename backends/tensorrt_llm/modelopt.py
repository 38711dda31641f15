"""INT4 AWQ by modelopt, for TensorRT-LLM 1.2.1: no other engine reads its checkpoints."""

from __future__ import annotations

from backends.contract import (
    ImageSpec,
    Mount,
    OptionsRef,
    Quantization,
    Refusal,
    Setting,
    Setup,
    Source,
    StepSpec,
    words,
)
from backends.tensorrt_llm.releases import MODELOPT, MODELOPT_BUILD, ULIMITS

_GPU_SHARE = 0.8  # of the GPU, where hf_ptq.py has to put layers into host memory


def quantizing() -> tuple[Setting, ...]:
    source = Source(text="Model-Optimizer 0.46.0: examples/hf_ptq/hf_ptq.py:1399-1465")
    return (
        Setting(
            words=("--qformat", "int4_awq", "--awq_block_size", "128"),
            reason="4 bits in groups of 128, the scheme that it reads on an A100; fp8 by default",
            source=source,
        ),
        Setting(
            words=("--kv_cache_qformat", "none"),
            reason="an FP8 KV cache by default, which an A100 cannot compute with",
            source=source,
        ),
        Setting(
            words=("--dataset", "cnn_dailymail", "--calib_size", "512"),
            reason="one open data set, which the image holds; the default asks for a gated one as well",
            source=source,
        ),
    )


def quantize(setup: Setup) -> StepSpec:
    program = ("python3", MODELOPT)
    places = ("--pyt_ckpt_path", "{model}", "--export_path", "{out}")
    template = "tensorrt-llm-modelopt.Dockerfile.j2"
    return StepSpec(
        id="quantize",
        title=f"INT4 AWQ of {setup.model.id} by modelopt, calibrated",
        image=ImageSpec(
            name="tensorrt-llm-modelopt",
            release=MODELOPT_BUILD.release,
            template=template,
            build=MODELOPT_BUILD,
        ),
        argv=(*program, *places, *words(quantizing())),
        options=OptionsRef(name="modelopt-hf_ptq-0.46.0", start=len(program)),
        env={"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HOME": Mount.TMP.value},
        shared_memory_bytes=16 * 2**30,
        ulimits=ULIMITS,
        read_only_root=False,
        user=None,
        gpu=True,
        portable=True,
        produces=("config.json", "*.safetensors", "tokenizer*"),
        deadline_s=6 * 3600,
        output_bytes=setup.model.served_bytes,
        memory_bytes=max(setup.model.weights_bytes - _on_gpu_bytes(setup), setup.model.served_bytes),
    )


def no_room(setup: Setup) -> Refusal | None:
    """modelopt puts the layers for which the GPU has no room into the host's memory."""
    host, model = setup.host, setup.model
    if model.quantization is not Quantization.INT4_AWQ or "quantize" in setup.finished:
        return None
    if host.gpu_memory_bytes is None or host.gpu_memory_bytes >= model.weights_bytes:
        return None
    room = _on_gpu_bytes(setup) + host.memory_bytes
    if room >= model.weights_bytes:
        return None
    held, there = model.weights_bytes / 1e9, room / 1e9
    return Refusal(
        reason=f"quantising {model.id} holds {held:.0f} GB in GPU and host memory, which have {there:.0f} GB",
        alternative="MODEL=8b, or a host with more memory",
    )


def _on_gpu_bytes(setup: Setup) -> int:
    """Of the layers, what the GPU takes; the host's memory holds the rest, and what is written in the end."""
    return int(_GPU_SHARE * (setup.host.gpu_memory_bytes or 0))
