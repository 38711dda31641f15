"""What every runtime promises, over all three implementations; the fake included, or tests above it lie."""

from __future__ import annotations

import time

from orchestrator.runtime.interface import State
from tests.runtime import made
from tests.runtime.made import Bench

KILL_MARGIN_S = 5.0


def test_a_deployment_answers_under_its_url_and_runs(bench: Bench) -> None:
    """Up gives an address that serves, and the state says so."""
    deployment = bench.serving()

    assert made.get(deployment, "/v1/models")
    assert State(running=True) == bench.runtime.state(deployment)


def test_placeholders_are_filled_in(real_bench: Bench) -> None:
    """What a deployment says of its argv is what runs: no placeholder is left."""
    deployment = real_bench.up()

    assert [] == [word for word in deployment.argv if "{" in word]
    assert "serve" == deployment.argv[2]


def test_what_was_taken_down_runs_and_answers_no_more(bench: Bench) -> None:
    """Down is down: state, usage and address agree."""
    deployment = bench.serving()

    bench.runtime.down(deployment)

    assert not bench.runtime.state(deployment).running
    assert bench.runtime.usage(deployment) is None
    assert not made.answers(deployment)


def test_down_twice_is_down(bench: Bench) -> None:
    """A second teardown finds nothing and does not mind."""
    deployment = bench.up()

    bench.runtime.down(deployment)
    bench.runtime.down(deployment)

    assert not bench.runtime.state(deployment).running


def test_the_log_holds_the_last_words(bench: Bench) -> None:
    """What an engine writes while it is asked to stop stands in the log after down."""
    deployment = bench.serving()

    bench.runtime.down(deployment)

    assert deployment.log_path.read_text().endswith("stub engine's last words\n")


def test_two_deployments_do_not_touch_each_other(bench: Bench) -> None:
    """Taking one down leaves the other serving."""
    one, other = bench.serving(), bench.serving()

    bench.runtime.down(one)

    assert one.url != other.url
    assert made.answers(other)
    assert bench.runtime.state(other).running


def test_nothing_is_reaped_while_its_owner_lives(bench: Bench) -> None:
    """A living orchestrator's engine is never taken for a dead one's."""
    deployment = bench.serving()

    assert deployment.name not in bench.runtime.reap()
    assert made.answers(deployment)


def test_usage_counts_what_the_engine_did(real_bench: Bench) -> None:
    """A fifth of a second of work shows up as CPU time; memory is that of a small Python program."""
    deployment = real_bench.serving()
    before = real_bench.runtime.usage(deployment)
    made.get(deployment, "/burn")
    after = real_bench.runtime.usage(deployment)

    assert before is not None
    assert after is not None
    assert 0.15 < after.cpu_s - before.cpu_s < 2.0
    assert 4 * 2**20 < after.memory_bytes < 200 * 2**20
    assert 1 <= after.processes <= 2


def test_an_engine_that_is_killed_is_seen_at_the_next_look(real_bench: Bench) -> None:
    """SIGKILL from outside reads 137, as Docker and shells count."""
    deployment = real_bench.serving()

    real_bench.kill(deployment)
    made.wait_for(lambda: not real_bench.runtime.state(deployment).running)

    assert State(running=False, exit_code=137) == real_bench.runtime.state(deployment)


def test_an_engine_that_ends_at_once_leaves_code_and_log(real_bench: Bench) -> None:
    """Exit code and last words are there as soon as the state says that it has ended."""
    deployment = real_bench.up(made.serve("exit"))

    made.wait_for(lambda: not real_bench.runtime.state(deployment).running)

    assert State(running=False, exit_code=3) == real_bench.runtime.state(deployment)
    assert "stub engine starts\nstub engine cannot go on\n" == deployment.log_path.read_text()


def test_an_engine_deaf_to_sigterm_is_killed(real_bench: Bench) -> None:
    """It gets its time, and no more."""
    deployment = real_bench.serving(made.serve("deaf", stop_s=1.0))
    began_s = time.monotonic()

    real_bench.runtime.down(deployment)

    assert 1.0 <= time.monotonic() - began_s < 1.0 + KILL_MARGIN_S
    assert not made.answers(deployment)


def test_the_engine_gets_no_environment_of_ours(real_bench: Bench) -> None:
    """Only what its adapter asked for, and what the runtime needs to set."""
    env = made.get(real_bench.serving(), "/env")

    assert '"STUB_CACHE"' in env
    assert "PIP_NO_INDEX" not in env
    assert "PYTEST" not in env
