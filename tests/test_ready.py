"""The readiness ladder against a real server, with a runtime that only tells whether the engine lives."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract import FailureCause, FailureSignature, Readback, ReadySpec
from orchestrator.domain.cell import RuntimeKind
from orchestrator.errors import CellError
from orchestrator.ready import Ladder, effective, require_alive, tail, wait_until_ready
from orchestrator.runtime.interface import Deployment, State
from tests.fakes.engine import FakeEngine, steady
from tests.fakes.runtime import FakeRuntime

SPEC = ReadySpec(health_path="/health", deadline_s=5, fatal=("engine core failed",))
SIGNATURES = (
    FailureSignature(pattern="out of memory", cause=FailureCause.MEMORY_WEIGHTS, hint="take a smaller model"),
)
LADDER = Ladder(spec=SPEC, served_name="tiny", signatures=SIGNATURES)


def deployment(port: int, log_path: Path) -> Deployment:
    return Deployment(
        name="t",
        handle="1",
        host="127.0.0.1",
        port=port,
        argv=(),
        env={},
        log_path=log_path,
        stop_s=1.0,
        runtime=RuntimeKind.PROCESS,
    )


def climb(
    engine_port: int, log_path: Path, *, runtime: FakeRuntime | None = None, deadline_s: float = 5
) -> list[str]:
    """What was said on the way up."""
    said: list[str] = []
    ladder = Ladder(
        spec=SPEC.model_copy(update={"deadline_s": deadline_s}), served_name="tiny", signatures=SIGNATURES
    )
    wait_until_ready(
        runtime or FakeRuntime(), deployment(engine_port, log_path), ladder, progress=said.append
    )
    return said


def test_ready_engine_is_ready_at_once(tmp_path: Path) -> None:
    """Nothing is waited for when every rung holds."""
    with FakeEngine(steady()) as engine:
        assert [] == climb(engine.port, tmp_path / "log")


def test_loading_is_waited_out(tmp_path: Path) -> None:
    """503 while loading is a rung, not an error."""
    with FakeEngine(steady(), gets={"/health": (503, "loading")}) as engine:
        runtime = FakeRuntime(on_state=lambda n: engine.set_get("/health", 200, "") if n == 3 else None)

        assert ["health says 503"] == climb(engine.port, tmp_path / "log", runtime=runtime)


def test_dead_engine_is_told_at_the_next_poll(tmp_path: Path) -> None:
    """Exit code, cause and last log lines come at once; the deadline is not waited for."""
    log = tmp_path / "log"
    log.write_text("loading\nout of memory\n")
    runtime = FakeRuntime(states=[State(running=True), State(running=False, exit_code=1)])
    began_s = time.monotonic()
    with pytest.raises(CellError, match="exit code 1 \\(memory-weights\\)") as caught:
        climb(9, log, runtime=runtime, deadline_s=60)

    assert time.monotonic() - began_s < 3
    assert (FailureCause.MEMORY_WEIGHTS, "take a smaller model") == (caught.value.cause, caught.value.hint)
    assert "out of memory" in caught.value.log_tail


def test_cause_above_a_long_traceback_is_found(tmp_path: Path) -> None:
    """More of the log is searched than is shown."""
    log = tmp_path / "log"
    log.write_text("engine core failed: out of memory\n" + "  File somewhere, line 1\n" * 60)
    with pytest.raises(CellError, match="memory-weights") as caught:
        climb(9, log, runtime=FakeRuntime(states=[State(running=False, exit_code=1)]))

    assert "out of memory" not in caught.value.log_tail
    with pytest.raises(CellError, match="will not serve"):
        climb(9, log, deadline_s=60)


def test_hopeless_log_line_ends_the_wait(tmp_path: Path) -> None:
    """An engine that lives on after its core has failed is not waited for."""
    log = tmp_path / "log"
    log.write_text("engine core failed: out of memory\n")
    with pytest.raises(CellError, match="will not serve"):
        climb(9, log, deadline_s=60)


def test_deadline_names_the_rung(tmp_path: Path) -> None:
    """A hanging /health is told as what it is."""
    with FakeEngine(steady(), gets={"/health": (503, "")}) as engine:
        with pytest.raises(CellError, match=r"not ready after 0.5 s: health says 503"):
            climb(engine.port, tmp_path / "log", deadline_s=0.5)


def test_closed_port_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    """Refused connections are the state of every engine that loads."""
    with pytest.raises(CellError, match="waiting for its port"):
        climb(9, tmp_path / "log", deadline_s=0.3)


def test_wrong_model_is_an_error(tmp_path: Path) -> None:
    """Another program on the port must not be measured."""
    with FakeEngine(steady(), gets={"/v1/models": (200, '{"data":[{"id":"other"}]}')}) as engine:
        with pytest.raises(CellError, match="serves other, not 'tiny'"):
            climb(engine.port, tmp_path / "log")


def test_garbled_model_list_is_waited_out(tmp_path: Path) -> None:
    """A list that cannot be read is not yet a list."""
    with FakeEngine(steady(), gets={"/v1/models": (200, "soon")}) as engine:
        with pytest.raises(CellError, match="waiting for its list of models"):
            climb(engine.port, tmp_path / "log", deadline_s=0.4)


def test_death_by_the_kernel_is_named(tmp_path: Path) -> None:
    """OOMKilled outranks the log."""
    runtime = FakeRuntime(states=[State(running=False, exit_code=137, oom_killed=True)])
    with pytest.raises(CellError) as caught:
        require_alive(runtime, deployment(9, tmp_path / "log"), SIGNATURES)

    assert FailureCause.KILLED_BY_KERNEL is caught.value.cause


def test_settings_in_force_are_read_from_the_log(tmp_path: Path) -> None:
    """The last mention counts; what is not mentioned is not made up."""
    log = tmp_path / "log"
    log.write_text("slots = 1\nslots = 4\n")
    readbacks = (
        Readback(name="slots", pattern=r"slots = (\d+)"),
        Readback(name="dtype", pattern=r"dtype=(\w+)"),
    )

    assert {"slots": "4"} == effective(deployment(9, log), readbacks)
    assert {} == effective(deployment(9, tmp_path / "none"), readbacks)


def test_settings_in_force_are_read_from_the_engines_pages(tmp_path: Path) -> None:
    """Some engines tell on a page what they chose; a page that is not there tells nothing."""
    found = Readback(name="batch", pattern=r'"max_batch":(\d+)', path="/info")
    absent = Readback(name="dtype", pattern=r"(.+)", path="/none")
    with FakeEngine(steady(), gets={"/info": (200, '{"max_batch":64}')}) as engine:
        assert {"batch": "64"} == effective(deployment(engine.port, tmp_path / "log"), (found, absent))
    assert {} == effective(deployment(engine.port, tmp_path / "log"), (found,))


def test_tail_is_the_end_of_a_long_log(tmp_path: Path) -> None:
    """Thirty lines, however long the log."""
    log = tmp_path / "log"
    log.write_text("".join(f"line {i}\n" for i in range(10_000)))

    assert ["line 9970", "line 9999"] == [tail(log).splitlines()[0], tail(log).splitlines()[-1]]
    assert "" == tail(tmp_path / "none")


def stalled(port: int, log_path: Path, silence_s: float, runtime: FakeRuntime | None = None) -> CellError:
    """What an engine that never gets ready ends with."""
    ladder = replace(LADDER, spec=SPEC.model_copy(update={"deadline_s": 2, "fatal": ()}), silence_s=silence_s)
    with pytest.raises(CellError) as caught:
        wait_until_ready(
            runtime or FakeRuntime(), deployment(port, log_path), ladder, progress=lambda _: None
        )
    return caught.value


def test_an_engine_that_says_and_answers_nothing_hangs(tmp_path: Path) -> None:
    """It lives, so that nothing else would tell; its last words go with it."""
    log = tmp_path / "log"
    log.write_text("loading shard 3 of 8\n")
    error = stalled(9, log, 0.3)

    assert FailureCause.HUNG is error.cause
    assert "neither written to its log nor answered: waiting for its port" in str(error)
    assert "loading shard 3 of 8" in error.log_tail


def test_a_hang_is_told_by_what_the_log_proves(tmp_path: Path) -> None:
    """An engine may stay alive after it has run out of memory."""
    log = tmp_path / "log"
    log.write_text("out of memory\n")

    assert FailureCause.MEMORY_WEIGHTS is stalled(9, log, 0.3).cause


def test_whoever_writes_to_its_log_does_not_hang(tmp_path: Path) -> None:
    """It is waited for until the deadline."""
    log = tmp_path / "log"

    def write(number: int) -> None:
        with log.open("a") as file:
            file.write(f"shard {number}\n")

    assert FailureCause.DEADLINE is stalled(9, log, 1.5, FakeRuntime(on_state=write)).cause


def test_whoever_answers_that_it_loads_does_not_hang(tmp_path: Path) -> None:
    """503 is an answer."""
    with FakeEngine(steady(), gets={"/health": (503, "")}) as engine:
        assert FailureCause.DEADLINE is stalled(engine.port, tmp_path / "log", 1.5).cause
