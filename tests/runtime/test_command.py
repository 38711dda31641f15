"""orchestrator/runtime/command.py with real commands."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.errors import Interrupted
from orchestrator.runtime import command
from orchestrator.runtime.command import CommandError
from tests.runtime import made

LONG_S = 60.0


def python(script: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-uc", script, *arguments)


def gone(pid: int) -> bool:
    """A zombie whose parent died with it is as good as gone."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_every_line_is_told_as_it_comes() -> None:
    """Standard output and error, without their line ends."""
    lines: list[str] = []
    script = "import sys; print('one'); print('two', file=sys.stderr)"

    command.run(python(script), on_line=lines.append, deadline_s=LONG_S)

    assert ["one", "two"] == lines


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    """pip of another locale is still read."""
    lines: list[str] = []
    script = r"import sys; sys.stdout.buffer.write(b'caf\xe9\n')"

    command.run(python(script), on_line=lines.append, deadline_s=LONG_S)

    assert ["caf\ufffd"] == lines


def test_the_environment_is_the_one_given() -> None:
    """Nothing of ours but what is passed."""
    lines: list[str] = []
    script = "import os; print(os.environ.get('HF_TOKEN'), os.environ.get('GIVEN'))"

    command.run(python(script), on_line=lines.append, deadline_s=LONG_S, env={"GIVEN": "yes"})

    assert ["None yes"] == lines


def test_a_failure_keeps_the_code_and_the_last_lines() -> None:
    """Thirty lines tell why; the ones before are gone."""
    script = "import sys; [print(i) for i in range(40)]; sys.exit(4)"

    with pytest.raises(CommandError, match="ended with 4") as caught:
        command.run(python(script), on_line=lambda _: None, deadline_s=LONG_S)

    assert 4 == caught.value.exit_code
    assert "\n".join(map(str, range(10, 40))) == caught.value.tail


def test_the_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    """Its children too, and the error says that time ran out, not that something was killed."""
    script = (
        "import subprocess, sys, time; c = subprocess.Popen(['sleep', '60']); "
        "open(sys.argv[1], 'w').write(str(c.pid)); time.sleep(60)"
    )
    began_s = time.monotonic()

    with pytest.raises(CommandError, match=r"took longer than 0\.5 s"):
        command.run(python(script, str(tmp_path / "pid")), on_line=lambda _: None, deadline_s=0.5)

    assert time.monotonic() - began_s < 10
    made.wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


def test_the_deadline_holds_for_a_command_that_closed_its_output() -> None:
    """Silence is not an end."""
    script = "import os, time; os.close(1); os.close(2); time.sleep(60)"

    with pytest.raises(CommandError, match="took longer"):
        command.run(python(script), on_line=lambda _: None, deadline_s=0.5)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Interrupted])
def test_an_interrupt_leaves_nothing(kind: type[BaseException]) -> None:
    """Whatever is raised while it runs, the command is gone when the caller hears of it."""
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise kind("stop")

    script = "import os, time; print(os.getpid()); time.sleep(60)"
    with pytest.raises(kind):
        command.run(python(script), on_line=interrupt, deadline_s=LONG_S)

    assert gone(pids[0])


def test_a_command_that_is_not_there() -> None:
    """The caller's to translate: it knows what was wanted."""
    with pytest.raises(OSError, match="no-such-command"):
        command.run(("no-such-command",), on_line=lambda _: None, deadline_s=LONG_S)


def test_it_dies_with_its_caller(tmp_path: Path) -> None:
    """An orchestrator that is killed leaves no pip that would write into the next one's venv."""
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    caller = (
        "import sys; from orchestrator.runtime import command; "
        "command.run((sys.executable, '-c', sys.argv[1], sys.argv[2]), on_line=print, deadline_s=60)"
    )
    path = tmp_path / "pid"
    with subprocess.Popen(python(caller, child, str(path))) as orchestrator:
        made.wait_for(lambda: path.exists() and path.read_text())
        orchestrator.kill()

    made.wait_for(lambda: gone(int(path.read_text())))
