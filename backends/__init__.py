"""Every engine that levelbench can deploy, and every serving layer before one: found by name, each a file or a
folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TypeVar

from backends.contract import Backend, ServingLayer

DEFAULT = "llama-cpp"  # what a bare `make bench` measures: a second to install, no GPU
NATIVE = "native"  # no serving layer: the engine's own server is asked

_FOLDER = Path(__file__).parent
_NOT_ADAPTERS = {"contract", "options", "serving"}
_T = TypeVar("_T")


def load_backends() -> dict[str, Backend]:
    """Name -> adapter, sorted by name. A new file in this folder is all that a new engine needs."""
    found = [_only(f"backends.{name}", Backend) for name in _names()]  # type: ignore[type-abstract]
    return {backend.name: backend for backend in sorted(found, key=lambda b: b.name)}


def load_layers() -> dict[str, ServingLayer]:
    """Name -> serving layer, sorted by name. A new file under serving/ is all that a new one needs."""
    names = {path.stem for path in (_FOLDER / "serving").glob("[!_]*.py")}
    found = [_only(f"backends.serving.{name}", ServingLayer) for name in names]  # type: ignore[type-abstract]
    return {layer.name: layer for layer in sorted(found, key=lambda layer: layer.name)}


def _names() -> set[str]:
    files = {path.stem for path in _FOLDER.glob("[!_]*.py")}
    folders = {path.parent.name for path in _FOLDER.glob("*/__init__.py")}
    return (files | folders) - _NOT_ADAPTERS


def _only(name: str, kind: type[_T]) -> _T:
    """An object of the one class of that kind which a module defines."""
    module = import_module(name)
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
    ]
    (found,) = classes
    return found()
