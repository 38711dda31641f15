"""What differs between two results besides their figures: the one place for a difference of provenance. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum

from backends.contract import Value
from orchestrator.domain.cell import CellGroup
from orchestrator.domain.provenance import Host, Image, Provenance
from orchestrator.domain.result import Result

# With what `levelbench export` puts instead of a folder's beginning.
_PATH = re.compile(r"(?:\{\w+\})?/(?:[^\s/=:,]+/)*(?=[^\s/=:,])")
_PORT = re.compile(r"-port$|^-p$")


class Area(str, Enum):
    """What a difference is one of, the weightiest first."""

    METHOD = "method"
    WORK = "work"
    HARDWARE = "hardware"
    ENGINE = "engine"
    SETTINGS = "settings"
    SOFTWARE = "software"


class Difference(Value):
    """One field that is not the same. None where there is nothing."""

    area: Area
    field: str
    first: str | None
    second: str | None

    @property
    def text(self) -> str:
        return f"{self.field}: {self.first or 'nothing'} -> {self.second or 'nothing'}"


Fields = dict[tuple[Area, str], str]


def differences(first: Result, second: Result) -> tuple[Difference, ...]:
    """Everything that is known of both and differs, the weightiest area first. What depends on the place alone
    (folders, free ports) is no difference."""
    known = first.provenance is not None and second.provenance is not None
    mine, theirs = (_fields(r, with_provenance=known) for r in (first, second))
    return between(mine, theirs)


def of_provenance(first: Provenance, second: Provenance) -> tuple[Difference, ...]:
    """The same of what was measured on what alone."""
    return between(dict(_provenance(first)), dict(_provenance(second)))


def common(found: Iterable[Sequence[Difference]]) -> tuple[Difference, ...]:
    """Those of many pairs, each once, in the order of their areas."""
    every = dict.fromkeys(one for differences in found for one in differences)
    return tuple(sorted(every, key=_weight))


def between(
    first: Mapping[tuple[Area, str], str], second: Mapping[tuple[Area, str], str]
) -> tuple[Difference, ...]:
    keys = dict.fromkeys([*first, *second])
    found = [
        Difference(area=key[0], field=key[1], first=first.get(key), second=second.get(key))
        for key in keys
        if first.get(key) != second.get(key)
    ]
    return tuple(sorted(found, key=_weight))


def _weight(difference: Difference) -> int:
    return list(Area).index(difference.area)


def _fields(result: Result, *, with_provenance: bool) -> Fields:
    """A cell that failed early has no provenance, which makes it no different."""
    fields: Fields = {
        (Area.METHOD, "METHOD"): str(result.method),
        (Area.WORK, "users"): str(result.cell.load.users),
        (Area.WORK, "system prompt"): result.cell.load.system_prompt.value,
    }
    fields.update(_group(result.cell.group))
    if with_provenance and result.provenance is not None:
        fields.update(_provenance(result.provenance))
    return fields


def _group(group: CellGroup) -> Iterator[tuple[tuple[Area, str], str]]:
    for name, value in _flat("workload", group.workload.model_dump(mode="json", exclude={"users", "title"})):
        yield (Area.WORK, name), value
    yield (Area.WORK, "model"), group.model
    yield (Area.ENGINE, "backend"), group.backend
    yield (Area.ENGINE, "release"), group.release
    yield (Area.HARDWARE, "accelerator"), _text(group.accelerator and group.accelerator.value)
    yield (Area.SETTINGS, "profile"), _text(group.profile and group.profile.value)
    yield (Area.SETTINGS, "prefix caching"), group.prefix_caching.value
    yield (Area.SETTINGS, "dialect"), group.dialect.value
    yield (Area.SETTINGS, "extra arguments"), " ".join(group.extra_args)


def _provenance(p: Provenance) -> Iterator[tuple[tuple[Area, str], str]]:
    yield (Area.METHOD, "levelbench"), p.levelbench
    yield (Area.METHOD, "git revision"), (p.git_revision or "unknown") + (" (changed)" if p.git_dirty else "")
    yield (Area.WORK, "weights"), p.weights_digest or ""
    yield (Area.WORK, "prompts"), f"{p.prompts_name} {p.prompts_digest}"
    yield from _host(p.host)
    # a self-test says how exact the client is, not what was measured
    yield (Area.HARDWARE, "GPUs of the engine"), _text(None if p.gpus is None else len(p.gpus))
    yield (Area.HARDWARE, "CPUs of the engine"), _text(None if p.cpus is None else len(p.cpus.engine))
    yield (Area.ENGINE, "engine version"), p.engine_version
    yield (Area.ENGINE, "serving layer"), p.serving or "none"
    yield from _image(p.image)
    yield (Area.SETTINGS, "runtime"), p.runtime.value
    yield (Area.SETTINGS, "command"), " ".join(_portable(p.argv))
    for name, value in p.env.items():
        yield (Area.SETTINGS, f"environment {name}"), _placeless(value)
    for name, value in p.effective.items():
        yield (Area.SETTINGS, f"in force: {name}"), value
    for deviation in p.deviations:
        yield (Area.SETTINGS, f"deviation {deviation.setting}"), deviation.value
    yield (Area.SOFTWARE, "runtime version"), p.runtime_version
    for name, value in p.packages.items():
        yield (Area.SOFTWARE, f"package {name}"), value


def _host(host: Host) -> Iterator[tuple[tuple[Area, str], str]]:
    yield (Area.HARDWARE, "CPU"), host.cpu
    yield (Area.HARDWARE, "cores"), str(host.cpus)
    yield (Area.HARDWARE, "machine"), host.machine
    yield (Area.HARDWARE, "memory (bytes)"), str(host.memory_bytes)
    for number, gpu in enumerate(host.gpus):
        yield (Area.HARDWARE, f"GPU {number}"), gpu.name
        yield (Area.HARDWARE, f"GPU {number} memory (bytes)"), str(gpu.memory_bytes)
        yield (Area.HARDWARE, f"GPU {number} card"), gpu.uuid
        yield (Area.SOFTWARE, f"GPU {number} driver"), gpu.driver
    yield (Area.SOFTWARE, "operating system"), host.os
    yield (Area.SOFTWARE, "kernel"), host.kernel
    yield (Area.SOFTWARE, "Python"), host.python


def _image(image: Image | None) -> Iterator[tuple[tuple[Area, str], str]]:
    if image is None:
        return
    yield (Area.ENGINE, "image"), image.digest
    if image.base_digest is not None:
        yield (Area.ENGINE, "base image"), image.base_digest


def _portable(argv: Sequence[str]) -> Iterator[str]:
    """Without what a free port and the place of folders make of it."""
    before = ""
    for word in argv:
        yield "{port}" if _PORT.search(before) and word.isdigit() else _placeless(word)
        before = word


def _placeless(word: str) -> str:
    return _PATH.sub("", word)


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, _text(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)
