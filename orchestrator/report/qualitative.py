"""Adapters -> the article's qualitative table: as it was printed, at its releases, and today. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backends.contract import (
    Accelerator,
    Backend,
    Build,
    Column,
    HostTraits,
    Profile,
    Release,
    Setup,
)
from orchestrator.catalog import loader
from orchestrator.report.layout import bullets, joined, table
from orchestrator.report.units import count

PRINTED = "the article"
HEADINGS = ("engine", "as of", *(column.value for column in Column))
AGES = {"2024-06": "June 2024", "current": "today"}
_INTRO = """\
The table of the published benchmark, three times an engine: as it was printed (in our words), as the code of the
release that it ran says, and as today's does. The last column is its judgement of the learning curve; in the other
rows it counts what our adapter runs and writes before the engine can serve the 8B model."""
# The article's own machine and model: what there is to do before an engine serves depends on them
_MODELS = {Accelerator.CUDA: "8b", Accelerator.CPU: "small"}
_HOSTS = {
    Accelerator.CPU: HostTraits(accelerator=Accelerator.CPU, cpus=8, memory_bytes=32 * 2**30),
    Accelerator.CUDA: HostTraits(
        accelerator=Accelerator.CUDA,
        cpus=32,
        memory_bytes=256 * 2**30,
        gpu_memory_bytes=80 * 2**30,
        compute_capability=(8, 0),
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One engine at one time; `of` is PRINTED, or an age with its version. `cells` are in the order of Column."""

    engine: str
    of: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the article's row and the code of the release that it ran are not the same."""

    engine: str
    column: Column
    text: str


def qualitative(backends: Iterable[Backend]) -> tuple[Row, ...]:
    """Every row: the engines that the article compared, then those that came after."""
    ordered = sorted(backends, key=lambda backend: (backend.printed is None, backend.name))
    return tuple(row for backend in ordered for row in _rows(backend))


def rows(backends: Iterable[Backend]) -> list[tuple[str, ...]]:
    """The same as texts, under HEADINGS."""
    return [(row.engine, row.of, *row.cells) for row in qualitative(backends)]


def differences(backends: Iterable[Backend]) -> tuple[Difference, ...]:
    return tuple(
        Difference(backend.title, column, text)
        for backend in backends
        if backend.printed is not None
        for column, text in backend.printed.differs.items()
    )


def section(backends: Iterable[Backend]) -> str:
    """Markdown: the table, then what differs."""
    every = tuple(backends)
    told = [f"{d.engine}, {d.column.value}: {d.text}" for d in differences(every)]
    parts = [
        "## The article's table, then and now",
        _INTRO,
        table(HEADINGS, rows(every), texts=len(HEADINGS)),
    ]
    return "\n\n".join([*parts, f"Where the code differs from what was printed:\n\n{bullets(told)}"])


def _rows(backend: Backend) -> Iterator[Row]:
    p = backend.printed
    if p is not None:
        cells = (p.quantization, p.hardware, p.releases, p.compile_step, p.effort)
        yield Row(backend.title, PRINTED, cells)
    for release in backend.releases:
        f = release.facts
        versions = joined([build.version for build in release.builds])
        cells = (f.quantization, f.hardware, f.releases, f.compile_step, _effort(backend, release))
        yield Row(backend.title, f"{AGES.get(release.id, release.id)}: {versions}", cells)


def _effort(backend: Backend, release: Release) -> str:
    """Steps and files before the engine serves, on its GPU build where it has one."""
    build = release.build(Accelerator.CUDA) or release.builds[0]
    steps = backend.steps(_setup(build))
    files = sum(len(launch.files) for launch in (*steps, backend.serve(_setup(build))))
    words = [count(len(steps), "command")] if steps else []
    words += [f"{count(files, 'file')} to write"] if files else []
    return joined(words) + " first" if words else "nothing first"


def _setup(build: Build) -> Setup:
    model = loader.choices(_MODELS[build.accelerator])[0]
    return Setup(build=build, model=model.traits, profile=Profile.DEFAULTS, host=_HOSTS[build.accelerator])
