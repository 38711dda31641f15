"""What a release is: its builds, what is known of it, the image that is made from it."""

from __future__ import annotations

from pydantic import Field

from backends.contract.values import Accelerator, Profile, Quantization, Source, Value, WeightsFormat


class PackageSet(Value):
    """One lock file of Python packages (under dockerfiles/locks/), installed without resolving.

    `index_url` names the index that carries the set where it is not on PyPI.
    """

    lock: str
    index_url: str | None = None


class SiteFile(Value):
    """A small file that must stand in site-packages for the engine to run, and why."""

    path: str
    text: str
    reason: str


def loads(
    capability: tuple[int, int] | None, *quantizations: Quantization
) -> tuple[tuple[Quantization, tuple[int, int] | None], ...]:
    """Compressions that a build loads, all on GPUs of this compute capability or newer; None for any host."""
    return tuple((quantization, capability) for quantization in quantizations)


class Build(Value):
    """How one release is delivered for one accelerator.

    `base` is an image reference: by digest where it is known, else by a tag whose digest is recorded at the
    first pull and held to from then on. A build with `packages` also has a process form: the same packages
    in a virtual environment. `context` are files under dockerfiles/context/ which the image or the process
    gets beside the engine. `python` and `max_python` bound the interpreters which the packages are locked
    for, `wheels_for` those of the images that it may be put into, where not one alone is known. `release` is the
    release's id. `serves` are the compressions that it loads, each with the compute
    capability that it takes on CUDA. `seen` says where the build was seen to work; None: not on its hardware.
    """

    release: str
    accelerator: Accelerator
    version: str
    base: str
    packages: tuple[PackageSet, ...] = ()
    system_packages: tuple[str, ...] = ()
    site_files: tuple[SiteFile, ...] = ()
    context: tuple[str, ...] = ()
    formats: tuple[WeightsFormat, ...] = ()
    serves: tuple[tuple[Quantization, tuple[int, int] | None], ...] = ()
    seen: str | None = None
    python: tuple[int, int] | None = None
    max_python: tuple[int, int] | None = None
    wheels_for: tuple[tuple[int, int], ...] = ()
    install_bytes: int = Field(description="disk that the installed form takes, for preflight")
    source: Source

    def based_on(self, setting: str | None) -> str:
        """The base image, where a setting may replace a plain Debian, but never an engine's own image."""
        return setting if setting and self.packages else self.base


class Facts(Value):
    """What a person compares releases by: one row of docs/backends.md, in words.

    `defaults` are those that decide a benchmark (batch, memory share, dtype); `stop` is what SIGTERM does;
    `prefix_cache` and `figures` (the engine's own metrics) say what there is and what is on by default.
    """

    quantization: str
    hardware: str
    releases: str
    compile_step: str
    prefix_cache: str
    defaults: str
    stop: str
    figures: str
    sources: tuple[Source, ...] = Field(min_length=1)


class Release(Value):
    """A pinned engine version. `id` is `2024-06` or `current`; one build per accelerator. `notes` are what
    a reader must be told of it (maintenance mode, a community build)."""

    id: str
    date: str
    builds: tuple[Build, ...]
    profiles: tuple[Profile, ...] = (Profile.DEFAULTS, Profile.MATCHED)
    facts: Facts
    notes: tuple[str, ...] = ()

    def build(self, accelerator: Accelerator) -> Build | None:
        return next((b for b in self.builds if b.accelerator is accelerator), None)


class ImageSpec(Value):
    """What an image is made from: `template` lies in dockerfiles/, `name` is its repository's last part. `layer` is
    what is installed beside the engine, in an environment of its own. With a `digest` it is that image, which must
    be here already: nothing is built."""

    name: str
    release: str
    template: str
    build: Build
    digest: str | None = None
    layer: ImageSpec | None = None

    @property
    def version(self) -> str:
        return self.build.version + (f" and {self.layer.name} {self.layer.version}" if self.layer else "")

    @property
    def install_bytes(self) -> int:
        return self.build.install_bytes + (self.layer.install_bytes if self.layer else 0)
