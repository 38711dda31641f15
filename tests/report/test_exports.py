"""Dashboards' own parsers read what we write for them."""

from __future__ import annotations

import json

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain.reasons import Finding, Level, Reason
from orchestrator.domain.verdict import Verdict
from orchestrator.report import exports
from orchestrator.report.records import RunRecord
from tests.report import made

RUN = made.run()


def with_verdict(of: Level) -> RunRecord:
    """A run of one cell."""
    findings = (Finding(reason=Reason.CLIENT_LATE, level=of, text="so"),)
    one = made.result(made.cell(), made.load(1, ttft_s=0.05, gap_s=0.01, tokens=40))
    judged = one.model_copy(update={"verdict": Verdict(level=of, findings=findings)})
    return RunRecord(id="r", created_at="now", cells=(made.stored(judged),))


def samples(run: RunRecord) -> dict[str, list[tuple[dict[str, str], float]]]:
    families = text_string_to_metric_families(exports.prometheus(run))
    return {f.name: [(s.labels, s.value) for s in f.samples] for f in families}


def test_prometheus_reads_every_figure() -> None:
    """As gauges without timestamps, which is what a textfile collector takes."""
    found = samples(RUN)
    rates = {
        labels["users"]: value
        for labels, value in found["levelbench_tokens_per_s"]
        if labels["backend"] == "llama-cpp"
    }

    expected = {
        str(s.result.cell.load.users): s.result.metrics.tokens_per_s
        for s in RUN.cells[:3]
        if s.result and s.result.metrics
    }
    assert expected == rates
    assert "levelbench_ttft_p50_s" in found
    assert "levelbench_tokens_per_s_low" in found


def test_every_cell_has_a_state() -> None:
    """An alert can see what failed or never ended."""
    states = [labels["state"] for labels, _ in samples(RUN)["levelbench_cell"]]

    assert ["valid", "valid", "suspect", "valid", "failed: memory-kv-cache", "unfinished"] == states


def test_a_suspect_figure_keeps_its_mark() -> None:
    """In Prometheus as a label, in BMF in the benchmark's name."""
    run = with_verdict(Level.SUSPECT)

    assert all("suspect" == labels["verdict"] for labels, _ in samples(run)["levelbench_tokens_per_s"])
    assert all(name.endswith("(suspect)") for name in json.loads(exports.bmf(run)))


def test_an_invalid_cell_has_no_figures() -> None:
    run = with_verdict(Level.INVALID)

    assert {} == json.loads(exports.bmf(run))
    assert "levelbench_tokens_per_s" not in samples(run)
    assert [("invalid", 1.0)] == [(of["state"], v) for of, v in samples(run)["levelbench_cell"]]


def test_bmf_is_a_benchmark_of_measures_of_numbers() -> None:
    """Bencher Metric Format: `value`, and bounds around it where they are known."""
    for benchmark in json.loads(exports.bmf(RUN)).values():
        for measure in benchmark.values():
            assert {"value"} <= set(measure) <= {"value", "lower_value", "upper_value"}
            assert all(isinstance(number, int | float) for number in measure.values())
    rate = json.loads(exports.bmf(RUN))["vllm-current-small-defaults-u1/quick/METHOD 3"]["tokens_per_s"]
    assert rate["lower_value"] < rate["value"] < rate["upper_value"]
