"""Every serving layer that can stand before an engine: a file each, found by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from backends.contract import ServingLayer

NATIVE = "native"  # no layer: the engine's own server is asked


def load_layers() -> dict[str, ServingLayer]:
    """Name -> layer, sorted by name."""
    found = [_layer(path.stem) for path in Path(__file__).parent.glob("[!_]*.py")]
    return {layer.name: layer for layer in sorted(found, key=lambda found: found.name)}


def _layer(name: str) -> ServingLayer:
    module = import_module(f"backends.serving.{name}")
    (kind,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServingLayer) and value.__module__ == module.__name__
    )
    layer: ServingLayer = kind()
    return layer
