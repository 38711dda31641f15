"""What was measured on what, and how: deviations, provenance, method."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Deviation
from orchestrator.domain.cell import CellGroup
from orchestrator.domain.cleanroom import Cleared
from orchestrator.domain.cpus import ranges
from orchestrator.domain.distribution import MIN_SAMPLES
from orchestrator.domain.provenance import ClientSelfTest, CpuSets, Host, Image, Provenance
from orchestrator.domain.result import Result
from orchestrator.domain.windows import ACTIVE_SHARE
from orchestrator.domain.workload import EVERY_LENGTH, Arrivals, PromptSpec, Workload
from orchestrator.report import layout, units
from orchestrator.report.figures import limits
from orchestrator.report.headline import Names

DEVIATIONS = ("engine", "setting", "value", "why", "source")
_SAMPLES = layout.joined([f"{n} (p{q})" for q, n in MIN_SAMPLES.items()])


def deviations(results: Sequence[Result], names: Names) -> list[str]:
    """Every setting that is not the engine's default, with reason and source."""
    rows = deviation_rows(results, names)
    if not rows:
        return ["## Every engine ran with its defaults"] if by_group(results) else []
    return ["## What is not an engine's default", layout.table(DEVIATIONS, rows, texts=5)]


def deviation_rows(results: Sequence[Result], names: Names) -> list[tuple[str, ...]]:
    """One row per setting of an engine, also where several of its deployments share it."""
    rows = [
        (names[group], d.setting, d.value, d.reason, _source(d))
        for group, provenance in by_group(results).items()
        for d in provenance.deviations
    ]
    return list(dict.fromkeys(rows))


def provenance(results: Sequence[Result], names: Names) -> list[str]:
    """Host, levelbench itself, and each deployment, so that it can be run again."""
    known = by_group(results)
    if not known:
        return []
    hosts = dict.fromkeys(_host(p.host) for p in known.values())
    tools = dict.fromkeys(_tool(p) for p in known.values())
    clients = dict.fromkeys(
        layout.bullets([f"Load client: {client(p.client_selftest)}"]) for p in known.values()
    )
    rooms = cleared(results)
    engines = [part for group, p in known.items() for part in _engine(group, p, rooms.get(group), names)]
    return ["## What this was measured on", *hosts, *tools, *clients, *engines]


def method(results: Sequence[Result], workloads: Sequence[Workload]) -> list[str]:
    """The rules of measuring, in words and numbers."""
    methods = layout.joined([str(m) for m in sorted({r.method for r in results})])
    title = f"## How it was measured (METHOD {methods})" if methods else "## How it is measured"
    return [title, layout.bullets(rules(workloads))]


def rules(workloads: Sequence[Workload]) -> list[str]:
    """Each workload in a sentence, and what holds for all."""
    return [
        *(_workload(w) for w in workloads),
        f"The headline comes from the steady window alone: {_steady(workloads)}; requests in flight at the end are cut.",
        f"A percentile needs {_SAMPLES} samples. Intervals are of 95 %, by block bootstrap within the run.",
        "All definitions: docs/metrics.md.",
    ]


def _steady(workloads: Sequence[Workload]) -> str:
    users = f"while at least {ACTIVE_SHARE:.0%} of the users take part"
    kinds = {w.arrivals is None for w in workloads}
    words = {True: f"after the ramp, {users}", False: "after the ramp"}
    return words[kinds.pop()] if len(kinds) == 1 else f"after the ramp, and in a closed loop {users}"


def by_group(results: Sequence[Result]) -> dict[CellGroup, Provenance]:
    """One provenance per deployment, the first that was recorded."""
    known: dict[CellGroup, Provenance] = {}
    for result in results:
        if result.provenance is not None:
            known.setdefault(result.cell.group, result.provenance)
    return known


def cleared(results: Sequence[Result]) -> dict[CellGroup, str]:
    """Of each deployment, how clean the gate found the host before it."""
    return {r.cell.group: _room(r.gate) for r in results if r.gate is not None}


def _room(gate: Cleared) -> str:
    if gate.in_the_way:
        return f"not clean: {'; '.join(one.text for one in gate.in_the_way)}"
    return "; ".join(["clean", *gate.remarks])


def _source(deviation: Deviation) -> str:
    if deviation.source is None:
        return units.NOTHING
    return deviation.source.text + ("" if deviation.source.verified else " (not verified)")


def _host(host: Host) -> str:
    gpus = [
        f"GPU: {g.name}, {units.size(g.memory_bytes)}, driver {g.driver}, {layout.code(g.uuid)}"
        for g in host.gpus
    ]
    return layout.bullets(
        [
            f"Host: {host.os}, kernel {host.kernel}, {host.machine}, Python {host.python}",
            f"CPU: {host.cpu}, {units.count(host.cpus, 'core')}, memory {units.size(host.memory_bytes)}",
            *(gpus or ["GPU: none"]),
        ]
    )


