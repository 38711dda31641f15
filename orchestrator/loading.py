"""Drives an endpoint that is already up: the same client, figures, verdict and records as `bench`, and no
deployment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field, JsonValue, ValidationError
from tokenizers import Tokenizer

from backends.contract import Deviation, Dialect, RequestField, RequestSpec, Template, Value
from orchestrator import datasets, dolly, drawing, endpoint, judging, measure
from orchestrator.artifacts import Store
from orchestrator.catalog import chat_template, loader
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.console import Console
from orchestrator.domain.cell import Cell, CellGroup, RuntimeKind, loads
from orchestrator.domain.provenance import Provenance
from orchestrator.domain.request import Slo
from orchestrator.domain.workload import Arrivals, PromptSource, Workload
from orchestrator.drawing import GUESSED
from orchestrator.endpoint import Endpoint
from orchestrator.errors import ENDS, CellError, RequestError
from orchestrator.host import facts, sources
from orchestrator.host.telemetry import Telemetry
from orchestrator.interrupts import Interrupts
from orchestrator.invocation import DOLLY, ROOT, Place
from orchestrator.load.client import LoadClient
from orchestrator.load.dialects import carries, templates
from orchestrator.load.draw import Draw
from orchestrator.measure import Target
from orchestrator.report.headline import one_line
from orchestrator.runtime.checkout import checkout
from orchestrator.selftest.run import proof
from orchestrator.store.runs import RunFolder, run_id

BACKEND = "endpoint"
RELEASE = "as-found"
HEALTH = "/health"  # where most engines have it; without one nothing is pinged
HUB = "hf:"
_DATA_SET = re.compile(r"hf:([^/@#]+/[^/@#]+)(?:@([^/#]+))?/([^#]+)(?:#(.+))?")
NEVER = "it was up already: how it was started is not known"


class LoadRequest(Value):
    """What a person asked for. What is None is the workload's."""

    url: str
    model: str
    dialect: Dialect = Dialect.OPENAI_CHAT
    template: Template = Template.MESSAGES
    workload: str = "load"
    users: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    arrivals: Arrivals | None = None
    slo: Slo | None = None
    duration_s: float | None = None
    ramp_s: float | None = None
    think_s: float | None = None
    prompts: str | None = None
    tokenizer: Path | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    ignore_eos: bool = False
    refused: tuple[RequestField, ...] = ()
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    out: Path | None = None


def execute(place: Place, request: LoadRequest, console: Console) -> RunFolder:
    """The whole run; gives its folder. Ctrl-C ends the load, and what was measured is kept and reported."""
    interrupts = Interrupts(lambda text: console.say(text, "bold yellow"), ending="stopping")
    with interrupts.installed(), ExitStack() as stack:
        group = plan(request)
        found, doubt = endpoint.find(request.url, request.model)
        if doubt:
            console.say(doubt, "yellow")
        draw = _draw(place, request, group.workload, found, console, interrupts)
        stack.enter_context(place.alone("load", lambda text: console.say(text, "yellow")))
        client = stack.enter_context(LoadClient())
        target = Target(engine=found, client=client, draw=draw, health_path=HEALTH)
        measure.probe(target)
        measure.warm_up(target, group.workload)
        measure.ask_canaries(target, group.workload)
        folder = _folder(place, request, group)
        console.say(f"{group.model} at {found.url}, results in {folder.path}", "bold")
        stack.callback(folder.write_reports)
        provenance = _provenance(place, draw, request, found)
        with _telemetry(target) as telemetry:
            try:
                for cell in group.cells:
                    _measure(cell, target, provenance, telemetry, folder, console, interrupts)
            except ENDS as error:
                folder.journal("run-stopped", error=str(error), exit_code=error.exit_code)
                console.say(f"what was measured is reported in {folder.path}")
                raise
        folder.journal("run-ended", complete=True)
        return folder


def plan(request: LoadRequest) -> CellGroup:
    """The cells. RequestError for what cannot be sent or measured."""
    workload = _workload(request)
    asked = _request_spec(request, None)
    if request.template not in templates(request.dialect):
        known = ", ".join(t.value for t in Template if t in templates(request.dialect))
        raise RequestError(
            f"{request.dialect.value} takes no prompts as {request.template.value}", hint=f"it takes {known}"
        )
    if workload.sampling.ignore_eos and not carries(asked, RequestField.IGNORE_EOS):
        raise RequestError(
            f"{request.dialect.value} cannot be told to ignore the end of an answer",
            hint="leave --ignore-eos out",
        )
    return CellGroup(
        backend=BACKEND,
        release=RELEASE,
        version=endpoint.parse(request.url).url,
        accelerator=None,
        model=request.model,
        profile=None,
        runtime=RuntimeKind.ENDPOINT,
        dialect=request.dialect,
        workload=workload,
        loads=loads(workload),
    )


