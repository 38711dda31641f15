"""Adapters -> the comparison of engines in docs/backends.md: what is built, what each release is like. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backends.contract import Backend, Build, Facts, Quantization, Release, Source
from orchestrator.report import qualitative
from orchestrator.report.layout import bullets, code, joined, table

END = "<!-- Above: what `levelbench backends` prints. Below: written by hand. -->"
NOT_RUN = "**not run on hardware**"

_INTRO = """\
# Engines

What each adapter deploys, as its own code says it: `levelbench backends` prints this page down to the mark below.
An image whose digest was never seen is named by its tag; the digest is recorded at the first pull and held to from
then on. What stands under "not verified" was read in documents or code of the project, or concluded from it, and was
never seen to hold."""
_ROWS = {
    "quantisation": "quantization",
    "hardware": "hardware",
    "releases": "releases",
    "compile step": "compile_step",
    "prefix cache": "prefix_cache",
    "defaults": "defaults",
    "SIGTERM": "stop",
    "own figures": "figures",
}


def page(backends: Iterable[Backend]) -> str:
    """Markdown: every build in one table, then one section an engine, its releases side by side."""
    every = tuple(backends)
    builds = [_build_row(b, r, build) for b in every for r in b.releases for build in r.builds]
    headings = (
        "backend",
        "release",
        "version",
        "on",
        "image or packages",
        "runtimes",
        "weights",
        "seen to work",
    )
    sections = [
        _INTRO,
        f"## Builds\n\n{table(headings, builds, texts=len(headings))}",
        qualitative.section(every),
    ]
    return "\n\n".join([*sections, *map(_section, every)]) + "\n"


def _build_row(backend: Backend, release: Release, build: Build) -> tuple[str, ...]:
    packages = ", ".join(code(package_set.lock) for package_set in build.packages)
    return (
        backend.name,
        release.id,
        build.version,
        build.accelerator.value,
        f"{packages} on {code(build.base)}" if packages else code(build.base),
        "docker, process" if build.packages else "docker",
        _weights(build),
        build.seen or NOT_RUN,
    )


def _weights(build: Build) -> str:
    """What it loads, with the compute capability that it takes."""
    by_need: dict[tuple[int, int] | None, list[str]] = {}
    for quantization, capability in build.serves:
        name = "16 bits" if quantization is Quantization.NONE else quantization.value
        by_need.setdefault(capability, []).append(name)
    kinds = [
        ", ".join(names) + (f" ({need[0]}.{need[1]} and newer)" if need else "")
        for need, names in by_need.items()
    ]
    return f"{', '.join(f.value for f in build.formats)}: {'; '.join(kinds)}"


def _section(backend: Backend) -> str:
    releases = backend.releases
    headings = ("", *(f"{_age(release)}: {_versions(release)}" for release in releases))
    rows = [(name, *(str(getattr(r.facts, field)) for r in releases)) for name, field in _ROWS.items()]
    rows.append(("profiles", *(", ".join(p.value for p in r.profiles) for r in releases)))
    parts = [f"## {backend.title}", table(headings, rows, texts=len(headings))]
    notes = [f"{_age(release)}: {note}" for release in releases for note in release.notes]
    if notes:
        parts.append(bullets(notes))
    told = [(release, source) for release in releases for source in _sources(release)]
    for label, verified in (("Sources", True), ("Not verified", False)):
        lines = [f"{_age(release)}: {source.text}" for release, source in told if source.verified is verified]
        if lines:
            parts.append(f"{label}:\n\n{bullets(lines)}")
    return "\n\n".join(parts)


def _sources(release: Release) -> Iterator[Source]:
    facts: Facts = release.facts
    yield from facts.sources
    yield from (build.source for build in release.builds)


def _age(release: Release) -> str:
    return qualitative.AGES.get(release.id, release.id)


def _versions(release: Release) -> str:
    return joined([f"{build.version} ({build.accelerator.value})" for build in release.builds])
