"""A run as one file to hand on: scrubbed, checksummed, the same bytes each time; and such a file verified and put
beside other runs.

The checksums find what was damaged or altered by accident or half-heartedly. Whoever makes a file anew can make
them anew too: compare the file's own sha256, which `export` prints, with the one that its maker tells you.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from backends.contract import Value
from orchestrator.domain.result import METHOD, SCHEMA, Result
from orchestrator.errors import RequestError
from orchestrator.report.records import State, Stored
from orchestrator.store import files
from orchestrator.store.cells import RESULT, CellFolder
from orchestrator.store.runs import (
    CELLS,
    GATES,
    IMPORTED,
    JOURNAL,
    LEDGER,
    LOGS,
    PAGE,
    REPORT,
    RUN,
    TABLE,
    RunFolder,
)
from orchestrator.store.scrub import Private

SUFFIX = ".levelbench.zip"
MANIFEST = "levelbench.json"
FORMAT = 1
MOST_BYTES = 2 * 2**30
MOST_MANIFEST_BYTES = 16 * 2**20
MOST_FILES = 20_000
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold: no clock in what is handed on
_PART = r"[\w-][\w.-]*"
_NAME = re.compile(
    rf"{RUN}|{JOURNAL}|{REPORT}|{TABLE}|{LEDGER}|{CELLS}/{_PART}/{_PART}|{GATES}/{_PART}|{LOGS}(?:/{_PART})+",
    re.ASCII,
)
# What zipfile raises for one that is damaged.
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
)
_RUN_NAME = re.compile(r"[\w-][\w.-]{0,119}", re.ASCII)


class Entry(Value):
    """One file."""

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(Value):
    """What stands first in the file. `scrubbed` names what is not byte by byte as it was written."""

    format: int
    run: str
    method: int
    schema_version: int
    files: dict[str, Entry]
    scrubbed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; `told` is what a person should know of it."""

    sha256: str
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A run that is now beside the others, and the sha256 of the file that it came in."""

    folder: RunFolder
    sha256: str


def export(run: RunFolder, path: Path, private: Private) -> Exported:
    """One file with every finished cell. RequestError where there is none, or one is damaged."""
    stored = run.results()
    damaged = [f"{s.cell_id}: {s.reason}" for s in stored if s.state is State.DAMAGED]
    results = [s.result for s in stored if s.state is State.COMPLETE and s.result is not None]
    if damaged or not results:
        raise RequestError(
            f"{run.id} cannot be handed on: {'; '.join(damaged) or 'it has no finished cell'}",
            hint="only what is whole can be verified by somebody else",
        )
    sparing = private.sparing(
        word for r in results for word in (r.cell.id, r.cell.group.model, r.cell.group.version)
    )
    with tempfile.TemporaryDirectory(prefix="levelbench-export-") as temporary:
        stage = Path(temporary) / run.id
        _stage(run, stage, {r.cell.id for r in results}, sparing)
        RunFolder(stage).write_reports()
        (stage / PAGE).unlink()  # a page runs programs: whoever brings the run makes one of their own
        manifest = _manifest(run, stage, results)
        files.write_atomically(path, _zipped(stage, manifest))
    left_out = [
        f"left out: {s.cell_id}, {s.reason}" for s in stored if s.state in (State.UNFINISHED, State.LEFT_OUT)
    ]
    of = f"{len(manifest.scrubbed)} of {len(manifest.files)} files"
    scrubbed = (
        f"scrubbed: {of}, which its {MANIFEST} names" if manifest.scrubbed else "nothing had to be scrubbed"
    )
    return Exported(files.sha256(path), (*left_out, scrubbed))


def bring(path: Path, runs_dir: Path) -> Imported:
    """The run of an exported file, verified, in the folder of runs; one that is there already is not brought twice.
    RequestError for anything that is not as it was exported, with nothing left of it."""
    digest = _sha256(path)
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive)
            _require_readable(manifest)
            known = _known(runs_dir, manifest.run, digest)
            if known is not None:
                return Imported(known, digest)
            return Imported(_unpacked(archive, manifest, runs_dir, digest), digest)
    except _BROKEN as error:
        raise _refused(path.name, f"it is no whole zip file ({error})") from error


def _stage(run: RunFolder, stage: Path, cells: set[str], private: Private) -> None:
    """A scrubbed copy, its cells sealed again."""
    head = json.loads((run.path / RUN).read_bytes())
    head["cells"] = [cell for cell in head["cells"] if cell in cells]
    _put(stage / RUN, _json(private.value(head)))
    if (run.path / JOURNAL).exists():
        lines = [json.dumps(private.value(e), ensure_ascii=False) for e in run.read_journal().entries]
        _put(stage / JOURNAL, "".join(f"{line}\n" for line in lines).encode())
    for path in (*_below(run.path / LOGS), *_below(run.path / GATES)):
        _put(stage / path.relative_to(run.path), _scrubbed(path, private))
    for cell in sorted(cells):
        for path in _below(run.path / CELLS / cell):
            if path.name != RESULT:
                _put(stage / path.relative_to(run.path), _scrubbed(path, private))
        body = json.loads((run.path / CELLS / cell / RESULT).read_bytes())["result"]
        result = Result.model_validate(private.value(body)).model_copy(update={"placed": None})
        CellFolder(stage / CELLS / cell).seal(result)


def _scrubbed(path: Path, private: Private) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return _scrubbed_table(data, private)
    if path.suffix == ".json":
        value = json.loads(data)
        clean = private.value(value)
        return data if clean == value else _json(clean)
    text = data.decode(errors="replace")
    clean_text = private.text(text)
    return data if clean_text == text else clean_text.encode()


def _scrubbed_table(data: bytes, private: Private) -> bytes:
    table = pq.read_table(pa.BufferReader(data))
    clean = table
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            values = [None if v is None else private.text(v) for v in table.column(number).to_pylist()]
            clean = clean.set_column(number, field, pa.array(values, field.type))
    if clean.equals(table):
        return data
    sink = pa.BufferOutputStream()
    pq.write_table(clean, sink, compression="zstd")
    return bytes(sink.getvalue())


def _manifest(run: RunFolder, stage: Path, results: list[Result]) -> Manifest:
    names = {path.relative_to(stage).as_posix(): path for path in _below(stage)}
    strange = [name for name in names if _NAME.fullmatch(name) is None]
    if strange:
        raise RequestError(
            f"{run.id} has files of other names than a run has: {strange[0]}", hint="move them away"
        )
    made = (REPORT, TABLE, LEDGER)
    changed = [n for n in names if n not in made and not _is_same(names[n], run.path / n)]
    return Manifest(
        format=FORMAT,
        run=run.id,
        method=results[0].method,
        schema_version=results[0].schema_version,
        files={n: Entry(bytes=p.stat().st_size, sha256=files.sha256(p)) for n, p in sorted(names.items())},
        scrubbed=tuple(sorted(changed)),
    )


def _zipped(stage: Path, manifest: Manifest) -> bytes:
    """The manifest first, then every file in the order of names, without times and owners."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            _add(archive, MANIFEST, _json(manifest.model_dump(mode="json")))
            for name in manifest.files:
                _add(archive, name, (stage / name).read_bytes())
        file.seek(0)
        return file.read()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _BEGINNING)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    archive.writestr(info, data, compresslevel=9)