def _workload(request: LoadRequest) -> Workload:
    base = loader.workload(request.workload)
    load = {"duration_s": request.duration_s, "ramp_s": request.ramp_s, "think_s": request.think_s}
    sampling = {"max_tokens": request.max_tokens, "temperature": request.temperature}
    changes: dict[str, Any] = _given({**load, "slo": request.slo}) | _loop(request, base)
    changes["sampling"] = base.sampling.model_dump() | _given(sampling)
    changes["sampling"]["ignore_eos"] = request.ignore_eos or base.sampling.ignore_eos
    if request.prompts is not None:
        changes["prompts"] = _prompts(request.prompts, changes.get("arrivals"))
    try:
        workload = Workload.model_validate(base.model_dump() | changes)
    except ValidationError as error:
        raise RequestError(loader.faults(error), hint="see `levelbench load --help`") from error
    if any(users < 1 for users in workload.users):
        raise RequestError("users must be 1 or more", hint="for example --users 100")
    if workload.ramp_inside and workload.duration_s <= workload.ramp_s:
        raise RequestError(
            f"the ramp of {workload.ramp_s:g} s is within the duration of {workload.duration_s:g} s",
            hint="make --duration longer than --ramp",
        )
    return workload


def _loop(request: LoadRequest, base: Workload) -> dict[str, Any]:
    """Users make a closed loop, rates and arrivals an open one; neither is the workload's."""
    if request.users and (request.rates or request.arrivals):
        raise RequestError(
            "users are a closed loop, a rate is an open one", hint="give --users, or --rate and --arrivals"
        )
    if request.users:
        return {"users": request.users, "rates": (), "arrivals": None}
    if not (request.rates or request.arrivals):
        return {}
    if request.think_s is not None:
        raise RequestError("nobody thinks in an open loop", hint="leave --think out")
    arrivals = request.arrivals or base.arrivals or Arrivals.POISSON
    rates = request.rates or (() if arrivals is Arrivals.TRACE else base.rates)
    return {"users": (), "rates": rates, "arrivals": arrivals}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _prompts(word: str, arrivals: Arrivals | None) -> dict[str, Any]:
    """One of the sets that come with levelbench, else a file; of a trace where its times are kept to."""
    if arrivals is Arrivals.TRACE:
        return {"source": PromptSource.TRACE, "path": word}
    if word.startswith(HUB):
        return _data_set(word)
    known = {source.value for source in (PromptSource.OWN, PromptSource.DOLLY, PromptSource.AUTO)}
    return {"source": word} if word in known else {"source": PromptSource.FILE, "path": word}


def _data_set(word: str) -> dict[str, Any]:
    """`hf:owner/name@revision/file#column`."""
    found = _DATA_SET.fullmatch(word)
    if found is None:
        raise RequestError(
            f"{word!r} names no file of a data set",
            hint="for example hf:openai/gsm8k@main/main/train-00000-of-00001.parquet#question",
        )
    repository, revision, path, column = found.groups()
    return {
        "source": PromptSource.HUB,
        "repository": repository,
        "path": path,
        "column": column,
        **({"revision": revision} if revision else {}),
    }


def _request_spec(request: LoadRequest, path: str | None) -> RequestSpec:
    return RequestSpec(
        dialect=request.dialect,
        template=request.template,
        path=path,
        refused=request.refused,
        fields=request.fields,
    )


def _draw(
    place: Place,
    request: LoadRequest,
    workload: Workload,
    found: Endpoint,
    console: Console,
    interrupts: Interrupts,
) -> Draw:
    """The prompts. Their lengths are counted by the tokenizer that was named, else guessed and said so."""
    tokenizer, chat = _tokenizer(request)
    dolly_path = place.cache_dir / "prompts" / DOLLY
    dolly.provide(workload.prompts.source, dolly_path, progress=console.step)
    spec = _request_spec(request, found.path)
    with TemporaryDirectory(prefix="levelbench-load-") as scratch:
        means = datasets.Means(
            store=Store(place.cache_dir, place.cache_limit_bytes),
            log_path=Path(scratch, "fetch.log"),
            interrupts=interrupts,
            progress=console.step,
            environment=place.environment,
            token=place.token,
        )
        fetched = datasets.provide(workload.prompts, means)
    made = drawing.draw(
        workload,
        spec,
        request.model,
        tokenizer=tokenizer,
        chat=chat,
        dolly_path=dolly_path,
        fetched=fetched,
    )
    told = "" if tokenizer else f", {GUESSED}"
    console.say(f"{len(made.prompts.prompts)} prompts of {made.prompts.name}{told}")
    return made


