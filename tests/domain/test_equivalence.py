"""Equivalence by two one-sided tests: what each verdict takes, and how often it is wrong."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from orchestrator.domain import equivalence
from orchestrator.domain.equivalence import MARGINS, Answer, Basis, Equivalence, Trial, effect, overall
from orchestrator.domain.intervals import student
from orchestrator.domain.multiplicity import holm
from orchestrator.domain.reading import Figure, Reading
from orchestrator.domain.student import quantile

RATE = Figure.TOKEN_RATE


def reading(value: float, deviation: float = 0.01, blocks: float = 20.0) -> Reading:
    """A figure whose logarithm moves by that much, with the interval that a run would state."""
    reach = exp(student(blocks - 1) * deviation)
    return Reading(value, value / reach, value * reach, blocks)


def judged(first: list[Reading], second: list[Reading]) -> Equivalence:
    return equivalence.test({"x": Trial(RATE, first, second)})["x"]


def test_an_interval_gives_back_what_it_was_made_of() -> None:
    """The deviation of the logarithm, and its degrees of freedom."""
    spread = reading(1000.0, 0.02, 12.0).spread

    assert spread is not None
    assert 0.02 == pytest.approx(spread.deviation)
    assert 11.0 == spread.freedom


@pytest.mark.parametrize(
    ("ratio", "deviation", "answer"),
    [
        (1.0, 0.005, Answer.EQUIVALENT),
        (1.03, 0.005, Answer.EQUIVALENT),
        (1 / 1.03, 0.005, Answer.EQUIVALENT),
        (1.05, 0.005, Answer.UNDECIDED),
        (1.0, 0.05, Answer.UNDECIDED),
        (1.08, 0.005, Answer.DIFFERENT),
        (1 / 1.08, 0.005, Answer.DIFFERENT),
        (1.08, 0.05, Answer.UNDECIDED),
    ],
)
def test_two_runs(ratio: float, deviation: float, answer: Answer) -> None:
    """Same within the margin of 5 %, beyond it, or not to be told."""
    found = judged([reading(1000.0, deviation)], [reading(1000.0 * ratio, deviation)])

    assert answer is found.answer
    assert Basis.WITHIN is found.basis
    assert found.low < ratio < found.high


def test_equivalent_exactly_when_the_interval_of_90_percent_lies_within_the_margin() -> None:
    """The two ways to say it agree on both sides of the bound, to a hair."""
    answers = set()
    for ratio in np.linspace(1.02, 1.045, 200):
        found = judged([reading(1000.0)], [reading(1000.0 * float(ratio))])
        inside = found.high <= 1 + MARGINS[RATE] and found.low >= 1 / (1 + MARGINS[RATE])
        answers.add(found.answer)

        assert inside is (found.answer is Answer.EQUIVALENT)
    assert {Answer.EQUIVALENT, Answer.UNDECIDED} == answers


def test_whole_runs_decide_where_there_are_several() -> None:
    """Within each run all is quiet; from run to run it is not, and that is what counts."""
    quiet = 0.001
    first = [reading(v, quiet) for v in (1000, 1040, 960)]
    second = [reading(v, quiet) for v in (1010, 1060, 970)]
    found = judged(first, second)

    assert (Basis.BETWEEN, (3, 3), Answer.UNDECIDED) == (found.basis, found.runs, found.answer)
    assert Answer.EQUIVALENT is judged(first[:1], second[:1]).answer  # what a single pair would have said


def test_runs_cannot_vary_less_than_within_themselves() -> None:
    """Two runs that happen to be equal are not certain for it."""
    found = effect([reading(1000.0, 0.02)] * 2, [reading(1000.0, 0.02)] * 2)

    assert found is not None
    assert 0.02 == pytest.approx(found.error)


def test_kin_tell_how_far_runs_differ_and_are_not_judged() -> None:
    """The ratio is of the two; its error is what runs of that kind showed."""
    quiet = 0.001
    kin = [[reading(1000 * exp(x), quiet) for x in (-0.03, 0.0, 0.03)]]
    found = effect([reading(1000.0, quiet)], [reading(1100.0, quiet)], kin)

    assert found is not None
    assert (Basis.BETWEEN, 2.0, (1, 1)) == (found.basis, found.freedom, found.runs)
    assert 1.1 == pytest.approx(found.ratio)
    assert 0.03 * 2**0.5 == pytest.approx(found.error)


def test_a_run_too_short_for_an_interval_is_not_tested() -> None:
    """Unless there are others of its kind."""
    short = Reading(1000.0)

    assert effect([short], [reading(1000.0)]) is None
    assert {} == equivalence.test({"x": Trial(RATE, [short], [reading(1000.0)])})
    assert effect([short, Reading(1010.0)], [reading(1000.0)]) is not None


def test_equal_numbers_without_any_spread_are_the_same() -> None:
    """Sizes of files, for instance."""
    exact = Reading(5.0, exact=True)

    assert Answer.EQUIVALENT is judged([exact], [exact]).answer
    assert Answer.DIFFERENT is judged([exact], [Reading(6.0, exact=True)]).answer


def test_undecided_says_how_many_more_runs_it_takes() -> None:
    """With so many, and the same difference, it is decided; with one less it is not."""
    rng = np.random.default_rng(1)
    noise = [float(x) for x in rng.normal(0, 0.03, 6)]
    found = judged(
        [reading(1000 * exp(x), 0.001) for x in noise[:3]], [reading(1000 * exp(x), 0.001) for x in noise[3:]]
    )
    of = effect(
        [reading(1000 * exp(x), 0.001) for x in noise[:3]], [reading(1000 * exp(x), 0.001) for x in noise[3:]]
    )

    assert Answer.UNDECIDED is found.answer
    assert of is not None
    assert found.needed is not None
    n = 3 + found.needed
    margin = log(1 + MARGINS[RATE])
    half = [
        quantile(0.95, 2 * k - 2) * of.error / (1 / 3 + 1 / 3) ** 0.5 * (2 / k) ** 0.5 for k in (n - 1, n)
    ]
    assert abs(of.log_ratio) + half[1] <= margin < abs(of.log_ratio) + half[0]


def test_at_the_margin_itself_no_number_of_runs_will_do() -> None:
    """Nothing is promised."""
    assert judged([reading(1000.0, 0.02)], [reading(1050.0, 0.02)]).needed is None


def test_many_figures_are_corrected_for() -> None:
    """One of twenty that is just beyond is no longer different."""
    lone = {"x": Trial(RATE, [reading(1000.0, 0.01)], [reading(1090.0, 0.01)])}
    many = {f"{i}": Trial(RATE, [reading(1000.0, 0.01)], [reading(1000.0, 0.01)]) for i in range(200)}

    assert Answer.DIFFERENT is equivalence.test(lone)["x"].answer
    assert Answer.UNDECIDED is equivalence.test({**many, **lone})["x"].answer


def test_overall_needs_all_to_be_the_same() -> None:
    """And is different if one is; nothing at all decides nothing."""
    same, other = (
        judged([reading(1000.0, 0.001)], [reading(1000.0, 0.001)]),
        judged([reading(1.0)], [reading(2.0)]),
    )
    open_ = judged([reading(1000.0, 0.1)], [reading(1000.0, 0.1)])

    assert Answer.EQUIVALENT is overall([same, same])
    assert Answer.UNDECIDED is overall([same, open_])
    assert Answer.DIFFERENT is overall([same, open_, other])
    assert Answer.UNDECIDED is overall([])


def test_holm_by_hand() -> None:
    """Four p values from a textbook's example: each by how many are left, never falling, never above 1."""
    assert [0.03, 0.06, 0.06, 0.02] == pytest.approx(holm([0.01, 0.04, 0.03, 0.005]))
    assert [1.0, 1.0] == holm([0.6, 0.9])
    assert [] == holm([])


@pytest.mark.parametrize("runs", [2, 5])
def test_false_verdicts_are_as_rare_as_stated(runs: int) -> None:
    """A true difference of exactly the margin is called equivalent in 5 % of cases, and different in 5 %: so it is
    with whole runs that vary by 3 %, whatever they do within themselves."""
    rng = np.random.default_rng(20240605)
    margin = log(1 + MARGINS[RATE])
    answers = [
        judged(
            [reading(1000 * exp(x), 0.0005) for x in rng.normal(0, 0.03, runs)],
            [reading(1000 * exp(margin + x), 0.0005) for x in rng.normal(0, 0.03, runs)],
        ).answer
        for _ in range(1500)
    ]
    equal, different = (answers.count(a) / len(answers) for a in (Answer.EQUIVALENT, Answer.DIFFERENT))

    assert equal <= 0.065
    assert 0.035 <= different <= 0.065
