"""What adapters decide alike: which weights a build loads, what `matched` is on a GPU, the prefix switch."""

from __future__ import annotations

import pytest

from backends.contract import (
    UNMET,
    Accelerator,
    Build,
    Deviation,
    HostTraits,
    PrefixCache,
    PrefixCaching,
    Profile,
    Quantization,
    Refusal,
    Setting,
    Setup,
    Source,
    WeightsFormat,
    deviations,
    fields,
    loads,
    matched,
    prefix_switch,
    unserved,
    words,
)
from orchestrator.catalog import loader
from tests.goldens import HOSTS

BUILD = Build(
    release="current",
    accelerator=Accelerator.CUDA,
    version="1.2",
    base="nothing:1",
    formats=(WeightsFormat.SAFETENSORS,),
    serves=(*loads((7, 0), Quantization.NONE), *loads((8, 0), Quantization.AWQ)),
    install_bytes=1,
    source=Source(text="made up for tests"),
)
A100 = HOSTS[Accelerator.CUDA]
ON, OFF = Setting(words=("--reuse",), reason="on"), Setting(words=("--no-reuse",), reason="off")
PUBLISHED = Setting(words=("--reuse",), reason="the service had it")


def setup(model: str = "8b", host: HostTraits = A100, **changes: object) -> Setup:
    asked = {"build": BUILD, "model": loader.model(model).traits, "profile": Profile.MATCHED, "host": host}
    return Setup.model_validate(asked | changes)


def gpu(**changes: object) -> HostTraits:
    return A100.model_copy(update=changes)


@pytest.mark.parametrize(
    ("model", "capability", "reason"),
    [
        ("8b", (7, 0), None),
        ("70b-awq", (8, 0), None),
        ("70b-awq", None, None),
        (
            "8b",
            (6, 1),
            "Mine (1.2) needs compute capability 7.0 or newer for 16-bit weights, and this GPU has 6.1",
        ),
        (
            "70b-awq",
            (7, 5),
            "Mine (1.2) needs compute capability 8.0 or newer for awq weights, and this GPU has 7.5",
        ),
        ("70b-q4f16_1", (8, 0), "Mine reads safetensors, and 70b-q4f16_1 has mlc"),
        ("70b-int4-awq", (8, 0), "Mine (1.2) does not load int4-awq weights"),
    ],
)
def test_weights_are_refused_for_what_they_are(
    model: str, capability: tuple[int, int] | None, reason: str | None
) -> None:
    """Format first, then compression, then the GPU's age; an unknown age refuses nothing."""
    found = unserved("Mine", setup(model, gpu(compute_capability=capability)))

    assert (None if reason is None else Refusal(reason=reason)) == found


@pytest.mark.parametrize(
    ("model", "gib", "kv_tokens"),
    [
        ("8b", 80, 262_144),
        ("70b-awq", 80, 88_064),
        ("8b", 24, 33_792),
        ("70b-awq", 48, 4_096),
        ("8b", 16, 2_048),
    ],
)
def test_the_matched_kv_budget_shrinks_with_the_gpu(model: str, gib: int, kv_tokens: int) -> None:
    """What fits into 0.8 of it beside the weights, in steps of 1024, but never less than one sequence."""
    assert kv_tokens == matched(setup(model, gpu(gpu_memory_bytes=gib * 2**30))).kv_tokens


def test_a_model_whose_kv_cache_is_not_known_gets_the_usual_budget() -> None:
    """A guess would be worse than the engine's own complaint."""
    unknown = loader.model("70b-awq").traits.model_copy(update={"kv_token_bytes": None})

    assert 262_144 == matched(setup(model="8b").model_copy(update={"model": unknown})).kv_tokens


@pytest.mark.parametrize(
    ("asked", "profile", "default_on", "flags"),
    [
        (PrefixCaching.PROFILE, Profile.DEFAULTS, True, ()),
        (PrefixCaching.PROFILE, Profile.DEFAULTS, False, ()),
        (PrefixCaching.PROFILE, Profile.MATCHED, True, ()),
        (PrefixCaching.PROFILE, Profile.MATCHED, False, ("--reuse",)),
        (PrefixCaching.PROFILE, Profile.MATCHED, None, ()),
        (PrefixCaching.PROFILE, Profile.PUBLISHED, False, ("--reuse",)),
        (PrefixCaching.ON, Profile.DEFAULTS, False, ("--reuse",)),
        (PrefixCaching.OFF, Profile.MATCHED, False, ()),
        (PrefixCaching.OFF, Profile.PUBLISHED, True, ("--no-reuse",)),
    ],
)
def test_the_prefix_cache_is_switched_only_against_its_default(
    asked: PrefixCaching, profile: Profile, default_on: bool | None, flags: tuple[str, ...]
) -> None:
    """What is asked for wins over the profile; what the engine does by itself needs no flag."""
    cache = PrefixCache(default_on=default_on)
    found = prefix_switch(
        setup(profile=profile, prefix_caching=asked), cache, on=ON, off=OFF, published=PUBLISHED
    )

    assert flags == words(found)


def test_a_service_that_had_no_prefix_caching_leaves_the_default() -> None:
    """`published` switches nothing that the service did not."""
    found = prefix_switch(setup(profile=Profile.PUBLISHED), PrefixCache(default_on=False), on=ON, off=OFF)

    assert () == found


def test_settings_are_disclosed_whatever_they_set() -> None:
    """Flags, a variable, a request's field, a step, and what could not be set."""
    settings = (
        Setting(words=("--seqs", "9", "--eager"), reason="r"),
        Setting(env=("MODE", "1"), reason="r"),
        Setting(field=("top_k", 1), reason="r"),
        Setting(step="float16", reason="r"),
        Setting(unmet="a hop", reason="r"),
    )

    assert [
        Deviation(setting=name, value=value, reason="r")
        for name, value in (
            ("--seqs", "9"),
            ("--eager", "on"),
            ("MODE", "1"),
            ("top_k", "1"),
            ("float16", "made by a step"),
            ("a hop", UNMET),
        )
    ] == list(deviations(settings))
    assert {"top_k": 1} == fields(settings)
