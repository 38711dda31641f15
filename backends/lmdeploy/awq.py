"""AWQ by LMDeploy's own tool: 16-bit weights become 4 bits in AutoAWQ's layout before they are served."""

from __future__ import annotations

from backends.contract import (
    ImageSpec,
    Mount,
    OptionsRef,
    Quantization,
    Setting,
    Setup,
    Source,
    StepSpec,
    words,
)

STEP = "quantize"
_LISTS = {"2024-06": "lmdeploy-lite-auto_awq-0.4.0", "current": "lmdeploy-lite-auto_awq-0.18.0"}
_PROGRAM = ("lmdeploy", "lite", "auto_awq")
# The texts that the image holds, since a step has no network: each release's own default
DATASETS = {"2024-06": "ptb", "current": "wikitext2"}


def quantised_here(setup: Setup) -> bool:
    return setup.model.quantization is Quantization.INT4_AWQ


def quantising(setup: Setup) -> tuple[Setting, ...]:
    """The tool's defaults by name, so that a later release cannot change them unseen."""
    source = Source(
        text="lmdeploy cli/lite.py, docs/en/quantization/w4a16.md: never run here", verified=False
    )
    texts = (
        "--calib-dataset",
        DATASETS[setup.build.release],
        *("--calib-samples", "128"),
        *("--calib-seqlen", "2048"),
    )
    return (
        Setting(words=texts, reason="the tool's default texts, which the image holds", source=source),
        Setting(
            words=("--w-bits", "4", "--w-group-size", "128"), reason="its defaults, named", source=source
        ),
    )


def quantize(setup: Setup) -> StepSpec:
    """It moves one layer at a time to the GPU and holds the others in the host's memory."""
    folder = setup.model.folder  # the release of 2024 reads a name out of it
    build = setup.build.model_copy(update={"version": f"{setup.build.version} with calibration texts"})
    return StepSpec(
        id=STEP,
        title=f"AWQ of {setup.model.id} by lmdeploy lite, calibrated",
        image=ImageSpec(
            name="lmdeploy-awq",
            release=build.release,
            template="lmdeploy-awq.Dockerfile.j2",
            build=build,
        ),
        argv=(*_PROGRAM, "{model}", "--work-dir", f"{{out}}/{folder}", *words(quantising(setup))),
        options=OptionsRef(name=_LISTS[build.release], start=len(_PROGRAM)),
        env={"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HOME": Mount.TMP.value},
        shared_memory_bytes=16 * 2**30,
        read_only_root=False,
        user=None,
        gpu=True,
        portable=True,
        produces=(f"{folder}/config.json", f"{folder}/*.safetensors", f"{folder}/tokenizer*"),
        deadline_s=6 * 3600,
        output_bytes=setup.model.served_bytes,
        memory_bytes=setup.model.weights_bytes,
    )
