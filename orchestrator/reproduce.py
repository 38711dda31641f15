"""From the name of a result to a verdict over it: runs what has to be run, and judges what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from backends import NATIVE, load_backends
from backends.contract import Backend, FailureCause, Profile
from orchestrator import invocation, planning
from orchestrator.catalog import publications
from orchestrator.console import Console
from orchestrator.domain import pins, rerun
from orchestrator.domain.cell import AcceleratorChoice, CellGroup, RuntimeChoice, RuntimeKind
from orchestrator.domain.claim import Address, Conditions, Confounder
from orchestrator.domain.court import ClaimRuling, Court, Measured
from orchestrator.domain.pairs import Comparison, Side, compare, usable
from orchestrator.domain.pins import Pin
from orchestrator.domain.plan import GroupPlan, Plan
from orchestrator.domain.provenance import Host, Provenance
from orchestrator.domain.published import Publication, PublishedFigure, PublishedRuling, rule
from orchestrator.domain.rerun import Rerun
from orchestrator.errors import CellError, HostError, RequestError, unknown
from orchestrator.host import facts, topology
from orchestrator.invocation import Place, Prepared
from orchestrator.planning import Request
from orchestrator.report.layout import joined
from orchestrator.report.records import State
from orchestrator.runtime.choice import choose
from orchestrator.store import stored_runs
from orchestrator.store.runs import RunFolder
from orchestrator.store.stored_runs import Source


@dataclass(frozen=True, slots=True)
class Published:
    """A published result that was asked for; `also` is another profile under which its cell is run beside it."""

    publication: Publication
    cell: Address
    also: Profile | None = None

    @property
    def name(self) -> str:
        return f"{self.publication.id}/{self.cell}"

    @property
    def figures(self) -> tuple[PublishedFigure, ...]:
        return self.publication.of(self.cell)

    @property
    def confounders(self) -> tuple[Confounder, ...]:
        return tuple(c for c in publications.confounders() if c.touches(self.cell))


def published(name: str, also: Profile | None = None) -> Published:
    """RequestError for what was not published."""
    publication, cell = publications.find(name)
    return Published(publication, cell, None if also is publication.setting.profile else also)


def prepare(place: Place, wanted: Published, *, pull: bool) -> Prepared:
    """Exactly the cell of a published result, and of the other profile. One that the release has not is told in a
    note."""
    first = _prepared(place, wanted, wanted.publication.setting.profile, pull=pull)
    groups, notes = first.plan.groups, first.plan.notes
    if wanted.also is not None:
        try:
            with closing((other := _prepared(place, wanted, wanted.also, pull=pull)).runtime):
                groups += other.plan.groups
        except RequestError as error:
            notes += (f"without PROFILE={wanted.also.value}: {error}",)
    narrow = tuple(_only(group, wanted.cell) for group in groups)
    return replace(first, plan=first.plan.model_copy(update={"groups": narrow, "notes": notes}))


def run_published(place: Place, wanted: Published, console: Console) -> PublishedRuling:
    """Run the cells of a published result and judge them. HostError, before anything is fetched, where there is
    no GPU."""
    setting = wanted.publication.setting
    if not facts.host().gpus:
        raise HostError(
            f"{wanted.name} was measured on one {setting.gpu}; this host has no GPU that can be seen",
            hint=f"see what would be run with --plan, or judge a run of another host with --from RUN: "
            f"there, levelbench reproduce {wanted.name}, then levelbench export",
        )
    folder, _ = invocation.carry_out(place, lambda: prepare(place, wanted, pull=True), console)
    return judge_published(place, wanted, folder)


def judge_published(place: Place, wanted: Published, folder: RunFolder) -> PublishedRuling:
    """What a stored run says of a published result."""
    measured = _measured([folder])
    court = _court(wanted.publication, measured)
    found = court.find(wanted.cell, Conditions.PUBLISHED)
    ruling = rule(wanted.publication, wanted.cell, found)
    everything = _court(wanted.publication, (*measured, *_newest(place.runs_dir)))
    claims = tuple(everything.rule(claim) for claim in publications.claims() if wanted.cell in claim.cells)
    provenance = None if found is None else found.result.provenance
    unmet = (
        () if provenance is None else tuple(d for d in provenance.deviations if "not reproduced" in d.value)
    )
    return ruling.model_copy(
        update={
            "claims": claims,
            "confounders": wanted.confounders,
            "unmet": unmet,
            "matched": _matched(found, measured),
        }
    )


def claims(runs_dir: Path, names: Sequence[str] = ()) -> tuple[ClaimRuling, ...]:
    """Each claim with what the newest runs say of it."""
    chosen = publications.require_claims(tuple(names))
    publication = publications.publications()[publications.ARTICLE]
    court = _court(publication, _newest(runs_dir))
    return tuple(court.rule(claim) for claim in chosen)


def compare_runs(runs_dir: Path, names: Sequence[str]) -> tuple[Comparison, ...]:
    """Every run against the first; several with commas between them are repetitions of one."""
    if len(set(names)) < len(names):
        raise RequestError(
            "a run cannot be held against itself", hint="name another run, or other cells of it"
        )
    sides = [_side(runs_dir, name) for name in names]
    return compare(sides)


def own_plan(place: Place, source: Source, console: Console, *, pull: bool) -> Prepared:
    """An earlier run's own plan, with the cells that are wanted. Of a run that was measured elsewhere, the plan that
    this checkout makes of the same request: commands that came in a file are not run. RequestError where this
    version cannot carry it out."""
    plan, backends = _plan(source), load_backends()
    for group in plan.groups:
        _require_release(group, backends)
    in_process = plan.groups[0].group.runtime is RuntimeKind.PROCESS
    runtime, notes = choose(
        RuntimeChoice.PROCESS if in_process else RuntimeChoice.DOCKER,
        place.daemon,
        [group.image.build for group in plan.groups],
        base=place.base or (None if source.folder.imported else _base(plan)),
        cache_dir=place.cache_dir,
        environment=place.environment,
        pull=pull,
    )
    host = facts.host()
    if source.folder.imported:
        groups = tuple(_made_anew(place, group, backends, host) for group in plan.groups)
        notes = (*notes, *_renewed(plan.groups, groups))
        plan = plan.model_copy(update={"groups": groups})
    told = plan.model_copy(update={"notes": notes, "refused": ()})
    return Prepared(told, runtime, host, backends, accept=_Holding(_expected(source), console))


def pins_of(source: Source) -> tuple[Pin, ...]:
    """What can be verified before anything is started. RequestError where what must hold does not."""
    found = pins.of_method(source.results)
    broken = [pin for pin in found if pin.must_hold and not pin.holds]
    if broken:
        raise RequestError(
            f"{source.name} cannot be reproduced by this version: {'; '.join(p.text for p in broken)}",
            hint=f"check out the version that measured it: {_version(source)}",
        )
    return found


def run_own(place: Place, source: Source, console: Console) -> Rerun:
    """Run an earlier run's cells again by its own plan, and test whether they came out the same."""
    for pin in pins_of(source):
        console.say(f"pin  {pin.text}")
    folder, _ = invocation.carry_out(place, lambda: own_plan(place, source, console, pull=True), console)
    return judge_own(source, [stored_runs.of_folder(folder)], place.runs_dir)