def _tokenizer(request: LoadRequest) -> tuple[Tokenizer | None, ChatTemplate | None]:
    """The model's own, from a folder that a person named."""
    if request.tokenizer is None:
        if request.template is not Template.MESSAGES:
            raise RequestError(
                f"prompts as {request.template.value} are rendered here, with the model's own chat template",
                hint="name the model's folder: --tokenizer FOLDER",
            )
        return None, None
    path = request.tokenizer / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more exact
        raise RequestError(
            f"cannot read a tokenizer from {path}: {error}", hint="name a folder that holds tokenizer.json"
        ) from error
    try:
        return tokenizer, chat_template.load(request.tokenizer, tokenizer)
    except CellError as error:
        if request.template is not Template.MESSAGES:
            raise RequestError(str(error), hint=error.hint) from error
        return tokenizer, None


def _folder(place: Place, request: LoadRequest, group: CellGroup) -> RunFolder:
    asked = request.model_dump(mode="json")
    if request.out is not None:
        return RunFolder.create_at(request.out, asked, cells=group.cells)
    name = run_id(datetime.now(timezone.utc), BACKEND, request.model)
    return RunFolder.create(place.runs_dir, name, asked, cells=group.cells)


@contextmanager
def _telemetry(target: Target) -> Iterator[Telemetry]:
    """Of the client and of this host; the endpoint may be on another."""
    with Telemetry([sources.client_source(target.client.pids), sources.host_source()]) as telemetry:
        yield telemetry


def _measure(
    cell: Cell,
    target: Target,
    provenance: Provenance,
    telemetry: Telemetry,
    folder: RunFolder,
    console: Console,
    interrupts: Interrupts,
) -> None:
    """One cell: load, judge, write at once; also where a signal ends the load before its time."""
    cell_folder = folder.cell(cell.id)
    cell_folder.begin(cell)
    with interrupts.deferred("ending the load; what was measured is kept"):
        with console.phase(f"measure {cell.load.id}"):
            loaded = measure.load(target, cell, console, stop=lambda: interrupts.pending)
        interrupted = _interrupted(loaded) if interrupts.pending else ()
        samples = telemetry.samples()
        result = judging.result(loaded, samples, provenance, prefix_reset=None)
        result = result.model_copy(update={"notes": (*result.notes, *interrupted)})
        cell_folder.save(result, exchanges=loaded.record.exchanges, samples=loaded.during(samples))
        folder.journal("cell-ended", cell=cell.id, failed=False)
        console.say(f"    {cell.load.id}: {one_line(result)}")


def _interrupted(loaded: measure.Loaded) -> tuple[str, ...]:
    lasted_s = (loaded.span.end_ns - loaded.span.start_ns) / 1e9
    return (f"interrupted after {lasted_s:.1f} of {loaded.cell.group.workload.length_s:g} s",)


def _provenance(place: Place, draw: Draw, request: LoadRequest, found: Endpoint) -> Provenance:
    tool, host = checkout(ROOT), facts.host()
    sent = tuple(
        Deviation(setting=name, value=str(value), reason="sent with every request, as was asked")
        for name, value in request.fields.items()
    )
    return Provenance(
        levelbench=tool.version,
        git_revision=tool.git_revision,
        git_dirty=tool.git_dirty,
        host=host,
        runtime=RuntimeKind.ENDPOINT,
        runtime_version=NEVER,
        engine_version=found.facts.get("server", "not known"),
        image=None,
        argv=(),
        env={},
        weights_digest=None,
        prompts_name=draw.prompts.name if request.tokenizer else f"{draw.prompts.name} ({GUESSED})",
        prompts_digest=draw.prompts.digest,
        packages=tool.packages,
        effective=found.facts,
        deviations=sent,
        client_selftest=proof(place.cache_dir, host),
    )
