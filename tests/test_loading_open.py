"""`levelbench load` as an open loop, with prompts of a data set, and with the client's own proof."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.distribution import Distribution
from orchestrator.domain.provenance import Host
from orchestrator.domain.reasons import Reason
from orchestrator.domain.request import Slo
from orchestrator.domain.windows import SteadyRule
from orchestrator.domain.workload import Arrivals
from orchestrator.invocation import Place
from orchestrator.loading import LoadRequest
from orchestrator.runtime.daemon import Daemon
from orchestrator.selftest.figures import Errors, Point, SelfTest
from orchestrator.selftest.run import keep
from orchestrator.store.runs import RunFolder
from orchestrator.store.tables import read_exchanges
from quantize import synthetic
from tests.fakes.engine import Exchange, FakeEngine, steady
from tests.fakes.hub import COMMIT, FakeHub
from tests.test_loading import ask, cli, run

NOTHING = Distribution(n=0)
ERRORS = Errors(ttft_s=Distribution(n=700, p99=13e-6), itl_s=Distribution(n=700, p99=7e-6))
SELF_TEST = SelfTest(
    levelbench="0.1",
    started_at=datetime(2026, 11, 24, tzinfo=timezone.utc),
    host=Host(os="", kernel="", machine="", cpu="of another age", cpus=1, memory_bytes=1, python="3"),
    shards=1,
    points=(
        Point(
            users=100,
            seconds=25.0,
            events=66_000,
            events_per_s=2640.0,
            missing=0,
            failed=0,
            cpu_per_event_s=19e-6,
            cpu_share=0.05,
            memory_bytes=1,
            kernel_share=1.0,
            realtime=True,
            kernel=ERRORS,
            user=ERRORS,
            send_s=NOTHING,
            late_s=NOTHING,
            steal_s=0.0,
        ),
    ),
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "runs", tmp_path / "cache", Daemon(), environment={})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made model's folder."""
    folder = tmp_path_factory.mktemp("tiny")
    synthetic.make("tiny", folder)
    return folder


def opened(engine: FakeEngine, **changes: Any) -> LoadRequest:
    return ask(engine, **{"users": (), "rates": (20.0,), "duration_s": 2.0, **changes})


def test_an_open_loop_sends_at_its_rate(place: Place) -> None:
    """Whatever the answers take; latencies count from when each was due, limits are told."""
    with FakeEngine(steady(tokens=4, ttft_s=0.3)) as engine:
        slo = Slo(ttft_s=2.0, latency_s=5.0)
        folder, _ = run(place, opened(engine, arrivals=Arrivals.CONSTANT, slo=slo))
        (stored,) = folder.results()
        exchanges = read_exchanges(folder.cell(stored.cell_id).path / "exchanges.parquet")
        report = (folder.path / "report.md").read_text()
    assert stored.result is not None
    assert stored.result.metrics is not None
    m = stored.result.metrics

    assert "r20" == stored.result.cell.load.id
    assert 20.0 == pytest.approx(stored.result.evidence.asked_per_s, rel=0.02)
    assert SteadyRule.OPEN_LOOP is m.steady_rule
    assert 19 <= m.sent_per_s <= 21
    assert m.active_users_mean > 3  # a closed loop of one user would have one
    assert all(x.scheduled_ns and x.send_ns >= x.scheduled_ns for x in exchanges)
    assert m.ttft_s.mean is not None
    assert m.ttft_sent_s.mean is not None
    assert m.ttft_s.mean > m.ttft_sent_s.mean
    assert m.goodput_per_s == m.requests_per_s > 0
    assert "with 20 requests/s" in report
    assert "rate (1/s)" in report
    assert "requests are due at the rates that stand in the table (constant arrivals)" in report


def test_an_engine_slower_than_the_rate_is_found_out(place: Place) -> None:
    """It does one request at a time, five a second, of twenty; three may be in flight: most wait or are never sent,
    and the figures say so."""
    busy = asyncio.Lock()

    async def slow(x: Exchange) -> None:
        async with busy:
            await steady(tokens=2, ttft_s=0.2)(x)

    with FakeEngine(slow) as engine:
        workload = Path(place.runs_dir.parent, "mine.toml")
        workload.write_text(
            '[mine]\ntitle = "t"\narrivals = "constant"\nrates = [20]\nmax_in_flight = 3\nramp_s = 0.5\n'
            'duration_s = 4\nprompts = { source = "own" }\n'
        )
        folder, _ = run(place, opened(engine, rates=(), duration_s=None, ramp_s=None, workload=str(workload)))
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.metrics is not None
    assert stored.result.verdict is not None
    m = stored.result.metrics
    reasons = {f.reason for f in stored.result.verdict.findings}

    assert {Reason.FALLS_BEHIND, Reason.SENT_LATE, Reason.LOAD_NOT_REACHED} <= reasons
    assert any("were due while 3 were in flight" in note for note in stored.result.notes)
    assert m.cut > 30
    assert m.ttft_s.max is not None
    assert m.ttft_sent_s.max is not None
    assert m.ttft_s.max > 2 * m.ttft_sent_s.max


