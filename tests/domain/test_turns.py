"""Where a series turned, over all of its past."""

from __future__ import annotations

import pytest

from orchestrator.domain.entry import Trait
from orchestrator.domain.judged import series
from orchestrator.domain.reasons import Level
from orchestrator.domain.series import Trend
from orchestrator.domain.turns import Turn, turns
from tests.domain.test_judged import NEW, RATES, night, nights


def of(*rates: float) -> tuple[Turn, ...]:
    (found,) = series(nights(*rates))
    return turns(found)


def test_a_quiet_series_never_turns() -> None:
    assert () == of(*RATES)


def test_too_few_runs_tell_nothing() -> None:
    assert () == of(1000, 1001, 999, 500, 501, 499)


def test_every_level_of_the_past_is_told_with_its_size() -> None:
    """Also one that the newest run, which is steady, says nothing of any more."""
    slower, slowest = ([rate * share for rate in RATES] for share in (0.8, 0.6))
    first, second = of(*RATES, *slower, *slower, *slowest)

    assert (Trend.REGRESSION, Trend.REGRESSION) == (first.trend, second.trend)
    assert ("20261109-020000-x", "20261125-020000-x") == (first.run, second.run)
    assert [pytest.approx(1000, rel=0.01), pytest.approx(800, rel=0.01)] == [first.before, first.after]
    assert pytest.approx(-0.2, abs=0.01) == first.change.share
    assert ((8, 16), (16, 8)) == (first.runs, second.runs)


def test_more_tokens_a_second_are_an_improvement() -> None:
    (only,) = of(*RATES, *(rate * 1.2 for rate in RATES))

    assert Trend.IMPROVEMENT is only.trend


def test_the_newest_run_alone_is_a_turn_when_it_is_news() -> None:
    """No shift can be told from one run; it stands at that run, with what had changed."""
    (found,) = series(nights(*RATES, 840, traits={Trait.IMAGE: NEW}))
    (only,) = turns(found)

    assert ("20261109-020000-x", Trend.REGRESSION, (8, 1)) == (only.run, only.trend, only.runs)
    assert [Trait.IMAGE] == [d.trait for d in only.differences]


def test_an_invalid_run_is_no_turn() -> None:
    entries = [*(night(i, rate) for i, rate in enumerate(RATES, 1)), night(9, 100, verdict=Level.INVALID)]
    (found,) = series(entries)

    assert () == turns(found)