def _tool(p: Provenance) -> str:
    revision = p.git_revision or "unknown revision"
    dirty = " with uncommitted changes" if p.git_dirty else ""
    packages = ", ".join(f"{name} {version}" for name, version in sorted(p.packages.items()))
    return layout.bullets(
        [f"levelbench {p.levelbench}, git {revision}{dirty}", f"Packages: {packages or 'not recorded'}"]
    )


def cpus(sets: CpuSets) -> str:
    """Who ran on which."""
    nodes = f" (NUMA node {ranges(sets.nodes)})" if sets.nodes else ""
    return f"Engine on CPUs {ranges(sets.engine)}{nodes}, load client on {ranges(sets.client)}"


def client(found: ClientSelfTest | None) -> str:
    """What is known of the load client's own error."""
    if found is None:
        return "its error was not measured on this host; `levelbench selftest --save` does"
    where = "this host" if found.same_host else "another host or kernel"
    kernel = f"first tokens {_us(found.ttft_error_s)}, gaps {_us(found.itl_error_s)} by the kernel's stamps"
    own = f"{_us(found.user_ttft_error_s)} and {_us(found.user_itl_error_s)} by its own"
    return (
        f"levelbench {found.levelbench}, self-test of {found.started_at} on {where}: it carried "
        f"{units.count(found.users, 'user')} and {units.number(found.events_per_s)} events/s whole; p99 of its "
        f"error: {kernel}, {own}; {units.number(found.cpu_per_event_s * 1e6)} us of CPU per event, "
        f"ceiling {units.number(found.ceiling_per_s)} events/s"
    )


def _us(seconds: float | None) -> str:
    """In microseconds: what the client is held to."""
    return f"n<{MIN_SAMPLES[99]}" if seconds is None else f"{units.number(seconds * 1e6)} us"


def _engine(group: CellGroup, p: Provenance, room: str | None, names: Names) -> list[str]:
    weights = f"Weights {layout.code(p.weights_digest)}; prompts " if p.weights_digest else "Prompts "
    env = [f"Environment: {layout.code(_pairs(p.env))}"] if p.env else []
    effective = [f"Settings read back: {layout.code(_pairs(p.effective))}"] if p.effective else []
    behind = f" behind {p.serving}" if p.serving else ""
    lines = [
        f"Engine version {p.engine_version}{behind}, in {p.runtime.value} ({p.runtime_version})",
        *([_image(p.image)] if p.image else []),
        f"{weights}{p.prompts_name}, {layout.code(p.prompts_digest)}",
        *([cpus(p.cpus)] if p.cpus else []),
        *([f"Host before it: {room}"] if room else []),
        *([f"Command: {layout.code(' '.join(p.argv))}"] if p.argv else []),
    ]
    return [f"### {names[group]}, {group.model}", layout.bullets([*lines, *env, *effective])]


def _image(image: Image) -> str:
    base = f", base {layout.code(image.base_digest)}" if image.base_digest else ""
    size = units.size(image.size_bytes)
    return f"Image {layout.code(image.reference)}, {layout.code(image.digest)}, {size}{base}"


def _pairs(values: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(values.items()))


def _workload(w: Workload) -> str:
    sampling = w.sampling
    length = "exactly" if sampling.ignore_eos else "at most"
    return (
        f"Workload {w.id}: {_loop(w)}; measured {units.seconds(w.length_s)} in all, ramp included. "
        f"{_prompts(w.prompts)} (seed {w.prompts.seed}), "
        f"answers of {length} {sampling.max_tokens} tokens, temperature {sampling.temperature:g}.{_limits(w)}"
    )


def _limits(w: Workload) -> str:
    return f" Within limits: {limits(w.slo)}." if w.slo else ""


def _loop(w: Workload) -> str:
    if w.arrivals is None:
        return (
            f"each user sends, reads the answer to its end, waits {units.ms(w.think_s)} ms, sends again. "
            f"Users start over {units.seconds(w.ramp_s)}"
        )
    if w.arrivals is Arrivals.TRACE:
        pace = (
            "as the trace recorded them"
            if not w.rates
            else "as in the trace, at the rates that stand in the table"
        )
        return f"requests are sent {pace}. Latencies count from then; {_most(w)}"
    return (
        f"an open loop: requests are due at the rates that stand in the table ({w.arrivals.value} arrivals), and "
        f"latencies count from then; {_most(w)}. The rate rises over {units.seconds(w.ramp_s)}"
    )


def _most(w: Workload) -> str:
    return f"at most {w.max_in_flight:,} are in flight, what is due beyond that waits"


def _prompts(spec: PromptSpec) -> str:
    low, high = spec.bounds
    return (
        "Prompts of every length" if (low, high) == EVERY_LENGTH else f"Prompts of {low} to {high:.0f} tokens"
    )
