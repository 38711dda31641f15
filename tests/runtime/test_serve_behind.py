"""dockerfiles/context/serve_behind.py: an engine and a service that live and die together."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from orchestrator.render import FOLDER

PROGRAM = FOLDER / "context" / "serve_behind.py"
IN_TIME_S = 60
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def start(service: tuple[str, ...], engine: tuple[str, ...]) -> subprocess.Popen[str]:
    argv = (sys.executable, str(PROGRAM), *service, "--", *engine)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(service: tuple[str, ...], engine: tuple[str, ...]) -> tuple[int, str]:
    process = start(service, engine)
    said = process.communicate(timeout=IN_TIME_S)[0]
    return process.returncode, said


def test_a_dead_engine_ends_the_service_with_its_code() -> None:
    """A service whose engine is gone must not look alive."""
    code, said = ended(python(SLEEP), python("raise SystemExit(7)"))

    assert 7 == code
    assert "levelbench: the engine ended with 7" in said


def test_a_dead_service_ends_the_engine() -> None:
    """A signal's number is told as a container would."""
    code, said = ended(python("import os; os.kill(os.getpid(), 9)"), python(SLEEP))

    assert 137 == code
    assert "levelbench: the service ended with 137" in said


def test_neither_ends_well_by_itself() -> None:
    """An engine that leaves with 0 has still left."""
    assert 0 != ended(python(SLEEP), python(""))[0]


def test_what_cannot_be_started_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """The engine was up by then."""
    mark = tmp_path / "pid"
    engine = python(f"import os,time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    code, said = ended(("/no/such/service",), engine)

    assert 0 != code
    assert "cannot run the service /no/such/service" in said
    assert not mark.exists() or not psutil.pid_exists(int(mark.read_text()))


def test_sigterm_ends_the_service_first(tmp_path: Path) -> None:
    """So that nobody asks an engine that is going."""
    order = tmp_path / "order"

    def noting(name: str) -> tuple[str, ...]:
        return python(
            "import signal, sys, time\n"
            f"def end(*_): open({str(order)!r}, 'a').write({name!r} + ' '); sys.exit(0)\n"
            f"signal.signal(signal.SIGTERM, end); print({name!r} + ' ready\\n', end='', flush=True)\ntime.sleep(600)"
        )

    process = start(noting("service"), noting("engine"))
    assert process.stdout is not None
    ready = {process.stdout.readline(), process.stdout.readline()}
    process.send_signal(signal.SIGTERM)
    code = process.wait(IN_TIME_S)
    process.stdout.close()

    assert {"service ready\n", "engine ready\n"} == ready
    assert 143 == code
    assert ["service", "engine"] == order.read_text().split()


def test_without_both_commands_its_use_is_told() -> None:
    """Exit code and words."""
    found = subprocess.run((sys.executable, PROGRAM, "service"), capture_output=True, text=True, check=False)

    assert 0 != found.returncode
    assert "usage: serve_behind.py" in found.stderr
