"""The article's qualitative table, as printed, then and now, out of the adapters."""

from __future__ import annotations

from backends import load_backends
from backends.contract import Column, Printed
from orchestrator.report.qualitative import PRINTED, Difference, Row, differences, qualitative, section
from tests.fakes.backend import FakeBackend
from tests.runtime import made

BACKENDS = load_backends()
ROW = Printed(
    quantization="q",
    hardware="h",
    releases="r",
    compile_step="c",
    effort="easy",
    differs={Column.HARDWARE: "any is true"},
)


def printed() -> FakeBackend:
    backend = FakeBackend("first")
    backend.printed = ROW
    backend.makes = (made.step(), made.step(id="second"))
    return backend


def test_the_engines_of_the_article_are_those_that_have_its_release() -> None:
    """Each with the row that was printed, and no other engine with one."""
    with_row = {name for name, backend in BACKENDS.items() if backend.printed is not None}
    with_release = {name for name, backend in BACKENDS.items() if backend.release("2024-06") is not None}

    assert with_release == with_row
    assert 5 == len(with_row)


def test_a_row_as_printed_comes_before_the_releases() -> None:
    """Its judgement in the last column; below it what is there to do, counted."""
    first, now, then = qualitative([printed()])

    assert Row("Fake", PRINTED, ("q", "h", "r", "c", "easy")) == first
    assert ("today: 1.0", "June 2024: 0.1") == (now.of, then.of)
    assert "2 commands first" == now.cells[-1]
    assert "none" == now.cells[0]


def test_an_engine_with_nothing_to_make_says_so() -> None:
    """Neither a command nor a file."""
    assert {"nothing first"} == {row.cells[-1] for row in qualitative([FakeBackend("first")])}


def test_engines_of_the_article_stand_first() -> None:
    """Then those that came after it, by name."""
    of = [row.engine for row in qualitative(BACKENDS.values())]

    assert ["llama.cpp", "SGLang"] == list(dict.fromkeys(of))[-2:]


def test_every_column_has_a_cell() -> None:
    """In every row of the real table, and none is empty."""
    for row in qualitative(BACKENDS.values()):
        assert len(Column) == len(row.cells)
        assert all(row.cells)


def test_differences_are_told_by_column() -> None:
    """In the data and below the table."""
    assert (Difference("Fake", Column.HARDWARE, "any is true"),) == differences([printed()])
    assert "- Fake, hardware: any is true" in section([printed()])
