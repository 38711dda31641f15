"""Whether a run came out like an earlier one, by equivalence tests, never by eye. Pure.

Reproduced means that every figure with an interval on both sides is equivalent within its margin, in every cell; not
reproduced that at least one differs by more than its margin. Everything else is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from backends.contract import Value
from orchestrator.domain.differences import Area, Difference, common, differences
from orchestrator.domain.equivalence import MARGINS, Answer, Equivalence, Trial, overall, test
from orchestrator.domain.pairs import Pair, Side, is_suspect, paired, require_one_method, usable
from orchestrator.domain.reading import Figure, Reading, read
from orchestrator.domain.result import Result
from orchestrator.domain.ruling import Ruling

# What makes another measurement of it.
WORK = ("weights", "prompts", "model", "users", "system prompt")

_RULINGS = {
    Answer.EQUIVALENT: Ruling.REPRODUCED,
    Answer.DIFFERENT: Ruling.NOT_REPRODUCED,
    Answer.UNDECIDED: Ruling.UNDECIDED,
}


class CellTest(Value):
    """One figure of one cell."""

    cell: str
    test: Equivalence


class Rerun(Value):
    """What later runs say of an earlier one. `answer` is that of the tests alone; `unjudged` are cells and figures
    that could not be tested, with the reason."""

    result: str
    judged_by: str
    ruling: Ruling
    answer: Answer
    reasons: tuple[str, ...] = ()
    tests: tuple[CellTest, ...] = ()
    unjudged: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = Field(default=())


def judge(earlier: Side, later: Side, others: Sequence[Result] = ()) -> Rerun:
    """Every run of the later side against those of the earlier one. `others` are results of further runs: those of the
    same thing on the same machine tell how far such runs differ. RequestError for mixed METHODs, and where no cell is
    the same."""
    require_one_method([*earlier.results, *later.results])
    _, pairs, alone = paired(earlier, later)
    missing = [text for text in alone if text.endswith(f"only in {earlier.name}")]
    faults = [[f"{r.cell.id}: {why}" for r in _both(pair) if (why := usable(r))] for pair in pairs]
    whole = [pair for pair, of in zip(pairs, faults, strict=True) if not of]
    wanted = {name: of for pair in whole for name, of in _trials(pair, others).items()}
    tested = test(wanted)
    short = [
        f"{cell} {figure.value}: no interval on both sides"
        for cell, figure in wanted
        if (cell, figure) not in tested
    ]
    found = common(differences(pair.first[0], r) for pair in pairs for r in pair.second)
    changed = tuple(
        f"another measurement: {d.text}" for d in found if d.field in WORK or d.field.startswith("workload")
    )
    unmeasured = tuple(dict.fromkeys((*missing, *(text for of in faults for text in of))))
    answer = overall(list(tested.values()))
    ruling = _RULINGS[answer]
    if changed or unmeasured:
        ruling = Ruling.NOT_COMPARABLE if changed else Ruling.NOT_MEASURED
    return Rerun(
        result=earlier.name,
        judged_by=later.name,
        ruling=ruling,
        answer=answer,
        reasons=(*changed, *unmeasured, *_suspects(whole)),
        tests=tuple(CellTest(cell=cell, test=of) for (cell, _), of in tested.items()),
        unjudged=tuple(short),
        differences=found,
    )


def same_thing(first: Result, second: Result) -> bool:
    """Whether two results are of the same cell, engine and machine, so that only chance is between them."""
    if usable(second) or first.provenance is None or second.provenance is None:
        return False
    return all(d.area is Area.SOFTWARE or d.field == "git revision" for d in differences(first, second))


def _trials(pair: Pair, others: Sequence[Result]) -> dict[tuple[str, Figure], Trial]:
    """Kin of one machine stand together with the run that they are kin of; where both runs are of one machine, they
    count once."""
    mine, theirs = pair.first[0], pair.second[0]
    ours = [r for r in others if same_thing(mine, r)]
    more = [] if same_thing(mine, theirs) else [r for r in others if same_thing(theirs, r)]
    found: dict[tuple[str, Figure], Trial] = {}
    for figure in MARGINS:
        first, second = (_readings(side, figure) for side in (pair.first, pair.second))
        kin = tuple(_readings(group, figure) for group in (ours, more))
        if first and second:
            found[mine.cell.id, figure] = Trial(figure, first, second, tuple(k for k in kin if len(k) > 1))
    return found


def _readings(results: Sequence[Result], figure: Figure) -> list[Reading]:
    return [reading for r in results if (reading := read(r, figure)) is not None]


def _suspects(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """What speaks against figures that were tested all the same."""
    return tuple(
        f"suspect, {name} {r.cell.id}: {'; '.join(f.text for f in r.verdict.findings)}"
        for pair in pairs
        for name, side in (("the earlier", pair.first), ("a later", pair.second))
        for r in side
        if r.verdict is not None and is_suspect(r)
    )


def _both(pair: Pair) -> tuple[Result, ...]:
    return (*pair.first, *pair.second)
