"""Other clients beside ours: found, run, and judged by the server's log."""

from __future__ import annotations

import json
import os
import shutil
import sys
from array import array
from pathlib import Path

import pytest

from orchestrator.errors import RequestError
from orchestrator.selftest import peers
from orchestrator.selftest.peers import Reported, compare, find, judge
from orchestrator.selftest.server import Schedule, Written

MS = 1_000_000
SCHEDULE = Schedule(ttft_s=0.02, itl_s=0.01, tokens=5)

# It stands for `vllm bench serve`: asks one after the other and writes a report of the same form.
PEER = f"""#!{sys.executable}
import json, sys, time, urllib.request
value = lambda name: sys.argv[sys.argv.index(name) + 1]
ttfts, itls = [], []
for line in open(value("--dataset-path")).readlines()[: int(value("--num-prompts"))]:
    data = json.dumps({{"prompt": json.loads(line)["prompt"]}}).encode()
    sent = time.perf_counter()
    times = []
    with urllib.request.urlopen(value("--base-url") + value("--endpoint"), data) as answer:
        for event in answer:
            if b'"content"' in event:
                times.append(time.perf_counter())
    ttfts.append(times[0] - sent)
    itls.append([b - a for a, b in zip(times, times[1:])])
with open(value("--result-dir") + "/" + value("--result-filename"), "w") as out:
    json.dump({{"ttfts": ttfts, "itls": itls}}, out)
"""


def program(folder: Path, text: str) -> str:
    path = folder / "peer"
    path.write_text(text)
    path.chmod(0o755)
    return f"vllm={path}"


def test_peer_is_run_and_judged(tmp_path: Path) -> None:
    """Every answer that it reports was written, and its error is what it says above what the server did."""
    (found,) = compare(tuple(find([program(tmp_path, PEER)])), [2], SCHEDULE, dict(os.environ))

    assert ("vllm", 2, 10, 10, "") == (found.peer, found.users, found.answers, found.written, found.note)
    assert 0 < found.ttft_error_s["p50"] < 0.1
    assert abs(found.itl_error_s["p50"]) < 0.01


def test_peer_that_fails_is_told(tmp_path: Path) -> None:
    """With the last line that it said; one that writes no report too."""
    failing = program(tmp_path, "#!/bin/sh\necho no such flag\nexit 3\n")
    (found,) = compare(tuple(find([failing])), [1], SCHEDULE, dict(os.environ))
    assert "ended with 3: no such flag" in found.note

    silent = program(tmp_path, "#!/bin/sh\n")
    (found,) = compare(tuple(find([silent])), [1], SCHEDULE, dict(os.environ))
    assert "its report cannot be read" in found.note


def test_peer_that_is_not_installed_is_said_so() -> None:
    """And does not keep the others from being compared."""
    (found,) = compare(tuple(find(["aiperf=/nowhere/aiperf"])), [10], SCHEDULE, {})

    assert "/nowhere/aiperf is not installed" == found.note


def test_unknown_peer_is_refused_with_those_that_are_known() -> None:
    """Before anything runs."""
    with pytest.raises(RequestError, match="no peer is called 'wrk'") as refused:
        tuple(find(["wrk"]))

    assert "aiperf, guidellm, vllm" in str(refused.value.hint)


def test_error_is_the_difference_at_the_same_quantile() -> None:
    """The server made 50 ms and gaps of 30 ms; the peer says 62 and 31."""
    written = Written(0, array("q", [50 * MS, 80 * MS, 110 * MS]))
    found = judge("aiperf", 1, Reported([0.062], [0.031, 0.031]), {"a": written})

    assert {"p50": 0.012, "p99": 0.012} == pytest.approx(found.ttft_error_s)
    assert {"p50": 0.001, "p99": 0.001} == pytest.approx(found.itl_error_s)


def test_aiperf_report_is_read(tmp_path: Path) -> None:
    """One JSON object a line, milliseconds; a failed request has no figures."""
    (tmp_path / "out").mkdir()
    good = {"time_to_first_token": {"value": 62}, "inter_chunk_latency": {"value": [31, 30]}}
    lines = [json.dumps({"metrics": metrics}) for metrics in (good, {})]
    (tmp_path / "out" / "profile_export.jsonl").write_text("\n".join(lines))

    assert Reported([0.062], [0.031, 0.03]) == peers.PEERS["aiperf"].report(tmp_path)


def test_guidellm_report_is_read(tmp_path: Path) -> None:
    """Two answers of a real run of 0.8.1: seconds, and the mean gap of each."""
    shutil.copy(Path(__file__).parent / "reports" / "guidellm-0.8.1.json", tmp_path / "out.json")
    found = peers.PEERS["guidellm"].report(tmp_path)

    assert found.means
    assert [0.0506, 0.0502] == pytest.approx(found.ttft_s, abs=0.02)
    assert [0.0333, 0.0333] == pytest.approx(found.itl_s, abs=0.001)


def test_mean_gaps_are_held_against_mean_gaps() -> None:
    """A peer that keeps no more is not blamed for the server's spread within an answer."""
    written = Written(0, array("q", [50 * MS, 60 * MS, 110 * MS]))
    found = judge("guidellm", 1, Reported([0.05], [0.031], means=True), {"a": written})

    assert {"p50": 0.001, "p99": 0.001} == pytest.approx(found.itl_error_s)
