"""The article's claims against made-up runs: which results count, and which may not."""

from __future__ import annotations

from typing import Any

import pytest

from backends.contract import Accelerator, Profile
from orchestrator.catalog import loader, publications
from orchestrator.domain.cell import Serving
from orchestrator.domain.claim import Address, Conditions
from orchestrator.domain.court import ClaimRuling, Court, Measured, incomparable
from orchestrator.domain.reading import Figure
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result, StepRecord
from orchestrator.domain.ruling import Ruling
from orchestrator.domain.verdict import Verdict
from tests.domain import results
from tests.domain.results import article
from tests.report import made

SETTING = publications.publications()["article"].setting
BACKENDS = ("vllm", "lmdeploy", "mlc-llm", "tensorrt-llm", "tgi")

# Of 8B: token rate and TTFT (s) at 10, 50 and 100 users, as claims 1 to 6 would have them.
RATES = {
    "lmdeploy": (900, 2800, 4000),
    "mlc-llm": (890, 2600, 3000),
    "vllm": (700, 1900, 2400),
    "tgi": (690, 1850, 2350),
    "tensorrt-llm": (650, 1800, 2450),
}
TTFTS_S = {
    "lmdeploy": (0.05, 0.09, 0.2),
    "mlc-llm": (0.051, 0.08, 0.6),
    "vllm": (0.052, 0.085, 0.15),
    "tgi": (0.09, 0.2, 0.25),
    "tensorrt-llm": (0.1, 0.22, 0.4),
}


def all_of_8b(**changes: Any) -> list[Measured]:
    return [
        article(
            f"8b/{name}/u{users}",
            RATES[name][i],
            TTFTS_S[name][i],
            share=0.005,
            busy=min(1.0, RATES[name][i] / 4000),
            **changes,
        )
        for name in BACKENDS
        for i, users in enumerate((10, 50, 100))
    ]


def court(measured: list[Measured]) -> Court:
    return Court(measured, SETTING, publications.families())


def ruled(number: str, measured: list[Measured]) -> ClaimRuling:
    (claim,) = publications.require_claims((number,))
    return court(measured).rule(claim)


@pytest.mark.parametrize("number", ["1", "2", "3", "4", "5", "6"])
def test_claims_about_8b_are_reproduced_by_runs_that_are_as_published(number: str) -> None:
    """All five backends, three loads, one A100."""
    found = ruled(number, all_of_8b())

    assert Ruling.REPRODUCED is found.ruling, found
    assert all(part.exhibits for part in found.parts)


@pytest.mark.parametrize(
    ("number", "address", "rate", "ttft_s"),
    [
        ("1", "8b/lmdeploy/u100", 3000, 0.2),
        ("1", "8b/vllm/u100", 4500, 0.15),
        ("2", "8b/lmdeploy/u10", 900, 0.3),
        ("2", "8b/lmdeploy/u100", 4000, 0.04),
        ("3", "8b/mlc-llm/u10", 700, 0.051),
        ("3", "8b/mlc-llm/u50", 2600, 0.9),
        ("4", "8b/mlc-llm/u100", 4300, 0.6),
        ("4", "8b/mlc-llm/u100", 3000, 0.1),
        ("5", "8b/vllm/u50", 1900, 0.9),
        ("6", "8b/vllm/u100", 2600, 0.15),
        ("6", "8b/tgi/u100", 3500, 0.25),
    ],
)
def test_one_figure_that_is_otherwise_refutes_a_claim(
    number: str, address: str, rate: float, ttft_s: float
) -> None:
    """Each part of each claim can fail."""
    others = [m for m in all_of_8b() if not _is(m, address)]

    assert (
        Ruling.NOT_REPRODUCED is ruled(number, [*others, article(address, rate, ttft_s, share=0.005)]).ruling
    )


