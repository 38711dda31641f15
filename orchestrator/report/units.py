"""The one place that turns numbers into text. Everything else counts in seconds, bytes and shares."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.distribution import MIN_SAMPLES, Distribution
from orchestrator.domain.intervals import Bounds

NOTHING = "-"

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def number(value: float | None) -> str:
    """Three significant digits, never fewer than all those before the point."""
    if value is None:
        return NOTHING
    for limit, digits in ((0.9995, 3), (9.995, 2), (99.95, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def change(value: float) -> str:
    """A number with its sign, whatever it is: `+1.20`, `-35.0`; what rounds to nothing has none."""
    text = number(abs(value))
    return text if not text.strip("0.") else f"{'-' if value < 0 else '+'}{text}"


def ms(seconds: float | None) -> str:
    """Milliseconds, without the unit: it stands in the heading."""
    return number(None if seconds is None else seconds * 1e3)


def seconds(value: float | None) -> str:
    """Seconds with the unit; minutes from two of them on."""
    if value is None:
        return NOTHING
    if value < 120:  # noqa: PLR2004
        return f"{number(value)} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def percentile(sample: Distribution, q: int, text: Callable[[float | None], str] = number) -> str:
    """A percentile as text, or how many samples it would have taken: `n<100`."""
    value = sample.percentile(q)
    return f"n<{MIN_SAMPLES[q]}" if value is None else text(value)


def percentile_with_failures(
    sample: Distribution, q: int, text: Callable[[float | None], str] = number
) -> str:
    """The same with failures as infinite: `inf` where they reach down to it."""
    value = sample.with_failures(q)
    return f"n<{MIN_SAMPLES[q]}" if value is None else text(value)


def bounds(of: Bounds | None, text: Callable[[float | None], str] = number) -> str:
    """A 95 % interval: `341 to 359`."""
    return NOTHING if of is None else f"{text(of.low)} to {text(of.high)}"


def percent(share: float | None) -> str:
    """A share as percent; never 0 % for something that happened."""
    if share is None:
        return NOTHING
    if 0 < abs(share) < 0.001:  # noqa: PLR2004
        return "<0.1 %"
    return "0 %" if share == 0 else f"{share * 100:.1f} %"


def size(count: float | None) -> str:
    """Bytes in binary units."""
    if count is None:
        return NOTHING
    power = 0
    while power < len(_BYTES) - 1 and count >= 1024 ** (power + 1):
        power += 1
    return f"{number(count / 1024**power)} {_BYTES[power]}" if power else f"{count:.0f} B"


def ratio(value: float | None) -> str:
    """How many times as much: `1.27x`."""
    return NOTHING if value is None else f"{value:.2f}x"


def count(value: int, noun: str) -> str:
    """A number with its noun: `1 request`, `1,200 requests`."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"
