"""One group of cells while it runs: its phases, its deployment, its results as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter

from tokenizers import Tokenizer

from backends.contract import Accelerator, FailureCause, ImageSpec, Template
from orchestrator import datasets, dolly, drawing, judging, measure, quantizing, steps
from orchestrator.artifacts import Artifact, Store
from orchestrator.basis import Basis
from orchestrator.catalog import chat_template
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.domain import attempts, incidents
from orchestrator.domain.cell import Cell
from orchestrator.domain.cleanroom import Cleared, Moment, Wanted
from orchestrator.domain.gpus import chosen
from orchestrator.domain.looks import Sighting
from orchestrator.domain.matrix import Budget
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.provenance import Gpu, Image, Provenance
from orchestrator.domain.result import Failure, Phase, StepRecord
from orchestrator.domain.windows import Span
from orchestrator.ends import Ends
from orchestrator.errors import CellError, HostError
from orchestrator.host import sources, topology
from orchestrator.host.gate import Gate
from orchestrator.host.pinning import pinned
from orchestrator.host.telemetry import Telemetry
from orchestrator.host.watch import GpuWatch
from orchestrator.kit import Kit
from orchestrator.limits import Limits
from orchestrator.load.client import LoadClient
from orchestrator.load.draw import Draw
from orchestrator.passing import passed
from orchestrator.ready import Ladder, effective, wait_until_ready
from orchestrator.report.headline import one_line
from orchestrator.runtime.interface import Deployment, DeploymentSpec
from orchestrator.selftest.run import proof
from orchestrator.store.runs import RunFolder


class Group:
    """One group while it runs: its phases' times, the phase it is in, the cells that have ended."""

    def __init__(self, plan: GroupPlan, kit: Kit, folder: RunFolder, store: Store, budget: Budget) -> None:
        self._plan = plan
        self._kit = kit
        self._folder = folder
        self._backend = kit.backends[plan.group.backend]
        self._build = plan.image.build
        self._log_path = folder.log_path(plan.group.id)
        self._phase = Phase.IMAGE
        self._phases_s: dict[Phase, float] = {}
        self._steps: list[StepRecord] = []
        self._shop = steps.Workshop(
            name=plan.group.id,
            folder=folder,
            store=store,
            runtime=kit.runtime,
            interrupts=kit.interrupts,
            progress=kit.console.step,
            environment=kit.environment,
            token=kit.token,
        )
        self._limits = Limits(plan, budget, kit.interrupts, self._log_path)
        self._cpus = topology.cpu_sets(self._uuids)
        self._cleared: Cleared | None = None
        self._befell = ""
        self._deployment: Deployment | None = None
        self._attempt = 1
        self._notes: tuple[str, ...] = ()
        self.ends = Ends(plan, folder, self._log_path, kit.console, kit.placed)

    @contextmanager
    def phase(self, phase: Phase, title: str = "") -> Iterator[None]:
        """A phase: told, timed, journalled, its time kept for the results."""
        self._phase = phase
        name = f"{phase.value} {title}".strip()
        self._folder.journal("phase-began", group=self._plan.group.id, phase=name)
        began_s = perf_counter()
        try:
            with self._kit.console.phase(name), self._limits.within(phase):
                yield
        except BaseException:
            took_s = perf_counter() - began_s
            with suppress(HostError):  # a full disk must not hide what went wrong before
                self._folder.journal("phase-failed", group=self._plan.group.id, phase=name, took_s=took_s)
            raise
        took_s = perf_counter() - began_s
        before_s = self._phases_s.get(phase, 0.0) if phase is Phase.STEPS else 0.0  # one after the other
        self._phases_s[phase] = before_s + took_s
        self._folder.journal("phase-ended", group=self._plan.group.id, phase=name, took_s=took_s)

    def weights(self) -> Artifact:
        """The model's weights, and what they cost noted."""
        return self._made("weights", steps.weights(self._plan.model.source, self._shop))

    def quantized(self, images: Mapping[ImageSpec, Image], weights: Artifact) -> Artifact:
        """What the engine gets: the weights as they are, or what a method makes of them."""
        step, origin = self._plan.quantize, self._plan.model.quantized
        if step is None or origin is None:
            return weights
        gpus, dolly_path = self._gpus() if step.gpu else (), self._kit.dolly_path
        with self.phase(Phase.STEPS, step.id):
            made = quantizing.checkpoint(origin, step, weights, images, gpus, dolly_path, self._shop)
            return self._made(step.id, made)

    def outputs(self, images: Mapping[ImageSpec, Image], weights: Artifact) -> dict[str, Artifact]:
        """What each step makes, in order, by its id."""
        inputs = steps.Inputs(
            label=steps.label(self._plan),
            model_folder=self._plan.model.traits.folder,
            weights=weights,
            images=images,
            image=self._plan.engine_image,
            gpus=self._gpus(),
            signatures=self._backend.failures(self._build),
        )
        for step in self._plan.steps:
            with self.phase(Phase.STEPS, step.id):
                inputs.earlier[step.id] = self._made(step.id, steps.output(step, inputs, self._shop))
        return inputs.earlier

    def draw(self, weights_dir: Path) -> Draw:
        """The prompts that fit the workload, counted by the model's own tokenizer."""
        tokenizer = Tokenizer.from_file(str(weights_dir / "tokenizer.json"))
        workload = self._plan.group.workload
        dolly.provide(workload.prompts.source, self._kit.dolly_path, progress=self._kit.console.step)
        shop = self._shop
        means = datasets.Means(
            store=shop.store,
            log_path=shop.log_path("prompts"),
            interrupts=shop.interrupts,
            progress=shop.progress,
            environment=shop.environment,
            token=shop.token,
        )
        return drawing.draw(
            workload,
            self._plan.request,
            self._plan.model.traits.served_name,
            tokenizer=tokenizer,
            chat=self._chat(weights_dir, tokenizer),
            dolly_path=self._kit.dolly_path,
            fetched=datasets.provide(workload.prompts, means),
        )

    def _chat(self, weights_dir: Path, tokenizer: Tokenizer) -> ChatTemplate | None:
        """The model's template. An engine that renders itself may do without what we could use."""
        try:
            return chat_template.load(weights_dir, tokenizer)
        except CellError:
            if self._plan.request.template is not Template.MESSAGES:
                raise
            return None

    def gate(self, moment: Moment) -> None:
        """Wait until the host is clean; NotCleanError when it does not become so. After a group that started
        nothing there is nothing to look for."""
        if moment is Moment.AFTER and self._cleared is None:
            return
        wanted = Wanted(gpus=self._uuids, memory_bytes=self._plan.served_memory_bytes)
        kit = self._kit
        looking = Gate(kit.cache_dir, wanted, lambda: kit.runtime.reap(dry_run=True), kit.pace)
        with self.phase(Phase.GATE, moment.value):
            cleared = passed(looking, moment, self._plan.group.id, self._folder, kit.console)
        self._cleared = cleared if moment is Moment.BEFORE else None

    def basis(self, image: Image, weights: Artifact, outputs: Mapping[str, Artifact], draw: Draw) -> Basis:
        """Everything that the cells rest on."""
        spec = DeploymentSpec(
            name=f"{self._folder.id}-{self._plan.group.id}",
            image=image,
            serve=self._plan.serve,
            model_folder=self._plan.model.traits.folder,
            weights_dir=weights.folder,
            steps={name: made.folder for name, made in outputs.items()},
            log_path=self._log_path,
            gpus=self._uuids,
            cpus=self._cpus.engine,
            port=self._plan.port,
        )
        return Basis(
            plan=self._plan,
            host=self._kit.host,
            spec=spec,
            cpus=self._cpus,
            rendered=self._kit.runtime.rendered(spec),
            weights=weights,
            steps=tuple(self._steps),
            draw=draw,
        )

    @contextmanager
    def deployed(self, basis: Basis) -> Iterator[Deployment]:
        """The engine, up; taken down whatever happens, with proof."""
        try:
            with self._kit.interrupts.deferred(), self.phase(Phase.UP):
                deployment = self._deployment = self._kit.runtime.up(basis.spec)
            with pinned(self._cpus.client):
                yield deployment
        finally:
            self.down()

    def target(self, deployment: Deployment, client: LoadClient, draw: Draw) -> measure.Target:
        return measure.Target(
            engine=measure.Deployed(self._kit.runtime, deployment, self._backend.failures(self._build)),
            client=client,
            draw=draw,
            metrics=self._backend.metrics(self._build),
            reset_path=self._backend.prefix_cache(self._build).reset_path,
            health_path=(self._plan.layer_ready or self._backend.ready(self._build)).health_path,
        )

    def climb(self, deployment: Deployment) -> None:
        """Up the readiness ladder, from a live process to the right model; then that of a layer before it."""
        specs = [(deployment.engine, self._limits.ready(self._backend.ready(self._build)))]
        specs += [(deployment, self._plan.layer_ready)] if self._plan.layer_ready else []
        for seen, spec in specs:
            ladder = Ladder(
                spec=spec,
                served_name=self._plan.model.traits.served_name,
                signatures=self._backend.failures(self._build),
                silence_s=self._limits.silence_s,
            )
            wait_until_ready(self._kit.runtime, seen, ladder, progress=self._kit.console.step)

    @contextmanager
    def telemetry(self, target: measure.Target, deployment: Deployment) -> Iterator[Telemetry]:
        """Everything that is read once a second while the cells run."""
        self._watch = GpuWatch(self._uuids, lambda: self._kit.runtime.pids(deployment))
        found = [
            *self._watch.sources(),
            sources.engine_source(lambda: self._kit.runtime.usage(deployment)),
            sources.client_source(target.client.pids),
            sources.host_source(),
        ]
        if target.metrics is not None:
            found.append(sources.metrics_source(deployment.engine.url, target.metrics))
        with Telemetry(found) as telemetry:
            try:
                yield telemetry
            finally:
                self._befell = incidents.words(telemetry.samples())
        for name, faults in telemetry.faults().items():
            self._folder.journal("telemetry-faults", source=name, count=faults.count, last=faults.last)

    def reset(self, target: measure.Target) -> tuple[str, ...]:
        """Let the next load find the prefix cache as the first one did; a failure is noted, not fatal."""
        why = measure.reset_prefix_cache(target)
        if not why:
            return ()
        self._folder.journal("prefix-cache-not-reset", group=self._plan.group.id, error=why)
        return (f"the prefix cache still held the loads before it ({why})",)

    def measure(
        self,
        cell: Cell,
        target: measure.Target,
        origin: tuple[Basis, Provenance],
        telemetry: Telemetry,
        notes: tuple[str, ...],
    ) -> None:
        """One cell: load, judge, write at once."""
        basis, provenance = origin
        self._folder.cell(cell.id).begin(cell)
        self._folder.journal("cell-began", cell=cell.id, attempt=self._attempt)
        with self.phase(Phase.MEASURE, cell.load.id):
            loaded = measure.load(target, cell, self._kit.console)
        samples = telemetry.samples()
        emptied = None if target.reset_path is None else not notes
        seen = self._sightings(loaded.span)
        result = judging.result(loaded, samples, provenance, prefix_reset=emptied, sightings=seen)
        known = {
            "gate": self._cleared,
            "content": basis.content(cell),
            "steps": basis.steps,
            "notes": (*result.notes, *self._notes, *notes),
            "phases_s": dict(self._phases_s),
        }
        result = result.model_copy(update=known)
        self.ends.save(result, loaded.record.exchanges, loaded.during(samples))
        self._kit.console.say(f"    {cell.load.id}: {one_line(result)}")

    def _sightings(self, span: Span) -> tuple[Sighting, ...]:
        """Strangers on the GPUs while the load ran, noted in the journal."""
        seen = self._watch.sightings(span.start_ns, span.end_ns)
        for stranger in seen:
            self._folder.journal("foreign-process", group=self._plan.group.id, who=stranger.text)
        return seen

    def provenance(self, deployment: Deployment, basis: Basis) -> Provenance:
        found = Provenance(
            levelbench=self._kit.checkout.version,
            git_revision=self._kit.checkout.git_revision,
            git_dirty=self._kit.checkout.git_dirty,
            host=self._kit.host,
            runtime=self._plan.group.runtime,
            runtime_version=self._kit.runtime.version,
            serving=str(self._plan.group.serving) if self._plan.group.serving else None,
            engine_version=self._build.version,
            image=basis.spec.image,
            argv=deployment.argv,
            env=deployment.env,
            weights_digest=basis.weights.digest,
            prompts_name=basis.draw.prompts.name,
            prompts_digest=basis.draw.prompts.digest,
            gpus=self._uuids,
            cpus=self._cpus,
            packages=self._kit.checkout.packages,
            effective=effective(deployment.engine, self._backend.readbacks(self._build)),
            deviations=self._plan.deviations,
            client_selftest=proof(self._kit.cache_dir, self._kit.host),
        )
        self._kit.accept(self._plan.group, found)
        return found

    def down(self) -> None:
        """Take the engine down if it is up: once, even when the disk is too full to note it.

        Called twice, one around the other: a signal may come between the end of a body and `deferred`,
        and since signals are raised once, the outer call is then safe.
        """
        failed_in = self._phase
        with self._kit.interrupts.deferred(), ExitStack() as whatever_happens:
            if self._deployment is None:
                return
            whatever_happens.callback(self._kit.runtime.down, self._deployment)
            self._deployment = None
            with self.phase(Phase.DOWN):
                whatever_happens.close()
        self._phase = failed_in

    def tries_again(self, error: CellError) -> bool:
        """Whether the failure may be over by itself and came before anything was measured: then everything begins
        anew, once."""
        if not attempts.tried_again(self._phase, error.cause, self._attempt):
            return False
        told = f"the first attempt ended in {self._phase.value}: {error}"
        facts = {"attempt": self._attempt, "phase": self._phase.value, "cause": error.cause.value}
        self._folder.journal("group-tried-again", group=self._plan.group.id, error=str(error), **facts)
        self._kit.console.error(error)
        self._kit.console.say("  nothing had been measured: tried once more", "yellow")
        self._attempt += 1
        self._notes = (told,)
        self._steps.clear()
        self._phases_s.clear()
        return True

    def fail(self, error: CellError) -> None:
        """Record the failure for every cell that has no end yet; a GPU that failed before it is its cause."""
        failure = Failure(
            phase=self._phase,
            cause=FailureCause.GPU if self._befell else error.cause,
            message=f"{self._befell}: {error}" if self._befell else str(error),
            hint=error.hint,
            log_tail=error.log_tail,
        )
        self.ends.fail(failure, steps=self._steps, notes=self._notes, phases_s=dict(self._phases_s))
        self._kit.console.error(error)

    def skip(self, like: Failure) -> None:
        """Record for every cell without an end that it is not tried: its like failed twice the same way."""
        text = f"not tried, this engine and model have failed twice the same way: {like.message}"
        self.ends.fail(like.model_copy(update={"message": text, "skipped": True}))
        self._kit.console.say(f"  {text}", "yellow")

    def _made(self, step_id: str, artifact: Artifact) -> Artifact:
        """Note what it cost, now or when it was made."""
        record = artifact.record(step_id)
        self._steps.append(record)
        self._folder.journal("step-ended", group=self._plan.group.id, **record.model_dump())
        if artifact.cached:
            self._kit.console.step("from the cache")
        return artifact

    @property
    def _uuids(self) -> tuple[str, ...]:
        return tuple(gpu.uuid for gpu in self._gpus())

    def _gpus(self) -> tuple[Gpu, ...]:
        """Those that the group asks for: the first alone by default, as in the published benchmark."""
        on_gpu = self._plan.group.accelerator is Accelerator.CUDA
        return chosen(self._plan.group.gpus, self._kit.host.gpus) if on_gpu else ()
