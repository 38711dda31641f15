"""The store of what is made once: weights and the outputs of steps, whole or not there at all.

An artifact's folder appears by one rename, under a lock, with a manifest of every file's size and sha256
written before it. Under a limit, what was used least recently goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError
from safetensors import SafetensorError

from backends.contract import FailureCause, Value
from orchestrator.domain.result import StepRecord
from orchestrator.errors import CellError, HostError
from orchestrator.host.checks import folder_bytes, gigabytes
from orchestrator.host.locks import beside, file_lock, lock_if_free
from orchestrator.store import files

MANIFEST = "artifact.json"
CONTENT = "content"
MODELS = "models"
ARTIFACTS = "artifacts"
DATASETS = "datasets"

Progress = Callable[[str], None]


class Making(Value):
    """How something came to be: of which revision it is, what it took, and the sha256 that its files must
    have, as far as that was stated by where they came from."""

    revision: str = ""
    wall_s: float
    peak_memory_bytes: int | None = None
    stated: dict[str, str] = Field(default_factory=dict)


class Manifest(Value):
    """What stands beside an artifact's content. `files`: name -> size and sha256."""

    revision: str
    files: dict[str, tuple[int, str]]
    wall_s: float
    peak_memory_bytes: int | None

    @property
    def digest(self) -> str:
        """Of the content alone: the same files made twice have one digest, whatever they cost."""
        content = json.dumps({"revision": self.revision, "files": self.files}, sort_keys=True)
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"

    @property
    def output_bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something whole on this host. `key` is its address."""

    folder: Path
    key: str
    manifest: Manifest
    cached: bool

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def revision(self) -> str:
        return self.manifest.revision

    def record(self, step_id: str) -> StepRecord:
        return StepRecord(
            id=step_id,
            key=self.key,
            cached=self.cached,
            wall_s=self.manifest.wall_s,
            peak_memory_bytes=self.manifest.peak_memory_bytes,
            output_bytes=self.manifest.output_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted: where it lies once it is there, what is said while it is made, some bytes of room for
    it. A draft that is `resumed` outlives a failure."""

    home: Path
    key: str
    title: str
    estimate_bytes: int
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """The part of the cache that is addressed by content. `needed` are beginnings of names that the present
    plan may still ask for; with what has been `used`, they never have to make room. `beside` tells what else counts
    towards the limit, in bytes: images, which have an order of their own in which they go."""

    cache_dir: Path
    limit_bytes: int | None = None
    needed: tuple[str, ...] = ()
    used: set[Path] = field(default_factory=set)
    beside: Callable[[], int] = lambda: 0

    def provide(self, order: Order, make: Callable[[Path], Making], progress: Progress) -> Artifact:
        """The artifact, from before or made now into the folder that `make` is given."""
        home = order.home
        home.parent.mkdir(parents=True, exist_ok=True)
        self.used.add(home)
        with file_lock(beside(home), f"makes {home.name}", progress=progress):
            found = find(home)
            if found is not None:
                with suppress(OSError):
                    os.utime(home / MANIFEST)  # its time is that of the last use
                return Artifact(home / CONTENT, order.key, found, cached=True)
            if home.exists():
                progress(f"{home.name} is damaged in the cache: made again")
                shutil.rmtree(home, ignore_errors=True)
            self.make_room(order.estimate_bytes, progress)
            made = _made(order, make, progress)
            self.make_room(0, progress)
            return Artifact(home / CONTENT, order.key, made, cached=False)

    def sweep(self) -> None:
        """Remove the drafts of steps whose process was killed; those of downloads are resumed."""
        for draft in (self.cache_dir / ARTIFACTS).glob(".*.draft"):
            _removed(Entry(path=draft, home=_home(draft), used_s=0.0, size_bytes=0))

    def make_room(self, more_bytes: int, progress: Progress) -> None:
        """Keep the limit, if there is one, with so many bytes to come; told where it cannot be kept."""
        if self.limit_bytes is None:
            return
        more_bytes += self.beside()
        for name in trim(self.cache_dir, self.limit_bytes - more_bytes, keep=self._is_needed):
            progress(f"removed {name} from the cache: it was used least recently")
        all_bytes = held_bytes(self.cache_dir) + more_bytes
        if all_bytes > self.limit_bytes:
            text = f"the cache takes {gigabytes(all_bytes)}, above its limit of {gigabytes(self.limit_bytes)}"
            progress(f"{text}: all of it is needed or in use")

    def _is_needed(self, entry: Entry) -> bool:
        return entry.home in self.used or entry.home.name.startswith(self.needed)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the store, finished or a draft that was left; `path` is where it lies."""

    path: Path
    home: Path
    used_s: float
    size_bytes: int


def find(home: Path) -> Manifest | None:
    """The manifest, when it is whole and every file has the size that it names."""
    try:
        manifest = Manifest.model_validate_json((home / MANIFEST).read_bytes())
        sizes = {name: (home / CONTENT / name).stat().st_size for name in manifest.files}
    except (OSError, ValidationError):
        return None
    whole = all(sizes[name] == size for name, (size, _) in manifest.files.items())
    return manifest if whole else None


def entries(cache_dir: Path) -> list[Entry]:
    """Everything in the store, the least recently used first."""
    kinds = (MODELS, ARTIFACTS, DATASETS)
    folders = [p for name in kinds for p in (cache_dir / name).glob("*") if p.is_dir()]
    found = [Entry(path=p, home=_home(p), used_s=_used_s(p), size_bytes=folder_bytes(p)) for p in folders]
    return sorted(found, key=lambda entry: entry.used_s)


def held_bytes(cache_dir: Path) -> int:
    """What the store takes."""
    return sum(entry.size_bytes for entry in entries(cache_dir))


def trim(
    cache_dir: Path,
    limit_bytes: int,
    *,
    keep: Callable[[Entry], bool] = lambda _: False,
    dry_run: bool = False,
) -> Iterator[str]:
    """Remove what was used least recently until the rest is within the limit; never what is kept, nor what
    somebody is making. Gives names."""
    found = entries(cache_dir)
    held_bytes = sum(entry.size_bytes for entry in found)
    for entry in found:
        if held_bytes <= limit_bytes:
            return
        if not keep(entry) and (dry_run or _removed(entry)):
            held_bytes -= entry.size_bytes
            yield entry.path.name


def _made(order: Order, make: Callable[[Path], Making], progress: Progress) -> Manifest:
    draft = _draft(order.home)
    try:
        if not order.resumed:
            _clear(draft)
        (draft / CONTENT).mkdir(parents=True, exist_ok=True)
        draft.chmod(0o700)  # while it grows nobody else has to find it
        progress(order.title)
        manifest = _sealed(draft, make(draft / CONTENT), progress)
        draft.chmod(0o755)
        draft.rename(order.home)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in an error of its own
        raise HostError(
            f"{order.home.name} could not be written: {error}",
            hint="free disk, or set LEVELBENCH_CACHE to another folder",
        ) from error
    finally:
        if not order.resumed:
            shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _sealed(draft: Path, making: Making, progress: Progress) -> Manifest:
    """Hash every file, let any user read it, write the manifest."""
    found = {}
    content = draft / CONTENT
    for path in (content, *sorted(content.rglob("*"))):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    for path in sorted(content.rglob("*")):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)  # engines read as another user
            found[path.relative_to(content).as_posix()] = (path.stat().st_size, files.sha256(path))
    progress(f"hashed {len(found)} files")
    _require_stated(content, found, making.stated)
    manifest = Manifest(
        revision=making.revision,
        files=found,
        wall_s=making.wall_s,
        peak_memory_bytes=making.peak_memory_bytes,
    )
    files.write_atomically(draft / MANIFEST, manifest.model_dump_json(indent=1).encode())
    return manifest


def _require_stated(content: Path, found: dict[str, tuple[int, str]], stated: dict[str, str]) -> None:
    """CellError for files that are not what they were said to be; they go, so that the next attempt gets them
    anew."""
    wrong = [name for name, sha256 in stated.items() if found[name][1] != sha256]
    for name in wrong:
        (content / name).unlink()
    if wrong:
        name = wrong[0]
        raise CellError(
            f"{name} has the sha256 {found[name][1]}, its origin states {stated[name]}",
            hint="it was removed; try again, and if it comes like this again, suspect the mirror or the proxy",
            cause=FailureCause.MODEL_FILES,
        )


def _clear(draft: Path) -> None:
    """What a killed run left must not get into what is made now."""
    shutil.rmtree(draft, ignore_errors=True)
    if draft.exists():
        raise HostError(
            f"{draft}, left by a run that was killed, cannot be removed: its files belong to another user",
            hint=f"remove it by hand: sudo rm -r {draft}",
        )


def _draft(home: Path) -> Path:
    """One name: whoever makes an artifact holds its lock."""
    return home.with_name(f".{home.name}.draft")


def _home(path: Path) -> Path:
    return path.with_name(path.name.removeprefix(".").removesuffix(".draft"))


def _used_s(path: Path) -> float:
    """When it was used last; a draft, when it was last written to."""
    with suppress(OSError):
        return (path / MANIFEST).stat().st_mtime
    times = [0.0]
    for found in path.rglob("*"):
        with suppress(OSError):
            times.append(found.lstat().st_mtime)
    return max(times)


def _removed(entry: Entry) -> bool:
    """Whether nobody was at it, so that it could go. The manifest goes first: what is left if this is
    interrupted is no artifact."""
    with lock_if_free(beside(entry.home), f"removes {entry.home.name}") as free:
        if free:
            with suppress(OSError):
                (entry.path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(entry.path, ignore_errors=True)
        return free
