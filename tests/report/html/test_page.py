"""The page as a value, from stored records alone: what is drawn, what is said, and why anything is not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import vl_convert

from orchestrator.domain.cell import Role
from orchestrator.domain.cleanroom import Cleared, Known, Moment
from orchestrator.domain.evidence import Apart
from orchestrator.domain.looks import HostState, Snapshot
from orchestrator.domain.provenance import CpuSets, Gpu
from orchestrator.domain.reruns import Cause, Changed, Conclusion, Kind
from orchestrator.domain.result import Placed
from orchestrator.domain.series import Trend
from orchestrator.domain.workload import Arrivals
from orchestrator.report.cost import Price
from orchestrator.report.html import page as pages
from orchestrator.report.html import render
from orchestrator.report.html.charts import Chart
from orchestrator.report.html.values import Page
from orchestrator.report.records import RunRecord
from orchestrator.store.runs import RunFolder
from tests.report import gpu_run, made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The made-up GPU run, with shorter loads of fewer users, through the real stores."""
    return gpu_run.write(tmp_path_factory.mktemp("runs") / "made-up", length_s=40, users=(4, 8, 16))


@pytest.fixture(scope="module")
def gpu(folder: RunFolder) -> Page:
    return folder.page(folder.record(), Price(1.8, "EUR"))


@pytest.fixture(scope="module")
def cpu() -> Page:
    return pages.page(made.run(), {})


def charts(page: Page) -> dict[str, Chart]:
    return {chart.id: chart for chart in pages.charts_of(page.works)}


def test_the_first_screen_ranks_every_engine_at_every_load(gpu: Page) -> None:
    """With interval, TTFT and rank; what has no figures says why in its place."""
    first, _, heavy, heavy_with = gpu.rankings

    assert ("4 users", "8 users", "16 users") == first.loads
    assert 5 == len(first.rows)
    engine, places = first.rows[0]
    assert "lmdeploy 0.4.0" == engine
    assert "1" == places[-1].rank
    assert " to " in places[-1].bounds
    of = {name: [p.instead for p in places] for name, places in (*heavy.rows, *heavy_with.rows)}
    assert ["", "failed: memory-kv-cache", "failed: memory-kv-cache"] == of["tgi 2.0.4"]
    assert "unfinished" == of["mlc-llm 0.1.dev1251"][-1]


def test_a_figure_of_the_answer_is_the_one_of_the_record(folder: RunFolder, gpu: Page) -> None:
    """The page invents nothing."""
    stored = folder.record().cells[0]
    assert stored.result
    assert stored.result.metrics

    shown = dict(gpu.rankings[0].rows)["lmdeploy 0.4.0"][0].rate
    assert f"{stored.result.metrics.tokens_per_s:.0f}" == shown.rstrip("?!")


def test_what_must_not_be_compared_is_said_before_anything_else(gpu: Page) -> None:
    """Unequal answers, suspect cells, failures, refusals and deviations, each once."""
    said = "\n".join(gpu.care)

    for text in (
        "mean answer lengths of the engines differ",
        "mlc-llm 0.1.dev1251 is suspect (8b, 8 users): the load client woke up to 30 ms late",
        "tgi 2.0.4, failed: memory-kv-cache: 70b-awq, 8 users; 70b-awq, 16 users",
        "mlc-llm 0.1.dev1251, unfinished: 70b-awq, 16 users, system prompt",
        "sglang (2024-06) cannot serve 70b-awq",
        "Settings that are not an engine's default",
    ):
        assert text in said
    assert len(gpu.care) == len(set(gpu.care))


def test_engines_on_different_machines_are_no_comparison() -> None:
    """The page says so first."""
    run = made.run()
    one, other = run.cells[0].result, run.cells[3].result
    assert one
    assert other
    assert other.provenance
    host = other.provenance.host.model_copy(
        update={"gpus": (Gpu(uuid="g", name="NVIDIA Other", memory_bytes=1, driver="1"),)}
    )
    moved = other.model_copy(update={"provenance": other.provenance.model_copy(update={"host": host})})
    cells = (made.stored(one), made.stored(moved))

    found = pages.page(RunRecord(id="r", created_at="now", cells=cells), {})
    assert found.care[0].startswith("Not the same hardware: llama-cpp 0.4.1 on no GPU")
    assert "vllm 0.32.0 on NVIDIA Other" in found.care[0]


