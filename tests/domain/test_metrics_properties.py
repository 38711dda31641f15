"""What must hold for any exchanges whatever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.distribution import MIN_SAMPLES, distribution
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import Asked, Metrics, summarise
from orchestrator.domain.windows import Span
from tests.domain.made import exchange, ns, shifted, span

SECONDS = st.integers(0, 30_000).map(lambda ms: ms / 1000)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    """Any outcome, any number of tokens (also at equal times), with or without the engine's count."""
    send_s, *tokens_s = sorted(draw(st.lists(SECONDS, min_size=1, max_size=8)))
    after_s = draw(SECONDS)
    return exchange(
        send_s,
        tokens_s,
        end_s=max([send_s, *tokens_s]) + after_s,
        outcome=draw(st.sampled_from(Outcome)),
        user=draw(st.integers(0, 3)),
        completion_tokens=draw(st.none() | st.integers(0, 30)),
    )


SOME = st.lists(exchanges(), max_size=12)
WINDOW_S = st.sampled_from([0.7, 1, 3, 5, 100])
STEADY_S = st.sampled_from([0, 7, 19.999, 20, 30])


@given(SOME, STEADY_S, WINDOW_S)
def test_windows_hold_exactly_the_tokens_before_the_end(
    some: list[Exchange], steady_s: float, window_s: float
) -> None:
    """No token is lost between windows, none is counted twice."""
    m = summarise(some, span(steady_s=steady_s), window_s=window_s)

    assert pytest.approx(m.all_tokens_per_s * 20) == sum(w.tokens for w in m.windows)
    assert pytest.approx(20) == sum(w.length_s for w in m.windows)


@given(SOME, WINDOW_S)
def test_windows_hold_exactly_the_requests_and_users_of_the_whole(
    some: list[Exchange], window_s: float
) -> None:
    """With a steady window that is everything, the time line adds up to the headline."""
    m = summarise(some, span(steady_s=0), window_s=window_s)

    assert m.completed == sum(w.requests_ended for w in m.windows)
    assert sum(m.errors.values()) == sum(w.errors for w in m.windows)
    assert pytest.approx(m.active_users_mean * 20) == sum(w.active_users * w.length_s for w in m.windows)
    assert pytest.approx(m.all_tokens_per_s) == m.tokens_per_s


@given(SOME, STEADY_S, st.integers(0, 10**16))
def test_a_shift_of_all_times_changes_nothing(some: list[Exchange], steady_s: float, offset: int) -> None:
    """Only differences of monotonic times mean anything."""
    was = span(steady_s=steady_s)
    late = Span(start_ns=was.start_ns + offset, steady_ns=was.steady_ns + offset, end_ns=was.end_ns + offset)

    shifted_all = [shifted(x, offset) for x in some]

    assert summarise(some, was, window_s=5) == summarise(shifted_all, late, window_s=5)


@given(SOME.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_the_order_of_exchanges_changes_nothing(orders: tuple[list[Exchange], list[Exchange]]) -> None:
    """Shards may report in any order."""
    one, other = (_flat(summarise(order, span(), window_s=5)) for order in orders)

    assert pytest.approx(one) == other


@given(SOME)
def test_shares_stay_between_their_bounds(some: list[Exchange]) -> None:
    """Errors are a share; no more users take part than there are."""
    m = summarise(some, span(), window_s=5)

    assert 0 <= m.error_share <= 1
    assert -1e-9 <= m.present_users_mean <= len({x.user for x in some}) + 1e-9
    assert m.active_users_mean <= len(some) + 1e-9


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e6), max_size=600))
def test_a_percentile_is_printed_exactly_where_the_sample_supports_it(values: list[float]) -> None:
    """Never below its sample size, and never outside the sample."""
    d = distribution(values)

    for q, value in ((50, d.p50), (95, d.p95), (99, d.p99)):
        assert (len(values) >= MIN_SAMPLES[q]) == (value is not None)
        assert value is None or min(values) <= value <= max(values)


@given(exchanges())
def test_an_exchange_outside_the_measured_time_changes_no_headline(one: Exchange) -> None:
    """After the end nothing counts, except that a cut one is counted as cut."""
    outside = shifted(one, ns(20) - ns(0))

    with_it = summarise([outside], span(), window_s=5)

    assert (0, 0.0, 0.0, 0) == (
        with_it.completed,
        with_it.tokens_per_s,
        with_it.active_users_mean,
        with_it.unanswered,
    )


def _flat(m: Metrics) -> dict[str, float]:
    """Every number by its path, so that floats can be compared with a tolerance."""
    return dict(_leaves("", m.model_dump()))


def _leaves(path: str, value: object) -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in _leaves(f"{path}.{name}", part)]
    if isinstance(value, tuple):
        return [leaf for i, part in enumerate(value) for leaf in _leaves(f"{path}.{i}", part)]
    return [(path, float(value))] if isinstance(value, int | float) else []


@given(SOME, st.sampled_from([0, 7, 19.999]), st.integers(1, 4), st.sampled_from([0.0, 0.5, 30.0]))
def test_ramp_steady_and_drain_make_up_the_measured_time(
    some: list[Exchange], ramp_s: float, users: int, think_s: float
) -> None:
    """Steady never begins within the ramp that was asked for, and is at least half of what follows it."""
    m = summarise(some, span(steady_s=ramp_s), window_s=5, asked=Asked(users=users, think_s=think_s))

    assert m.steady_start_s >= ramp_s
    assert m.steady_length_s >= (20 - ramp_s) / 2 - 1e-6
    assert pytest.approx(20) == m.steady_start_s + m.steady_length_s + m.drain_length_s
    assert m.users_gone <= len({x.user for x in some})
