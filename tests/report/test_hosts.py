"""A ranking whose figures come from several hosts says so."""

from __future__ import annotations

import pytest

from orchestrator.domain.result import Placed, Result
from orchestrator.report import markdown
from orchestrator.report.comparison import hosts_apart
from orchestrator.report.records import RunRecord
from tests.report import made


def on(host: str, backend: str = "llama-cpp", *, driver: str | None = None, cpus: int = 2) -> Result:
    """Measured there; with a GPU of that driver, or without one."""
    of = made.cell(backend)
    gpus = (made.GPU.model_copy(update={"driver": driver}),) if driver else ()
    provenance = made.provenance(of.group)
    there = provenance.host.model_copy(update={"gpus": gpus, "cpus": cpus})
    return made.result(
        of,
        made.load(1, ttft_s=0.1, gap_s=0.01, tokens=20),
        provenance=provenance.model_copy(update={"host": there}),
        placed=Placed(host=host, attempt="7.0"),
    )


@pytest.mark.parametrize(
    "results",
    [
        [],
        [on("gpu1"), on("gpu1", "vllm")],
        [r.model_copy(update={"placed": None}) for r in (on("a"), on("b", cpus=4))],
    ],
)
def test_one_host_is_nothing_to_tell(results: list[Result]) -> None:
    assert [] == hosts_apart(results)


def test_hosts_of_one_make_are_told_with_the_way_to_one_host() -> None:
    (line,) = hosts_apart([on("gpu2", driver="570"), on("gpu1", "vllm", driver="570")])

    assert "several hosts of the same make (gpu1, gpu2): --pin MODEL=HOST" in line


@pytest.mark.parametrize("other", [{"driver": "580"}, {"driver": "570", "cpus": 4}, {}])
def test_unlike_hosts_are_flagged_with_what_they_are(other: dict[str, str]) -> None:
    """Another driver, another CPU count, no GPU: each is another host to measure on."""
    (line,) = hosts_apart([on("gpu1", driver="570"), on("gpu2", "vllm", **other)])  # type: ignore[arg-type]

    assert "unlike hosts" in line
    assert "gpu1: Test CPU, 2 CPUs, NVIDIA Test, driver 570" in line


def test_the_report_tells_it_beside_the_ranking() -> None:
    results = [on("gpu1", driver="570"), on("gpu2", "vllm", driver="580")]
    cells = tuple(made.stored(r) for r in results)
    text = markdown.report(cells, RunRecord(id="night", created_at="2026-11-23", plan={}, cells=cells))

    assert "measured on unlike hosts, so that a difference may be theirs" in text
