"""The client's error by two logs, on made times."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from orchestrator.domain.exchange import UNSTAMPED, Exchange, Outcome
from orchestrator.load.client import Record
from orchestrator.selftest.figures import Point, point
from orchestrator.selftest.server import Schedule, Written

US, MS = 1_000, 1_000_000
SCHEDULE = Schedule(ttft_s=0.05, itl_s=0.03, tokens=3)
WRITES = [150 * MS, 180 * MS, 210 * MS]  # the request arrived at 100 ms: exactly on schedule
WRITTEN = Written(100 * MS, array("q", WRITES), array("q", [t + 5 * US for t in WRITES]))


def received(stamps: list[int], lags: list[int], outcome: Outcome = Outcome.OK) -> Exchange:
    stamped = sum(lag != UNSTAMPED for lag in lags)
    return Exchange(
        id="x",
        user=0,
        prompt=0,
        send_ns=100 * MS - 8 * US,
        end_ns=240 * MS,
        outcome=outcome,
        event_ns=np.array(stamps, np.int64),
        event_lag_ns=np.array(lags, np.int64),
        reads=len(stamps),
        stamped=stamped,
    )


def of(x: Exchange, written: Written = WRITTEN) -> Point:
    record = Record(
        [x],
        0,
        1000 * MS,
        client_cpu_s=0.5,
        client_late_s=(),
        client_realtime=True,
    )
    return point(7, record, {"x": written}, SCHEDULE, steal_s=0.01)


def test_errors_are_those_of_either_stamp() -> None:
    """TTFT: stamp less write. ITL: how far the gap is off. User space adds its lag."""
    x = received([WRITES[0] + 4 * US, WRITES[1] + 5 * US, WRITES[2] + 3 * US], [20 * US, 50 * US, 20 * US])
    found = of(x)

    assert (4e-6, 2e-6) == pytest.approx((found.kernel.ttft_s.max, found.kernel.itl_s.max))
    assert (24e-6, 32e-6) == pytest.approx((found.user.ttft_s.max, found.user.itl_s.max))
    assert (8e-6, 0.0) == pytest.approx((found.send_s.max, found.late_s.max))


def test_costs_are_shared_by_the_events() -> None:
    """Half a second of CPU over three events in a second."""
    found = of(received([t + US for t in WRITES], [US] * 3))

    assert (3, 3.0, 0.5) == (found.events, found.events_per_s, found.cpu_share)
    assert 0.5 / 3 == pytest.approx(found.cpu_per_event_s)
    assert 4.8 == pytest.approx(found.ceiling_per_s)  # at 80 % of a core
    assert found.whole


def test_without_the_kernels_stamps_there_is_one_error_only() -> None:
    """User-space stamps stand for themselves."""
    found = of(received([t + 30 * US for t in WRITES], [UNSTAMPED] * 3))

    assert (0, 0.0) == (found.kernel.ttft_s.n, found.kernel_share)
    assert 30e-6 == pytest.approx(found.user.ttft_s.max)


def test_missing_tokens_are_counted() -> None:
    """Of an answer that ended, all; of one that was cut, those written well before the end."""
    assert 1 == of(received(WRITES[:2], [0, 0])).missing
    assert 2 == of(received(WRITES[:1], [0], Outcome.CUT)).missing
    late = Written(100 * MS, array("q", [150 * MS, 980 * MS]), array("q", [150 * MS, 980 * MS]))

    assert 0 == of(received(WRITES[:1], [0], Outcome.CUT), late).missing


def test_failure_is_not_whole() -> None:
    """A load that lost a request was not carried."""
    found = of(received(WRITES, [0] * 3, Outcome.STALL))

    assert (1, False) == (found.failed, found.whole)
