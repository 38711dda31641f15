"""How often canaries differ on a real engine, by the number of tokens compared: python -m tests.canary_rates.

    python -m tests.canary_rates llama-cpp tiny 12        # backend, model, seconds of each load

Far more canaries than in any measurement, and more of their answers: the table in docs/metrics.md is from here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator import invocation, measure
from orchestrator.console import Console
from orchestrator.domain.canary import Compared, compared
from orchestrator.domain.cell import RuntimeChoice
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.invocation import Place
from orchestrator.load import draw, mix
from orchestrator.planning import Request
from orchestrator.runtime.daemon import Daemon

CANARIES = 8
TOKENS = 64
COMPARED = (4, 8, 16, 32, 64)
USERS = (1, 4, 16)


def common_tokens(x: Exchange, told: str) -> int:
    """How many events of an answer lie within what it has in common with the answer told before."""
    end = found = 0
    for text in x.event_texts:
        end += len(text)
        if not told.startswith(x.text[:end]):
            break
        found += 1
    return found


def told(exchanges: Sequence[Exchange], known: Mapping[int, str]) -> Compared:
    """Print a row, and go on as a measurement does."""
    fit = [x for x in exchanges if x.canary in known and x.outcome is Outcome.OK]
    whole = [(x, known[x.canary or 0]) for x in fit]
    differing = [common_tokens(x, said) for x, said in whole if not x.text.startswith(said[: len(x.text)])]
    print(len(fit), "canaries, differ within", {n: sum(d < n for d in differing) for n in COMPARED})  # noqa: T201
    return compared(exchanges, known)


def main(backend: str, model: str, duration_s: str) -> None:
    vars(mix).update(FIRST=(), EVERY=2)
    vars(draw).update(PROMPTS=CANARIES)
    vars(measure).update(COMPARED_TOKENS=TOKENS, compared=told)
    cache = Path(os.environ.get("LEVELBENCH_CACHE", "~/.cache/levelbench")).expanduser()
    with TemporaryDirectory() as runs:
        place = Place(Path(runs), cache, Daemon(), environment=dict(os.environ))
        request = Request(
            backends=(backend,),
            model=model,
            users=USERS,
            duration_s=float(duration_s),
            runtime=RuntimeChoice.PROCESS,
        )
        invocation.execute(place, request, Console())


if __name__ == "__main__":
    main(*sys.argv[1:])