def test_every_work_has_its_charts(gpu: Page) -> None:
    """Rate, TTFT, GPU against rate, energy, distributions, cold start, and a time line per measured cell."""
    ids = set(charts(gpu))

    for w in gpu.works:
        kinds = {"rate", "ttft", "gpu", "energy", "ttft_s", "itl_s", "latency_s", "start"}
        assert {f"{w.anchor}-{kind}" for kind in kinds} <= ids
    assert 55 == sum(len(w.timelines) for w in gpu.works)


def test_a_time_line_has_every_series_on_one_axis(gpu: Page) -> None:
    """One row per window holds them all; a panel shows one of them over the same time."""
    line = gpu.works[0].timelines[0]
    fields = {"rate", "ttft", "users", "gpu", "power", "clock", "running", "waiting", "kv", "cpu", "lag"}

    assert fields <= set(line.chart.rows[5])
    assert len(fields) == len(line.chart.spec["vconcat"])
    assert [5.0 * i for i in range(12)] == [row["from"] for row in line.chart.rows]
    assert {"shared"} == {line.chart.spec["resolve"]["scale"]["x"]}
    assert "" == line.absent


def test_throttling_is_named_in_its_windows(gpu: Page) -> None:
    """And only there: TensorRT-LLM's GPU is made hot for a tenth of its heaviest loads."""
    slowed = {
        t.title: [row["from"] for row in t.chart.rows if "throttled" in row]
        for w in gpu.works
        for t in w.timelines
        if any("throttled" in row for row in t.chart.rows)
    }
    row = next(row for w in gpu.works for t in w.timelines for row in t.chart.rows if "throttled" in row)

    assert {"tensorrt-llm 0.9.0, 16 users": [25.0]} == slowed
    assert "hw thermal" == row["throttled"]
    assert "clocks held down: hw thermal" in row["words"]


def test_a_run_on_the_cpu_says_what_there_is_not(cpu: Page) -> None:
    """No GPU charts and no cost, with the reason; the rest is there."""
    (work,) = cpu.works
    said = " ".join(work.silent)

    assert "No GPU utilisation, power, energy or clocks: the engines ran on the CPU." in said
    assert "No cost per token and no distance to the memory's limit: the engines ran on the CPU." in said
    assert {"w1-rate", "w1-ttft", "w1-start"} <= set(charts(cpu))
    assert "w1-gpu" not in charts(cpu)
    assert [] == list(work.costs.rows)


def test_a_record_without_raw_data_still_has_its_time_line(cpu: Page) -> None:
    """Windows are in the result; the machine's panels are named as absent."""
    line = cpu.works[0].timelines[0]

    assert {"rate", "ttft", "users"} <= set(line.chart.rows[0])
    assert "No readings of: GPU busy (%)" in line.absent


def test_costs_need_a_price(folder: RunFolder, gpu: Page) -> None:
    """Without one the page says how to give it."""
    without = folder.page(folder.record())

    assert any("GPU-hour 1.8 EUR" in heading for heading in gpu.works[0].costs.headings)
    assert not any("GPU-hour" in heading for heading in without.works[0].costs.headings)
    assert any("--gpu-price" in line for line in without.works[0].silent)


def test_settings_stand_side_by_side_and_differences_are_found(gpu: Page) -> None:
    """What engines were asked, what was not sent, what they read back."""
    table = gpu.works[0].settings
    differing = {table.rows[i][0] for i in table.differing}

    assert {"asked but not sent (refused by the release)", "kv_tokens (read back)"} == differing
    assert ["setting", *(f"{e.name} {e.version}" for e in gpu_run.ENGINES)] == list(table.headings)
    assert "temperature 1, top_p 1, at most 512 tokens, seed none" in gpu.works[0].sampling


def test_correlation_of_gpu_and_rate_bears_the_worst_mark(gpu: Page) -> None:
    """Claim 10 is about it; one suspect cell makes it suspect."""
    note = charts(gpu)["w1-gpu"].note

    assert note.startswith("Pearson's r = ")
    assert "? over 15 cells" in note


def test_failures_have_cause_phase_and_last_words(gpu: Page) -> None:
    assert 4 == len(gpu.failed)
    assert ("memory-kv-cache", "ready") == (gpu.failed[0].cause, gpu.failed[0].phase)
    assert "no memory for the cache blocks" in gpu.failed[0].log_tail


