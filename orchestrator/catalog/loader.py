"""Reads the catalogue's TOML into values; a mistake in it is a RequestError that names its place."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from backends import NATIVE, load_layers
from backends.contract import ServingLayer, Value, WeightsFormat
from orchestrator.domain.model import Family, Model, QuantizedOrigin
from orchestrator.domain.workload import Workload
from orchestrator.errors import RequestError, unknown
from quantize.methods import METHODS, quantised_bytes, refuses

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).parent
_V = TypeVar("_V", bound=Value)


def model(model_id: str) -> Model:
    """The model of that id; RequestError with the nearest name otherwise."""
    return _pick("model", model_id, models())


def workload(workload_id: str) -> Workload:
    """The workload of that id, or the one in a TOML file of a person's; RequestError otherwise."""
    if workload_id.endswith(".toml"):
        return _own_workload(Path(workload_id))
    return _pick("workload", workload_id, workloads())


def choices(name: str) -> tuple[Model, ...]:
    """The models that a name stands for, the preferred one first: a family's, or the one of that id."""
    if name in families():
        return tuple(model(model_id) for model_id in families()[name].models)
    if name in models():
        return (models()[name],)
    base, dot, method = name.rpartition(".")
    if dot and base in models():
        return (quantized(models()[base], method),)
    raise unknown("model", base or name, [*models(), *families()])


def quantized(base: Model, method_id: str) -> Model:
    """`<model>.<method>`: the model whose weights that method makes. RequestError for an unknown method, or
    a model that it cannot start from."""
    if method_id not in METHODS:
        raise unknown("method", method_id, METHODS)
    method = METHODS[method_id]
    refusal = refuses(method, base.traits)
    if refusal is not None:
        instead = refusal.alternative or "another model"
        raise RequestError(refusal.reason, hint=f"take {instead}")
    return Model(
        id=f"{base.id}.{method.id}",
        title=f"{base.title}; {method.title}",
        quantized=QuantizedOrigin(base=base, method=method.id),
        formats=(WeightsFormat.SAFETENSORS,),
        quantization=method.makes,
        dtype="float16",
        parameters=base.parameters,
        weights_bytes=quantised_bytes(method, base.traits),
        context_tokens=base.context_tokens,
        kv_token_bytes=base.kv_token_bytes,
        architecture=base.architecture,
    )


@cache
def families() -> dict[str, Family]:
    return read(_FOLDER / "families.toml", Family)


@cache
def models() -> dict[str, Model]:
    return read(_FOLDER / "models.toml", Model)


@cache
def workloads() -> dict[str, Workload]:
    return read(_FOLDER / "workloads.toml", Workload)


def _own_workload(path: Path) -> Workload:
    """The only table of a file; a path of prompts in it begins at the file's folder."""
    found = tuple(read(path, Workload).values())
    if len(found) != 1:
        raise RequestError(
            f"{path} has {len(found)} workloads", hint="a file holds one: [name], then its fields"
        )
    prompts = found[0].prompts
    if prompts.path is None or prompts.repository is not None:
        return found[0]
    absolute = prompts.model_copy(update={"path": str((path.parent / prompts.path).absolute())})
    return found[0].model_copy(update={"prompts": absolute})


def read(path: Path, kind: type[_V]) -> dict[str, _V]:
    """One table per entry, its key being the id."""
    _, tables = parsed(path)
    return {key: _entry(f"{path.name} [{key}]", kind, key, table) for key, table in tables.items()}


def serving_layer(name: str) -> ServingLayer | None:
    """The layer in `bentoml` or `bentoml@2024-06`; None for `native`. RequestError for one that is not there."""
    layers = load_layers()
    layer_name = name.partition("@")[0]
    if name == NATIVE:
        return None
    if layer_name not in layers:
        raise unknown("serving layer", layer_name, [NATIVE, *layers])
    return layers[layer_name]


def parsed(path: Path) -> tuple[str, dict[str, Any]]:
    """A TOML file's text and what stands in it. RequestError where there is none, or it is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {path}: {error}", hint="name a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path.name} is not TOML: {error}", hint="mend the line that is named") from error


def _entry(place: str, kind: type[_V], key: str, table: object) -> _V:
    try:
        return kind.model_validate({"id": key, **table} if isinstance(table, dict) else table)
    except ValidationError as error:
        raise RequestError(
            f"{place}: {faults(error)}", hint=f"fields are those of {kind.__name__}"
        ) from error


def faults(error: ValidationError) -> str:
    """All of them in words, each with the field that it is of."""
    each = [(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in error.errors()]
    return "; ".join(f"{place}: {text}" if place else text for place, text in each)


def _pick(kind: str, name: str, known: dict[str, _V]) -> _V:
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]
