"""What TensorRT-LLM 0.9.0 makes before it can serve: a checkpoint of its own, then an engine out of that."""

from __future__ import annotations

from backends.contract import ImageSpec, Mount, OptionsRef, Refusal, Setup, StepSpec, words
from backends.tensorrt_llm.releases import AMMO, EXAMPLES, ULIMITS
from backends.tensorrt_llm.triton_settings import building, converting, quantizing, whole

ENV = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HOME": Mount.TMP.value}


def convert(setup: Setup) -> StepSpec:
    program = ("python3", f"{EXAMPLES}/llama/convert_checkpoint.py")
    places = ("--model_dir", "{model}", "--output_dir", "{out}")
    return StepSpec(
        id="convert",
        title=f"the weights of {setup.model.id} as a TensorRT-LLM checkpoint",
        argv=(*program, *places, *words(converting(setup))),
        options=OptionsRef(name="trtllm-convert_checkpoint-llama-0.9.0", start=len(program)),
        env=ENV,
        ulimits=ULIMITS,
        read_only_root=False,
        user=None,
        gpu=True,  # the library does not load without a driver; what it writes is bound to no GPU
        portable=True,
        produces=("config.json", "rank0.safetensors"),
        deadline_s=3600,
        output_bytes=setup.model.weights_bytes,
        memory_bytes=setup.model.weights_bytes,
    )


def quantize(setup: Setup) -> StepSpec:
    program = ("python3", f"{EXAMPLES}/quantization/quantize.py")
    places = ("--model_dir", "{model}", "--output_dir", "{out}")
    template = "tensorrt-llm-ammo.Dockerfile.j2"
    return StepSpec(
        id="quantize",
        title=f"INT4 AWQ of {setup.model.id}, calibrated, as a TensorRT-LLM checkpoint",
        image=ImageSpec(name="tensorrt-llm-ammo", release=AMMO.release, template=template, build=AMMO),
        argv=(*program, *places, *words(quantizing(setup))),
        options=OptionsRef(name="trtllm-quantize-0.9.0", start=len(program)),
        env=ENV | {"HF_DATASETS_OFFLINE": "1"},
        shared_memory_bytes=20 * 2**30,
        ulimits=ULIMITS,
        read_only_root=False,
        user=None,
        gpu=True,
        portable=True,
        produces=("config.json", "rank0.safetensors"),
        deadline_s=4 * 3600,
        output_bytes=setup.model.served_bytes,
        memory_bytes=setup.model.weights_bytes,
    )


def engine(setup: Setup) -> StepSpec:
    """13B took 81 GB of host memory at its peak, three times its weights (docs/baichuan.md)."""
    places = (
        "--checkpoint_dir",
        "{step:convert}" if whole(setup) else "{step:quantize}",
        "--output_dir",
        "{out}",
    )
    return StepSpec(
        id="engine",
        title=f"an engine of {setup.model.id} for this type of GPU",
        argv=("trtllm-build", *places, "--output_timing_cache", "{out}/model.cache", *words(building(setup))),
        options=OptionsRef(name="trtllm-build-0.9.0", start=1),
        env=ENV,
        ulimits=ULIMITS,
        read_only_root=False,
        user=None,
        gpu=True,
        produces=("config.json", "rank0.engine"),
        deadline_s=2 * 3600,
        output_bytes=setup.model.served_bytes,
        memory_bytes=3 * setup.model.served_bytes,
    )


def no_room(title: str, setup: Setup) -> Refusal | None:
    """quantize.py holds all 16-bit weights on the GPU, one here; that it can leave some to the host's memory
    was not seen (reference/backends-2024.md, section 5.2). What it makes is bound to no GPU."""
    model, memory_bytes = setup.model, setup.host.gpu_memory_bytes
    if (
        whole(setup)
        or "quantize" in setup.finished
        or memory_bytes is None
        or memory_bytes >= model.weights_bytes
    ):
        return None
    held, there = model.weights_bytes / 1e9, memory_bytes / 1e9
    return Refusal(
        reason=f"{title} quantises {model.id} with all {held:.0f} GB on the GPU, which has {there:.0f} GB",
        alternative="RELEASE=current, MODEL=8b, or a larger GPU",
    )
