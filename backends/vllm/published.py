"""What the article's vLLM services ran (BentoVLLM), by the class of weights that they served."""

from __future__ import annotations

from backends.contract import EMPTY_SYSTEM_BLOCK, SERVING_LAYER, Quantization, Setting, Setup, Source

_8B = Source(text="bentoml/BentoVLLM at 19c02ae: llama3-8b-instruct/service.py, import_model.py")
_70B = Source(text="bentoml/BentoVLLM at 19c02ae: llama3-70b-instruct-awq/service.py")
_ADMITTED = Source(text="bentoml/BentoVLLM at 77c08b9 (2024-05-29)")

PREFIX_CACHING = Setting(
    words=("--enable-prefix-caching",), reason="the article's service switched it on", source=_8B
)
_FOR_16_BITS = (
    Setting(
        words=("--dtype", "float16"), reason="the article's service had saved its weights in FP16", source=_8B
    ),
    Setting(words=("--max-model-len", "1024"), reason="the article's 8B service's cap", source=_8B),
)
_FOR_AWQ = (
    Setting(
        words=("--quantization", "awq", "--dtype", "float16"),
        reason="the article's 70B service named the scheme; in 2024 it ran in FP16 only",
        source=_70B,
    ),
    Setting(words=("--max-model-len", "8192"), reason="the article's 70B service's cap", source=_70B),
)
_ALIKE = (
    Setting(
        words=("--max-num-seqs", "256"),
        reason="the service let 256 requests in at once, to match the engine's cap of that time",
        source=_ADMITTED,
    ),
    *(
        Setting(field=field, reason="SamplingParams' own value, which the service left as it was", source=_8B)
        for field in (("temperature", 1.0), ("top_p", 1.0), ("top_k", -1))
    ),
    SERVING_LAYER,
    EMPTY_SYSTEM_BLOCK,
)
# 0.4.2's chat route adds begin-of-text to a prompt that has one, as the service's prompt got two
_ONE_BEGIN = Setting(
    unmet="begin-of-text twice",
    reason="the service's template and the tokenizer each put one; today's chat route puts one",
    source=_8B,
)


def published(setup: Setup) -> tuple[Setting, ...]:
    """The services' settings in the flags of this release; all of them still exist."""
    own = _FOR_AWQ if setup.model.quantization is Quantization.AWQ else _FOR_16_BITS
    return (*own, *_ALIKE, *(() if setup.build.release == "2024-06" else (_ONE_BEGIN,)))
