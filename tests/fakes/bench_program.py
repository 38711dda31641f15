"""`levelbench bench` whose engine is the fake one, for tests that send signals: <folder> <seconds of down>."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator import invocation
from orchestrator.cli import main
from orchestrator.runtime.interface import Deployment
from tests.fakes.runtime import FakeRuntime

IDLE = "llamacpp:requests_processing 0\n"


class SlowRuntime(FakeRuntime):
    """Takes its time to go down, and says so."""

    def __init__(self, down_s: float) -> None:
        super().__init__(gets={"/metrics": (200, IDLE)})
        self._down_s = down_s

    def down(self, deployment: Deployment) -> None:
        sys.stderr.write("fake down began\n")
        time.sleep(self._down_s)
        super().down(deployment)
        sys.stderr.write("fake down ended\n")


def run(folder: Path, down_s: float) -> None:
    vars(invocation)["choose"] = lambda *_, **__: (SlowRuntime(down_s), ())
    sys.argv = [
        "levelbench",
        *("--runs", str(folder / "runs"), "--cache", str(folder / "cache")),
        *("bench", "--runtime", "process", "--model", "tiny", "--users", "2", "--duration", "60"),
    ]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]))
