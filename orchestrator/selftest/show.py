"""A self-test as a table and a plot. Pure; microseconds, because that is what the client is held to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.domain.distribution import Distribution
from orchestrator.report.units import NOTHING, number, percentile
from orchestrator.selftest.figures import (
    CPU_LIMIT_S,
    KERNEL_LIMIT_S,
    USER_LIMIT_S,
    Errors,
    PeerPoint,
    Point,
    SelfTest,
)

DECADES = (0, 5)  # of the plot's scale: 1 us to 100 ms
DECADE_CHARS = 10

_US = 1e6
LEGEND = (
    "error: of a first token (TTFT) its stamp less the server's own time of the write, of a gap (ITL) the "
    "difference to the server's. n<662: too few samples for a p99. missing: tokens written and not received. "
    "steal: what the hypervisor took from this host meanwhile, which shows in every tail."
)


def summary(found: SelfTest) -> list[RenderableType]:
    """Table, plot, and what they come to."""
    return [
        table(found),
        Text(""),
        plot(found.points),
        Text(""),
        *(Text(line) for line in conclusions(found)),
        Text(LEGEND, style="dim"),
        *([peers(found.peers)] if found.peers else []),
    ]


def table(found: SelfTest) -> Table:
    host = found.host
    shown = Table(
        title=f"load client on {host.cpu}, {host.cpus} cores, Python {host.python}, kernel {host.kernel}",
        title_justify="left",
    )
    for heading in (
        "users",
        "events/s",
        "missing",
        "CPU us/event",
        "CPU",
        "memory MB\nclient + reader",
        "kernel TTFT us\np50 / p99 / max",
        "kernel ITL us\np50 / p99 / max",
        "user TTFT us\np50 / p99 / max",
        "user ITL us\np50 / p99 / max",
        "send us\np50 / p99",
        "server late us\np99",
        "steal ms",
    ):
        shown.add_column(heading, justify="right")
    for p in found.points:
        shown.add_row(*_row(p))
    return shown


def _row(p: Point) -> tuple[str, ...]:
    return (
        str(p.users),
        f"{p.events_per_s:,.0f}",
        str(p.missing + p.failed),
        f"{p.cpu_per_event_s * _US:.1f}",
        f"{p.cpu_share:.0%}",
        f"{p.memory_bytes / 1e6:.0f} + {p.reader_memory_bytes / 1e6:.0f}",
        *(_three(d) for e in (p.kernel, p.user) for d in (e.ttft_s, e.itl_s)),
        f"{percentile(p.send_s, 50, _us)} / {percentile(p.send_s, 99, _us)}",
        percentile(p.late_s, 99, _us),
        f"{p.steal_s * 1e3:.0f}",
    )


def peers(found: Sequence[PeerPoint]) -> Table:
    """Each peer's own report less the server's log, at the same quantile."""
    shown = Table(title="peers: TTFT and ITL as they report them, less the server's", title_justify="left")
    for heading in ("peer", "users", "answers", "TTFT error us\np50 / p99", "ITL error us\np50 / p99", ""):
        shown.add_column(heading, justify="right" if heading not in ("peer", "") else "left")
    for p in found:
        errors = (" / ".join(_us(e.get(q)) for q in ("p50", "p99")) for e in (p.ttft_error_s, p.itl_error_s))
        shown.add_row(p.peer, str(p.users), f"{p.answers} of {p.written}", *errors, p.note)
    return shown


def plot(points: Sequence[Point]) -> Text:
    """p99 of each error (the maximum where n is too small) on a logarithmic scale; `|` marks the limit."""
    width = (DECADES[1] - DECADES[0]) * DECADE_CHARS
    marks = "".join(f"{label:<{DECADE_CHARS}}" for label in ("1 us", "10", "100", "1 ms", "10"))
    lines = [f"{'p99 of the error':<24}{marks:<{width}}100 ms"]
    for p in points:
        for name, sample, limit_s in (
            ("kernel TTFT", p.kernel.ttft_s, KERNEL_LIMIT_S),
            ("kernel ITL", p.kernel.itl_s, KERNEL_LIMIT_S),
            ("user TTFT", p.user.ttft_s, USER_LIMIT_S),
            ("user ITL", p.user.itl_s, USER_LIMIT_S),
        ):
            value_s = _tail(sample)
            bar = _bar(value_s, limit_s, width)
            lines.append(f"{p.users:>5} users {name:<12}{bar} {number(value_s and value_s * _US)}")
    return Text("\n".join(lines), no_wrap=True)


def conclusions(found: SelfTest) -> list[str]:
    """One line per thing that the client is held to."""
    if not found.points:
        return ["nothing was measured"]
    top = max(found.points, key=lambda p: p.events_per_s)
    carried = [p for p in found.points if p.whole]
    most = max((p.users for p in carried), default=0)
    carried_text = (
        f"carried whole: up to {most} users, {max((p.events_per_s for p in carried), default=0.0):,.0f} events/s; "
        f"ceiling of one process here some {top.ceiling_per_s / found.shards:,.0f} events/s"
    )
    return [
        carried_text,
        _verdict("CPU per event", top.cpu_per_event_s, CPU_LIMIT_S),
        _verdict("kernel stamps, worst p99", _worst(p.kernel for p in found.points), KERNEL_LIMIT_S),
        _verdict("user-space stamps, worst p99", _worst(p.user for p in found.points), USER_LIMIT_S),
        "the client's core was kept from deep sleep"
        if all(p.awake for p in found.points)
        else "the client's core may have slept between events, and woken late: keeping it awake takes root",
    ]


def _verdict(name: str, value_s: float | None, limit_s: float) -> str:
    if value_s is None:
        return f"{name}: {NOTHING}"
    word = "within" if value_s <= limit_s else "beyond"
    return f"{name}: {value_s * _US:.1f} us, {word} the limit of {limit_s * _US:.0f} us"


def _worst(errors: Iterable[Errors]) -> float | None:
    samples = (d for e in errors for d in (e.ttft_s, e.itl_s))
    return max((d.p99 for d in samples if d.p99 is not None), default=None)


def _tail(sample: Distribution) -> float | None:
    return sample.max if sample.p99 is None else sample.p99


def _bar(value_s: float | None, limit_s: float, width: int) -> str:
    limit = _place(limit_s, width)
    filled = 0 if value_s is None else _place(value_s, width)
    chars = ["#" if i < filled else " " for i in range(width)]
    chars[limit] = "|"
    return "".join(chars)


def _place(value_s: float, width: int) -> int:
    """Where a value stands on the scale."""
    decades = math.log10(max(value_s * _US, 1.0)) - DECADES[0]
    return min(width - 1, round(decades * DECADE_CHARS))


def _three(sample: Distribution) -> str:
    return f"{percentile(sample, 50, _us)} / {percentile(sample, 99, _us)} / {_us(sample.max)}"


def _us(seconds: float | None) -> str:
    return number(None if seconds is None else seconds * _US)
