"""What MLC-LLM's tools are told besides their defaults, and why; alike in both releases."""

from __future__ import annotations

from backends.contract import MATCHED, Accelerator, Profile, Setting, Setup, Source, WeightsFormat

ALIKE = "profile matched: the same on every engine"
RAN = "profile published: what the article's service ran"
ARTICLE = Source(text="BentoMLCLLM 1102e07, 72e82d7: service.py, README.md")
SAME = MATCHED[Accelerator.CUDA]
PUBLISHED_BATCH = 80

_SIXTEEN = Setting(words=("--quantization", "q0f16"), reason="16 bits: the tools have no default")


def of_mlc(setup: Setup) -> bool:
    """Whether the weights come in MLC's own format, configuration included."""
    return WeightsFormat.MLC in setup.model.formats


def converting() -> tuple[Setting, ...]:
    return (_SIXTEEN,)


def configuring(setup: Setup) -> tuple[Setting, ...]:
    """What the engine may be asked for at most stands in the configuration, not in the library."""
    template = Setting(words=("--conv-template", "llama-3"), reason="the tool has no default")
    if setup.profile is Profile.MATCHED:
        same = (
            "--context-window-size",
            str(SAME.sequence_tokens),
            "--max-batch-size",
            str(SAME.max_sequences),
        )
        return (_SIXTEEN, template, Setting(words=same, reason=ALIKE))
    return (_SIXTEEN, template)


def compiling(setup: Setup) -> tuple[Setting, ...]:
    device = Setting(
        words=("--device", "cuda"), reason="named, lest a compiler that sees no GPU takes another"
    )
    if setup.profile is Profile.MATCHED and of_mlc(setup):
        same = f"max_batch_size={SAME.max_sequences}"
        return (device, Setting(words=("--overrides", same), reason=ALIKE))
    return (device,)