def judge_own(source: Source, later: Sequence[Source], runs_dir: Path) -> Rerun:
    """Whether later runs came out like an earlier one; further runs of the same thing in `runs_dir` tell how far such
    runs differ."""
    pins_of(source)
    if any(one.folder.path == source.folder.path for one in later):
        raise RequestError(f"{source.name} cannot be judged by itself", hint="name a later run, or several")
    judged = {one.folder.path for one in (source, *later)}
    further = [folder for folder in stored_runs.newest(runs_dir) if folder.path.resolve() not in judged]
    name = joined([one.name for one in later])
    return rerun.judge(
        Side(source.name, (source.results,)),
        Side(name, tuple(s.results for s in later)),
        [m.result for m in _measured(further)],
    )


@dataclass(frozen=True, slots=True)
class _Holding:
    """Shows what each group's engine is before its load, and refuses what is another measurement."""

    expected: Mapping[str, Provenance]
    console: Console

    def __call__(self, group: CellGroup, found: Provenance) -> None:
        pinned = self.expected.get(group.id)
        if pinned is None:
            return
        looked_at = pins.of_provenance(pinned, found)
        for pin in looked_at:
            self.console.say(f"pin  {pin.text}", "" if pin.holds else "yellow")
        broken = [pin.text for pin in looked_at if pin.must_hold and not pin.holds]
        if broken:
            raise CellError(
                f"what is pinned is not here: {'; '.join(broken)}",
                hint="it would be another measurement: bring the same weights and prompts, or measure anew with bench",
                cause=FailureCause.MODEL_FILES,
            )


def _prepared(place: Place, wanted: Published, profile: Profile, *, pull: bool) -> Prepared:
    setting = wanted.publication.setting
    request = Request(
        backends=(wanted.cell.backend,),
        model=wanted.cell.model,
        release=setting.release,
        profile=profile,
        workload=setting.workload,
        users=(wanted.cell.users,) if wanted.cell.users else (),
        accelerator=AcceleratorChoice.CUDA,
        base=place.base,
        port=place.port,
    )
    return invocation.prepare(place, request, pull=pull)


def _only(group: GroupPlan, cell: Address) -> GroupPlan:
    loads = tuple(load for load in group.group.loads if load.system_prompt is cell.system_prompt)
    return group.model_copy(update={"group": group.group.model_copy(update={"loads": loads})})


