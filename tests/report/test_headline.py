"""What stands below a table of results."""

from __future__ import annotations

from orchestrator.domain.reasons import Finding, Level, Reason
from orchestrator.domain.verdict import Verdict
from orchestrator.report import groups, headline
from tests.report.made import cell, load, result, stored


def test_what_holds_for_several_loads_is_said_once() -> None:
    """Each reason of an engine on a line, with every load that it is of."""
    busy = Finding(reason=Reason.HOST_BUSY, level=Level.SUSPECT, text="others were busy")
    late = Finding(reason=Reason.CLIENT_LATE, level=Level.SUSPECT, text="the client was late")
    cells = [
        stored(
            result(
                cell(users=users),
                load(users, ttft_s=0.1, gap_s=0.01, tokens=30),
                verdict=Verdict(level=Level.SUSPECT, findings=findings),
            )
        )
        for users, findings in ((1, (busy,)), (4, (busy, late)))
    ]
    names = groups.names(cells)
    (field,) = groups.fields(cells)
    said = [line.split(", ", 1)[1] for line in headline.remarks(field, names)]

    assert ["1 user and 4 users: suspect, others were busy", "4 users: suspect, the client was late"] == said
