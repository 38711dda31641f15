"""The self-test from end to end, small: a real server, the real client, real figures."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.selftest import run, show
from orchestrator.selftest.figures import SelfTest
from orchestrator.selftest.run import Stage
from orchestrator.selftest.server import Schedule


@pytest.fixture(scope="module")
def found() -> SelfTest:
    return run.measure((Stage(1, 1.0), Stage(20, 2.0)), schedule=Schedule(0.02, 0.01, tokens=20))


def test_client_carries_a_small_load_whole(found: SelfTest) -> None:
    """Nothing missing, every read stamped, the kernel's stamps near the truth."""
    one, twenty = found.points

    assert (1, 20) == (one.users, twenty.users)
    assert one.whole
    assert twenty.whole
    assert twenty.events > 500
    assert twenty.kernel_share > 0.99
    assert twenty.kernel.ttft_s.p50 is not None
    assert 0 < twenty.kernel.ttft_s.p50 < 1e-3
    assert twenty.send_s.p50 is not None
    assert 0 < twenty.send_s.p50 < 1e-3


def test_what_is_saved_is_found_again(found: SelfTest, tmp_path: Path) -> None:
    """For the provenance of later runs; without one there is none, and a damaged one is none."""
    assert run.latest(tmp_path / "new") is None
    path = run.keep(tmp_path / "new", found)

    assert found == run.latest(tmp_path / "new")
    path.write_text("{")
    assert run.latest(tmp_path / "new") is None


def test_a_run_carries_the_clients_own_error(found: SelfTest, tmp_path: Path) -> None:
    """Of the largest load that it carried whole; another machine is said to be one."""
    assert run.proof(tmp_path, found.host) is None
    run.keep(tmp_path, found)
    here = run.proof(tmp_path, found.host)
    there = run.proof(tmp_path, found.host.model_copy(update={"kernel": "another"}))
    assert here is not None
    assert there is not None

    assert (20, True, False) == (here.users, here.same_host, there.same_host)
    assert found.points[1].kernel.itl_s.p99 == here.itl_error_s
    assert found.points[1].ceiling_per_s == here.ceiling_per_s > 0


def test_a_client_that_carried_nothing_whole_proves_nothing(found: SelfTest, tmp_path: Path) -> None:
    """A token that was lost is no measurement."""
    lossy = tuple(p.model_copy(update={"missing": 1}) for p in found.points)
    run.keep(tmp_path, found.model_copy(update={"points": lossy}))

    assert run.proof(tmp_path, found.host) is None


def test_table_and_plot_say_what_it_came_to(found: SelfTest) -> None:
    """One row for each load, four bars for each, and what the client is held to."""
    console = Console(file=io.StringIO(), width=200)
    for part in show.summary(found):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]

    assert 2 * 4 == text.count(" users ") - text.count("up to")
    assert "carried whole: up to 20 users" in text
    assert "within the limit" in text or "beyond the limit" in text


def test_several_processes_share_the_users() -> None:
    """Two of them, each with its own half; together they are one client."""
    made = run.measure((Stage(6, 1.0),), shards=2, schedule=Schedule(0.02, 0.01, tokens=20))

    assert (2, True) == (made.shards, made.points[0].whole)
    assert made.points[0].events > 100


def test_loads_are_those_that_were_asked_for() -> None:
    """Users and seconds by hand, else the quick ones; nobody can be measured with no user."""
    assert (Stage(5, 300.0), Stage(7, 300.0)) == run.chosen((5, 7), 300.0, full=False)
    assert run.QUICK == run.chosen((), None, full=False)
    assert run.FULL == run.chosen((), None, full=True)
    with pytest.raises(RequestError, match="at least one user"):
        run.chosen((0,), None, full=False)
