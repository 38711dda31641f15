"""Figures from hand-made exchanges whose answers can be worked out on paper."""

from __future__ import annotations

from time import process_time

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.domain.counts import tokens_per_event
from orchestrator.domain.distribution import distribution
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.metrics import ClientSide, Metrics, summarise
from orchestrator.domain.request import tpot_s
from orchestrator.domain.windows import Span
from tests.domain.made import START_NS, exchange, ns, shifted, span


def test_silence_is_a_time_in_which_somebody_waited() -> None:
    """Between two requests of an open loop, or of a user who thinks, the engine owes nobody a token; while others come
    and go, an answer that hangs is silent all the same."""
    apart = [exchange(10.5, (10.6, 10.7)), exchange(18, (18.5, 18.6))]
    hung = [exchange(11, (11.5, 15.5), user=1), *(exchange(at, (), end_s=at + 0.2) for at in (12, 13, 14))]

    assert 0.5 == pytest.approx(summarise(apart, span(), window_s=5).silence_max_s)
    assert 4.0 == pytest.approx(summarise(hung, span(), window_s=5).silence_max_s)


def test_a_request_inside_the_steady_window_gives_every_figure() -> None:
    """Four tokens a second apart, the first after 0.5 s, in a steady window of 10 s."""
    m = summarise([exchange(11, (11.5, 12.5, 13.5, 14.5))], span(), window_s=5, client=ClientSide(cpu_s=2))

    assert (10.0, 10.0) == (m.steady_start_s, m.steady_length_s)
    assert (1, 0.1) == (m.completed, m.requests_per_s)
    assert (0.4, 0.2) == (m.tokens_per_s, m.all_tokens_per_s)
    assert (0.5, 0.5) == (m.ttft_s.mean, m.all_ttft_mean_s)
    assert (3, 1.0) == (m.itl_s.n, m.itl_s.mean)
    assert (1.0, 3.5) == (m.tpot_s.mean, m.latency_s.mean)
    assert (40.0, 4.0) == (m.prompt_tokens.mean, m.output_tokens.mean)
    assert (0.35, 0.1) == (m.active_users_mean, m.client_cpu_share)
    assert {"stop": 1} == m.finish_reasons


def test_no_exchange_gives_zeros_and_no_figure() -> None:
    """A cell in which nothing was sent still has metrics, windows included."""
    m = summarise([], span(), window_s=5)

    assert (0, 0, 0.0, 0.0, 0.0) == (m.completed, m.cut, m.error_share, m.tokens_per_s, m.requests_per_s)
    assert (0, None) == (m.ttft_s.n, m.ttft_s.mean)
    assert (None, None) == (m.all_ttft_mean_s, m.tokens_per_event)
    assert [0.0] * 4 == [w.tokens for w in m.windows]


def test_only_failures_give_an_error_share_of_one() -> None:
    """Failures are counted by kind, in the kinds' order, and have no latency."""
    failed = [
        exchange(11, end_s=12, outcome=Outcome.TIMEOUT),
        exchange(12, end_s=13, outcome=Outcome.CONNECT),
        exchange(13, end_s=14, outcome=Outcome.TIMEOUT),
    ]

    m = summarise(failed, span(), window_s=5)

    assert [("connect", 1), ("timeout", 2)] == list(m.errors.items())
    assert (1.0, 0, 0) == (m.error_share, m.completed, m.latency_s.n)
    assert [0, 0, 3, 0] == [w.errors for w in m.windows]


def test_the_tokens_of_a_failed_request_count_until_it_failed() -> None:
    """The engine made them; the failure is told by the errors."""
    m = summarise([exchange(11, (12, 13), end_s=14, outcome=Outcome.DISCONNECT)], span(), window_s=5)

    assert 0.2 == m.tokens_per_s
    assert (1, 1) == (m.ttft_s.n, m.itl_s.n)


def test_a_single_token_has_no_gap() -> None:
    """A one-token answer has a time to first token, but neither ITL nor TPOT."""
    m = summarise([exchange(11, (12,))], span(), window_s=5)

    assert (1, 0, 0) == (m.ttft_s.n, m.itl_s.n, m.tpot_s.n)


def test_tokens_in_a_single_event_have_no_time_per_token() -> None:
    """A whole answer in one event would give a TPOT of 0, which is not a speed."""
    assert tpot_s(exchange(11, (12,), completion_tokens=30)) is None


def test_tpot_divides_by_the_engines_count() -> None:
    """Two events that carry five tokens have four gaps."""
    assert tpot_s(exchange(11, (12, 14), completion_tokens=5)) == pytest.approx(0.5)


