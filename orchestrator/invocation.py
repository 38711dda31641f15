"""From a request to a finished run: chooses accelerator and runtime, checks the host, runs, reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from shutil import rmtree

from backends import load_backends
from backends.contract import Accelerator, Backend
from orchestrator import artifacts, bench, planning, quantizing, retrospect, steps
from orchestrator.artifacts import Artifact, Store
from orchestrator.console import Console
from orchestrator.domain.cell import AcceleratorChoice, RuntimeChoice, RuntimeKind
from orchestrator.domain.gpus import chosen as chosen_gpus
from orchestrator.domain.model import Model
from orchestrator.domain.plan import Plan
from orchestrator.domain.provenance import Host
from orchestrator.domain.result import Placed
from orchestrator.errors import ENDS, HostError
from orchestrator.host import facts, preflight, scratch, topology
from orchestrator.host.findings import Finding, Level, require
from orchestrator.host.locks import host_lock, host_path
from orchestrator.interrupts import Interrupts
from orchestrator.kit import Accept, Kit, anything
from orchestrator.notify import Told
from orchestrator.planning import Request
from orchestrator.report.units import count
from orchestrator.runtime.checkout import checkout
from orchestrator.runtime.choice import choose
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import Runtime
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.store.runs import RunFolder, run_id

ROOT = Path(__file__).resolve().parent.parent
RUN_BYTES = 200 * 2**20
DOLLY = "databricks-dolly-15k.jsonl"
# What we put into the cache folder
CACHED = (
    "models",
    "artifacts",
    "datasets",
    "venvs",
    "wheels",
    "prompts",
    "bases.*",
    "idle.*",
    "images.lock",
    "levelbench-build-*",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Settings of this host, from the command's options and the environment. `environment` is what pip may
    need of it (proxies, indexes), without the token, which goes to the fetch of weights alone."""

    runs_dir: Path
    cache_dir: Path
    daemon: Daemon
    environment: Mapping[str, str] = field(repr=False)
    base: str | None = None
    port: int = 0
    token: str | None = field(default=None, repr=False)
    cache_limit_bytes: int | None = None
    told: Told = field(default_factory=Told)
    lock_path: Path = field(default_factory=host_path)
    wait: bool = False

    def alone(self, doing: str, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Hold this host, so that nothing else measures on it. HostError naming who does, or wait for them."""
        return host_lock(self.lock_path, f"levelbench {doing}", wait=self.wait, progress=say)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan and the runtime that will carry it out, in the folder of a run that was begun before or in a new one.
    `event` is what its journal calls that; `redone` are cells that have ended there, and are to be measured again.
    `accept` and `placed` are those of Kit."""

    plan: Plan
    runtime: Runtime
    host: Host
    backends: dict[str, Backend]
    folder: RunFolder | None = None
    event: str = "run-began"
    redone: tuple[str, ...] = ()
    accept: Accept = anything
    placed: Placed | None = None


def prepare(place: Place, request: Request, *, pull: bool) -> Prepared:
    """Look everything up and choose; starts nothing. Without `pull`, no image is fetched to find out
    whether it can be had."""
    backends, host = load_backends(), facts.host()
    accelerator = planning.choose_accelerator(request, backends, host)
    at_hand = {"artifacts": steps.at_hand(place.cache_dir)}
    traits = topology.traits(accelerator, with_asked(request, accelerator, host)).model_copy(update=at_hand)
    chosen, _ = planning.choose_builds(request, backends, traits)
    runtime, notes = choose(
        request.runtime,
        place.daemon,
        [c.build for c in chosen],
        base=request.base,
        cache_dir=place.cache_dir,
        environment=place.environment,
        pull=pull,
    )
    if accelerator is Accelerator.CUDA and not host.gpus:
        notes = (*notes, "no GPU was found here: this plan is for a GPU host")
    return Prepared(planning.plan(request, backends, traits, runtime.kind, notes), runtime, host, backends)


def with_asked(request: Request, accelerator: Accelerator, host: Host) -> Host:
    """The host with the GPUs that the request names; a plan for a GPU host may be made on one without."""
    if accelerator is Accelerator.CPU or not host.gpus:
        return host
    return host.model_copy(update={"gpus": chosen_gpus(request.gpus, host.gpus)})


def execute(place: Place, request: Request, console: Console) -> tuple[RunFolder, bool]:
    """The whole run of a request. Gives its folder and whether every cell is sound. A mistake in it is told before
    anybody is waited for."""
    prepare(place, request, pull=False).runtime.close()
    return carry_out(place, lambda: prepare(place, request, pull=True), console)


def carry_out(
    place: Place,
    prepare: Callable[[], Prepared],
    console: Console,
    *,
    doing: str = "bench",
    work: Callable[[Plan, Kit, RunFolder], bool] = bench.run,
) -> tuple[RunFolder, bool]:
    """Run what is prepared, alone on this host. Gives the run's folder and whether every cell is sound;
    reports are written whatever happens, from what is stored."""
    interrupts = Interrupts(lambda text: console.say(text, "bold yellow"))
    with interrupts.installed(), ExitStack() as stack:
        stack.enter_context(place.alone(doing, lambda text: console.say(text, "yellow")))
        prepared = prepare()
        stack.callback(prepared.runtime.close)
        plan = prepared.plan
        for note in plan.notes:
            console.say(note, "yellow")
        _check_host(place, prepared, console)
        for removed in (*prepared.runtime.reap(), *scratch.sweep(), *scratch.sweep(place.cache_dir)):
            console.say(f"removed {removed}, left by a run that is dead", "yellow")
        folder = _begun(place, prepared)
        console.say(f"run {folder.id}: {count(plan.cells, 'cell')}, results in {folder.path}")
        stack.callback(retrospect.tell, folder, place.told, console.say)
        stack.callback(folder.write_reports)
        kit = Kit(
            runtime=prepared.runtime,
            backends=prepared.backends,
            host=prepared.host,
            checkout=checkout(ROOT),
            cache_dir=place.cache_dir,
            dolly_path=place.cache_dir / "prompts" / DOLLY,
            token=place.token,
            console=console,
            interrupts=interrupts,
            environment=place.environment,
            cache_limit_bytes=place.cache_limit_bytes,
            accept=prepared.accept,
            placed=prepared.placed,
        )
        try:
            return folder, work(plan, kit, folder)
        except ENDS as error:
            folder.journal("run-stopped", error=str(error), exit_code=error.exit_code)
            console.say(
                f"what had finished is reported in {folder.path}; levelbench resume {folder.id} goes on"
            )
            raise


def quantize(
    place: Place,
    model: Model,
    runtime: RuntimeChoice,
    accelerator: AcceleratorChoice,
    console: Console,
) -> Artifact:
    """The quantised weights of a `<model>.<method>`, from the cache or made and checked; nothing is measured."""
    host = facts.host()
    on = Accelerator(accelerator.value) if accelerator is not AcceleratorChoice.AUTO else _fastest(host)
    step = planning.quantize(model, on)
    assert model.quantized is not None  # noqa: S101 - what the CLI looks up is quantised
    assert step is not None  # noqa: S101 - so it has a step
    assert step.image is not None  # noqa: S101 - in an image of its own
    interrupts = Interrupts(lambda text: console.say(text, "bold yellow"))
    with interrupts.installed(), ExitStack() as stack:
        lives, notes = choose(
            runtime,
            place.daemon,
            [step.image.build],
            base=place.base,
            cache_dir=place.cache_dir,
            environment=place.environment,
            pull=True,
        )
        stack.callback(lives.close)
        for note in notes:
            console.say(note, "yellow")
        needs = preflight.Needs(
            accelerator=on,
            runtime=lives.kind,
            cache_bytes=model.source.weights_bytes + step.output_bytes + step.image.build.install_bytes,
            memory_bytes=step.memory_bytes,
            gated=model.source.is_gated,
        )
        require(preflight.check_plan(_site(place), needs))
        stack.enter_context(place.alone("quantize", lambda text: console.say(text, "yellow")))
        lives.reap()
        plan = {"model": model.model_dump(mode="json"), "step": step.model_dump(mode="json")}
        name = run_id(datetime.now(timezone.utc), "quantize", model.id)
        folder = RunFolder.create(place.runs_dir, name, plan, latest=False)
        shop = steps.Workshop(
            name=model.id,
            folder=folder,
            store=Store(place.cache_dir, place.cache_limit_bytes),
            runtime=lives,
            interrupts=interrupts,
            progress=console.step,
            environment=place.environment,
            token=place.token,
        )
        shop.store.sweep()
        with console.phase("image"):
            images = {step.image: lives.image(step.image, console.step)}
        with console.phase("weights"):
            weights = steps.weights(model.source, shop)
        gpus = host.gpus[:1] if step.gpu else ()
        with console.phase(f"quantize {model.quantized.method}"):
            dolly_path = place.cache_dir / "prompts" / DOLLY
            return quantizing.checkpoint(model.quantized, step, weights, images, gpus, dolly_path, shop)


def _fastest(host: Host) -> Accelerator:
    return Accelerator.CUDA if host.gpus else Accelerator.CPU


def findings(place: Place) -> tuple[Finding, ...]:
    """Everything that `doctor` looks at."""
    return preflight.doctor(_site(place), ports=(place.port,))


def _check_host(place: Place, prepared: Prepared, console: Console) -> None:
    """Every fault at once, before anything is started; warnings are told, for they spoil figures."""
    builds = [group.image.build for group in prepared.plan.groups]
    on_gpu = any(build.accelerator is Accelerator.CUDA for build in builds)
    runtime = prepared.runtime.kind
    needs = preflight.Needs(
        accelerator=Accelerator.CUDA if on_gpu else Accelerator.CPU,
        runtime=runtime,
        cache_bytes=prepared.plan.disk_bytes - steps.held_bytes(prepared.plan, place.cache_dir),
        runs_bytes=RUN_BYTES,
        memory_bytes=max(g.memory_bytes for g in prepared.plan.groups),
        ports=(place.port,) if runtime is RuntimeKind.PROCESS else (),
        gated=any(g.model.source.is_gated for g in prepared.plan.groups),
    )
    found = preflight.check_plan(_site(place), needs)
    require(found)
    for finding in found:
        if finding.level is Level.WARN:
            console.say(f"{finding.check.value}: {finding.text}", "yellow")


def _site(place: Place) -> preflight.Site:
    return preflight.Site(
        cache_dir=place.cache_dir,
        runs_dir=place.runs_dir,
        docker_version=place.daemon.version,
        docker_runtimes=place.daemon.runtimes,
        token=place.token,
    )


def _begun(place: Place, prepared: Prepared) -> RunFolder:
    """The run's folder: a new one, unless it is gone on with."""
    folder = prepared.folder or new_run(place, prepared.plan)
    folder.journal(prepared.event, groups=[g.group.id for g in prepared.plan.groups])
    for cell_id in prepared.redone:
        place_of_it = folder.set_aside(cell_id)
        folder.journal("cell-set-aside", cell=cell_id, why=["asked for"], place=place_of_it.name)
    return folder


def new_run(place: Place, plan: Plan) -> RunFolder:
    """A folder with the plan in it: a lock file that can be carried out, here or elsewhere."""
    if plan.night is not None:
        words = ["night", Path(plan.night.name).stem]
    else:
        words = [*(g.group.backend for g in plan.groups), plan.groups[0].model.id]
    name = run_id(datetime.now(timezone.utc), *words)
    cells = [cell for g in plan.groups for cell in g.group.cells]
    return RunFolder.create(place.runs_dir, name, plan.model_dump(mode="json"), cells=cells)


def clean(place: Place, *, dry_run: bool) -> Iterator[str]:
    """Remove what dead runs left, our images, and the cache; tells each thing."""
    docker = DockerRuntime(place.daemon, place.cache_dir, place.environment)
    process = ProcessRuntime(place.cache_dir, place.environment)
    done = "would remove" if dry_run else "removed"
    with closing(docker):
        for sweep in (process.reap, docker.reap, docker.remove_images):
            yield from _sweep(sweep, done, dry_run=dry_run)
    if not place.cache_dir.exists():
        return
    if not dry_run:
        with host_lock(place.lock_path, "levelbench clean"):
            _empty(place.cache_dir)
    yield f"{done} {place.cache_dir}"


def trim(place: Place, keep_bytes: int, *, dry_run: bool) -> Iterator[str]:
    """Remove the least recently used of what was made or fetched, until no more than that is kept."""
    done = "would remove" if dry_run else "removed"
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(host_lock(place.lock_path, "levelbench clean"))
        for name in artifacts.trim(place.cache_dir, keep_bytes, dry_run=dry_run):
            yield f"{done} {name}"


def _empty(cache_dir: Path) -> None:
    """Remove what we made, and the folder if nothing else is in it: it may be one that a person named."""
    try:
        for name in CACHED:
            for path in cache_dir.glob(name):
                rmtree(path) if path.is_dir() else path.unlink()
        if not any(cache_dir.iterdir()):
            cache_dir.rmdir()
    except OSError as error:
        raise HostError(f"{cache_dir} could not be emptied: {error}", hint="remove it by hand") from error


def _sweep(sweep: Callable[..., tuple[str, ...]], done: str, *, dry_run: bool) -> list[str]:
    try:
        return [f"{done} {name}" for name in sweep(dry_run=dry_run)]
    except HostError as error:
        return [f"not looked at: {error}"]
