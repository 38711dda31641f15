"""A model of the catalogue: where its weights come from and what they are."""

from __future__ import annotations

from pydantic import Field

from backends.contract import ModelTraits, Quantization, Value, WeightsFormat


class HubOrigin(Value):
    """Weights on the Hugging Face hub, at one revision (a commit hash)."""

    repository: str
    revision: str
    gated: bool


class MadeOrigin(Value):
    """Weights made here by `quantize`: `recipe` names the shape, identical on every machine."""

    recipe: str


class Model(Value):
    """One entry of catalog/models.toml."""

    id: str
    title: str
    hub: HubOrigin | None = None
    made: MadeOrigin | None = None
    quantized: QuantizedOrigin | None = None
    formats: tuple[WeightsFormat, ...]
    quantization: Quantization
    dtype: str
    parameters: int
    weights_bytes: int
    served_bytes: int | None = Field(
        default=None, description="in the engine's memory, where its own tool compresses the weights first"
    )
    context_tokens: int
    kv_token_bytes: int | None = None
    architecture: str = "LlamaForCausalLM"

    @property
    def source(self) -> Model:
        """The model whose weights are made or fetched: itself, unless it is quantised from another."""
        return self.quantized.base if self.quantized is not None else self

    @property
    def is_gated(self) -> bool:
        """Whether its weights need a token of somebody who accepted its licence."""
        return self.hub is not None and self.hub.gated

    @property
    def folder(self) -> str:
        """The last part of the path under which engines find the weights; some read a name out of it."""
        if self.quantized is not None:
            return f"{self.quantized.base.folder}-{self.quantized.method}"
        return self.hub.repository.rpartition("/")[2] if self.hub is not None else self.id

    @property
    def origin(self) -> str:
        """The step that brings the weights, in one line."""
        if self.quantized is not None:
            return self.quantized.base.origin
        if self.made is not None:
            return f"make {self.id} here: recipe {self.made.recipe}, random weights, byte-identical each time"
        if self.hub is None:
            return "no origin"
        gated = ", gated: needs HF_TOKEN" if self.hub.gated else ""
        return f"fetch {self.hub.repository}@{self.hub.revision} ({self.weights_bytes / 1e9:.1f} GB{gated})"

    @property
    def traits(self) -> ModelTraits:
        return ModelTraits(
            id=self.id,
            served_name=self.id,
            folder=self.folder,
            formats=self.formats,
            quantization=self.quantization,
            dtype=self.dtype,
            parameters=self.parameters,
            weights_bytes=self.weights_bytes,
            served_bytes=self.served_bytes or self.weights_bytes,
            context_tokens=self.context_tokens,
            kv_token_bytes=self.kv_token_bytes,
            architecture=self.architecture,
        )


class QuantizedOrigin(Value):
    """Weights that a method of `quantize/methods.py` makes of another model's."""

    base: Model
    method: str


class Family(Value):
    """A name under which different weights of the same model are compared: each engine gets the first of
    `models` that it serves, as the published benchmark gave each its own 4-bit scheme."""

    id: str
    title: str
    models: tuple[str, ...] = Field(min_length=1)


Model.model_rebuild()
