"""What the history and a run's summary say, in every form in which they are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator.domain.entry import Trait
from orchestrator.domain.judged import Judged
from orchestrator.domain.reruns import conclude
from orchestrator.domain.series import Trend
from orchestrator.report import history, junit, summary, webhook
from orchestrator.report.records import RunRecord, State, Stored
from orchestrator.report.summary import Ending, Summary, summarise
from tests.domain.test_judged import FAILED, NEW, RATES, night, nights, one
from tests.report import made

WORSE = one(nights(*RATES, 850, traits={Trait.IMAGE: NEW, Trait.ENGINE_VERSION: "0.5"}))
BETTER = one(nights(*RATES, 1200))
STEADY = one(nights(*RATES, 1001))
FEW = one(nights(*RATES[:3]))


def summary_of(
    *judged: Judged, waived: dict[str, str] | None = None, left_out: dict[str, str] | None = None
) -> Summary:
    """The golden run: two valid, one suspect, one failed and one unfinished cell; and a refused backend."""
    run = made.run()
    refused = {
        "backend": "tgi",
        "release": "current",
        "model": "small",
        "refusal": {"reason": "no CPU build"},
    }
    record = RunRecord(run.id, run.created_at, {"refused": [refused]}, run.cells)
    mine = [
        Judged(
            type(j.series)((*j.series.entries[:-1], j.newest.model_copy(update={"run": run.id}))),
            j.trend,
            j.reason,
            j.judgements,
            j.last_good,
            j.differences,
        )
        for j in judged
    ]
    return summarise(record, judged=mine, waived=waived or {}, left_out=left_out or {})


def test_a_regression_reads_as_a_person_would_say_it() -> None:
    """What, how much, how sure, since when, against what, and the only thing that changed."""
    found = history.finding(WORSE)

    assert re.fullmatch(
        r"regression: llama-cpp 0\.4\.1 small quick 4 users: token rate 1,000 -> 850 tok/s \(-15\.\d %, 99 % interval "
        r"-\d+\.\d to -\d+\.\d\) since 20261109-020000-x, against 8 runs; "
        r"only the engine changed: engine version 0\.4\.1 -> 0\.5, engine image sha256:old -> sha256:new",
        found,
    )


def test_the_page_shows_every_series_and_news_first() -> None:
    """A row each; below, what is worse before what is better; what could not be read at the end."""
    page = history.page([STEADY, BETTER, WORSE, FEW], faults=["20261101-x: broken"])
    table, news, faults = page.strip().split("\n\n")

    assert ["steady", "improvement", "regression", "4 more runs needed"] == [
        row.split("|")[2].strip() for row in table.splitlines()[2:]
    ]
    assert ["- regression", "- improvement"] == [line.split(":")[0] for line in news.splitlines()]
    assert "- not read: 20261101-x: broken" == faults
    assert "nothing that is noted has changed" in news


def test_rows_that_a_person_would_call_the_same_are_told_apart() -> None:
    """By the cell's whole name, and only those."""
    alone, beside = (
        history.page(judged).splitlines()[2].split("|")[1] for judged in ([WORSE], [WORSE, BETTER])
    )

    assert "(" not in alone
    assert f"({WORSE.newest.cell})" in beside


def test_nothing_yet_is_said() -> None:
    """An empty folder is no error."""
    assert "no result in these runs yet\n" == history.page([])
    assert "no regression and no improvement" in history.page([STEADY])


def test_noise_looks_like_noise_in_a_sparkline() -> None:
    """One percent is flat, a fall by half goes from top to bottom."""
    assert 1 >= len(set(history.sparkline([1000, 1003, 998, 1001]))) - 1
    assert "█▁" == history.sparkline([1000, 500])
    assert 30 == len(history.sparkline([float(n) for n in range(1, 60)]))
    assert "" == history.sparkline([])


def test_what_reruns_showed_is_said() -> None:
    """Confirmed or not, whose doing, and how that is known."""
    slow, fast = night(10, 848), night(11, 1001)
    told = [
        history.conclusion(conclude(WORSE, *pair))
        for pair in ((slow, fast), (slow, None), (fast, None), (None, None))
    ]

    assert [
        "confirmed by a second run; cause: engine (by a run with the engine of before)",
        "confirmed by a second run; cause: engine (by what is noted)",
        "not confirmed by a second run",
        "could not be measured again",
    ] == told


def test_json_of_a_series_has_all_of_it() -> None:
    """And is JSON."""
    found = json.loads(json.dumps(history.record(WORSE)))

    assert ("regression", 9, "20261108-020000-x") == (
        found["verdict"],
        len(found["valid_runs"]),
        found["last_good"],
    )
    assert {"engine"} == {difference["part"] for difference in found["differences"]}
    assert "regression" == found["figures"][0]["trend"]


def test_a_summary_has_every_cell_with_its_ending() -> None:
    """In the plan's order, and what was refused after them."""
    waiting = made.cell("vllm", 16).id
    endings = [case.ending for case in summary_of().cases]
    left = summary_of(left_out={waiting: "no time left"}).cases[5]
    waived = summary_of(waived={made.cell("vllm", 4).id: "known, #12"}).cases[4]

    assert endings[-3:] == [Ending.FAILED, Ending.UNFINISHED, Ending.LEFT_OUT]
    assert (Ending.LEFT_OUT, "no time left") == (left.ending, left.text)
    assert Ending.WAIVED is waived.ending
    assert waived.text.startswith("waived (known, #12), failed as known: memory-kv-cache in ready")
    assert not summary_of().is_well


