"""LMDeploy's settings by profile, with what the article's services ran (BentoLMDeploy, branch `benchmark`)."""

from __future__ import annotations

from backends.contract import (
    EMPTY_SYSTEM_BLOCK,
    SERVING_LAYER,
    Profile,
    Quantization,
    Setting,
    Setup,
    Source,
    matched,
    prefix_switch,
)
from backends.lmdeploy.terms import TERMS, Terms

FLOAT16 = "float16"
_TOKENS_PER_BLOCK = 64
_SAME = "profile matched: the same on every engine"
_8B = Source(text="bentoml/BentoLMDeploy at 6e2bed1 (2024-05-09): service.py, import_model.py")
_70B = Source(
    text="bentoml/BentoLMDeploy at 6e2bed1, for the 70B by analogy: its own service came with 8bc9da3, in July",
    verified=False,
)
_GREEDY = Setting(
    field=("top_k", 1),
    reason="GenerationConfig's own top_k of that time, which the service left as it was: greedy",
    source=Source(text="LMDeploy v0.4.0 lmdeploy/messages.py; bentoml/BentoLMDeploy at 6e2bed1"),
)
_RENDERED_ONCE = Setting(
    unmet="the chat template applied twice",
    reason="the service handed a rendered prompt to an engine that renders again; here it is rendered once",
    source=_8B,
)


def settings(setup: Setup) -> tuple[Setting, ...]:
    """All that is not the engine's default. A profile's request field wins over one of every profile."""
    terms = TERMS[setup.build.release]
    by_profile = {Profile.MATCHED: _alike, Profile.PUBLISHED: _published}
    own = by_profile[setup.profile](setup, terms) if setup.profile in by_profile else ()
    taken = {setting.field[0] for setting in own if setting.field}
    always = (s for s in terms.always if not s.field or s.field[0] not in taken)
    on, off = Setting(words=("--enable-prefix-caching",), reason="on"), Setting(reason="off")
    return (*always, *own, *prefix_switch(setup, terms.cache, on=on, off=off))


def resaved(setup: Setup) -> bool:
    """Whether 16-bit weights of another dtype have to become float16 where no flag says so."""
    model = setup.model
    return (
        setup.profile is not Profile.DEFAULTS
        and TERMS[setup.build.release].dtype_flag is None
        and model.quantization is Quantization.NONE
        and model.dtype != FLOAT16
    )


def _alike(setup: Setup, terms: Terms) -> tuple[Setting, ...]:
    same = matched(setup)
    flags = ("--max-batch-size", str(same.max_sequences), "--session-len", str(same.sequence_tokens))
    budget = (
        Setting(words=(terms.kv_flag, str(same.kv_tokens // _TOKENS_PER_BLOCK)), reason=_SAME)
        if terms.kv_flag
        else Setting(
            unmet=f"a KV budget of {same.kv_tokens} tokens",
            reason="this release takes a share of the free memory only, no number of blocks",
            source=Source(
                text="LMDeploy v0.16.0 src/turbomind/turbomind.cc:293-295; assumed of 0.18.0", verified=False
            ),
        )
    )
    return (*_as_float16(setup, terms, _SAME, None), Setting(words=flags, reason=_SAME), budget)


def _published(setup: Setup, terms: Terms) -> tuple[Setting, ...]:
    """A larger KV pool than the default, and greedy by the Python API's default."""
    source = _70B if setup.model.quantization is Quantization.AWQ else _8B
    pool = Setting(
        words=("--cache-max-entry-count", "0.95"), reason="the article's service's KV pool", source=source
    )
    saved = "the article's service had saved its weights in FP16"
    float16 = _as_float16(setup, terms, saved, source)
    return (*float16, pool, _GREEDY, _RENDERED_ONCE, SERVING_LAYER, EMPTY_SYSTEM_BLOCK)


def _as_float16(setup: Setup, terms: Terms, reason: str, source: Source | None) -> tuple[Setting, ...]:
    if terms.dtype_flag:
        return (Setting(words=(terms.dtype_flag, FLOAT16), reason=reason, source=source),)
    return (Setting(step=FLOAT16, reason=reason, source=source),) if resaved(setup) else ()