def test_claims_about_70b() -> None:
    """Each engine's own 4 bits stand under one name."""
    rates = {"lmdeploy": 700, "tensorrt-llm": 690, "vllm": 500, "mlc-llm": 450, "tgi": 400}
    ttfts_s = {"lmdeploy": 0.4, "vllm": 0.5, "tensorrt-llm": 0.45, "mlc-llm": 1.0, "tgi": 1.5}
    models = {"mlc-llm": "70b-q4f16_1", "tensorrt-llm": "70b-int4-awq"}
    measured = [
        article(
            f"70b-4bit/{name}/u{users}",
            rates[name] * users / 100,
            6.5 if (name, users) == ("tensorrt-llm", 100) else ttfts_s[name] * users / 10,
            share=0.005,
            model=models.get(name, "70b-awq"),
            family="70b-4bit",
        )
        for name in BACKENDS
        for users in (10, 50, 100)
    ]

    for number in ("7", "8", "9"):
        assert Ruling.REPRODUCED is ruled(number, measured).ruling, number
    quick = [m for m in measured if not _is(m, "tensorrt-llm/u100")]
    assert (
        Ruling.NOT_REPRODUCED is ruled("8", [*quick, article("70b-4bit/tensorrt-llm/u100", 690, 5.5)]).ruling
    )


def test_utilisation_is_correlated() -> None:
    """Claim 10 needs both models; without the second it is not measured, though the first part holds."""
    found = ruled("10", all_of_8b())

    assert Ruling.NOT_MEASURED is found.ruling
    assert [Ruling.REPRODUCED, Ruling.NOT_MEASURED, Ruling.REPRODUCED] == [p.ruling for p in found.parts]
    assert "over 15 cells" in found.parts[0].statement


def test_other_engines_do_not_spoil_what_stands_for_any() -> None:
    """A run of today's release that lies there too is not part of the published comparison."""
    stranger = article("8b/sglang/u100", 9000, busy=0.1, release="current", profile=Profile.DEFAULTS)

    assert Ruling.REPRODUCED is ruled("10", [stranger, *all_of_8b()]).parts[0].ruling


def test_weights_are_the_same_on_any_host() -> None:
    """Claim 11: by what the weights took, whatever they were measured on."""

    def weighing(model: str, size: int) -> Measured:
        one = results.result(model=model)
        step = StepRecord(id="weights", key="k", cached=True, wall_s=1.0, output_bytes=size)
        return Measured("r", one.model_copy(update={"steps": (step,)}))

    small, large = weighing("8b", 16_060_556_376), weighing("70b-awq", 39_800_000_000)

    assert Ruling.REPRODUCED is ruled("11", [small, large]).ruling
    assert Ruling.NOT_MEASURED is ruled("11", [small]).ruling
    assert Ruling.NOT_REPRODUCED is ruled("11", [small, weighing("70b-awq", 45_000_000_000)]).ruling


def test_the_serving_layer_is_held_against_the_same_engine() -> None:
    """Claim 12, for every cell that was measured both ways, on one machine."""

    def cell(users: int, rate: float, ttft_s: float, layer: str) -> Measured:
        one = results.result(rate, ttft_s, share=0.002, users=users)
        serving = (
            None if layer == "native" else Serving(name=layer, title="B", release="2024-06", version="1")
        )
        group = one.cell.group.model_copy(update={"serving": serving})
        return Measured("r", one.model_copy(update={"cell": one.cell.model_copy(update={"group": group})}))

    pairs = [
        cell(1, 1000, 0.1, "native"), cell(1, 990, 0.101, "bentoml"),
        cell(4, 2000, 0.2, "native"), cell(4, 1950, 0.204, "bentoml"),
    ]  # fmt: skip

    assert Ruling.REPRODUCED is ruled("12", pairs).ruling
    assert Ruling.REPRODUCED is ruled("12", [*pairs, cell(16, 1, 9.0, "bentoml")]).ruling  # alone
    slow = [*pairs, cell(16, 3000, 0.3, "native"), cell(16, 2400, 0.3, "bentoml")]
    assert Ruling.NOT_REPRODUCED is ruled("12", slow).ruling
    assert Ruling.NOT_MEASURED is ruled("12", pairs[::2]).ruling
    elsewhere = cell(4, 1950, 0.2, "bentoml")
    assert elsewhere.result.provenance is not None
    host = elsewhere.result.provenance.host.model_copy(update={"cpus": 64})
    moved = elsewhere.result.model_copy(
        update={"provenance": elsewhere.result.provenance.model_copy(update={"host": host})}
    )
    assert Ruling.NOT_MEASURED is ruled("12", [pairs[2], Measured("r", moved)]).ruling


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu": results.H100}, "measured on NVIDIA H100"),
        ({"gpu": results.A100.model_copy(update={"memory_bytes": 40 * 2**30})}, "with 40 GiB"),
        ({"release": "current"}, "release current instead of 2024-06"),
        ({"profile": Profile.MATCHED}, "profile matched instead of published"),
        ({"workload": loader.workload("short")}, "workload short instead of article"),
        (
            {"workload": loader.workload("article").model_copy(update={"duration_s": 60.0})},
            "measured for 60 s instead of 300 s",
        ),
        ({"extra_args": ("--x",)}, "options of its own: --x"),
        ({"accelerator": Accelerator.CPU}, "measured on cpu, not on one A100"),
    ],
)
def test_another_setting_may_not_be_compared(changes: dict[str, Any], reason: str) -> None:
    """It says why, and what the figures alone would say."""
    found = ruled("4", all_of_8b(**changes))

    assert Ruling.NOT_COMPARABLE is found.ruling
    assert any(reason in text for text in found.parts[0].reasons), found.parts[0].reasons
    assert Ruling.REPRODUCED is found.parts[0].would_be


