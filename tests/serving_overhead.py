"""What a serving layer adds to one engine, request by request: python -m tests.serving_overhead.

    python -m tests.serving_overhead llama-cpp small bentoml@2024-06 1,4 40    # ..., users, pairs of blocks

One deployment is asked in both ways in turn, past the layer and through it, on a fresh coin for which comes first:
the same engine process, the same prompts without a prefix cache, answers of one length. So whatever else the host
does falls on both sides of a pair alike; the table in docs/measurements/serving.md is from here.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from backends.contract import Gauge, PrefixCaching
from orchestrator import bench, invocation
from orchestrator.console import Console
from orchestrator.domain.cell import Cell, RuntimeChoice
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.group import Group
from orchestrator.host.prometheus import scrape
from orchestrator.invocation import Place, Prepared
from orchestrator.load.dialects import path
from orchestrator.load.draw import Draw
from orchestrator.load.spec import LoadSpec
from orchestrator.measure import Deployed, Target
from orchestrator.planning import Request
from orchestrator.runtime.daemon import Daemon

TOKENS = 32
SEED = 20240605
RESAMPLED = 10_000
WORKLOAD = f"""
[paired]
title = "answers of one length"
users = [1]
ramp_s = 1
duration_s = 1
sampling = {{ max_tokens = {TOKENS}, ignore_eos = true }}
"""
Figure = Callable[[Sequence[Exchange]], float]


@dataclass(frozen=True)
class Way:
    """One of the two: which port, asked how."""

    name: str
    port: int
    draw: Draw


FIGURES: dict[str, Figure] = {
    "TTFT, ms": lambda of: 1e-6 * float(np.mean([x.first_token_ns - x.send_ns for x in of])),
    "latency, ms": lambda of: 1e-6 * float(np.mean([x.end_ns - x.send_ns for x in of])),
    "tok/s": lambda of: 1e9 * TOKENS * len(of) / (max(x.end_ns for x in of) - min(x.send_ns for x in of)),
}


def generated(target: Target) -> float | None:
    """By the engine's own count, where it has one."""
    if target.metrics is None or Gauge.GENERATED_TOKENS not in target.metrics.names:
        return None
    return scrape(target.engine.own_url, target.metrics)[f"metrics.{Gauge.GENERATED_TOKENS.value}"]


def block(target: Target, way: Way, cell: Cell, number: int) -> list[Exchange]:
    """Two requests for each user, in one way; the same prompts for the same number."""
    users, requests = cell.load.users, 2 * cell.load.users
    bodies = way.draw.bodies(cell.load, max_tokens=TOKENS)
    first = number * requests % (len(bodies) - requests)
    spec = LoadSpec(
        tag=f"{way.name}-{number}",
        host=target.engine.host,
        port=way.port,
        path=path(way.draw.request),
        users=users,
        ramp_s=0.0,
        bodies=bodies[first : first + requests],
        requests=requests,
    )
    before = generated(target)
    record = target.client.run(spec, way.draw.request.dialect, on_live=lambda _: None, watch=target.alive)
    wrong = [f"{x.outcome.value} {x.detail}" for x in record.exchanges if x.outcome is not Outcome.OK]
    assert not wrong, wrong
    assert before is None or generated(target) == before + requests * TOKENS, (
        "not the same work on both sides"
    )
    return list(record.exchanges)


def told(name: str, past: Sequence[float], through: Sequence[float]) -> str:
    """Medians of both, and of what the layer adds to a pair, with a 95 % bootstrap interval over pairs."""
    a, b = np.array(past), np.array(through)
    draws = np.random.default_rng(SEED).integers(0, len(a), (RESAMPLED, len(a)))
    added, share = b - a, b / a - 1
    low, high = np.percentile(np.median(added[draws], axis=1), (2.5, 97.5))
    few, many = 100 * np.percentile(np.median(share[draws], axis=1), (2.5, 97.5))
    return (
        f"| {name} | {np.median(a):.1f} | {np.median(b):.1f} | {np.median(added):+.1f} ({low:+.1f} to {high:+.1f}) "
        f"| {100 * np.median(share):+.1f} % ({few:+.1f} to {many:+.1f}) |"
    )


def main(backend: str, model: str, serving: str, users: str, pairs: str) -> None:
    cache = Path(os.environ.get("LEVELBENCH_CACHE", "~/.cache/levelbench")).expanduser()
    coin = random.Random(SEED)
    with TemporaryDirectory() as runs:
        place = Place(Path(runs), cache, Daemon(), environment=dict(os.environ))
        workload = Path(runs, "paired.toml")
        workload.write_text(WORKLOAD, encoding="utf-8")
        request = Request(
            backends=(backend,),
            model=model,
            workload=str(workload),
            serving=("native", serving),
            users=tuple(map(int, users.split(","))),
            prefix_caching=PrefixCaching.OFF,
            runtime=RuntimeChoice.PROCESS,
        )
        prepared = invocation.prepare(place, request, pull=True)
        native, layered = prepared.plan.groups

        def alternate(_: object, cell: Cell, target: Target, *_rest: Any) -> None:
            assert isinstance(target.engine, Deployed)
            deployment = target.engine.deployment
            ways = (
                Way("past", deployment.engine.port, replace(target.draw, request=native.request)),
                Way("through", deployment.port, target.draw),
            )
            seen: dict[str, list[list[Exchange]]] = {way.name: [] for way in ways}
            for number in range(int(pairs)):
                for way in coin.sample(ways, 2):
                    seen[way.name].append(block(target, way, cell, number))
            print(f"users {cell.load.users}, {pairs} pairs of blocks of {2 * cell.load.users} requests")  # noqa: T201
            for name, figure in FIGURES.items():
                print(told(name, *([figure(of) for of in seen[way.name]] for way in ways)))  # noqa: T201

        vars(bench).update(Group=type("Alternating", (Group,), {"measure": alternate}))
        plan = prepared.plan.model_copy(update={"groups": (layered,)})
        invocation.carry_out(
            place, lambda: Prepared(plan, prepared.runtime, prepared.host, prepared.backends), Console()
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
