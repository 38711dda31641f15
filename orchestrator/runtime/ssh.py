"""Other hosts over OpenSSH, as the user's own configuration names them: aliases, ports, jump hosts, keys."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.errors import HostError, RequestError
from orchestrator.runtime.command import CommandError, output

OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
FORWARD = (
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "StreamLocalBindUnlink=yes"),
    *("-o", "StreamLocalBindMask=0177"),
)
REACH_S = 30.0
COPY_S = 3600.0
UNREACHED = 255
DOCKER_SOCKET = "/var/run/docker.sock"

# Runs its arguments with its own standard input held open elsewhere: when that ends, because our side went away or
# let go, the command is told to end, and what it still has to say is heard.
_HELD = (
    'exec 3<&0; "$@" </dev/null & it=$!; { cat <&3 >/dev/null; kill -TERM $it 2>/dev/null; } & watch=$!; '
    "wait $it; end=$?; while kill -0 $it 2>/dev/null; do wait $it; end=$?; done; "
    "kill $watch 2>/dev/null; exit $end"
)


def checked(host: str) -> str:
    """A host's name for ssh. RequestError for one that ssh would take for an option."""
    if not host or host.startswith("-") or any(c.isspace() for c in host):
        raise RequestError(f"{host!r} is no host", hint="a name that `ssh NAME` knows")
    return host


def asked(host: str, argv: Sequence[str], *, deadline_s: float = REACH_S) -> str:
    """What a short command there writes. HostError where the host cannot be reached, CommandError where the command
    fails."""
    try:
        return output(("ssh", *OPTIONS, "--", checked(host), shlex.join(argv)), deadline_s=deadline_s)
    except CommandError as error:
        if error.exit_code == UNREACHED or error.late:
            raise _unreachable(host, error) from error
        raise


def copied(source: str, target: str, *options: str) -> None:
    """rsync from or to another host (`host:path`)."""
    remote = " ".join(("ssh", *OPTIONS))
    try:
        output(("rsync", "--archive", "-e", remote, *options, "--", source, target), deadline_s=COPY_S)
    except CommandError as error:
        raise HostError(
            f"cannot copy {source} to {target}: {error.tail.strip() or error}",
            hint="rsync must be installed on both sides: apt-get install rsync",
        ) from error


class Held:
    """A command on another host whose output is ours, which ends in order when it is let go or we are gone."""

    def __init__(self, host: str, argv: Sequence[str]) -> None:
        remote = shlex.join(("sh", "-c", _HELD, "levelbench", *argv))
        self._process = subprocess.Popen(
            ("ssh", *OPTIONS, "--", checked(host), remote),
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for us: ssh would cut the line before the teardown
        )

    def let_go(self) -> None:
        """Ask it to end; may be called from a signal's handler."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self) -> int:
        """Its exit code; 255 where the line broke."""
        code = self._process.wait()
        self.let_go()
        return code


@contextmanager
def forwarded_docker(host: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """The address of another host's Docker socket, here, for as long as it is used. docker-py's own ssh opens a
    session for each connection, runs into sshd's limit and then cannot even tear down."""
    with TemporaryDirectory(prefix="levelbench-ssh-") as folder:
        place = Path(folder) / "docker.sock"
        line = ("ssh", *OPTIONS, *FORWARD, "-N", "-L", f"{place}:{DOCKER_SOCKET}", "--", checked(host))
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            until_s = time.monotonic() + REACH_S
            while not place.exists():
                if process.poll() is not None or time.monotonic() > until_s:
                    said = process.stderr.read() if process.poll() is not None and process.stderr else ""
                    raise HostError(
                        f"cannot reach Docker on {host}: {said.strip() or 'no answer'}",
                        hint=f"try: ssh {host} docker version",
                    )
                sleep(0.05)
            yield f"unix://{place}"
        finally:
            process.terminate()
            process.wait()
            if process.stderr:
                process.stderr.close()


def _unreachable(host: str, error: CommandError) -> HostError:
    said = error.tail.strip() or str(error)
    return HostError(
        f"cannot reach {host}: {said}", hint=f"try: ssh {host} true; keys only, no passwords are asked for"
    )