@pytest.mark.parametrize("which", ["gpu", "cpu"])
def test_every_specification_is_one_that_vega_lite_takes(which: str, request: pytest.FixtureRequest) -> None:
    """Compiled by the library that the page carries."""
    page: Page = request.getfixturevalue(which)
    assert page.deck.specs
    for number, spec in enumerate(page.deck.specs):
        rows = next(rows for i, _, rows in page.deck.charts.values() if i == number)
        compiled = vl_convert.vegalite_to_vega(
            {**spec, "data": {"values": list(rows)}}, vl_version=render.VEGA_LITE, config=render.theme()
        )
        assert compiled["marks"]


def test_charts_that_are_alike_share_a_specification(gpu: Page) -> None:
    """So that a page of 60 cells stays small."""
    assert len(gpu.deck.specs) < len(gpu.deck.charts) / 2


def test_a_suspect_point_has_its_mark_beside_it(gpu: Page) -> None:
    """In the chart itself, as text and as a hollow shape, not by colour."""
    chart = charts(gpu)["w1-rate"]
    marked = [row for row in chart.rows if row["mark"]]

    assert marked
    assert all("suspect" in row["words"] and "? tok/s" in row["words"] for row in marked)
    texts = [layer for layer in chart.spec["layer"] if layer["mark"].get("type") == "text"]
    assert ["datum.mark !== '' && true"] == [layer["transform"][0]["filter"] for layer in texts]
    (points,) = [layer for layer in chart.spec["layer"] if layer["mark"].get("type") == "point"]
    assert 0 == points["encoding"]["fillOpacity"]["value"]


def test_the_time_line_of_a_suspect_cell_is_marked_in_every_panel(gpu: Page) -> None:
    lines = [t for w in gpu.works for t in w.timelines if t.verdict == "suspect"]

    assert lines
    for line in lines:
        assert all(panel["title"]["text"].endswith("?") for panel in line.chart.spec["vconcat"])


def test_pages_are_written_beside_the_other_reports(folder: RunFolder) -> None:
    """By the one function that every run ends with; a second time gives the same bytes."""
    page = folder.write_reports()[2]
    first = page.read_bytes()

    assert Path("report.html") == Path(page.name)
    assert first == folder.write_reports()[2].read_bytes()


