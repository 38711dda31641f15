"""A worker that measures nothing: it begins, does what it is told, publishes. `python -m tests.fleet.worker RUN GROUP WHAT`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from orchestrator.fleet import publishing
from orchestrator.fleet.publishing import Attempt, Published
from orchestrator.store.runs import utc_now


def main(run: Path, group: str, what: str) -> None:
    host, number = os.environ["SLURMD_NODENAME"], os.environ["LEVELBENCH_ATTEMPT"]
    attempt = Attempt(group=group, id=number, host=host, began_at=utc_now())
    publishing.begin(run, attempt)
    action, _, value = what.partition("=")
    if action == "dies-on" and host in value.split(","):
        sys.exit(1)
    if action == "dies-once" and len(publishing.attempts(run)[group]) == 1:
        sys.exit(1)
    if action == "dies":
        sys.exit(1)
    if action == "takes":
        time.sleep(float(value))
    publishing.publish(run, Published(attempt=attempt, exit_code=0, ended_at=utc_now()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
