"""Claims as data: addresses, and what a predicate must have to mean anything."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.claim import Address, Claim, Confounder, Predicate, addresses
from orchestrator.domain.workload import SystemPrompt

PREDICATE: TypeAdapter[Predicate] = TypeAdapter(Predicate)
RATE = {"figure": "tokens_per_s", "cell": "8b/vllm/u100"}


@pytest.mark.parametrize(
    "text",
    ["8b/vllm/u100", "70b-4bit/mlc-llm/u10-sys", "*/*/*@bentoml", "8b/*/*", "8b.w4a16/vllm/u1@bentoml"],
)
def test_addresses_are_read_and_written_alike(text: str) -> None:
    """Back and forth."""
    assert text == str(Address.model_validate(text))


def test_an_address_says_which_cell() -> None:
    """All of it."""
    one = Address.model_validate("8b/vllm/u100-sys@bentoml")

    assert ("8b", "vllm", 100, SystemPrompt.WITH, "bentoml") == (
        one.model, one.backend, one.users, one.system_prompt, one.serving,
    )  # fmt: skip
    assert one.is_one
    assert not Address.model_validate("8b/vllm/*").is_one


@pytest.mark.parametrize("text", ["", "8b/vllm", "8b/vllm/100", "8b/vllm/u0", "8b/vllm/u1/x", "a b/vllm/u1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """By its own words."""
    with pytest.raises(ValidationError, match="no address"):
        Address.model_validate(text)


@pytest.mark.parametrize(
    "test",
    [
        {"kind": "threshold", **RATE},
        {"kind": "threshold", **RATE, "above": 2, "below": 1},
        {"kind": "ratio", **RATE, "to": "8b/tgi/u100"},
        {"kind": "ratio", **RATE, "to": "8b/tgi/u100", "above": 1.0, "below": 1.0},
        {"kind": "value", **RATE, "value": 4000},
        {"kind": "value", **RATE, "value": 4000, "tolerance": 1.0},
        {"kind": "order", **RATE, "among": [], "best": "highest"},
        {"kind": "order", **RATE, "among": ["tgi"], "best": "highest", "places": 2},
        {"kind": "order", **RATE, "among": ["vllm"], "best": "highest"},
        {"kind": "trend", "figure": "ttft_mean_s", "cells": ["8b/vllm/u10"], "direction": "grows"},
        {
            "kind": "correlation",
            "figure": "tokens_per_s",
            "other": "gpu_busy_share",
            "cells": [],
            "least": 0.7,
        },
        {"kind": "guess", **RATE},
        {"kind": "value", **RATE, "value": 1, "tolerance": 0.1, "colour": "red"},
    ],
)
def test_predicates_that_say_nothing_are_refused(test: dict[str, Any]) -> None:
    """Strictly: also unknown fields."""
    with pytest.raises(ValidationError):
        PREDICATE.validate_python(test)


def test_a_claim_names_every_cell_that_it_needs() -> None:
    """Each once; rivals too."""
    order = {"kind": "order", **RATE, "among": ["tgi", "lmdeploy"], "best": "highest"}
    value = {"kind": "value", **RATE, "value": 1, "tolerance": 0.1}
    parts = [{"words": "a", "test": order}, {"words": "b", "test": value}]
    claim = Claim.model_validate({"id": "1", "title": "", "paraphrase": "", "source": "", "parts": parts})

    assert ["8b/vllm/u100", "8b/tgi/u100", "8b/lmdeploy/u100"] == [str(a) for a in claim.cells]
    ratio = PREDICATE.validate_python({"kind": "ratio", **RATE, "to": "8b/tgi/u10", "above": 1})
    assert ["8b/vllm/u100", "8b/tgi/u10"] == [str(a) for a in addresses(ratio)]


def test_a_confounder_touches_what_it_names() -> None:
    """And everything where it names nothing."""
    cell = Address.model_validate("8b/vllm/u100")
    every = Confounder(id="a", text="", source="")

    assert every.touches(cell)
    assert every.model_copy(update={"backends": ("vllm",), "models": ("8b",)}).touches(cell)
    assert not every.model_copy(update={"backends": ("tgi",)}).touches(cell)
    assert not every.model_copy(update={"models": ("70b-4bit",)}).touches(cell)