def _read_manifest(archive: zipfile.ZipFile) -> Manifest:
    """The names within the file are looked at before anything of it is read."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    faults = [
        *(f"a name twice: {n}" for n, times in Counter(n.lower() for n in names).items() if times > 1),
        *(f"a name that no run has: {n!r}" for n in names if n != MANIFEST and _NAME.fullmatch(n) is None),
        *(f"a name that leads elsewhere: {n!r}" for n in names if ".." in PurePosixPath(n).parts),
        *(f"a link: {i.filename}" for i in infos if stat.S_ISLNK(i.external_attr >> 16)),
        *([f"more than {MOST_FILES} files"] if len(names) > MOST_FILES else []),
        *(
            [f"more than {MOST_BYTES / 2**30:.0f} GiB"]
            if sum(i.file_size for i in infos) > MOST_BYTES
            else []
        ),
        *([] if MANIFEST in names else [f"no {MANIFEST}"]),
    ]
    if faults:
        raise _refused(archive.filename, faults[0])
    data = _read(archive, MANIFEST, MOST_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise _refused(
            archive.filename, f"its {MANIFEST} cannot be read ({error.error_count()} faults)"
        ) from error
    missing, more = set(manifest.files) - set(names), set(names) - set(manifest.files) - {MANIFEST}
    if missing or more:
        what = f"{min(missing)} is missing" if missing else f"{min(more)} is not in its {MANIFEST}"
        raise _refused(archive.filename, what)
    return manifest


def _require_readable(manifest: Manifest) -> None:
    for name, theirs, ours in (
        ("format", manifest.format, FORMAT),
        ("METHOD", manifest.method, METHOD),
        ("SCHEMA", manifest.schema_version, SCHEMA),
    ):
        if theirs != ours:
            raise RequestError(
                f"{manifest.run} has {name} {theirs}, this version of levelbench has {ours}",
                hint="its figures may not be put beside ours: check out the version that measured it",
            )
    if _RUN_NAME.fullmatch(manifest.run) is None:
        raise _refused(None, f"{manifest.run!r} is no name of a run")


def _unpacked(archive: zipfile.ZipFile, manifest: Manifest, runs_dir: Path, digest: str) -> RunFolder:
    """Written beside its place, looked at as any run is, then moved there by one rename."""
    with files.translated(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".import-", dir=runs_dir))
    try:
        for name, entry in manifest.files.items():
            data = _read(archive, name, entry.bytes)
            if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
                raise _refused(archive.filename, f"{name} was altered after it was exported")
            _put(draft / name, data)
        files.write_atomically(draft / IMPORTED, _json({"sha256": digest}))
        _require_whole(RunFolder(draft), manifest)
        with files.translated(runs_dir):
            draft.chmod(0o755)
            run = RunFolder(_moved(draft, runs_dir, manifest.run))
        run.write_reports()
        return run
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _require_whole(run: RunFolder, manifest: Manifest) -> None:
    """Every cell sealed, of the METHOD and SCHEMA that the manifest states."""
    stored: tuple[Stored, ...] = run.results()
    for one in stored:
        if one.result is None:
            raise _refused(manifest.run, f"{one.cell_id}: {one.state.value}, {one.reason}")
        if (one.result.method, one.result.schema_version) != (manifest.method, manifest.schema_version):
            raise _refused(
                manifest.run, f"{one.cell_id} has another METHOD or SCHEMA than its {MANIFEST} states"
            )
        if one.result.cell.id != one.cell_id:
            raise _refused(manifest.run, f"{one.cell_id} holds the result of {one.result.cell.id}")
    if not stored:
        raise _refused(manifest.run, "it has no cell")


def _known(runs_dir: Path, name: str, digest: str) -> RunFolder | None:
    """The run if that very file was brought before."""
    if _RUN_NAME.fullmatch(name) is None:
        return None
    for path in runs_dir.glob(f"{name}*/{IMPORTED}"):
        if json.loads(path.read_bytes()).get("sha256") == digest:
            return RunFolder.open(path.parent)
    return None


def _moved(draft: Path, runs_dir: Path, name: str) -> Path:
    for free in chain([name], (f"{name}-{number}" for number in count(2))):
        if not (runs_dir / free).exists():
            draft.rename(runs_dir / free)
            files.sync_folder(runs_dir)
            return runs_dir / free
    raise AssertionError  # the names never end


def _read(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """No more than was stated, whatever the file claims or unfolds to."""
    with archive.open(name) as stream:
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise _refused(archive.filename, f"{name} is larger than it may be")
    return data


def _refused(name: str | None, reason: str) -> RequestError:
    return RequestError(
        f"{Path(name).name if name else 'the file'} is not as it was exported: {reason}",
        hint="get it again from who made it, and compare its sha256",
    )


def _sha256(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise RequestError(
            f"cannot read {path}: {error.strerror}", hint="name a file of `levelbench export`"
        ) from error


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))


def _is_same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _put(path: Path, data: bytes) -> None:
    with files.translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
