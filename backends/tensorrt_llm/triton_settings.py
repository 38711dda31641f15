"""What TensorRT-LLM 0.9.0 is told besides its defaults, and why.

`defaults`: an engine is built for 1 sequence by default, which no one serves with, and Triton's files have
no default for what they must hold. What has none, and the batch, is as upstream's guide for Llama under
Triton has it; all else keeps its default.
"""

from __future__ import annotations

from backends.contract import (
    EMPTY_SYSTEM_BLOCK,
    SERVING_LAYER,
    PrefixCaching,
    Profile,
    Quantization,
    Setting,
    Setup,
    Source,
    matched,
)

_GUIDE = Source(text="tensorrtllm_backend 76464e9b: docs/llama.md")
_ARTICLE = Source(text="BentoTRTLLM 381c230: README.md")
_MATCHED_INPUT = 1024
_MATCHED_STEP_TOKENS = 8192
_GUIDE_BATCH = 64
_LLAMA_3_EOT = 128009

_ALIKE = "profile matched: the same on every engine"
_RAN = "profile published: what the article's service ran"


def whole(setup: Setup) -> bool:
    """Whether the weights keep their 16 bits."""
    return setup.model.quantization is Quantization.NONE


def batch(setup: Setup) -> int:
    """Sequences that the engine is built for; Triton's own batch is the same."""
    return matched(setup).max_sequences if setup.profile is Profile.MATCHED else _GUIDE_BATCH


def converting(setup: Setup) -> tuple[Setting, ...]:
    return _unless_float16(setup, ("--dtype", _dtype(setup)))


def quantizing(setup: Setup) -> tuple[Setting, ...]:
    scheme = ("--qformat", "int4_awq", "--calib_size", "32")
    why = "4 bits in the engine's own scheme; its AWQ takes 32 samples at most"
    source = Source(text="TensorRT-LLM 250d9c29: examples/quantization/quantize.py")
    return (Setting(words=scheme, reason=why, source=source), *converting(setup))


def building(setup: Setup) -> tuple[Setting, ...]:
    plugin = Setting(
        words=("--gemm_plugin", _dtype(setup)),
        reason="off by default; upstream's guide for Llama switches it on, as the article's service did",
        source=_GUIDE,
    )
    attention = _unless_float16(setup, ("--gpt_attention_plugin", _dtype(setup)))
    paged = Setting(
        words=("--use_paged_context_fmha", "enable"),
        reason="prefix caching on: the engine must be built for it",
        source=Source(text="TensorRT-LLM 250d9c29: docs/source/perf_best_practices.md"),
    )
    return (plugin, *attention, *_sizes(setup), *((paged,) if _reuses(setup) else ()))


def parameters(setup: Setup) -> tuple[Setting, ...]:
    """Of the engine's config.pbtxt."""
    found = [
        Setting(entry=("gpt_model_type", "inflight_fused_batching"), reason="has no default", source=_GUIDE),
        Setting(
            entry=("exclude_input_in_output", True), reason="streams carry the answer alone", source=_GUIDE
        ),
    ]
    if _reuses(setup):
        found.append(
            Setting(entry=("enable_kv_cache_reuse", True), reason=_why_reused(setup), source=_ARTICLE)
        )
    if setup.profile is Profile.MATCHED:
        budget = ("max_tokens_in_paged_kv_cache", matched(setup).kv_tokens)
        found.append(Setting(entry=budget, reason=_ALIKE))
    if setup.profile is Profile.PUBLISHED:
        ran = {"kv_cache_free_gpu_mem_fraction": 0.95, "max_attention_window_size": 2560}
        found += [Setting(entry=(name, v), reason=_RAN, source=_ARTICLE) for name, v in ran.items()]
    return tuple(found)


def serving() -> tuple[Setting, ...]:
    why = "the files say all; Triton would ask each model for what they leave open"
    source = Source(text="tensorrtllm_backend 76464e9b: scripts/launch_triton_server.py")
    return (Setting(words=("--disable-auto-complete-config",), reason=why, source=source),)


def requesting(setup: Setup) -> tuple[Setting, ...]:
    """The article's service sent a temperature of 1 and nothing else, which is greedy here, and no end."""
    if setup.profile is Profile.PUBLISHED:
        greedy = "profile published: no top_k and no top_p were sent, which this engine takes as greedy"
        return (
            Setting(field=("top_k", 1), reason=greedy, source=_ARTICLE),
            SERVING_LAYER,
            EMPTY_SYSTEM_BLOCK,
        )
    if "llama-3" not in setup.model.folder.lower():
        return ()
    ends = "the tokenizer's own end may be <|end_of_text|>, and answers would run on to their limit"
    return tuple(Setting(field=(name, _LLAMA_3_EOT), reason=ends) for name in ("end_id", "pad_id"))


def _sizes(setup: Setup) -> tuple[Setting, ...]:
    size = ("--max_batch_size", str(batch(setup)))
    if setup.profile is Profile.PUBLISHED:
        return (Setting(words=(*size, "--max_input_len", "512"), reason=_RAN, source=_ARTICLE),)
    if setup.profile is not Profile.MATCHED:
        return (Setting(words=size, reason="1 by default; upstream's guide for Llama has 64", source=_GUIDE),)
    output = matched(setup).sequence_tokens - _MATCHED_INPUT
    lengths = ("--max_input_len", str(_MATCHED_INPUT), "--max_output_len", str(output))
    step = "by default memory is set aside for sequences x input length, 262144 tokens a step"
    return (
        Setting(words=(*size, *lengths), reason=_ALIKE),
        Setting(words=("--max_num_tokens", str(_MATCHED_STEP_TOKENS)), reason=step),
    )


def _dtype(setup: Setup) -> str:
    return "bfloat16" if setup.profile is Profile.PUBLISHED else matched(setup).dtype


def _unless_float16(setup: Setup, flag: tuple[str, str]) -> tuple[Setting, ...]:
    """float16 is the tools' own default."""
    if setup.profile is not Profile.PUBLISHED:
        return ()
    why = f"{_RAN}; its text says FP16, its service's README bfloat16"
    return (Setting(words=flag, reason=why, source=_ARTICLE),)


def _reuses(setup: Setup) -> bool:
    """The article's service reused blocks with the 16-bit model only."""
    if setup.prefix_caching is not PrefixCaching.PROFILE:
        return setup.prefix_caching is PrefixCaching.ON
    return setup.profile is Profile.MATCHED or (setup.profile is Profile.PUBLISHED and whole(setup))


def _why_reused(setup: Setup) -> str:
    if setup.prefix_caching is PrefixCaching.ON:
        return "prefix caching on, as asked"
    return _ALIKE if setup.profile is Profile.MATCHED else f"{_RAN} with the 16-bit model"