def test_records_of_another_version_cost_the_charts_not_the_report(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures come from the result; what was drawn from raw records is named as absent."""
    monkeypatch.setattr("orchestrator.store.cells.EXCHANGES", "gone.parquet")
    page = folder.page(folder.record())

    assert ("w1-ttft_s" in charts(page), "w1-rate" in charts(page)) == (False, True)


def test_an_open_loop_is_told_by_its_rates() -> None:
    """Loads, axes and titles; users, of which there are none, nowhere. What was within limits has a chart and a
    column, and decides who is first: token rates are alike where engines keep up."""
    found = pages.page(made.open_run(), {})
    (ranking,), (work,) = found.rankings, found.works
    charts = {chart.id.partition("-")[2]: chart for chart in work.charts}

    assert ("2 requests/s", "8 requests/s") == ranking.loads
    assert "most within limits from llama-cpp 0.4.1 with 2 and 8 requests/s" == ranking.answer
    assert [("1", "8.00 (100.0 %)"), ("2", "0.000 (0 %)")] == [
        (places[1].rank, places[1].good) for _, places in ranking.rows
    ]
    assert ["2", "2", "8", "8"] == [row["load"] for row in charts["rate"].rows]
    assert [2.0, 2.0, 8.0, 0.0] == [row["good"] for row in charts["good"].rows]
    assert (
        "Requests per second that kept at most TTFT 100 ms and time per output token 50.0 ms"
        == charts["good"].about
    )
    assert all(
        "user" not in text for text in (*(c.title for c in work.charts), *(t.title for t in work.timelines))
    )
    assert "rate (1/s)" == work.figures.headings[0] == work.certainty.headings[0]
    assert any("an open loop asks the same of every engine" in line for line in found.care)


def test_a_traces_own_pace_is_told_in_words() -> None:
    trace = made.OPEN.model_copy(
        update={
            "arrivals": Arrivals.TRACE,
            "rates": (),
            "slo": None,
        }
    )
    found = pages.page(made.open_run(trace), {})

    assert ("the trace's own pace",) == found.rankings[0].loads
    assert "lowest TTFT from llama-cpp 0.4.1 with the trace's own pace" == found.rankings[0].answer
    assert {"as recorded"} == {row["load"] for row in found.works[0].charts[0].rows}


GATE = Cleared(
    moment=Moment.BEFORE,
    snapshot=Snapshot(elapsed_s=0, host=HostState(memory_available_bytes=2**30, cpus=2)),
    known=Known(),
)


def test_what_befell_the_host_and_who_ran_where_is_told() -> None:
    """Gate, CPUs, serving layer, host of a fleet, the client's own error: with each engine's provenance."""
    group = made.group()
    noted = made.provenance(group).model_copy(
        update={"serving": "BentoML 1.2.16", "cpus": CpuSets(engine=(0, 1), client=(2,), apart=Apart.CORES)}
    )
    result = made.result(
        made.cell(users=4),
        made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40),
        provenance=noted,
        placed=Placed(host="node-1", attempt="7"),
        gate=GATE.model_copy(update={"remarks": ("the GPU was still warm",)}),
    )
    run = RunRecord(id="r", created_at="2026-11-23T04:30:00", cells=(made.stored(result),))
    (engine,) = pages.page(run, {}).engines
    text = render.html(pages.page(run, {}))

    assert ("clean; the GPU was still warm", ("node-1, attempt 7",)) == (engine.room, engine.placed)
    assert "Engine on CPUs 0-1, load client on 2" == engine.cpus
    assert "behind BentoML 1.2.16" in text
    assert "its error was not measured on this host" in text


def test_what_was_measured_again_is_told_and_competes_with_nobody() -> None:
    """What looked like a change, and what a second run showed, beside the run's own cells."""
    of = made.cell(users=4)
    first = made.result(of, made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))
    again = made.result(
        made.cell(users=4, role=Role.CONFIRM, mark="again"), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40)
    )
    change = Changed(
        cell=of.id,
        trend=Trend.REGRESSION,
        found="regression: <b>slower</b>",
        conclusion=Conclusion(confirmed=True, cause=Cause.HOST),
        reruns={Kind.AGAIN: again.cell.id},
    )
    run = RunRecord(
        id="r",
        created_at="2026-11-23T04:30:00",
        cells=(made.stored(first),),
        changes=(change,),
        reruns=(made.stored(again),),
    )
    found = pages.page(run, {})
    text = render.html(found)

    assert 1 == len(found.works[0].figures.rows)
    assert [[of.id, "as it is", "valid"]] == [row[:3] for row in found.again.rows]
    assert "1 cell changed since earlier runs, 1 confirmed" in text
    assert "regression: &lt;b&gt;slower&lt;/b&gt;; <b>confirmed by a second run" in text


@pytest.mark.parametrize("role", [Role.CONTROL, Role.CONFIRM])
def test_only_what_was_measured_for_its_own_sake_is_ranked(role: Role) -> None:
    """Wherever the cell of another role comes from."""
    one = made.result(made.cell(users=4), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))
    other = made.result(
        made.cell(users=4, role=role, mark="x"), made.load(4, ttft_s=0.08, gap_s=0.01, tokens=40)
    )
    run = RunRecord(id="r", created_at="2026-11-23", cells=(made.stored(one), made.stored(other)))

    assert 1 == len(pages.page(run, {}).rankings[0].rows)


def test_a_comparison_shows_what_no_measurement_tells(folder: RunFolder) -> None:
    """The article's qualitative table, of the engines of the run alone; of a single engine there is none."""
    record = folder.record()
    alone = dataclasses.replace(record, cells=record.cells[:1])
    rows = folder.page(record).compared.rows

    assert {"LMDeploy", "MLC-LLM", "TensorRT-LLM", "TGI", "vLLM"} == {row[0] for row in rows}
    assert {"the article", "June 2024", "today"} == {row[1].partition(":")[0] for row in rows}
    assert "The engines, then and now" in render.html(folder.page(record))
    assert "The engines, then and now" not in render.html(folder.page(alone))


def test_a_cell_that_was_not_tried_or_is_waived_says_so() -> None:
    one = made.failed(made.cell("vllm", 4))
    assert one.failure
    skipped = one.model_copy(update={"failure": one.failure.model_copy(update={"skipped": True})})
    run = RunRecord(id="r", created_at="2026-11-23", cells=(made.stored(one), made.stored(skipped)))

    assert ["", "not tried, since its like had failed so before"] == [
        f.fate for f in pages.page(run, {}).failed
    ]
    assert 1 == render.html(pages.page(run, {})).count("in phase ready (not tried")
