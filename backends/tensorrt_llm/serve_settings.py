"""What TensorRT-LLM 1.2.1 is told besides its defaults, and why."""

from __future__ import annotations

import json

from backends.contract import (
    EMPTY_SYSTEM_BLOCK,
    SERVING_LAYER,
    PrefixCache,
    PrefixCaching,
    Profile,
    Quantization,
    Setting,
    Setup,
    Source,
    entries,
    matched,
    prefix_switch,
)

_ARTICLE = Source(text="BentoTRTLLM 381c230: README.md")
_ALIKE = "profile matched: the same on every engine"
_RAN = "profile published: what the article's service ran, in today's settings"
_KV = "kv_cache_config"
CACHE = PrefixCache(default_on=True)


def flags(setup: Setup) -> tuple[Setting, ...]:
    if setup.profile is Profile.MATCHED:
        alike = matched(setup)
        sizes = (
            "--max_batch_size",
            str(alike.max_sequences),
            "--max_seq_len",
            str(alike.sequence_tokens),
        )
        return (Setting(words=sizes, reason=_ALIKE),)
    if setup.profile is Profile.PUBLISHED:
        # its engine took 512 tokens and gave 1024
        ran = ("--max_batch_size", "64", "--max_seq_len", "1536", "--free_gpu_memory_fraction", "0.95")
        return (Setting(words=ran, reason=_RAN, source=_ARTICLE),)
    return ()


def yaml(setup: Setup) -> tuple[Setting, ...]:
    """Entries of llm.yaml; a dot stands for a level."""
    found: list[Setting] = []
    if setup.profile is Profile.MATCHED:
        alike = matched(setup)
        found.append(Setting(entry=("dtype", alike.dtype), reason=_ALIKE))
        found.append(Setting(entry=(f"{_KV}.max_tokens", alike.kv_tokens), reason=_ALIKE))
    if setup.profile is Profile.PUBLISHED:
        found.append(Setting(entry=("dtype", "bfloat16"), reason=_RAN, source=_ARTICLE))
    return (*found, *_reuse(setup))


def _reuse(setup: Setup) -> tuple[Setting, ...]:
    off = Setting(entry=(f"{_KV}.enable_block_reuse", False), reason="off")
    by_profile = setup.prefix_caching is PrefixCaching.PROFILE and setup.profile is Profile.PUBLISHED
    if by_profile and setup.model.quantization is not Quantization.NONE:
        ran = f"{_RAN}: no reuse with the 70B model"
        return (off.model_copy(update={"reason": ran, "source": _ARTICLE}),)
    return prefix_switch(setup, CACHE, on=Setting(reason="on"), off=off)


def text(settings: tuple[Setting, ...]) -> str:
    """JSON values are YAML values."""
    flat = entries(settings)
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in flat.items() if "." not in name]
    nested = [f"  {name.partition('.')[2]}: {json.dumps(v)}\n" for name, v in flat.items() if "." in name]
    return "".join([*lines, *([f"{_KV}:\n", *nested] if nested else [])])


def asked(setup: Setup) -> tuple[Setting, ...]:
    if setup.profile is not Profile.PUBLISHED:
        return ()
    greedy = "profile published: the article's requests were greedy, which a temperature of 0 asks for today"
    return (
        Setting(field=("temperature", 0), reason=greedy, source=_ARTICLE),
        SERVING_LAYER,
        EMPTY_SYSTEM_BLOCK,
    )
