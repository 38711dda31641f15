"""Every engine that levelbench can deploy: one adapter file each, found by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from backends.contract import Backend

DEFAULT = "llama-cpp"  # what a bare `make bench` measures: a second to install, no GPU

_NOT_ADAPTERS = {"__init__", "contract"}


def load_backends() -> dict[str, Backend]:
    """Name -> adapter, sorted by name. A new file in this folder is all that a new engine needs."""
    stems = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in _NOT_ADAPTERS)
    found = [_adapter(stem) for stem in stems]
    return {backend.name: backend for backend in sorted(found, key=lambda b: b.name)}


def _adapter(stem: str) -> Backend:
    module = import_module(f"backends.{stem}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Backend) and value.__module__ == module.__name__
    ]
    (adapter,) = classes
    backend: Backend = adapter()
    return backend
