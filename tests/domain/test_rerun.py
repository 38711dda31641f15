"""Whether a run came out like an earlier one."""

from __future__ import annotations

import pytest

from orchestrator.domain.equivalence import Answer
from orchestrator.domain.pairs import Side
from orchestrator.domain.reading import Figure
from orchestrator.domain.reasons import Level
from orchestrator.domain.rerun import Rerun, judge
from orchestrator.domain.result import Result
from orchestrator.domain.ruling import Ruling
from orchestrator.errors import RequestError
from tests.domain import results
from tests.report import made

result = results.result


def judged(earlier: list[Result], *later: list[Result]) -> Rerun:
    return judge(Side("old", (tuple(earlier),)), Side("new", tuple(map(tuple, later))))


@pytest.mark.parametrize(
    ("rate", "ttft_s", "ruling"),
    [
        (1000.0, 0.1, Ruling.REPRODUCED),
        (1020.0, 0.102, Ruling.REPRODUCED),
        (1045.0, 0.1, Ruling.UNDECIDED),
        (1100.0, 0.1, Ruling.NOT_REPRODUCED),
        (1000.0, 0.13, Ruling.NOT_REPRODUCED),
    ],
)
def test_every_figure_must_be_the_same(rate: float, ttft_s: float, ruling: Ruling) -> None:
    """Token rate and TTFT each within its own margin; one beyond it is enough."""
    found = judged([result(1000.0, 0.1)], [result(rate, ttft_s)])

    assert ruling is found.ruling
    assert {f for f in Figure if f.value.startswith(("ttft", "tok"))} == {t.test.figure for t in found.tests}


def test_every_cell_must_be_there() -> None:
    """One that failed, or was not measured, is neither the same nor different."""
    earlier = [result(users=1), result(users=4)]
    for later in ([result(users=1)], [result(users=1), made.failed(result(users=4).cell)]):
        found = judged(earlier, later)

        assert (Ruling.NOT_MEASURED, Answer.EQUIVALENT) == (found.ruling, found.answer)
        assert "u4" in found.reasons[0]
    assert Ruling.REPRODUCED is judged(earlier, [*earlier, result(users=16)]).ruling  # more is no fault


@pytest.mark.parametrize("field", ["weights_digest", "prompts_digest"])
def test_other_weights_or_prompts_are_another_measurement(field: str) -> None:
    """However equal its figures."""
    one = result()
    assert one.provenance is not None
    other = one.model_copy(update={"provenance": one.provenance.model_copy(update={field: "sha256:x"})})
    found = judged([one], [other])

    assert (Ruling.NOT_COMPARABLE, Answer.EQUIVALENT) == (found.ruling, found.answer)
    assert found.reasons[0].startswith("another measurement: ")


def test_another_duration_is_another_measurement() -> None:
    """The workload is part of what was measured; another host is only named."""
    work = result().cell.group.workload.model_copy(update={"duration_s": 99.0})
    a, h = (results.article("8b/vllm/u10", gpu=gpu).result for gpu in (results.A100, results.H100))

    assert Ruling.NOT_COMPARABLE is judged([result()], [result(workload=work)]).ruling
    assert Ruling.REPRODUCED is judged([a], [h]).ruling
    assert "GPU 0" in {d.field for d in judged([a], [h]).differences}


def test_figures_without_an_interval_are_named_and_decide_nothing() -> None:
    """Short runs: nothing was tested."""
    found = judged([result(share=None)], [result(share=None)])

    assert Ruling.UNDECIDED is found.ruling
    assert () == found.tests
    assert 5 == len(found.unjudged)


def test_suspect_cells_are_tested_and_told() -> None:
    """At the top, with their reasons."""
    found = judged([result()], [result(level=Level.SUSPECT)])

    assert Ruling.REPRODUCED is found.ruling
    assert found.reasons[0].startswith("suspect, a later llama-cpp-current-small-defaults-u1")


def test_several_runs_are_judged_as_runs() -> None:
    """They vary by 8 %: a pair that happened to agree is not enough any more."""
    assert Ruling.REPRODUCED is judged([result(1000.0)], [result(1000.0)]).ruling
    found = judged([result(1000.0)], [result(1000.0)], [result(1080.0)], [result(930.0)])

    assert Ruling.UNDECIDED is found.ruling
    assert {(1, 3)} == {t.test.runs for t in found.tests}


def test_methods_are_never_mixed() -> None:
    """An equivalence test of two METHODs says nothing."""
    with pytest.raises(RequestError, match="METHODs 2 and 3"):
        judged([result()], [result().model_copy(update={"method": 2})])
