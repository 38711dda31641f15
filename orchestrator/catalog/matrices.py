"""Reads a matrix file: every mistake in it at once, each with its line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backends.contract import Backend
from orchestrator.catalog import loader
from orchestrator.catalog.positions import Place, lines, nearest
from orchestrator.domain import matrix as schema
from orchestrator.domain.matrix import Matrix, Pattern
from orchestrator.domain.workload import Workload
from orchestrator.errors import RequestError, unknown

SHIPPED = Path(__file__).parent / "matrices"
_KNOWN_FIELDS = "a field that a matrix does not have; docs/nightly.md lists them"


@dataclass(frozen=True, slots=True)
class MatrixFile:
    """A matrix, and the digest of the text that it came from: what a night is recognised by."""

    path: Path
    digest: str
    matrix: Matrix
    workloads: Mapping[str, Workload]


def read(name: str, backends: Mapping[str, Backend]) -> MatrixFile:
    """The matrix in a TOML file, or the one of that name that comes with levelbench. RequestError with every
    mistake."""
    path = _path(name)
    text, tables = loader.parsed(path)
    known = _known(backends, path.parent)
    try:
        matrix = Matrix.model_validate(tables, context=known)
    except ValidationError as error:
        raise _refused(path, text, _told(error)) from error
    workloads = {name: loader.workload(name) for name in matrix.workloads}
    if found := schema.faults(matrix, workloads):
        raise _refused(path, text, found)
    return MatrixFile(path, f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", matrix, workloads)


def only(words: Sequence[str], backends: Mapping[str, Backend]) -> tuple[Pattern, ...]:
    """`backend=NAME,NAME` and `users=10` as one pattern; none for no words."""
    fields: dict[str, list[str | int]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if name not in Pattern.model_fields or not equals:
            fields_known = ", ".join(Pattern.model_fields)
            raise RequestError(
                f"--only {word!r} names no field", hint=f"FIELD=VALUE,VALUE with a field of {fields_known}"
            )
        found = [value.strip() for value in values.split(",")]
        fields.setdefault(name, []).extend(int(v) if name == "users" and v.isdecimal() else v for v in found)
    if not fields:
        return ()
    try:
        return (Pattern.model_validate(fields, context=_known(backends, Path.cwd())),)
    except ValidationError as error:
        said = "; ".join(f"--only {e['loc'][0]}: {_said(dict(e))}" for e in error.errors())
        raise RequestError(said, hint="see `levelbench matrix --help`") from error


def subsets(matrix: Matrix, names: Sequence[str]) -> tuple[Pattern, ...]:
    """The named parts of a matrix. RequestError for one that it does not have."""
    for name in names:
        if name not in matrix.subset:
            raise unknown("subset", name, matrix.subset)
    return tuple(matrix.subset[name] for name in names)


def _path(name: str) -> Path:
    """Names without a suffix are those of the matrices that come with levelbench."""
    if "/" in name or name.endswith(".toml"):
        return Path(name)
    shipped = {path.stem: path for path in SHIPPED.glob("*.toml")}
    if name not in shipped:
        raise unknown("matrix", name, shipped)
    return shipped[name]


def _known(backends: Mapping[str, Backend], folder: Path) -> dict[str, Callable[[str], str]]:
    """How each kind of name is looked up."""

    def backend(name: str) -> str:
        if name not in backends:
            raise unknown("backend", name, backends)
        return name

    def release(name: str) -> str:
        known = {release.id for found in backends.values() for release in found.releases}
        if name not in known:
            raise unknown("release", name, known)
        return name

    def model(name: str) -> str:
        loader.choices(name)
        return name

    def workload(name: str) -> str:
        """A file's path begins at the matrix's folder."""
        full = str((folder / name).absolute()) if name.endswith(".toml") else name
        loader.workload(full)
        return full

    def serving(name: str) -> str:
        loader.serving_layer(name)
        return name

    return {
        "backend": backend,
        "release": release,
        "model": model,
        "workload": workload,
        "serving": serving,
    }


def _told(error: ValidationError) -> list[tuple[Place, str]]:
    """Without those that only follow from another: a list all of whose names are unknown is empty too."""
    found = [(tuple(e["loc"]), _said(dict(e))) for e in error.errors() if e["type"] != "too_short"]
    places = [place for place, _ in found]
    short = [(tuple(e["loc"]), _said(dict(e))) for e in error.errors() if e["type"] == "too_short"]
    return [*found, *((at, said) for at, said in short if not any(p[: len(at)] == at for p in places))]


def _said(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return _KNOWN_FIELDS
    if error["type"] == "too_short":
        return "names none"
    if error["type"] == "missing":
        return f"{error['loc'][-1]} is missing"
    return str(error["msg"]).removeprefix("Value error, ")


def _refused(path: Path, text: str, found: Sequence[tuple[Place, str]]) -> RequestError:
    """All of them, in the order of the file."""
    places = lines(text)
    told = sorted((nearest(places, place) or 1, ".".join(map(str, place)), said) for place, said in found)
    listed = "".join(f"\n- {path.name}:{line}: {name}: {said}" for line, name, said in dict.fromkeys(told))
    count = "one mistake" if len(told) == 1 else f"{len(told)} mistakes"
    return RequestError(f"{count} in {path}:{listed}", hint="docs/nightly.md has every field of a matrix")
