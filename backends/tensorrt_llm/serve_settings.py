"""What TensorRT-LLM 1.2.1 is told besides its defaults, and why."""

from __future__ import annotations

import json

from backends.contract import (
    MATCHED,
    PrefixCaching,
    Profile,
    Quantization,
    Setting,
    Setup,
    Source,
    entries,
)

_ARTICLE = Source(text="BentoTRTLLM 381c230: README.md")
_ALIKE = "profile matched: the same on every engine"
_RAN = "profile published: what the article's service ran, in today's settings"
_KV = "kv_cache_config"


def flags(setup: Setup) -> tuple[Setting, ...]:
    matched = MATCHED[setup.build.accelerator]
    if setup.profile is Profile.MATCHED:
        sizes = (
            "--max_batch_size",
            str(matched.max_sequences),
            "--max_seq_len",
            str(matched.sequence_tokens),
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
    whole = setup.model.quantization is Quantization.NONE
    if setup.profile is Profile.MATCHED:
        matched = MATCHED[setup.build.accelerator]
        found.append(Setting(entry=("dtype", matched.dtype), reason=_ALIKE))
        found.append(Setting(entry=(f"{_KV}.max_tokens", matched.kv_tokens), reason=_ALIKE))
    if setup.profile is Profile.PUBLISHED:
        found.append(Setting(entry=("dtype", "bfloat16"), reason=_RAN, source=_ARTICLE))
    reuse = f"{_KV}.enable_block_reuse"
    if setup.prefix_caching is PrefixCaching.OFF:
        found.append(Setting(entry=(reuse, False), reason="prefix caching off, as asked"))
    elif setup.profile is Profile.PUBLISHED and not whole and setup.prefix_caching is PrefixCaching.PROFILE:
        found.append(Setting(entry=(reuse, False), reason=f"{_RAN}: no reuse with the 70B model"))
    return tuple(found)


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
    return (Setting(entry=("temperature", 0), reason=greedy, source=_ARTICLE),)
