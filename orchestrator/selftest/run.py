"""Drives the reference server from one user to a thousand, and keeps what came of it for later runs."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import psutil
from pydantic import ValidationError

from backends.contract import Dialect, RequestSpec
from orchestrator.domain.provenance import ClientSelfTest, Host
from orchestrator.domain.workload import Sampling
from orchestrator.errors import RequestError
from orchestrator.host import facts
from orchestrator.load.client import LoadClient
from orchestrator.load.dialects import body, path
from orchestrator.load.spec import LoadSpec
from orchestrator.selftest.figures import Point, SelfTest, point
from orchestrator.selftest.peers import compare, find
from orchestrator.selftest.server import MODEL, ReferenceServer, Schedule

KIB = 1024
FILE = "selftest.json"
DIALECT = Dialect.OPENAI_CHAT
REQUEST = RequestSpec(dialect=DIALECT)
RAMP_SHARE = 0.2
SECONDS = 25.0
PEER_USERS = 10  # from so many on peers are asked too: their start-up takes longer than a small load
SETTLE_S = 0.3  # for the server to notice what was cut


@dataclass(frozen=True, slots=True)
class Stage:
    """One load of the self-test."""

    users: int
    seconds: float


# Seconds such that 500 first tokens come, which a p99 takes, from 100 users on.
QUICK = (Stage(1, 5.0), Stage(10, 6.0), Stage(100, 25.0), Stage(1000, 12.0))
FULL = (
    Stage(1, 60.0),
    Stage(10, 60.0),
    Stage(100, 60.0),
    Stage(300, 60.0),
    Stage(1000, 60.0),
    Stage(1500, 60.0),
    Stage(2000, 60.0),
)


def chosen(users: Sequence[int], seconds: float | None, *, full: bool) -> tuple[Stage, ...]:
    """The loads that are asked for; of those not spelled out, the quick ones or all."""
    if any(count < 1 for count in users):
        raise RequestError("a load needs at least one user", hint="for example --users 100,1000")
    stages: tuple[Stage, ...] = FULL if full else QUICK
    if users:
        stages = tuple(Stage(count, SECONDS) for count in users)
    return tuple(Stage(stage.users, seconds or stage.seconds) for stage in stages)


def measure(
    stages: Sequence[Stage],
    peers: Sequence[str] = (),
    *,
    shards: int = 1,
    schedule: Schedule | None = None,
    environment: Mapping[str, str] | None = None,
) -> SelfTest:
    """Every stage after the other, then every peer at the same users."""
    asked = tuple(find(peers))  # an unknown name is told before anything runs
    schedule = schedule or Schedule()
    started_at = datetime.now(timezone.utc)
    with ReferenceServer(schedule) as server, LoadClient(shards) as client:
        points = tuple(_stage(server, client, stage, schedule) for stage in stages)
    users = [stage.users for stage in stages if stage.users >= PEER_USERS]
    return SelfTest(
        levelbench=version("levelbench"),
        started_at=started_at,
        host=facts.host(),
        shards=shards,
        points=points,
        peers=tuple(compare(asked, users, schedule, environment or {})),
    )


def keep(cache_dir: Path, found: SelfTest) -> Path:
    """Keep it as the latest of this host."""
    path = cache_dir / FILE
    cache_dir.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".new")
    whole.write_text(found.model_dump_json(indent=1), encoding="utf-8")
    whole.replace(path)
    return path


def latest(cache_dir: Path) -> SelfTest | None:
    """What was kept last, for the provenance of a run; None if there is nothing that can be read."""
    try:
        return SelfTest.model_validate_json((cache_dir / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def proof(cache_dir: Path, host: Host) -> ClientSelfTest | None:
    """What was kept last, as a run's provenance holds it; None without one that carried a load whole."""
    found = latest(cache_dir)
    whole = [p for p in found.points if p.whole] if found is not None else []
    if found is None or not whole:
        return None
    best = max(whole, key=lambda p: p.users)
    return ClientSelfTest(
        levelbench=found.levelbench,
        started_at=found.started_at.isoformat(timespec="seconds"),
        same_host=_machine(found.host) == _machine(host),
        users=best.users,
        events_per_s=best.events_per_s,
        ttft_error_s=best.kernel.ttft_s.p99,
        itl_error_s=best.kernel.itl_s.p99,
        user_ttft_error_s=best.user.ttft_s.p99,
        user_itl_error_s=best.user.itl_s.p99,
        cpu_per_event_s=best.cpu_per_event_s,
        ceiling_per_s=best.ceiling_per_s,
    )


def _machine(host: Host) -> tuple[str, int, int, str, str]:
    """What the client's error depends on: the interpreter too."""
    return host.cpu, host.cpus, host.memory_bytes, host.kernel, host.python


def _stage(server: ReferenceServer, client: LoadClient, stage: Stage, schedule: Schedule) -> Point:
    spec = LoadSpec(
        tag=f"u{stage.users}",
        host="127.0.0.1",
        port=server.port,
        path=path(REQUEST),
        users=stage.users,
        ramp_s=stage.seconds * RAMP_SHARE,
        bodies=(body(REQUEST, MODEL, "count to a hundred and twenty-eight", None, Sampling()),),
        length_s=stage.seconds,
    )
    before = psutil.cpu_times()
    record = client.run(spec, DIALECT, on_live=lambda _: None, watch=lambda: None)
    stolen_s = getattr(psutil.cpu_times(), "steal", 0.0) - getattr(before, "steal", 0.0)
    time.sleep(SETTLE_S)
    found = point(stage.users, record, server.take_log(), schedule, stolen_s)
    return found.model_copy(update={"reader_memory_bytes": _peak_bytes()})


def _peak_bytes() -> int:
    """The most memory that this process has had: it decodes what the client's processes read."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
