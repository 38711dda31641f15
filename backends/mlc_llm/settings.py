"""What MLC-LLM's tools are told besides their defaults, and why; alike in both releases."""

from __future__ import annotations

from backends.contract import (
    EMPTY_SYSTEM_BLOCK,
    SERVING_LAYER,
    PrefixCache,
    Profile,
    Quantization,
    Setting,
    Setup,
    Source,
    WeightsFormat,
    matched,
    prefix_switch,
)

ALIKE = "profile matched: the same on every engine"
RAN = "profile published: what the article's service ran"
ARTICLE = Source(text="BentoMLCLLM 1102e07, 72e82d7: service.py, README.md")
CACHE = PrefixCache(default_on=True)
PUBLISHED_BATCH = 80

_SIXTEEN = Setting(words=("--quantization", "q0f16"), reason="16 bits: the tools have no default")
_FOUR = Setting(words=("--quantization", "q4f16_1"), reason="its own 4 bits, as the model's name asks")


def of_mlc(setup: Setup) -> bool:
    """Whether the weights come in MLC's own format, configuration included."""
    return WeightsFormat.MLC in setup.model.formats


def converting(setup: Setup) -> tuple[Setting, ...]:
    """16-bit weights become what the model is asked for as: 16 bits, or MLC's own 4."""
    return (_FOUR if setup.model.quantization is Quantization.Q4F16_1 else _SIXTEEN,)


def configuring(setup: Setup) -> tuple[Setting, ...]:
    """What the engine may be asked for at most stands in the configuration, not in the library."""
    template = Setting(words=("--conv-template", "llama-3"), reason="the tool has no default")
    if setup.profile is Profile.MATCHED:
        alike = matched(setup)
        window = ("--context-window-size", str(alike.sequence_tokens))
        same = (*window, "--max-batch-size", str(alike.max_sequences))
        return (*converting(setup), template, Setting(words=same, reason=ALIKE))
    return (*converting(setup), template)


def compiling(setup: Setup) -> tuple[Setting, ...]:
    device = Setting(
        words=("--device", "cuda"), reason="named, lest a compiler that sees no GPU takes another"
    )
    if setup.profile is Profile.MATCHED and of_mlc(setup):
        same = f"max_batch_size={matched(setup).max_sequences}"
        return (device, Setting(words=("--overrides", same), reason=ALIKE))
    return (device,)


def switching(setup: Setup, *off: str) -> tuple[Setting, ...]:
    """The prefix cache is on by default in both releases, as the article's service had it."""
    return prefix_switch(setup, CACHE, on=Setting(reason="on"), off=Setting(words=off, reason="off"))


def sampling_of_model() -> tuple[Setting, ...]:
    """What the article's service left to the weights' configuration, and what stood around it."""
    why = "profile published: the model's own sampling, since the service sent none"
    source = Source(text="generation_config.json of Meta-Llama-3-8B-Instruct", verified=False)
    told = {"temperature": 0.6, "top_p": 0.9}
    fields = tuple(Setting(field=(name, v), reason=why, source=source) for name, v in told.items())
    return (*fields, SERVING_LAYER, EMPTY_SYSTEM_BLOCK)
