"""The comparison of engines: every build a row, releases side by side, what was never seen said so."""

from __future__ import annotations

from backends.contract import Backend, Quantization, Source, loads
from orchestrator.report.backends import NOT_RUN, page
from tests.fakes.backend import FakeBackend


def fake(**changes: object) -> Backend:
    backend = FakeBackend("first")
    old, build = backend.releases[1], backend.releases[1].builds[0]
    changed = old.model_copy(update={"builds": (build.model_copy(update=changes),)})
    backend.releases = (changed, backend.releases[0])
    return backend


def row(text: str, release: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith("| first") and f"| {release}" in line)
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_build_is_told_with_all_that_it_takes() -> None:
    """Version, accelerator, image, runtimes, weights with the GPU that they need, and where it worked."""
    serves = (*loads((7, 0), Quantization.NONE), *loads((8, 0), Quantization.AWQ, Quantization.GPTQ))
    text = page([fake(packages=(), serves=serves, seen="process")])

    weights = ": 16 bits (7.0 and newer); awq, gptq (8.0 and newer)"
    assert ["first", "2024-06", "0.1", "cuda", "`nothing:1`", "docker", weights, "process"] == row(
        text, "2024-06"
    )


def test_what_never_ran_says_so() -> None:
    """No silence about a build that nobody has seen."""
    assert NOT_RUN == row(page([fake()]), "current")[-1]


def test_releases_stand_side_by_side() -> None:
    """June 2024 and today, each with its version."""
    text = page([fake()])

    assert "June 2024: 0.1 (cuda)" in text
    assert "today: 1.0 (cpu)" in text
    assert text.index("June 2024: 0.1") < text.index("today: 1.0")


def test_what_is_not_verified_is_kept_apart() -> None:
    """Under its own heading, after what was read."""
    text = page([fake(source=Source(text="a guess", verified=False))])

    assert text.index("Sources:") < text.index("Not verified:") < text.index("- June 2024: a guess")
