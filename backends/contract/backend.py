"""What an adapter is asked, and the one ABC that it implements."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable

from pydantic import JsonValue

from backends.contract.failures import FailureSignature
from backends.contract.launch import MetricsMap, PrefixCache, Readback, ReadySpec, ServeSpec, StepSpec
from backends.contract.printed import Printed
from backends.contract.release import Build, ImageSpec, Release
from backends.contract.request import RequestSpec
from backends.contract.values import HostTraits, ModelTraits, PrefixCaching, Profile, Source, Value


class Setup(Value):
    """All that an adapter is asked about: a release's build, a model, a profile, a host.

    `finished` are ids of steps whose output is at hand already, so that nothing that they alone need of the
    host stands in the way.
    """

    build: Build
    model: ModelTraits
    profile: Profile
    host: HostTraits
    prefix_caching: PrefixCaching = PrefixCaching.PROFILE
    finished: tuple[str, ...] = ()


class Refusal(Value):
    """An adapter's 'no': why a setup cannot be served, and what to take instead."""

    reason: str
    alternative: str | None = None


UNMET = "not reproduced"


class Deviation(Value):
    """A setting that is not the engine's default: what, why, and where that is known from. Its value is UNMET
    for what could not be set."""

    setting: str
    value: str
    reason: str
    source: Source | None = None


class Setting(Value):
    """What is not the engine's default, with the reason: so that what is run and what is disclosed are one
    list. Words of argv, an environment variable, a field of every request, an entry of a command's file, a step
    by its id, or, as `unmet`, in words, what a profile asks for and this release cannot be told. `env`, `field`
    and `entry` hold name and value."""

    words: tuple[str, ...] = ()
    env: tuple[str, str] | None = None
    field: tuple[str, JsonValue] | None = None
    entry: tuple[str, JsonValue] | None = None
    step: str | None = None
    unmet: str | None = None
    reason: str
    source: Source | None = None

    @property
    def deviations(self) -> tuple[Deviation, ...]:
        """One for each flag: `--flag value` pairs, `--flag=value` and lone switches; one for all else."""
        pairs = _flags(self.words)
        if self.env:
            pairs.append(self.env)
        pairs += [(name, json.dumps(value)) for name, value in filter(None, (self.field, self.entry))]
        if self.step:
            pairs.append((self.step, "made by a step"))
        if self.unmet:
            pairs.append((self.unmet, UNMET))
        return tuple(Deviation(setting=n, value=v, reason=self.reason, source=self.source) for n, v in pairs)


def words(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Their argv, in order."""
    return tuple(word for setting in settings for word in setting.words)


def variables(settings: Iterable[Setting]) -> dict[str, str]:
    """Their environment."""
    return dict(setting.env for setting in settings if setting.env)


def fields(settings: Iterable[Setting]) -> dict[str, JsonValue]:
    """What they add to every request."""
    return dict(setting.field for setting in settings if setting.field)


def entries(settings: Iterable[Setting]) -> dict[str, JsonValue]:
    """What they say in a command's file."""
    return dict(setting.entry for setting in settings if setting.entry)


def deviations(settings: Iterable[Setting]) -> tuple[Deviation, ...]:
    """What they have to be disclosed as; what two commands are told alike stands there once."""
    return tuple(dict.fromkeys(deviation for setting in settings for deviation in setting.deviations))


def _flags(flags: tuple[str, ...]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for word in flags:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found.append((name, value))
        elif found:
            name, before = found[-1]
            found[-1] = (name, f"{before} {word}".strip())
    return [(name, value or "on") for name, value in found]


class Backend(ABC):
    """One engine. Subclasses are stateless; every method is pure."""

    name: str
    title: str
    releases: tuple[Release, ...]
    printed: Printed | None = None  # the article's row of it
    held: Setting | None = (
        None  # what of the article's service around this engine a serving layer does not do
    )

    def release(self, release_id: str) -> Release | None:
        return next((r for r in self.releases if r.id == release_id), None)

    def image(self, build: Build) -> ImageSpec:
        template = f"{self.name}.Dockerfile.j2"
        return ImageSpec(name=self.name, release=build.release, template=template, build=build)

    @abstractmethod
    def supports(self, setup: Setup) -> Refusal | None:
        """None where the setup can be served; otherwise the reason. That there is a build for the host's
        accelerator and that the weights fit its memory has been seen to before."""

    def steps(self, setup: Setup) -> tuple[StepSpec, ...]:
        """What has to be made before `serve`, in order; nothing for most engines."""
        return ()

    @abstractmethod
    def serve(self, setup: Setup) -> ServeSpec:
        """The launch command of a setup that `supports` accepted."""

    @abstractmethod
    def request(self, setup: Setup) -> RequestSpec:
        """How requests are written."""

    @abstractmethod
    def deviations(self, setup: Setup) -> tuple[Deviation, ...]:
        """Every setting of `steps`, `serve` and `request` that is not the engine's default; reports print
        them all."""

    @abstractmethod
    def ready(self, build: Build) -> ReadySpec:
        """How to see that the engine serves."""

    @abstractmethod
    def prefix_cache(self, build: Build) -> PrefixCache:
        """What the engine can do about common beginnings."""

    @abstractmethod
    def metrics(self, build: Build) -> MetricsMap | None:
        """The engine's own figures, or None where it exposes none."""

    @abstractmethod
    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        """Settings to read back once the engine serves: what was asked is not what is."""

    @abstractmethod
    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        """Log signatures, the most specific first."""
