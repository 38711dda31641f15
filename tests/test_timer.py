"""systemd units for the night: valid, stopped as we stop, started again as we go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path

import psutil
import pytest

from backends.contract import WeightsFormat
from backends.contract.launch import LONGEST_STOP_S, ServeSpec
from orchestrator import notify, timer
from orchestrator.errors import HostError, RequestError
from orchestrator.timer import RESUME, SERVICE, TIMER, Night, commands, install, preview, quoted, units, write
from tests.test_bench import until

ROOT = Path(__file__).resolve().parent.parent
ODD = '/srv/a b/100%/$HOME/"q"\\x.toml'


def night(folder: Path = Path("/srv/bench"), *, user: str | None = "ann", at: str = "02:00") -> Night:
    program = "/bin/true"  # systemd-analyze looks for it
    return Night(
        argv=(program, "--runs", "/srv/runs", "matrix", ODD),
        resume_argv=(program, "resume"),
        folder=folder,
        at=at,
        secrets=Path("/etc/levelbench.env"),
        user=user,
    )


def parsed(text: str) -> dict[str, dict[str, str]]:
    """A unit's sections; every setting here stands once."""
    parser = ConfigParser(strict=True, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


@pytest.mark.parametrize("user", ["root", None])
def test_systemd_finds_no_fault(tmp_path: Path, user: str | None) -> None:
    """`systemd-analyze verify` says nothing of a missing key, a wrong value or an unknown word."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    write(units(night(tmp_path, user=user)), tmp_path)
    done = subprocess.run(
        [analyze, *(["--user"] if user is None else []), "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "notice"},
    )
    ours = [line for line in done.stderr.splitlines() if "levelbench" in line]

    assert [] == ours
    assert 0 == done.returncode, done.stderr


def test_a_stop_reaches_the_orchestrator_alone_and_waits_for_it() -> None:
    """For as long as an engine, its removal and the telling may take together."""
    service = parsed(units(night())[SERVICE])["Service"]

    assert ("mixed", "SIGTERM", "130") == (
        service["KillMode"],
        service["KillSignal"],
        service["SuccessExitStatus"],
    )
    assert int(service["TimeoutStopSec"]) >= LONGEST_STOP_S + notify.LONGEST_S + 60
    assert "continue" == service["OOMPolicy"]


def test_no_engine_may_take_longer_to_stop() -> None:
    """The contract holds what the unit waits for."""
    spec = ServeSpec(argv=("x",), port=1, weights=WeightsFormat.GGUF, stop_s=LONGEST_STOP_S)
    with pytest.raises(ValueError, match="stop_s"):
        ServeSpec.model_validate({**spec.model_dump(), "stop_s": LONGEST_STOP_S + 1})


def test_a_night_that_was_missed_or_cut_is_made_up_for() -> None:
    """Missed: the timer is persistent. Cut by a reboot: a unit of its own goes on. Killed: started again."""
    found = {name: parsed(text) for name, text in units(night()).items()}

    assert ("true", "*-*-* 02:00:00", SERVICE) == tuple(
        found[TIMER]["Timer"][name] for name in ("Persistent", "OnCalendar", "Unit")
    )
    assert "/bin/true resume" == found[RESUME]["Service"]["ExecStart"]
    assert "multi-user.target" == found[RESUME]["Install"]["WantedBy"]
    assert "on-abnormal" == found[SERVICE]["Service"]["Restart"]
    assert "Install" not in found[SERVICE]


def test_units_of_a_user_lean_on_nothing_of_the_hosts() -> None:
    """No other manager's units, no User=; they begin with that user's manager."""
    found = {name: parsed(text) for name, text in units(night(user=None)).items()}

    assert "User" not in found[SERVICE]["Service"]
    assert "After" not in found[SERVICE]["Unit"]
    assert "default.target" == found[RESUME]["Install"]["WantedBy"]
    assert all("--user" in argv for argv in commands(of_user=True))
    assert not any("--user" in argv for argv in commands(of_user=False))


def test_words_arrive_as_they_are() -> None:
    """Spaces, specifiers, variables, quotes and backslashes of a path are text to systemd."""
    assert r'/bin/true --runs /srv/runs matrix "/srv/a b/100%%/$$HOME/\"q\"\\x.toml"' == quoted(night().argv)


@pytest.mark.parametrize("at", ["2:00", "24:00", "02:60", "02:00:00", "daily\nExecStart=/bin/x", ""])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    """Nor does anything else slip into a unit by it."""
    with pytest.raises(RequestError, match="no time of day"):
        units(night(at=at))


def test_a_preview_shows_all_and_touches_nothing(tmp_path: Path) -> None:
    """Each file with its place, then each command."""
    text = preview(night(), tmp_path)

    assert [f"# {tmp_path / name}" for name in (SERVICE, RESUME, TIMER)] == [
        line for line in text.splitlines() if line.startswith(f"# {tmp_path}")
    ]
    assert text.endswith(
        "systemctl daemon-reload\nsystemctl enable levelbench-resume.service\nsystemctl enable --now levelbench.timer\n"
    )
    assert [] == list(tmp_path.iterdir())


def test_installing_writes_and_enables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the host's systemctl, here one that notes how it was called."""
    calls = fake_systemctl(tmp_path, monkeypatch, exit_code=0)
    install(night(), tmp_path / "units", lambda _: None, booted=tmp_path)

    assert {SERVICE, RESUME, TIMER} == {path.name for path in (tmp_path / "units").iterdir()}
    assert [
        "daemon-reload",
        "enable levelbench-resume.service",
        "enable --now levelbench.timer",
    ] == calls.read_text().splitlines()


def test_a_host_without_systemd_is_told_and_left_alone(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(HostError, match="systemd does not run"):
        install(night(), tmp_path / "units", lambda _: None, booted=tmp_path / "none")

    assert not (tmp_path / "units").exists()


def test_a_systemctl_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command, and what to do."""
    fake_systemctl(tmp_path, monkeypatch, exit_code=1)
    with pytest.raises(HostError, match="systemctl daemon-reload failed") as caught:
        install(night(), tmp_path / "units", lambda _: None, booted=tmp_path)

    assert "as root" in caught.value.hint


def fake_systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, *, exit_code: int) -> Path:
    calls, program = folder / "calls", folder / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit {exit_code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return calls


def test_what_the_unit_does_at_a_stop_ends_within_its_time(tmp_path: Path) -> None:
    """SIGTERM to the main process alone, as with KillMode=mixed, under load: it takes the engine and the load client
    down by itself, so that nothing is left to be killed when it has ended with what counts as success."""
    service = parsed(units(night())[SERVICE])["Service"]
    argv = [sys.executable, "-m", "tests.fakes.bench_program", str(tmp_path), "1.0"]
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            until(process, "measure u2 ...")
            members = psutil.Process(process.pid).children(recursive=True)
            assert members, "the load client is a process of its own"
            began_s = time.monotonic()
            process.send_signal(getattr(signal, service["KillSignal"]))
            output = process.communicate(timeout=110)[0]
            took_s = time.monotonic() - began_s
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    assert service["SuccessExitStatus"] == f"{process.returncode}", output
    assert "fake down ended" in output
    assert took_s < int(service["TimeoutStopSec"])
    assert [] == psutil.wait_procs(members, timeout=20)[1]


def test_the_margin_is_stated_once() -> None:
    """What the unit waits is the sum of its parts."""
    parts_s = LONGEST_STOP_S + notify.LONGEST_S + timer.MARGIN_S

    assert 20 <= timer.STOP_S - parts_s <= 60
