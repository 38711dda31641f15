"""What can be made: the shape of each synthetic model, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backends.contract import Quantization


@dataclass(frozen=True)
class Recipe:
    """One synthetic model of the Llama architecture.

    `seed` names the random streams, so two recipes with one seed have the same weights. The two
    logit figures were measured once per seed: `bias_gain` is what the constant hidden dimension
    amounts to after the last norm, and with `eot_logit` <|eot_id|> comes about every 150th token at
    temperature 1.
    """

    name: str
    seed: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    bias_gain: float
    eot_logit: float
    quantization: Quantization = Quantization.NONE
    head_dim: int = 64
    vocabulary: int = 4096
    context_tokens: int = 8192
    rope_theta: float = 500000.0
    norm_epsilon: float = 1e-5

    @property
    def parameters(self) -> int:
        """How many weights the model has before quantisation."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return 2 * self.vocabulary * self.hidden + self.layers * layer + self.hidden


TINY = Recipe(
    name="tiny",
    seed="tiny",
    layers=2,
    hidden=256,
    intermediate=512,
    heads=4,
    kv_heads=2,
    bias_gain=5.07,
    eot_logit=6.42,
)
TINY_AWQ = replace(TINY, name="tiny-awq", quantization=Quantization.AWQ)
SMALL = Recipe(
    name="small",
    seed="small",
    layers=12,
    hidden=768,
    intermediate=2048,
    heads=12,
    kv_heads=4,
    bias_gain=2.70,
    eot_logit=6.8,
)
RECIPES = {recipe.name: recipe for recipe in (TINY, SMALL, TINY_AWQ)}


def named(name: str) -> Recipe:
    """The recipe of that name."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