def _matched(found: Measured | None, measured: Sequence[Measured]) -> Comparison | None:
    """The published setting against any other profile of the same cell in the run; None where there is none."""
    if found is None:
        return None
    others = tuple(
        m.result
        for m in measured
        if m.result.cell.load == found.result.cell.load
        and m.result.cell.group.backend == found.result.cell.group.backend
        and m.result.cell.group.profile is not found.result.cell.group.profile
    )
    if not others or usable(found.result) or any(usable(other) for other in others):
        return None
    names = ", ".join(str(other.cell.group.profile and other.cell.group.profile.value) for other in others)
    profile = found.result.cell.group.profile
    first = Side(profile.value if profile else "unknown", ((found.result,),))
    return compare([first, Side(names, (others,))])[0]


def _court(publication: Publication, measured: Sequence[Measured]) -> Court:
    return Court(measured, publication.setting, publications.families())


def _measured(folders: Sequence[RunFolder]) -> tuple[Measured, ...]:
    """Every finished result, the newest run first."""
    return tuple(
        Measured(folder.id, stored.result)
        for folder in folders
        for stored in folder.results()
        if stored.state is State.COMPLETE and stored.result is not None
    )


def _newest(runs_dir: Path) -> tuple[Measured, ...]:
    return _measured(stored_runs.newest(runs_dir))


def _side(runs_dir: Path, name: str) -> Side:
    found = [stored_runs.find(runs_dir, one) for one in name.split(",")]
    return Side(" + ".join(one.name for one in found), tuple(one.results for one in found))


def _plan(source: Source) -> Plan:
    try:
        plan = Plan.model_validate(source.plan)
    except ValidationError as error:
        raise RequestError(
            f"{source.folder.id} holds no plan that this version can carry out ({error.error_count()} faults)",
            hint="a run of `levelbench load` has none: its engine was none of ours",
        ) from error
    wanted = {result.cell.id for result in source.results}
    groups = tuple(
        _with(group, wanted) for group in plan.groups if any(c.id in wanted for c in group.group.cells)
    )
    return plan.model_copy(update={"groups": groups})


def _with(group: GroupPlan, wanted: set[str]) -> GroupPlan:
    loads = tuple(cell.load for cell in group.group.cells if cell.id in wanted)
    return group.model_copy(update={"group": group.group.model_copy(update={"loads": loads})})


def _made_anew(place: Place, group: GroupPlan, backends: Mapping[str, Backend], host: Host) -> GroupPlan:
    """What this checkout would do for the same request, with the same workload."""
    of = group.group
    if of.workload.prompts.path is not None:
        raise RequestError(
            f"{of.id} drew its prompts from a file of its own, which was not handed on",
            hint="measure with that file: bench --workload",
        )
    if of.accelerator is None or of.profile is None:
        raise RequestError(f"{of.id} was up already: nobody here can start it", hint="levelbench load")
    request = Request(
        backends=(of.backend,),
        model=of.compared_as,
        release=of.release,
        profile=of.profile,
        prefix_caching=of.prefix_caching,
        extra_args=of.extra_args,
        gpus=of.gpus if of.gpus.isdigit() else str(of.gpus.count(",") + 1),  # their cards are not ours
        serving=(f"{of.serving.name}@{of.serving.release}",) if of.serving else (NATIVE,),
        base=place.base,
        port=place.port,
    )
    traits = topology.traits(of.accelerator, invocation.with_asked(request, of.accelerator, host))
    (made,) = planning.plan(request, backends, traits, of.runtime).groups
    same = made.group.model_copy(update={"workload": of.workload, "loads": of.loads, "mark": of.mark})
    return made.model_copy(update={"group": same})


def _renewed(theirs: Sequence[GroupPlan], ours: Sequence[GroupPlan]) -> tuple[str, ...]:
    """What this checkout does otherwise than the plan that came with a run."""
    return tuple(
        f"{mine.group.id}: {name} is this checkout's own, not that of the run"
        for mine, other in zip(ours, theirs, strict=True)
        for name in ("model", "image", "base", "steps", "serve", "request")
        if getattr(mine, name) != getattr(other, name)
    )


def _require_release(group: GroupPlan, backends: Mapping[str, Backend]) -> None:
    """RequestError where this checkout no longer has the adapter or the release that was measured."""
    backend = backends.get(group.group.backend)
    if backend is None:
        raise unknown("backend", group.group.backend, backends)
    builds = [build for release in backend.releases for build in release.builds]
    if group.image.build not in builds:
        known = ", ".join(dict.fromkeys(build.version for build in builds))
        raise RequestError(
            f"this checkout does not pin {group.group.version} as it was measured",
            hint=f"it has {known}: check out the revision that measured it",
        )


def _base(plan: Plan) -> str | None:
    """A base image that was given to the run, not taken from the release."""
    given = (group.base for group in plan.groups if group.base != group.image.build.base)
    return next(given, None)


def _expected(source: Source) -> dict[str, Provenance]:
    return {r.cell.group.id: r.provenance for r in source.results if r.provenance is not None}


def _version(source: Source) -> str:
    known = [r.provenance for r in source.results if r.provenance is not None]
    return f"levelbench {known[0].levelbench}, git {known[0].git_revision}" if known else "it is not recorded"