def test_a_straddling_exchange_gives_each_window_its_tokens() -> None:
    """Tokens and gaps belong to the window of their arrival, the latency to that of the end."""
    m = summarise([exchange(8, (9, 9.5, 10.5, 12))], span(), window_s=5)

    assert (0.2, 0.2) == (m.tokens_per_s, m.all_tokens_per_s)
    assert [0.0, 2.0, 2.0, 0.0] == [w.tokens for w in m.windows]
    assert (2, 1.25) == (m.itl_s.n, m.itl_s.mean)
    assert (0, 1) == (m.ttft_s.n, m.all_ttft_mean_s)
    assert (1, 4.0) == (m.latency_s.n, m.latency_s.max)


def test_bounds_are_half_open() -> None:
    """A token exactly at the start of the steady window is in it, one at the end of measuring is not."""
    m = summarise([exchange(9, (10, 20))], span(), window_s=10)

    assert (0.1, 0.05) == (m.tokens_per_s, m.all_tokens_per_s)
    assert [0.0, 1.0] == [w.tokens for w in m.windows]
    assert (0, 0) == (m.completed, m.windows[1].requests_ended)


def test_what_happens_after_the_end_of_measuring_counts_nowhere() -> None:
    """A client that lets requests finish gives the same figures as one that cuts them."""
    drained = exchange(19, (19.5, 21, 22), end_s=22)
    late = exchange(19.9, (20.5,), end_s=21)

    m = summarise([drained, late], span(), window_s=5)

    assert (0.05, 0.5) == (m.all_tokens_per_s, m.all_ttft_mean_s)
    assert (0, 1, 0) == (m.completed, m.ttft_s.n, m.itl_s.n)


@pytest.mark.parametrize("steady_s", [20, 25])
def test_measuring_that_ended_in_the_ramp_has_an_empty_steady_window(steady_s: float) -> None:
    """No division by zero, no negative length: the headline is zero, the time line remains."""
    m = summarise([exchange(1, (2, 3))], span(steady_s=steady_s), window_s=5)

    assert (0.0, 0.0, 0.0) == (m.steady_length_s, m.tokens_per_s, m.active_users_mean)
    assert (0.1, 2.0) == (m.all_tokens_per_s, m.windows[0].tokens)


def test_a_span_without_length_has_no_windows() -> None:
    """An interrupt before the first user leaves figures of zero."""
    nothing = Span(start_ns=START_NS, steady_ns=START_NS, end_ns=START_NS - 1)

    m = summarise([exchange(1, (2, 3))], nothing, window_s=5, client=ClientSide(cpu_s=1))

    assert ((), 0.0, 0.0) == (m.windows, m.all_tokens_per_s, m.client_cpu_share)


def test_equal_times_are_separate_tokens() -> None:
    """Events that came in one read count each; the gaps between them are 0."""
    m = summarise([exchange(11, (12, 12, 12, 13))], span(), window_s=5)

    assert (0.4, 3, 1.0) == (m.tokens_per_s, m.itl_s.n, m.itl_s.max)


def test_the_events_of_a_counted_answer_share_the_engines_count() -> None:
    """Three events for six tokens: two tokens arrive with each."""
    m = summarise([exchange(11, (12, 13, 16), completion_tokens=6)], span(), window_s=5)

    assert 0.6 == m.tokens_per_s
    assert [0.0, 0.0, 4.0, 2.0] == [w.tokens for w in m.windows]
    assert (2.0, 6.0) == (m.tokens_per_event, m.output_tokens.mean)


def test_a_cut_answer_has_as_many_tokens_per_event_as_the_counted_ones() -> None:
    """Its usage never came; counting one per event would understate an engine that bundles."""
    counted = exchange(11, (12, 13), completion_tokens=4)
    cut = exchange(18, (18.5, 19.5), end_s=20, outcome=Outcome.CUT)

    m = summarise([counted, cut], span(), window_s=5)

    assert (0.8, 1) == (m.tokens_per_s, m.cut)


def test_a_count_without_events_has_no_time_and_no_share() -> None:
    """Tokens that never arrived as content belong to no window and bend no other request's weight."""
    silent = exchange(11, end_s=12, outcome=Outcome.EMPTY, completion_tokens=9)
    cut = exchange(18, (18.5, 19.5), end_s=20, outcome=Outcome.CUT)

    assert 0.2 == summarise([silent, cut], span(), window_s=5).tokens_per_s
    assert tokens_per_event([silent]) is None


def test_requests_without_a_token_at_the_end_are_counted_with_their_longest_wait() -> None:
    """A cut wait and one that ended after measuring are unanswered; what ended before without a token is not."""
    exchanges = [
        exchange(12, end_s=20, outcome=Outcome.CUT),
        exchange(17, (21,), end_s=22),
        exchange(13, end_s=15, outcome=Outcome.TIMEOUT),
        exchange(10, end_s=19),
        exchange(19, (19.5,), end_s=20, outcome=Outcome.CUT),
    ]

    m = summarise(exchanges, span(), window_s=5)

    assert (2, 8.0) == (m.unanswered, m.unanswered_wait_max_s)


