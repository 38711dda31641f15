"""The rules of the design that a machine can hold: who may import whom, sizes, docs, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import load_backends
from tests.goldens import CASES, STEP_IMAGES

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = load_backends()

# Layers, lowest first; a module may import its own layer's packages and those below (DESIGN.md, section 3).
LAYERS = (
    ("backends.contract",),
    ("backends", "quantize"),
    ("orchestrator.errors",),
    ("orchestrator.domain",),
    (
        "orchestrator.render",
        "orchestrator.pace",
        "orchestrator.report",
        "orchestrator.catalog",
        "orchestrator.options",
    ),
    (
        "orchestrator.runtime",
        "orchestrator.host",
        "orchestrator.load",
        "orchestrator.store",
        "orchestrator.artifacts",
        "orchestrator.hub",
        "orchestrator.fetch",
        "orchestrator.steps",
        "orchestrator.dolly",
        "orchestrator.datasets",
        "orchestrator.ready",
        "orchestrator.endpoint",
        "orchestrator.drawing",
        "orchestrator.interrupts",
        "orchestrator.console",
        "orchestrator.launching",
        "orchestrator.layering",
        "orchestrator.planning",
        "orchestrator.refusals",
        "orchestrator.matrix",
        "orchestrator.quantizing",
        "orchestrator.notify",
        "orchestrator.retrospect",
        "orchestrator.timer",
    ),
    (
        "orchestrator.recount",
        "orchestrator.basis",
        "orchestrator.ends",
        "orchestrator.judging",
        "orchestrator.limits",
        "orchestrator.literal",
        "orchestrator.measure",
        "orchestrator.passing",
        "orchestrator.kit",
        "orchestrator.group",
        "orchestrator.budgets",
        "orchestrator.bench",
        "orchestrator.confirming",
        "orchestrator.selftest",
    ),
    (
        "orchestrator.invocation",
        "orchestrator.loading",
        "orchestrator.nights",
        "orchestrator.reproduce",
        "orchestrator.fleet",
    ),
    ("orchestrator.cli",),
)
ONLY_IMPORTERS: dict[str, str | tuple[str, ...]] = {
    "docker": "orchestrator.runtime",
    "subprocess": "orchestrator.runtime",
    "pynvml": "orchestrator.host",
    "asyncio": "nobody",  # the data plane is an epoll loop of its own (docs/decisions/0005-data-plane.md)
    "select": "orchestrator.load",
    "httptools": "orchestrator.load",
    "sqlite3": "orchestrator.store",
    "tenacity": ("orchestrator.ready", "orchestrator.notify"),
    "typer": "orchestrator.cli",
}
ADAPTERS_MAY_IMPORT = {"__future__", "abc", "backends", "collections", "enum", "json", "pydantic", "re"}
SOURCES = sorted(p for top in ("backends", "orchestrator", "quantize") for p in (ROOT / top).rglob("*.py"))
LONGEST_FILE = 400
LONGEST_ADAPTER = 200


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> int | None:
    """The highest layer whose prefix fits best; None for what is not ours."""
    best = max(
        ((len(prefix), i) for i, row in enumerate(LAYERS) for prefix in row if within(name, prefix)),
        default=None,
    )
    return None if best is None else best[1]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_imports_point_down(path: Path) -> None:
    """A module imports from its own layer or from below."""
    own = layer(module(path))
    if module(path) == "orchestrator":
        return
    assert own is not None, f"{module(path)} stands in no layer: give it one in LAYERS"
    above = {name for name in imports(path) if (other := layer(name)) is not None and other > own}

    assert set() == above


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_foreign_libraries_have_one_border(path: Path) -> None:
    """docker, subprocess, NVML and epoll are each imported in one place only."""
    tops = {name.split(".")[0] for name in imports(path)}
    strays = {t for t in tops if t in ONLY_IMPORTERS and not _may(module(path), ONLY_IMPORTERS[t])}

    assert set() == strays


def _may(name: str, importers: str | tuple[str, ...]) -> bool:
    return any(within(name, one) for one in ((importers,) if isinstance(importers, str) else importers))


@pytest.mark.parametrize("path", sorted((ROOT / "backends").glob("*/*.py")), ids=module)
def test_a_folder_of_an_adapter_is_flat(path: Path) -> None:
    """An adapter is a file, or a folder of files where its releases differ too much for one."""
    assert (path.parent / "__init__.py").is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=module)
def test_adapters_are_pure(path: Path) -> None:
    """An adapter imports the contract and values, nothing that reads a clock, a file or the network."""
    if module(path) == "backends":
        return
    assert {name.split(".")[0] for name in imports(path)} <= ADAPTERS_MAY_IMPORT


@pytest.mark.parametrize("path", sorted((ROOT / "orchestrator").rglob("*.py")), ids=module)
def test_no_backend_is_named_in_the_orchestrator(path: Path) -> None:
    """What one engine needs is said in its adapter: extend the contract instead of naming an engine."""
    if module(path) == "orchestrator.selftest.peers":
        return  # it names other load clients, one of which comes with an engine
    text = path.read_text(encoding="utf-8").lower()
    names = {n for backend in BACKENDS for n in (backend, backend.replace("-", "_"))}
    found = {n for n in names if re.search(rf"\b{re.escape(n)}\b", text)}

    assert set() == found


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_files_are_short(path: Path) -> None:
    """No module passes 400 lines, no file of an adapter 200."""
    limit = LONGEST_ADAPTER if path.is_relative_to(ROOT / "backends") else LONGEST_FILE

    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_is_whole(name: str) -> None:
    """An engine is one adapter, one template, one golden file and one row of docs."""
    assert (ROOT / "dockerfiles" / f"{name}.Dockerfile.j2").is_file()
    assert list((ROOT / "tests" / "golden").glob(f"{name}-*")), "no golden file"
    docs = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {re.escape(name)} +\|", docs, re.MULTILINE), "no row in docs/backends.md"


def test_every_template_has_an_adapter() -> None:
    """No template is left behind: an engine's image or one of its steps' is made from it."""
    images = [case.backend.image(case.build) for case in CASES]
    named = {image.template for image in (*images, *STEP_IMAGES.values())}

    assert named == {p.name for p in (ROOT / "dockerfiles").glob("*.Dockerfile.j2")}


def test_make_targets_are_documented() -> None:
    """`make help` lists every target."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    documented = set(re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE))

    assert set(phony.split()) == documented


def test_top_level_is_the_agreed_one() -> None:
    """The folders that the project's owner fixed are there."""
    tops = {"orchestrator", "backends", "dockerfiles", "quantize", "tests", "docs"}
    files = {
        "pyproject.toml",
        "Makefile",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        ".ci/run",
    }

    assert set() == {name for name in tops if not (ROOT / name).is_dir()}
    assert set() == {name for name in files if not (ROOT / name).is_file()}
