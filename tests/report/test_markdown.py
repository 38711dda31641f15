"""What a report says in cases that the golden run does not have."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from backends.contract import Accelerator, Profile
from orchestrator.domain.cell import Load, Serving
from orchestrator.domain.metrics import summarise
from orchestrator.domain.result import METHOD, Phase, Result, TelemetrySummary
from orchestrator.domain.stationarity import Drift, Figure, Shape, Stationarity
from orchestrator.domain.verdict import judge
from orchestrator.domain.windows import SteadyRule
from orchestrator.domain.workload import SystemPrompt
from orchestrator.report import comparison, markdown
from orchestrator.report.records import RunRecord, State, Stored
from tests.domain.made import ns, span
from tests.report.made import (
    GPU,
    GPU_MEANS,
    WORKLOAD,
    cell,
    failed,
    group,
    load,
    provenance,
    result,
    stored,
)

FAST = load(1, ttft_s=0.05, gap_s=0.01, tokens=40)
SLOW = load(1, ttft_s=0.09, gap_s=0.02, tokens=40)


def report(*results: Result, more: tuple[Stored, ...] = ()) -> str:
    cells = (*(stored(r) for r in results), *more)
    return markdown.report(cells, RunRecord(id="r", created_at="now", cells=cells))


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("## ")]


def invalid(**changes: Any) -> Result:
    metrics = summarise([], span(steady_s=5, end_s=25), window_s=5)
    verdict = judge(metrics, users=1)
    return result(cell("vllm"), FAST).model_copy(update={"metrics": metrics, "verdict": verdict} | changes)


def test_a_run_without_cells_is_a_report_without_tables() -> None:
    """Nothing is claimed."""
    text = report()

    assert "0 cells: none planned." in text
    assert ["## How it is measured"] == headings(text)


def test_a_single_engine_is_not_compared() -> None:
    """Its heading says how fast it was, and there is no ranking."""
    text = report(result(cell(), FAST))

    assert "## small: 89.0 tok/s with 1 user" == headings(text)[0]
    assert "Side by side" not in text
    assert "## No request failed in a measured window" in headings(text)
    assert "## How long the answers were, and why they ended" in headings(text)


def test_each_load_is_led_by_its_own_engine() -> None:
    """A heading may name two leaders."""
    text = report(
        result(cell("a"), FAST),
        result(cell("b"), SLOW),
        result(cell("a", 4), SLOW),
        result(cell("b", 4), FAST),
        result(cell("a", 16), SLOW),
        result(cell("b", 16), FAST),
    )

    leaders = "a 1.0 with 1 user and b 1.0? with 4 and 16 users"
    assert f"## small: most tok/s from {leaders}" == headings(text)[0]


def test_an_invalid_cell_is_marked_and_not_ranked() -> None:
    """Its figures stay visible, its reasons are told, it takes no place."""
    text = report(result(cell(), FAST), invalid())

    assert "## small: no two engines to compare" == headings(text)[0]
    assert "| 1     | vllm 0.32.0     | invalid |" in text
    assert "0.000!" in text
    assert "vllm 0.32.0, 1 user: invalid, no token arrived in the measured window" in text
    assert "vllm 0.32.0, 1 user: not ranked, its figures are invalid" in text


def test_figures_that_nobody_judged_are_invalid() -> None:
    """A result without a verdict cannot be relied on."""
    assert "89.0!" in report(result(cell(), FAST, verdict=None))


def test_different_methods_are_never_ranked() -> None:
    """A METHOD is bumped because it moves numbers."""
    text = report(result(cell("a"), FAST), result(cell("b"), SLOW, method=METHOD + 1))

    assert "- 1 user: not ranked, measured by different METHODs" in text
    assert "to the best |" not in text
    assert f"## How it was measured (METHOD {METHOD} and {METHOD + 1})" in headings(text)


def test_profiles_of_one_engine_are_told_apart() -> None:
    """The name grows only by what differs."""
    text = report(result(cell(), FAST), result(cell(profile=Profile.MATCHED), SLOW))

    assert "## small: most tok/s from llama-cpp 0.4.1 (defaults) with 1 user" == headings(text)[0]
    assert "| llama-cpp 0.4.1 (matched)  |" in text


def test_models_and_system_prompts_have_tables_of_their_own() -> None:
    """Different work is never in one table."""
    prompted = cell().model_copy(update={"load": Load(users=1, system_prompt=SystemPrompt.WITH)})
    text = report(result(cell(), FAST), result(cell(model="tiny"), FAST), result(prompted, FAST))

    assert [
        "## small: 89.0 tok/s with 1 user",
        "## tiny: 89.0 tok/s with 1 user",
        "## small with system prompt: 89.0 tok/s with 1 user",
    ] == headings(text)[:3]


def test_workloads_are_named_where_there_are_several() -> None:
    """Two workloads of one model are different work too."""
    other = WORKLOAD.model_copy(update={"id": "article"})
    text = report(result(cell(), FAST), result(cell(workload=other), FAST))

    assert [
        "## small, quick: 89.0 tok/s with 1 user",
        "## small, article: 89.0 tok/s with 1 user",
    ] == headings(text)[:2]
    assert "- Workload article:" in text


def test_a_gpu_adds_its_columns_and_its_driver() -> None:
    """Without one the columns are not there at all."""
    host = provenance(group()).host.model_copy(update={"gpus": (GPU,)})
    proof = provenance(group()).model_copy(update={"host": host})
    text = report(
        result(
            cell(accelerator=Accelerator.CUDA),
            FAST,
            telemetry=TelemetrySummary(mean=GPU_MEANS),
            provenance=proof,
        )
    )

    assert "| GPU busy | GPU power (W) |" in text
    assert "|   87.5 % |           312 |" in text
    assert "GPU: NVIDIA Test, 80.0 GiB, driver 570.1, `GPU-1`" in text
    assert "GPU busy" not in report(result(cell(), FAST))


def test_a_run_of_failures_alone_has_no_figures_and_no_claims() -> None:
    """Cause, hint and log are all that is known."""
    text = report(failed(cell()))

    assert "## small: no figures" == headings(text)[0]
    assert "## 1 cell failed" in headings(text)
    assert "No request failed" not in text
    assert "never ready" not in text


def test_an_engine_that_never_started_has_no_time_to_ready() -> None:
    """An image alone is no cold start."""
    text = report(failed(cell(), phases_s={Phase.IMAGE: 3.0}))

    assert "## From start to ready: llama-cpp 0.4.1 (small) never ready" in headings(text)


def test_a_failure_without_hint_or_log_says_only_its_cause() -> None:
    """No empty headings."""
    bare = failed(cell())
    assert bare.failure is not None
    text = report(
        bare.model_copy(update={"failure": bare.failure.model_copy(update={"hint": "", "log_tail": ""})})
    )

    assert "**memory-kv-cache** in phase ready" in text
    assert "What to do" not in text
    assert "last words" not in text


def test_no_deviation_is_said_too() -> None:
    """Silence would leave it open."""
    proof = provenance(group()).model_copy(update={"deviations": ()})

    assert "## Every engine ran with its defaults" in headings(report(result(cell(), FAST, provenance=proof)))


def test_a_deviation_without_source_has_a_dash() -> None:
    """It is disclosed all the same."""
    proof = provenance(group())
    bare = proof.deviations[0].model_copy(update={"source": None})
    text = report(result(cell(), FAST, provenance=proof.model_copy(update={"deviations": (bare,)})))

    assert "the default serves one user at a time | -      |" in text


def test_a_damaged_cell_names_its_file() -> None:
    """It is listed, and it has no figures."""
    broken = Stored("x-u1", State.DAMAGED, reason="exchanges.parquet was altered after it was written")
    text = report(result(cell(), FAST), more=(broken,))

    assert "`x-u1`: damaged, exchanges.parquet was altered after it was written" in text
    assert "2 cells: 1 valid, 1 damaged." in text


def test_a_torn_journal_alone_is_told() -> None:
    """Every cell may be complete and yet an event be lost."""
    text = markdown.report((), RunRecord(id="r", created_at="now", torn_lines=(3,)))

    assert "## The journal is torn\n\n- line 3 of the journal was torn by a crash" in text


def test_measuring_that_never_began_has_no_time_line() -> None:
    """A cell without windows says so instead of an empty table."""
    nothing = summarise([], span(steady_s=0, end_s=0), window_s=5)

    assert "No window: measuring ended at once." in report(invalid(metrics=nothing))


def test_a_drift_is_told_beside_the_time_line() -> None:
    """With its mark, since the figures in it are suspect."""
    drift = Drift(figure=Figure.TTFT, shape=Shape.TREND, at_s=20, before=0.1, after=0.3, p=0.002)
    one = result(cell(), FAST)
    assert one.metrics is not None
    metrics = one.metrics.model_copy(update={"stationarity": Stationarity(windows=56, drifts=(drift,))})
    text = report(one.model_copy(update={"metrics": metrics, "verdict": judge(metrics, users=1)}))

    assert "Over time: suspect: TTFT degrades steadily from 20 s: 100 -> 300 ms." in text
    assert "1 user: suspect, TTFT degrades steadily from 20 s: 100 -> 300 ms" in text


def test_a_steady_run_is_said_to_be_one() -> None:
    """And why the window is what it is."""
    one = result(cell(), FAST)
    assert one.metrics is not None
    changes = {"stationarity": Stationarity(windows=56), "steady_rule": SteadyRule.OPEN_LOOP}
    text = report(one.model_copy(update={"metrics": one.metrics.model_copy(update=changes)}))

    assert "Over time: stationary: no step and no trend in 56 windows." in text
    assert "steady: all that follows the ramp (open loop)" in text


def test_a_drain_is_told() -> None:
    """Users that stopped early leave a part that counts for nothing, and a reason."""
    early = [x for x in FAST if x.end_ns < ns(20)]
    text = report(result(cell(), early))

    assert "drain: the last 5.21 s" in text
    assert "| steady, drain |" in text
    assert "1 of 1 users stopped before the end of measuring" in text


def test_what_nobody_looked_at_is_listed() -> None:
    """Cells that lack the same are named together."""
    text = report(result(cell(), FAST), result(cell("vllm"), FAST))

    assert "## What the verdicts did not look at" in headings(text)
    assert "client-lag (llama-cpp 0.4.1, small, 1 user; vllm 0.32.0, small, 1 user)" in text


def test_the_articles_figures_stand_only_where_they_were_asked_for() -> None:
    """With the difference in parts, and dashes where chunks were not tokenised again."""
    bare = [dataclasses.replace(x, literal_tokens=np.empty(0, np.int64)) for x in FAST]
    asked, without = report(result(cell(), bare)), report(result(cell(), FAST, article=None))

    assert "## As the article's client would have printed it" in headings(asked)
    assert "|            - |              - |           - |               - |                  - |" in asked
    assert "article's client" not in without


@pytest.mark.parametrize("text", ["seconds", "1e-"])
def test_no_raw_number_leaks(text: str) -> None:
    """Everything goes through units.py."""
    assert text not in report(result(cell(), FAST))


def test_what_stands_before_an_engine_is_part_of_its_name() -> None:
    """Also where there is nothing to tell it from: another figure than the engine's own."""
    serving = Serving(name="layer", title="Layer", release="current", version="1.0")
    alone = report(result(cell(serving=serving), FAST))
    beside = report(result(cell(), FAST), result(cell(serving=serving), SLOW))

    assert "llama-cpp 0.4.1 (behind Layer 1.0)" in alone
    assert "llama-cpp 0.4.1 (native)" in beside
    assert "llama-cpp 0.4.1 (behind Layer 1.0)" in beside


@pytest.mark.parametrize(
    ("tokens", "heading", "care"),
    [
        (40, "Mean answer lengths of the engines are the same", False),
        (44, "Mean answer lengths of the engines differ by up to 10.0 %", True),
    ],
)
def test_the_heading_over_answers_says_whether_the_work_was_equal(
    tokens: int, heading: str, *, care: bool
) -> None:
    """And nothing of 0 %; only what differs is a thing to know before one compares."""
    other = load(1, ttft_s=0.05, gap_s=0.01, tokens=tokens)
    results = (result(cell(), FAST), result(cell("vllm"), other))

    assert f"## {heading}" in headings(report(*results))
    assert (heading if care else "") == comparison.unequal(results)
