"""Launch commands before anything is started: the user's own words put in, every option checked. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backends.contract import Deviation, Launch, ServeSpec
from orchestrator import options
from orchestrator.errors import RequestError

AS_ASKED = "asked for with --extra-arg"


@dataclass(frozen=True, slots=True)
class Amended:
    """A launch with the user's words in it, and what is to be disclosed of it."""

    serve: ServeSpec
    deviations: tuple[Deviation, ...]


def words_for(backend: str, extra_args: Iterable[str], backends: Sequence[str]) -> tuple[str, ...]:
    """The words that a user has for one of the backends: `NAME: words`, or plain words for the only one."""
    found: list[str] = []
    for text in extra_args:
        name, colon, rest = text.partition(":")
        if colon and name in backends:
            found += _split(rest) if name == backend else ()
        elif len(backends) == 1:
            found += _split(text)
        else:
            raise RequestError(
                f"--extra-arg {text!r} does not say which engine it is for",
                hint=f"for example --extra-arg '{backends[0]}: {text}'",
            )
    return tuple(found)


def amend(serve: ServeSpec, deviations: tuple[Deviation, ...], extra: tuple[str, ...]) -> Amended:
    """The launch with the user's words, which win over the adapter's. RequestError with every fault."""
    if not extra:
        return Amended(serve, deviations)
    if serve.options is None:
        raise RequestError(
            f"{serve.argv[0]} has no option list to check {shlex.join(extra)} against",
            hint="add one under backends/options and name it in the adapter",
        )
    known = options.load(serve.options.name)
    fixed, own = serve.argv[: serve.options.start], serve.argv[serve.options.start :]
    merged = options.merge(own, extra, known)
    gone = {old.partition("=")[0].split()[0] for old, _ in merged.replaced}
    told = (
        *(d for d in deviations if d.setting not in gone),
        Deviation(setting="--extra-arg", value=shlex.join(extra), reason=AS_ASKED),
    )
    return Amended(serve.model_copy(update={"argv": (*fixed, *merged.words)}), told)


def check(launches: Iterable[Launch]) -> None:
    """RequestError when a release's own option list does not have what a launch would give it: before an
    image is pulled, not after."""
    for launch in launches:
        if launch.options is None:
            continue
        known = options.load(launch.options.name)
        found = options.faults(known, launch.argv[launch.options.start :])
        found = (*found, *options.env_faults(known, launch.env))
        if found:
            raise options.refusal(known, found)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise RequestError(f"--extra-arg {text!r}: {error}", hint="close the quotes") from error
