"""The program that fetches weights and prompts: a process of its own, which alone holds the hub's token.

    python -I hub.py REPOSITORY REVISION FOLDER PATTERN...

A repository that begins with `datasets/` is a data set, any other a model. It resolves the revision to a commit, notes in `listing.json` beside the folder what the hub states about each
file, and brings every file up to its size, from where an attempt before it stopped. Run as a script, with
nothing of levelbench on its path. Its last line says what went wrong, its exit code what kind of thing.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

LISTING = "listing.json"
DATASETS = "datasets/"
FAILED, GATED, NOT_FOUND, FULL = 1, 3, 4, 5
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
AT_ONCE = 4
LOOK_S = 1.0
MIN_RATE = 1.0


@dataclass(frozen=True, slots=True)
class File:
    """What the hub states: `sha256` of a large file, `blob` (git's sha1) of a small one."""

    name: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one commit that were asked for."""

    commit: str
    files: tuple[File, ...]

    @classmethod
    def read(cls, folder: Path) -> Listing:
        stated = json.loads((folder.parent / LISTING).read_text(encoding="utf-8"))
        return cls(stated["commit"], tuple(File(**file) for file in stated["files"]))

    def write(self, folder: Path) -> None:
        (folder.parent / LISTING).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def main(repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> int:
    """The exit code."""
    token = os.environ.get("HF_TOKEN") or False  # False: look for none in this user's files
    try:
        listing = stated(repository, revision, patterns, token)
        forget_changed(listing, folder)
        listing.write(folder)
        fetch(repository, listing, folder, token)
    except GatedRepoError as error:
        return told(error, GATED)
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        return told(error, NOT_FOUND)
    except OSError as error:
        return told(error, FULL if error.errno in DISK else FAILED)
    except Exception as error:  # noqa: BLE001 - whatever HTTP library is below, its errors end here
        return told(error, FAILED)
    return 0


def stated(repository: str, revision: str, patterns: Sequence[str], token: str | bool) -> Listing:
    """What the repository holds of what is wanted."""
    kind, name = kind_and_name(repository)
    about = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
    info = about(name, revision=revision, files_metadata=True, token=token)
    files = [
        File(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "", s.blob_id or "")
        for s in info.siblings or ()
        if any(fnmatch.fnmatch(s.rfilename, pattern) for pattern in patterns)
    ]
    if not files:
        raise ValueError(f"it has no {', '.join(patterns)}")
    outside = [file.name for file in files if file.name.startswith("/") or ".." in file.name.split("/")]
    if outside:
        raise ValueError(f"it names a file outside of its folder: {outside[0]}")
    return Listing(str(info.sha), tuple(files))


def forget_changed(listing: Listing, folder: Path) -> None:
    """Of what an attempt before left, only what is still the same file may be resumed."""
    try:
        before = {file.name: file for file in Listing.read(folder).files}
    except (OSError, ValueError, KeyError, TypeError):
        before = {}
    same = {file.name for file in listing.files if before.get(file.name) == file}
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in same:
            path.unlink()


def fetch(repository: str, listing: Listing, folder: Path, token: str | bool) -> None:
    """All files, some at once; a line a second says how far it is, while bytes come."""
    paths = [folder / file.name for file in listing.files]
    total_bytes = sum(file.size for file in listing.files)
    began_s, began_bytes, before_bytes = time.monotonic(), held(paths), -1
    pool = ThreadPoolExecutor(AT_ONCE)
    jobs = {pool.submit(bring, repository, listing.commit, f, folder, token) for f in listing.files}
    while jobs:
        ended, jobs = wait(jobs, timeout=LOOK_S, return_when=FIRST_EXCEPTION)
        now_bytes = held(paths)
        if now_bytes != before_bytes:
            before_bytes = now_bytes
            rate = (now_bytes - began_bytes) / max(time.monotonic() - began_s, 0.001)
            say(progress(now_bytes, total_bytes, rate))
        for job in ended:
            job.result()  # raises what ended it; what the others do meanwhile ends with this process


def bring(repository: str, commit: str, file: File, folder: Path, token: str | bool) -> None:
    """One file up to its size; a small one is compared with what the hub states right away."""
    kind, name = kind_and_name(repository)
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if path.stat().st_size > file.size:
        os.truncate(path, 0)
    with path.open("r+b") as stream:
        have_bytes = stream.seek(0, os.SEEK_END)
        if have_bytes < file.size:
            http_get(
                hf_hub_url(name, file.name, repo_type=kind, revision=commit),
                stream,
                resume_size=have_bytes,
                headers=build_hf_headers(token=token),
                expected_size=file.size,
            )
    if not file.sha256 and file.blob and git_blob(path.read_bytes()) != file.blob:
        path.unlink()
        raise ValueError(f"{file.name} is not the file that the hub states: it was removed")


def kind_and_name(repository: str) -> tuple[str, str]:
    if repository.startswith(DATASETS):
        return "dataset", repository.removeprefix(DATASETS)
    return "model", repository


def progress(now_bytes: int, total_bytes: int, rate: float) -> str:
    """`3.1 of 16.1 GB, 85.3 MB/s, 2.5 min left`"""
    text = f"{now_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB, {rate / 1e6:.1f} MB/s"
    left_bytes = total_bytes - now_bytes
    return f"{text}, {left_bytes / rate / 60:.1f} min left" if left_bytes and rate >= MIN_RATE else text


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


def held(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


def told(error: Exception, code: int) -> int:
    """One line, whatever the library says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    say(lines[0] if lines else type(error).__name__)
    return code


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its output is the job's log


if __name__ == "__main__":
    exit_code = main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    sys.stdout.flush()
    os._exit(exit_code)  # at once, whatever is still being downloaded
