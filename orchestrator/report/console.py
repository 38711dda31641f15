"""The top tables for the end of a run: for a terminal of any width, and as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from orchestrator.domain.distribution import MIN_SAMPLES
from orchestrator.report import groups, headline
from orchestrator.report.figures import ERRORS, ESSENTIAL, TOKEN_RATE, TTFT_MEAN, TTFT_P95
from orchestrator.report.groups import RATE, USERS, Field
from orchestrator.report.headline import Names
from orchestrator.report.records import State, Stored
from orchestrator.report.units import NOTHING

# Which columns to show, tried in this order until the table fits the terminal.
ALL: tuple[str, ...] = ()
SOME = (USERS, RATE, "engine", "verdict", *(c.title for c in ESSENTIAL), ERRORS.title)
FEW = (USERS, RATE, "engine", "verdict", TOKEN_RATE.title, TTFT_MEAN.title, TTFT_P95.title, ERRORS.title)
FEWEST = (USERS, RATE, "engine", "verdict", TOKEN_RATE.title, TTFT_MEAN.title)
LEGEND = f"? suspect, ! invalid: reasons above.  n<{MIN_SAMPLES[95]}: too few samples for that percentile."


def tables(cells: Sequence[Stored]) -> list[RenderableType]:
    """One renderable per model and kind of load; each fits itself to the terminal's width."""
    names = groups.names(cells)
    fields = [FieldView(field, names) for field in groups.fields(cells)]
    return [*fields, Text(LEGEND, style="dim"), *_missing(cells)]


def plain(cells: Sequence[Stored]) -> str:
    """The same for pipes and logs: a block of lines per cell, no colour, no frame."""
    names = groups.names(cells)
    blocks = [_plain_field(field, names) for field in groups.fields(cells)]
    return "\n\n".join([*blocks, LEGEND, *(text.plain for text in _missing(cells))]) + "\n"


@dataclass(frozen=True, slots=True)
class FieldView:
    """A table of one field: with all columns if they fit, else with fewer, else as lines."""

    field: Field
    names: Names

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(headline.answer(self.field, self.names), style="bold")
        yield self._fitting(console, options)
        for remark in headline.remarks(self.field, self.names):
            yield Text(f"- {remark}", style="yellow")
        yield Text("")

    def _fitting(self, console: Console, options: ConsoleOptions) -> RenderableType:
        unlimited = options.update(width=10_000)
        for titles in (ALL, SOME, FEW, FEWEST):
            table = _table(self.field, self.names, titles)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                return table
        return Text(_lines(self.field, self.names))


def _table(field: Field, names: Names, titles: Sequence[str]) -> Table:
    """A table that never wraps a figure, of those columns or of all."""
    headings = headline.headings(field)
    picked = [i for i, title in enumerate(headings) if not titles or title in titles]
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for i in picked:
        justify: JustifyMethod = "left" if headings[i] in _WORDS else "right"
        table.add_column(_broken(headings[i]), justify=justify, no_wrap=True)
    for row in headline.rows(field, names):
        table.add_row(*(_cell(row[i], short=bool(titles)) for i in picked))
    return table


def _broken(title: str) -> str:
    return title.replace(" per ", "\nper ").replace(" (", "\n(")


def _cell(text: str, *, short: bool) -> Text:
    """A failure's cause stands in the report; a narrow table has room for the word alone."""
    return Text(text.partition(":")[0] if short else text, style=_style(text))


_WORDS = ("engine", "verdict")


def _style(cell: str) -> str:
    if cell.startswith("failed") or cell.endswith("!") or cell in ("invalid", State.DAMAGED.value):
        return "red"
    return (
        "yellow"
        if cell.endswith("?") or cell.startswith("waived") or cell in ("suspect", State.UNFINISHED.value)
        else ""
    )


def _plain_field(field: Field, names: Names) -> str:
    remarks = [f"- {remark}" for remark in headline.remarks(field, names)]
    return "\n".join([headline.answer(field, names), _lines(field, names), *remarks])


def _lines(field: Field, names: Names) -> str:
    """Every figure on a line of its own below its cell: fits wherever a word fits."""
    headings = headline.headings(field)
    blocks = []
    for size, engine, verdict, *figures in headline.rows(field, names):
        shown = [
            f"  {title}: {text}" for title, text in zip(headings[3:], figures, strict=True) if text != NOTHING
        ]
        blocks.append("\n".join([f"{engine}, {headings[0]} {size}: {verdict}", *shown]))
    return "\n".join(blocks)


def _missing(cells: Sequence[Stored]) -> list[Text]:
    absent = [stored for stored in cells if stored.state is not State.COMPLETE]
    return [Text(f"{s.cell_id}: {s.state.value}, {s.reason}", style="yellow") for s in absent]
