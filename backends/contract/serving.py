"""What adapters decide alike: whether a build loads a model, the settings of `matched`, the prefix cache."""

from __future__ import annotations

from backends.contract.backend import Refusal, Setting, Setup
from backends.contract.launch import PrefixCache
from backends.contract.values import MATCHED, Matched, PrefixCaching, Profile, Quantization

# Weights and KV cache together in `matched`: below the share that any of the engines takes by default, so
# that the same number of tokens fits all of them.
_MATCHED_SHARE = 0.8
_KV_STEP_TOKENS = 1024


def unserved(title: str, setup: Setup) -> Refusal | None:
    """Why a build cannot load a model's weights: their format, their compression, the GPU's age."""
    model, build, capability = setup.model, setup.build, setup.host.compute_capability
    if not set(build.formats) & set(model.formats):
        reads, has = (", ".join(f.value for f in formats) for formats in (build.formats, model.formats))
        return Refusal(reason=f"{title} reads {reads}, and {model.id} has {has or 'no weights'}")
    served = dict(build.serves)
    if model.quantization not in served:
        return Refusal(reason=f"{title} ({build.version}) does not load {model.quantization.value} weights")
    needed = served[model.quantization]
    if needed is None or capability is None or capability >= needed:
        return None
    kind = "16-bit" if model.quantization is Quantization.NONE else model.quantization.value
    reason = (
        f"{title} ({build.version}) needs compute capability {_dotted(needed)} or newer for "
        f"{kind} weights, and this GPU has {_dotted(capability)}"
    )
    return Refusal(reason=reason)


def matched(setup: Setup) -> Matched:
    """What `matched` sets for this model on this host: the KV budget shrinks where the GPU is too small for
    the usual one, by the same rule on every engine."""
    usual, model, memory_bytes = MATCHED[setup.build.accelerator], setup.model, setup.host.gpu_memory_bytes
    if memory_bytes is None or model.kv_token_bytes is None:
        return usual
    free_bytes = int(memory_bytes * _MATCHED_SHARE) - model.served_bytes
    fitting = free_bytes // model.kv_token_bytes // _KV_STEP_TOKENS * _KV_STEP_TOKENS
    return usual.model_copy(update={"kv_tokens": min(usual.kv_tokens, max(fitting, usual.sequence_tokens))})


def prefix_switch(
    setup: Setup, cache: PrefixCache, *, on: Setting, off: Setting, published: Setting | None = None
) -> tuple[Setting, ...]:
    """The switch, where what is asked for is not what the engine does by itself: ON and OFF first, else
    `matched` (on wherever there is a cache) or what the published service had."""
    asked, profile = setup.prefix_caching, setup.profile
    if asked is not PrefixCaching.PROFILE:
        wanted = asked is PrefixCaching.ON
        switch = _because(on if wanted else off, f"prefix caching {asked.value}, as asked")
    elif profile is Profile.MATCHED:
        wanted, switch = True, _because(on, "profile matched: on wherever the engine has a prefix cache")
    elif profile is Profile.PUBLISHED and published is not None:
        wanted, switch = True, published
    else:
        return ()
    return () if cache.default_on in {None, wanted} else (switch,)


def _because(switch: Setting, reason: str) -> Setting:
    return switch.model_copy(update={"reason": reason})


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
