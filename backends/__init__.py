"""Every engine that levelbench can deploy: an adapter each, a file or a folder, found by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from backends.contract import Backend

DEFAULT = "llama-cpp"  # what a bare `make bench` measures: a second to install, no GPU

_NOT_ADAPTERS = {"contract", "options", "serving"}


def load_backends() -> dict[str, Backend]:
    """Name -> adapter, sorted by name. A new file in this folder is all that a new engine needs."""
    found = [_adapter(name) for name in _names()]
    return {backend.name: backend for backend in sorted(found, key=lambda b: b.name)}


def _names() -> set[str]:
    folder = Path(__file__).parent
    files = {path.stem for path in folder.glob("[!_]*.py")}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    return (files | folders) - _NOT_ADAPTERS


def _adapter(name: str) -> Backend:
    module = import_module(f"backends.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Backend) and value.__module__ == module.__name__
    ]
    (adapter,) = classes
    backend: Backend = adapter()
    return backend