def test_a_trace_is_replayed_at_its_times(place: Place, tmp_path: Path, tiny: Path) -> None:
    """Lengths, order and distances of the file."""
    at_ms = [t + 1900 * n for n in range(4) for t in (0, 100, 150, 700, 1400, 1450)]
    lines = [
        json.dumps({"timestamp": 5000 + t, "input_length": 60 + i, "output_length": 5 + i})
        for i, t in enumerate(at_ms)
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text("\n".join(lines))
    with FakeEngine(steady(tokens=2, ttft_s=0.0)) as engine:
        changes = {"arrivals": Arrivals.TRACE, "prompts": str(file), "tokenizer": tiny, "ignore_eos": True}
        folder, _ = run(place, opened(engine, rates=(), **changes))
        (stored,) = folder.results()
        exchanges = read_exchanges(folder.cell(stored.cell_id).path / "exchanges.parquet")
    assert stored.result is not None
    found = sorted(exchanges, key=lambda x: x.scheduled_ns)
    sent = [r for i, r in zip(engine.request_ids, engine.requests, strict=True) if i.startswith("trace-")]
    first_ns = found[0].scheduled_ns

    # the probe and the warm-up had the first of them: the load goes on there, and ends after 2.2 s
    planned_ms = [t - at_ms[5] for t in at_ms[5:] if t - at_ms[5] < 2200]
    assert planned_ms == [round((x.scheduled_ns - first_ns) / 1e6) for x in found]
    assert [10 + i for i in range(len(sent))] == [r["max_tokens"] for r in sent]


def test_prompts_that_come_again_are_told(place: Place, tmp_path: Path) -> None:
    """A prefix cache may know them."""
    file = tmp_path / "few.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"say {i}"}) for i in range(32)))
    with FakeEngine(steady(tokens=1, ttft_s=0.0)) as engine:
        again, _ = run(place, ask(engine, prompts=str(file), users=(4,), think_s=0.0, duration_s=1.5))
        once, _ = run(place, ask(engine, users=(1,), think_s=0.2))

    assert any("prompts had been sent before: the set has 32" in n for n in notes(again))
    assert () == notes(once)


def notes(folder: RunFolder) -> tuple[str, ...]:
    return tuple(n for stored in folder.results() if stored.result for n in stored.result.notes)


def test_prompts_come_from_a_data_set_of_the_hub(place: Place) -> None:
    """One column of one file, at the commit that its revision means."""
    rows = "\n".join(json.dumps({"question": f"why {i}?", "answer": "so"}) for i in range(40)).encode()
    hub = FakeHub({"main/test.jsonl": rows}, repository="datasets/somebody/set")
    with hub, FakeEngine(steady()) as engine:
        reach = replace(place, environment={"HF_ENDPOINT": hub.url, "NO_PROXY": "*"})
        folder, screen = run(reach, ask(engine, prompts="hf:somebody/set@main/main/test.jsonl#question"))
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.provenance is not None

    assert {f"why {i}?" for i in range(40)} >= {r["messages"][0]["content"] for r in engine.requests}
    assert f"40 prompts of somebody/set@{COMMIT[:12]}/main/test.jsonl" in screen
    assert stored.result.provenance.prompts_name.startswith(f"somebody/set@{COMMIT[:12]}")


def test_the_clients_self_test_goes_with_the_run(place: Place) -> None:
    """Its proof, where there is one; else the report says how to make it."""
    with FakeEngine(steady()) as engine:
        without, _ = run(place, ask(engine))
        keep(place.cache_dir, SELF_TEST)
        proven, _ = run(place, ask(engine))
    (stored,) = proven.results()
    assert stored.result is not None
    assert stored.result.provenance is not None
    assert stored.result.provenance.client_selftest is not None

    assert 100 == stored.result.provenance.client_selftest.users
    assert not stored.result.provenance.client_selftest.same_host
    assert "its error was not measured on this host" in (without.path / "report.md").read_text()
    assert (
        "first tokens 13.0 us, gaps 7.00 us by the kernel's stamps" in (proven.path / "report.md").read_text()
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--rate", "fast"), "rate 'fast' is no number"),
        (("--slo", "itl=0.05"), "known are ttft, tpot, latency"),
        (("--slo", "ttft"), "is no list of limits"),
    ],
)
def test_options_that_say_nothing(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    """Each with an example."""
    found = cli(tmp_path, "--url", "x", "--model", "y", *words)

    assert told in f"{found.exception} {getattr(found.exception, 'hint', '')}"


def test_the_command_takes_rates(tmp_path: Path) -> None:
    """With commas, as users; the arrivals are Poisson's unless said."""
    with FakeEngine(steady()) as engine:
        words = ("--url", f"127.0.0.1:{engine.port}", "--model", "tiny", "--rate", "10,40", "--json")
        found = cli(tmp_path, *words, "--ramp", "0.1", "--duration", "0.8", "--slo", "ttft=5,tpot=1")
    loads = [r["cell"]["load"] for r in json.loads(found.stdout)]

    assert 0 == found.exit_code
    assert [(10.0, "poisson"), (40.0, "poisson")] == [
        (load["rate_per_s"], load["arrivals"]) for load in loads
    ]
