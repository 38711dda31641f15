"""`levelbench load`: its options."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Optional

import typer
from pydantic import JsonValue

from backends.contract import Dialect, RequestField, Template
from orchestrator import loading
from orchestrator.cli.app import app
from orchestrator.cli.measuring import show
from orchestrator.cli.options import AsJson, numbers
from orchestrator.console import Console
from orchestrator.domain.request import Slo
from orchestrator.domain.workload import Arrivals
from orchestrator.errors import RequestError
from orchestrator.loading import LoadRequest

OptionalFloat = Optional[float]  # noqa: UP045 - typer reads it at run time, also on Python 3.10
OptionalText = Optional[str]  # noqa: UP045
OptionalPath = Optional[Path]  # noqa: UP045


@app.command()
def load(
    context: typer.Context,
    url: Annotated[str, typer.Option("--url", help="Where the engine answers: http://host:port.")],
    model: Annotated[str, typer.Option("--model", help="The name that requests carry.")],
    dialect: Annotated[
        Dialect, typer.Option("--dialect", help="Wire shape of the endpoint (docs/dialects.md).")
    ] = Dialect.OPENAI_CHAT,
    template: Annotated[
        Template, typer.Option("--template", help="Who renders the chat template; messages: the engine.")
    ] = Template.MESSAGES,
    workload: Annotated[
        str,
        typer.Option(
            "--workload", help="What the other options change: load, short, stream, article, or a TOML file."
        ),
    ] = "load",
    users: Annotated[
        OptionalText, typer.Option("--users", help="Numbers of users, with commas: 10,50,100.")
    ] = None,
    rate: Annotated[
        OptionalText,
        typer.Option(
            "--rate", help="Instead of users an open loop: so many requests are due a second. 0.5,2,8."
        ),
    ] = None,
    arrivals: Annotated[
        Optional[Arrivals],  # noqa: UP045
        typer.Option(
            "--arrivals", help="When they are due: poisson, constant, or trace with --prompts TRACE.jsonl."
        ),
    ] = None,
    slo: Annotated[
        OptionalText, typer.Option("--slo", help="Limits in seconds, for goodput: ttft=0.5,tpot=0.05.")
    ] = None,
    duration: Annotated[OptionalFloat, typer.Option("--duration", help="Seconds of each load.")] = None,
    ramp: Annotated[
        OptionalFloat, typer.Option("--ramp", help="Seconds in which the users start, or the rate rises.")
    ] = None,
    think: Annotated[OptionalFloat, typer.Option("--think", help="Seconds between two requests.")] = None,
    prompts: Annotated[
        OptionalText,
        typer.Option(
            "--prompts",
            help="own, dolly, auto, a JSONL file, or hf:owner/name@revision/file (docs/prompts.md).",
        ),
    ] = None,
    tokenizer: Annotated[
        OptionalPath,
        typer.Option("--tokenizer", help="Folder with the model's tokenizer.json, to count prompts by."),
    ] = None,
    max_tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--max-tokens", help="Longest answer, in tokens."),
    ] = None,
    temperature: Annotated[
        OptionalFloat, typer.Option("--temperature", help="Of the sampling; 0: greedy.")
    ] = None,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Ask for answers of exactly --max-tokens.")
    ] = False,
    field: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--field", help="Sent with every request: top_k=40. Repeatable."),
    ] = None,
    refuse: Annotated[
        Optional[list[RequestField]],  # noqa: UP045
        typer.Option("--refuse", help="A field that the endpoint does not take: it is not sent. Repeatable."),
    ] = None,
    out: Annotated[
        OptionalPath, typer.Option("--out", help="Folder for the records, new or empty; else one in --runs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Drive an engine that is already up: no deployment, the same client, figures, verdict and records."""
    request = LoadRequest(
        url=url,
        model=model,
        dialect=dialect,
        template=template,
        workload=workload,
        users=numbers(users),
        rates=_rates(rate),
        arrivals=arrivals,
        slo=_slo(slo),
        duration_s=duration,
        ramp_s=ramp,
        think_s=think,
        prompts=prompts,
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        temperature=temperature,
        ignore_eos=ignore_eos,
        refused=tuple(refuse or ()),
        fields=_fields(field or ()),
        out=out,
    )
    show(loading.execute(context.obj, request, Console()), as_json=as_json)


def _rates(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in (text or "").split(",") if word.strip())
    except ValueError as error:
        raise RequestError(f"rate {text!r} is no number", hint="for example --rate 0.5,2,8") from error


def _slo(text: str | None) -> Slo | None:
    """`ttft=0.5,tpot=0.05`: seconds that a request must keep to count as good."""
    if text is None:
        return None
    known = ", ".join(name.removesuffix("_s") for name in Slo.model_fields)
    try:
        pairs = [word.split("=") for word in text.split(",")]
        return Slo.model_validate({f"{name.strip()}_s": float(value) for name, value in pairs})
    except ValueError as error:  # pydantic's is one too
        raise RequestError(
            f"{text!r} is no list of limits", hint=f"for example --slo ttft=0.5,tpot=0.05; known are {known}"
        ) from error


def _fields(words: Iterable[str]) -> dict[str, JsonValue]:
    """`name=value` each; a value that is JSON is taken as such, any other as text."""
    found: dict[str, JsonValue] = {}
    for word in words:
        name, parted, value = word.partition("=")
        if not parted or not name:
            raise RequestError(f"{word!r} is no field", hint="for example --field top_k=40")
        found[name] = _value(value)
    return found


def _value(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value