def test_a_regression_alone_needs_a_look() -> None:
    """Though every cell is valid; an improvement does not."""
    valid = RunRecord("r", "2026-11-23T04:30:00+00:00", {}, made.run().cells[:1])

    def well(judged: Judged) -> bool:
        mine = judged.series.entries[-1].model_copy(update={"run": "r"})
        of = Judged(type(judged.series)((mine,)), judged.trend, "", judged.judgements)
        return summarise(valid, judged=[of]).is_well

    assert [False, True] == [well(WORSE), well(BETTER)]


def test_other_runs_news_are_not_told_again() -> None:
    """A series whose newest run is another one is that one's."""
    assert () == summarise(made.run(), judged=[WORSE]).judged


def test_markdown_says_what_is_wrong_first() -> None:
    """Then a table of all cells."""
    page = summary.markdown(summary_of(WORSE, STEADY))
    heads = re.findall(r"^#+ (.*)$", page, re.MULTILINE)

    assert [
        "levelbench 20261123-043000-llama-cpp-vllm-small: needs a look",
        "Regressions and improvements",
        "Failed, unfinished or invalid",
        "Cells",
    ] == heads
    assert "1 failed" in page
    assert "Against earlier runs: 1 regression, 1 steady." in page


# What the schemas of Jenkins (xunit-plugin's junit-10.xsd) and of Ant (windyroad's JUnit.xsd) both allow
ATTRIBUTES = {
    "testsuites": set(),
    "testsuite": {
        "name",
        "package",
        "id",
        "hostname",
        "timestamp",
        "tests",
        "failures",
        "errors",
        "skipped",
        "time",
    },
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
    "system-out": set(),
    "system-err": set(),
}
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "properties": r"(property )*",
    "testcase": r"((skipped|error|failure) )?",
}


def checked(text: str) -> ET.Element:
    """The document, of which nothing stands where it may not."""
    root = ET.fromstring(text)  # noqa: S314 - our own
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag]
        assert re.fullmatch(CHILDREN.get(element.tag, ""), "".join(f"{child.tag} " for child in element))
    return root


def test_junit_is_valid_and_counts_what_it_holds() -> None:
    """Failures, errors and skipped cells as every reader of it knows them."""
    damaged = Stored("x", State.DAMAGED, reason="result.json is missing")
    whole = summary_of(WORSE, STEADY, FEW, waived={made.cell("vllm", 4).id: "known"})
    cells, judged = checked(junit.xml(Summary(whole.run, whole.created_at, whole.cases, whole.judged)))
    (broken,) = checked(junit.xml(summarise(RunRecord("r", "2026-11-23T04:30:00Z", {}, (damaged,)))))

    assert ("7", "0", "3") == tuple(cells.attrib[name] for name in ("tests", "errors", "skipped"))
    assert ("3", "1", "1") == tuple(judged.attrib[name] for name in ("tests", "failures", "skipped"))
    assert ("1", "2026-11-23T04:30:00") == (broken.attrib["errors"], broken.attrib["timestamp"])
    assert "1" == checked(junit.xml(summary_of()))[0].attrib["failures"]


def test_junit_holds_what_an_engine_said_last() -> None:
    """Also what XML cannot: control characters, half a character, the end of CDATA."""
    run = made.run()
    failed = made.failed(made.cell("vllm", 4))
    assert failed.failure is not None
    odd = failed.failure.model_copy(
        update={"log_tail": "\x1b[31m ]]> <b> & \ud800 \x00 end", "message": "a\x07b"}
    )
    text = junit.xml(
        summarise(
            RunRecord(run.id, run.created_at, {}, (made.stored(failed.model_copy(update={"failure": odd})),))
        )
    )
    (suite,) = checked(text)
    (failure,) = suite.iter("failure")

    assert "\ufffd[31m ]]> <b> & \ufffd \ufffd end" == failure.text
    assert "memory-kv-cache" == failure.attrib["type"]
    assert text.encode()


def test_slacks_text_pings_nobody() -> None:
    """Marks within an engine's message are text; the whole is short, and the rest is JSON for programs."""
    run = made.run()
    failed = made.failed(made.cell("vllm", 4))
    assert failed.failure is not None
    loud = failed.model_copy(
        update={"failure": failed.failure.model_copy(update={"message": "<!channel> a & b\nc"})}
    )
    cells = tuple(made.stored(loud) for _ in range(50))
    body = json.loads(json.dumps(webhook.body(summarise(RunRecord(run.id, run.created_at, {}, cells)))))
    lines = body["text"].splitlines()

    assert f"*levelbench {run.id}*: needs a look" == lines[0]
    assert "&lt;!channel&gt; a &amp; b c" in lines[2]
    assert "<!channel>" not in body["text"]
    assert len(body["text"]) <= 3000
    assert 50 == len(body["levelbench"]["cells"])
    assert body["levelbench"]["well"] is False


def test_many_faults_are_cut_with_their_number() -> None:
    """Twenty lines, and how many more there are."""
    cells = tuple(Stored(f"c{i}", State.DAMAGED, reason="gone") for i in range(25))
    text = webhook.text(summarise(RunRecord("r", "2026-11-23T04:30:00Z", {}, cells)))

    assert "and 5 more" == text.splitlines()[-1]


@pytest.mark.parametrize("entries", [[night(1), night(2, **FAILED)]])
def test_a_cell_that_fails_now_is_told_with_its_cause(entries: list) -> None:  # type: ignore[type-arg]
    """No figure, so its reason."""
    assert "it failed in ready (memory-kv-cache) after 1 valid" in history.finding(one(entries))


def test_the_docs_name_what_is_told() -> None:
    """Every kind of verdict and of ending stands in docs/history.md."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "history.md").read_text(encoding="utf-8")

    for told in (*Ending, *Trend):
        assert f"`{told.value}`" in page
