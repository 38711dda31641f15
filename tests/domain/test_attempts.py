"""What is tried again, and what is not tried any more."""

from __future__ import annotations

import pytest

from backends.contract import FailureCause
from orchestrator.domain.attempts import hopeless, tried_again
from orchestrator.domain.result import Failure, Phase, Result
from tests.report import made


def failed(
    backend: str = "vllm",
    phase: Phase = Phase.READY,
    cause: FailureCause = FailureCause.MEMORY_WEIGHTS,
    message: str = "died",
    *,
    skipped: bool = False,
) -> tuple[Result, ...]:
    """A group both of whose cells failed alike."""
    failure = Failure(phase=phase, cause=cause, message=message, skipped=skipped)
    cells = [made.cell(backend, users) for users in (1, 4)]
    return tuple(Result(cell=c, started_at="2026-11-23T04:31:00Z", failure=failure) for c in cells)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("cause", FailureCause)
@pytest.mark.parametrize("attempt", [1, 2])
def test_only_what_may_be_over_before_measuring_is_tried_once_more(
    phase: Phase, cause: FailureCause, attempt: int
) -> None:
    """Never a load, never what would fail the same way, never a third time."""
    before = phase not in (Phase.GATE, Phase.MEASURE, Phase.DOWN)
    passing = cause in (FailureCause.PORT_IN_USE, FailureCause.KILLED)

    assert (before and passing and attempt == 1) is tried_again(phase, cause, attempt)


def test_the_second_identical_failure_is_the_last() -> None:
    """The third group of that engine and model is not tried, with the failure as its reason."""
    group = made.group("vllm")

    assert hopeless(group, [failed()]) is None
    found = hopeless(group, [failed(), failed()])
    assert found is not None
    assert FailureCause.MEMORY_WEIGHTS is found.cause


@pytest.mark.parametrize(
    "other",
    [
        failed("sglang"),
        failed(phase=Phase.UP),
        failed(cause=FailureCause.BAD_FLAG),
        failed(skipped=True),
    ],
)
def test_failures_that_differ_are_not_the_same(other: tuple[Result, ...]) -> None:
    """In engine, phase or cause; what was not tried is no failure of its own."""
    assert hopeless(made.group("vllm"), [failed(), other]) is None


def test_another_engine_or_model_is_tried() -> None:
    """What is broken is one engine with one model."""
    twice = [failed(), failed()]

    assert hopeless(made.group("sglang"), twice) is None
    assert hopeless(made.group("vllm", model="8b"), twice) is None
    assert hopeless(made.group("vllm", release="2024-06"), twice) is None


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("port 81 is silent", "port 4023 is silent", True),
        ("port 81 is silent", "it ended with 1", False),
    ],
)
def test_a_cause_that_is_not_known_is_told_by_its_words(first: str, second: str, same: bool) -> None:
    """Without the numbers in them."""
    ended = [failed(cause=FailureCause.UNKNOWN, message=text) for text in (first, second)]

    assert same is (hopeless(made.group("vllm"), ended) is not None)


def test_a_group_that_came_to_figures_is_not_broken() -> None:
    """One cell that failed under load proves nothing about the start."""
    figures = made.result(made.cell(), made.load(1, ttft_s=0.1, gap_s=0.05, tokens=10))
    mixed = (figures, failed("llama-cpp", Phase.MEASURE)[0])

    assert hopeless(made.group("llama-cpp"), [mixed, mixed, mixed]) is None