def test_the_published_setting_itself_is_comparable() -> None:
    """Nothing is said against it."""
    assert () == incomparable(article("8b/vllm/u100").result, SETTING)


def test_the_newest_result_counts() -> None:
    """Before an older one; one with figures before a failure; one as published before any other."""
    new, old = article("8b/vllm/u100", 2400, run="new"), article("8b/vllm/u100", 2000, run="old")
    cell = Address.model_validate("8b/vllm/u100")

    assert new == court([new, old]).find(cell, Conditions.PUBLISHED)
    failure = Measured("failed", made.failed(new.result.cell))
    assert new == court([failure, new, old]).find(cell, Conditions.PUBLISHED)
    elsewhere = article("8b/vllm/u100", 2000, gpu=results.H100)
    assert new == court([elsewhere, new]).find(cell, Conditions.PUBLISHED)
    assert elsewhere == court([elsewhere, new]).find(cell, Conditions.ANY)
    assert None is court([new]).find(Address.model_validate("8b/vllm/u100-sys"), Conditions.PUBLISHED)


def test_results_of_another_method_do_not_count() -> None:
    """They are as if they were not there."""
    old = [Measured(m.run, m.result.model_copy(update={"method": 2})) for m in all_of_8b()]

    assert Ruling.NOT_MEASURED is ruled("4", old).ruling


def test_what_failed_was_not_measured() -> None:
    """With its cause."""
    others = [m for m in all_of_8b() if not _is(m, "mlc-llm/u100")]
    failure = Measured("f", made.failed(article("8b/mlc-llm/u100").result.cell))
    found = ruled("4", [*others, failure])

    assert Ruling.NOT_MEASURED is found.ruling
    assert "8b/mlc-llm/u100: it failed (memory-kv-cache)" in found.parts[0].reasons


def test_the_articles_own_figures_are_compared() -> None:
    """Ours stand beside: its client counts fewer tokens, and that is what was published."""
    others = [m for m in all_of_8b() if not _is(m, "lmdeploy/u100")]
    found = ruled("1", [*others, article("8b/lmdeploy/u100", 4600, 0.2, share=0.005, literal=4000.0)])
    exhibit = found.parts[1].exhibits[0]

    assert Ruling.REPRODUCED is found.ruling
    assert (4000.0, 4600.0, Figure.TOKEN_RATE) == (exhibit.value, exhibit.ours, exhibit.figure)
    assert exhibit.low is not None
    assert 1.005 == pytest.approx(4000.0 / exhibit.low)  # our interval, in proportion


def test_suspect_exhibits_are_marked() -> None:
    """They count, and are seen to."""
    one = article("8b/lmdeploy/u100", 4000, 0.2)
    suspect: Result = one.result.model_copy(update={"verdict": Verdict(level=Level.SUSPECT)})
    others = [m for m in all_of_8b() if not _is(m, "lmdeploy/u100")]
    marks = {e.address: e.suspect for e in ruled("1", [*others, Measured("r", suspect)]).parts[0].exhibits}

    assert marks["8b/lmdeploy/u100"]
    assert not marks["8b/vllm/u100"]


def _is(measured: Measured, address: str) -> bool:
    cell = measured.result.cell
    return address.endswith(f"{cell.group.backend}/u{cell.load.users}")