def test_a_thinking_user_is_present_but_not_active() -> None:
    """Users think between requests; only a user that stopped for good is missing."""
    exchanges = [
        exchange(5, (6,), end_s=6),
        exchange(14, (15,), end_s=20),
        exchange(6, (15,), end_s=15, user=1),
    ]

    m = summarise(exchanges, span(), window_s=10)

    assert (1.1, 1.5) == (m.active_users_mean, m.present_users_mean)
    assert [pytest.approx(0.5), pytest.approx(1.1)] == [w.active_users for w in m.windows]


def test_a_short_remainder_joins_the_last_window() -> None:
    """A window of a millisecond would have a rate out of pure chance."""
    m = summarise([], span(end_s=20.001), window_s=5)

    assert [5.0, 5.0, 5.0, 5.001] == [w.length_s for w in m.windows]


def test_a_real_remainder_is_a_window_of_its_own_length() -> None:
    """Its rate is over what it lasted, not over a whole window."""
    m = summarise([exchange(15, (16, 16.5))], span(end_s=17), window_s=5)

    assert (15.0, 2.0, 1.0) == (m.windows[3].start_s, m.windows[3].length_s, m.windows[3].tokens_per_s)


def test_a_window_longer_than_measuring_is_cut_to_it() -> None:
    """One window, as long as there is time."""
    assert [20.0] == [w.length_s for w in summarise([], span(), window_s=60).windows]


def test_windows_give_the_mean_of_first_tokens_that_arrived_in_them() -> None:
    """A window without a first token has no mean."""
    m = summarise([exchange(1, (2, 3)), exchange(2, (4,)), exchange(4, (11,))], span(), window_s=5)

    assert [1.5, None, 7.0, None] == [w.ttft_mean_s for w in m.windows]


@pytest.mark.parametrize(
    ("n", "printed"),
    [(1, []), (10, []), (11, [50]), (129, [50]), (130, [50, 95]), (661, [50, 95]), (662, [50, 95, 99])],
)
def test_percentiles_appear_with_their_sample_size(n: int, printed: list[int]) -> None:
    """Below it they are None, however nice the figure would look."""
    d = distribution(np.arange(n, dtype=float))

    values = {50: d.p50, 95: d.p95, 99: d.p99}
    assert printed == [q for q, value in values.items() if value is not None]


def test_percentiles_interpolate_linearly() -> None:
    """As numpy's default does, and most tools with it."""
    assert 499.5 == distribution(np.arange(1000, dtype=float)).p50


def test_times_of_a_long_running_machine_lose_nothing() -> None:
    """Ten thousand requests years after boot: sums of nanoseconds must not overflow."""
    year_ns = 365 * 86_400 * 10**9
    offset = 3 * year_ns - START_NS
    one = exchange(11, (12, 13), end_s=13)
    late = [shifted(one, offset, user=user) for user in range(10_000)]
    late_span = Span(start_ns=ns(0) + offset, steady_ns=ns(10) + offset, end_ns=ns(20) + offset)

    m = summarise(late, late_span, window_s=5)

    assert (2000.0, 2000.0) == (m.tokens_per_s, m.active_users_mean)


def test_a_long_run_is_summarised_in_less_than_a_second() -> None:
    """Five minutes at 100 users: ten thousand answers, 1.2 million tokens, all intervals; about 0.4 s of CPU."""
    tokens = np.arange(120) * 80_000_000
    many = [_answer(i, ns(i * 0.029), tokens) for i in range(10_000)]
    begin = process_time()

    m = summarise(many, span(steady_s=20, end_s=300), window_s=5)

    assert process_time() - begin < 1
    assert 60 == len(m.windows)


def test_figures_survive_json() -> None:
    """What is written is what was computed."""
    m = summarise([exchange(11, (11.5, 12.5))], span(), window_s=5)

    assert m == Metrics.model_validate_json(m.model_dump_json())


def _answer(number: int, send_ns: int, tokens_ns: npt.NDArray[np.int64]) -> Exchange:
    event_ns = send_ns + 50_000_000 + tokens_ns
    return Exchange(
        id=str(number),
        user=number % 100,
        prompt=0,
        send_ns=send_ns,
        end_ns=int(event_ns[-1]),
        outcome=Outcome.OK,
        first_token_ns=int(event_ns[0]),
        event_ns=event_ns,
        completion_tokens=len(event_ns),
    )


def test_silence_is_the_longest_time_without_any_token() -> None:
    """Over all users, the end of the window included: an engine that hangs at the end is seen."""
    hung = exchange(11, (13.0,), end_s=20, user=1, outcome=Outcome.CUT)
    m = summarise([exchange(11, (11.5, 12.5)), hung], span(), window_s=5)

    assert 20 - 13.0 == m.silence_max_s
