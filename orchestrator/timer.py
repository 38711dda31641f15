"""systemd units for a night that nobody watches: the run, the timer that starts it, and the one that goes on with it
after a reboot. Texts are pure; `install` alone touches the host.

A stop reaches the orchestrator alone, which takes down what it has started (KillMode=mixed: only what is left after
that is killed), and is given the time that this takes at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.contract.launch import LONGEST_STOP_S
from orchestrator import notify
from orchestrator.errors import HostError, RequestError
from orchestrator.runtime import command, docker
from orchestrator.store import files

SERVICE, RESUME, TIMER = "levelbench.service", "levelbench-resume.service", "levelbench.timer"
MARGIN_S = 60.0  # reports, the index of runs, a container that was just coming up
STOP_S = LONGEST_STOP_S + docker.GONE_S + 2 * docker.LOG_S + notify.LONGEST_S + MARGIN_S
SYSTEM_DIR = Path("/etc/systemd/system")
SYSTEM_SECRETS = Path("/etc/levelbench.env")
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Night:
    """What is to be run, where and when. `argv` and `resume_argv` are absolute commands; `user` is None for units of
    a user's own manager; `secrets` is a file of NAME=value lines that may be absent."""

    argv: tuple[str, ...]
    resume_argv: tuple[str, ...]
    folder: Path
    at: str
    secrets: Path
    user: str | None = None

    @property
    def of_user(self) -> bool:
        return self.user is None


def units(night: Night) -> dict[str, str]:
    """The text of each unit by its name."""
    _require_time(night.at)
    boot = "default.target" if night.of_user else "multi-user.target"
    return {
        SERVICE: _service(night, "levelbench: the nightly matrix", night.argv),
        RESUME: _service(night, "levelbench: goes on with a night that a reboot ended", night.resume_argv)
        + f"\n[Install]\nWantedBy={boot}\n",
        TIMER: f"""[Unit]
Description=levelbench: every night at {night.at}

[Timer]
OnCalendar=*-*-* {night.at}:00
# A night that was missed since the host was off is made up for
Persistent=true
Unit={SERVICE}

[Install]
WantedBy=timers.target
""",
    }


def commands(*, of_user: bool) -> tuple[tuple[str, ...], ...]:
    """What makes systemd know the units."""
    systemctl = ("systemctl", *(["--user"] if of_user else []))
    return (
        (*systemctl, "daemon-reload"),
        (*systemctl, "enable", RESUME),
        (*systemctl, "enable", "--now", TIMER),
    )


def preview(night: Night, folder: Path) -> str:
    """What `install` would write and run."""
    texts = [f"# {folder / name}\n{text}" for name, text in units(night).items()]
    return "\n".join([*texts, *(" ".join(argv) for argv in commands(of_user=night.of_user))]) + "\n"


def install(night: Night, folder: Path, say: Callable[[str], None], booted: Path = BOOTED) -> None:
    """Write the units and enable them. HostError, with nothing written, where systemd does not run."""
    if not booted.is_dir():
        raise HostError("systemd does not run on this host", hint="start `make nightly` from cron instead")
    write(units(night), folder)
    for argv in commands(of_user=night.of_user):
        say(" ".join(argv))
        try:
            command.run(argv, on_line=say, deadline_s=COMMAND_S)
        except (command.CommandError, OSError) as error:
            raise HostError(f"{' '.join(argv)} failed: {error}", hint=_hint(night)) from error


def write(texts: Mapping[str, str], folder: Path) -> None:
    with files.translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        files.write_atomically(folder / name, text.encode())


def quoted(words: Sequence[str]) -> str:
    """A command line as systemd reads it: no specifier, no variable, every word whole."""
    return " ".join(_quoted(word) for word in words)


def _service(night: Night, title: str, argv: Sequence[str]) -> str:
    after = (
        "" if night.of_user else "After=network-online.target docker.service\nWants=network-online.target\n"
    )
    user = "" if night.user is None else f"User={night.user}\n"
    return f"""[Unit]
Description={title}
{after}StartLimitIntervalSec=6h
StartLimitBurst=4

[Service]
Type=exec
{user}WorkingDirectory={_literal(str(night.folder))}
EnvironmentFile=-{_literal(str(night.secrets))}
ExecStart={quoted(argv)}
# The orchestrator alone is told to stop, and takes its engines down; whatever is left then is killed
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec={STOP_S:.0f}
# 130: stopped, after the teardown
SuccessExitStatus=130
# Killed, out of memory: it goes on where it was. What it says itself with an exit code is no reason to start again
Restart=on-abnormal
RestartSec=60
# An engine that is killed for memory is a result, no reason to end the night
OOMPolicy=continue
# The load client: a socket for each user, and to be woken in time
LimitNOFILE=65536
LimitRTPRIO=1
"""


def _require_time(at: str) -> None:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise RequestError(f"{at!r} is no time of day", hint="for example --at 02:00")


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_literal(escaped)}"' if not re.fullmatch(r"[\w./:=,@+-]+", word) else word


def _literal(text: str) -> str:
    """A percent sign begins a specifier."""
    return text.replace("%", "%%")


def _hint(night: Night) -> str:
    return (
        "is a user's manager running? loginctl enable-linger"
        if night.of_user
        else "run it as root, or with --user"
    )
