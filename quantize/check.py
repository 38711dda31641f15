"""Reads a quantised checkpoint back, with numpy alone, and compares it with the 16-bit one it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantize.layouts import Form, Layout, Parts
from quantize.tensors import Floats, Tensor, tensors

SHOWN = 5

# An AWQ tool may move a factor of each channel from a layer's inputs into what produces them: a norm's
# weight, or the rows of the layer before. The function stays the same, the matrices do not.
_NORM = {
    "self_attn.q_proj": "input_layernorm",
    "self_attn.k_proj": "input_layernorm",
    "self_attn.v_proj": "input_layernorm",
    "mlp.gate_proj": "post_attention_layernorm",
    "mlp.up_proj": "post_attention_layernorm",
}
_BEFORE = {"mlp.down_proj": "mlp.up_proj", "self_attn.o_proj": "self_attn.v_proj"}


class BadCheckpointError(ValueError):
    """A checkpoint is not what its method promises; every fault stands in the text."""


@dataclass(frozen=True)
class Checked:
    """Of each linear layer: the relative error of its dequantised matrix (Frobenius norm)."""

    errors: Mapping[str, float]

    @property
    def worst(self) -> float:
        return max(self.errors.values())


def check(quantised: Path, original: Path, layout: Layout) -> Checked:
    """The errors of a sound checkpoint. BadCheckpointError names all that is wrong with another."""
    new, old = tensors(quantised), tensors(original)
    linear = _linear(old)
    faults = [*_config_faults(quantised, layout), *_tensor_faults(new, old, linear, layout)]
    if faults:
        raise _bad(quantised, layout, faults)
    errors = _Comparison(new, old, layout).errors(linear)
    above = [
        f"{n}: error {e:.3f} is above {layout.error}" for n, e in errors.items() if not e <= layout.error
    ]
    if above:
        raise _bad(quantised, layout, above)
    return Checked(errors)


def _bad(folder: Path, layout: Layout, faults: list[str]) -> BadCheckpointError:
    rest = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return BadCheckpointError(f"{folder.name} is no sound {layout.name}: {'; '.join(faults[:SHOWN])}{rest}")


def _linear(old: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Every linear layer inside the blocks; embedding, norms and lm_head keep their 16 bits."""
    return tuple(n.removesuffix(".weight") for n in old if n.endswith("_proj.weight"))


def _config_faults(folder: Path, layout: Layout) -> Iterator[str]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"config.json cannot be read: {error}"
        return
    stated = config.get("quantization_config", {})
    for key, wanted in layout.config.items():
        if stated.get(key) != wanted:
            yield f"config.json says {key} {stated.get(key)!r}, not {wanted!r}"


def _tensor_faults(
    new: Mapping[str, Tensor], old: Mapping[str, Tensor], linear: tuple[str, ...], layout: Layout
) -> Iterator[str]:
    wanted: dict[str, Form] = {
        n: ((t.dtype, "F16"), t.shape) for n, t in old.items() if n.removesuffix(".weight") not in linear
    }
    optional = {f"{name}.{part}" for name in linear for part in layout.optional}
    for name in linear:
        outputs, inputs = old[f"{name}.weight"].shape
        wanted |= {f"{name}.{part}": form for part, form in layout.parts(outputs, inputs).items()}
    yield from (f"{name} is not expected" for name in new if name not in wanted)
    for name, (dtypes, shape) in wanted.items():
        found = new.get(name)
        if found is None:
            if name not in optional:
                yield f"{name} is missing"
        elif found.shape != shape:
            yield f"{name} has shape {list(found.shape)}, not {list(shape)}"
        elif found.dtype not in dtypes:
            yield f"{name} is {found.dtype}, not {' or '.join(dict.fromkeys(dtypes))}"


@dataclass(frozen=True)
class _Comparison:
    new: Mapping[str, Tensor]
    old: Mapping[str, Tensor]
    layout: Layout

    def errors(self, linear: tuple[str, ...]) -> dict[str, float]:
        return {name: self._error(name) for name in linear}

    def _error(self, name: str) -> float:
        wanted = self._original(name)
        rows = self._moved_out(name)
        error = self._function(name) / rows[:, None] - wanted
        return float(np.linalg.norm(error) / np.linalg.norm(wanted))

    def _original(self, name: str) -> Floats:
        return self.old[f"{name}.weight"].floats()

    def _function(self, name: str) -> Floats:
        """The dequantised matrix over the original inputs: what was moved into their producer is undone."""
        return self._dequantised(name) * self._moved_in(name)

    def _dequantised(self, name: str) -> Floats:
        parts: Parts = {
            n.removeprefix(f"{name}."): t for n, t in self.new.items() if n.startswith(f"{name}.")
        }
        return self.layout.dequantise(parts)

    def _moved_in(self, name: str) -> Floats:
        """The factor by input that now stands in the norm or the layer before."""
        block, kind = _split(name)
        if kind in _NORM:
            norm = f"{block}.{_NORM[kind]}.weight"
            was, now = self.old[norm].floats(), self.new[norm].floats()
            return np.divide(now, was, out=np.ones_like(now), where=was != 0)
        before = f"{block}.{_BEFORE[kind]}"
        inputs = self.old[f"{name}.weight"].shape[1]
        factor = self._moved_out(before)
        return factor if factor.size == inputs else np.ones(inputs, np.float32)

    def _moved_out(self, name: str) -> Floats:
        """The factor by output that a layer carries for the next: rows against the original's, least squares."""
        block, kind = _split(name)
        outputs = self.old[f"{name}.weight"].shape[0]
        carrying = [after for after, before in _BEFORE.items() if before == kind]
        if not carrying or self.old[f"{block}.{carrying[0]}.weight"].shape[1] != outputs:
            return np.ones(outputs, np.float32)
        wanted, found = self._original(name), self._function(name)
        power = (wanted**2).sum(axis=1)
        factor = np.divide((wanted * found).sum(axis=1), power, out=np.ones_like(power), where=power > 0)
        return np.asarray(np.where(factor == 0, 1, factor))


def _split(name: str) -> tuple[str, str]:
    block, module, projection = name.rsplit(".", 2)
    return block, f"{module}.{projection}"
