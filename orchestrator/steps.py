"""Weights: made here or fetched from the hub, once, addressed by content, whole or not at all.

The only phase with network and token. An artifact's folder appears by one rename, under a lock, with a
manifest of every file's size and sha256 written before it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

# The base of what its HTTP library raises, whichever library this release of it has under it.
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]
from safetensors import SafetensorError

from backends.contract import FailureCause
from orchestrator.domain.model import HubOrigin, Model
from orchestrator.errors import CellError, HostError
from orchestrator.host.locks import beside, file_lock
from orchestrator.store import files
from quantize import synthetic

MANIFEST = "artifact.json"
WEIGHTS = "weights"
HUB_FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model"]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Artifact:
    """Weights on this host. `digest` is over the manifest; `revision` is the hub's commit or the recipe."""

    folder: Path
    digest: str
    revision: str
    cached: bool


def weights(model: Model, cache_dir: Path, *, token: str | None, progress: Progress) -> Artifact:
    """The model's weights, from the cache where they are whole, else made or fetched."""
    home = cache_dir / "models" / f"{model.id}-{key(model)}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(beside(home), f"makes {home.name}", progress=progress):
        found = _cached(home)
        if found is not None:
            return found
        if home.exists():
            progress(f"{home.name} is damaged in the cache: made again")
        _sweep(home)
        return _make(model, home, token, progress)


def key(model: Model) -> str:
    """12 characters that change with anything that could change the weights."""
    origin = model.origin if model.made is None else synthetic.fingerprint(model.made.recipe)
    return hashlib.sha256(origin.encode()).hexdigest()[:12]


def _sweep(home: Path) -> None:
    """Remove a damaged artifact, and the drafts of processes that were killed while they made it."""
    for left in (home, *home.parent.glob(f".{home.name}-*")):
        shutil.rmtree(left, ignore_errors=True)


def _make(model: Model, home: Path, token: str | None, progress: Progress) -> Artifact:
    draft = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        folder = draft / WEIGHTS
        folder.mkdir()
        progress(model.origin)
        revision = _fill(model, folder, token)
        _write_manifest(draft, revision, progress)
        draft.chmod(0o755)
        draft.rename(home)
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk in an error of its own
        raise HostError(
            f"weights of {model.id} could not be written: {error}",
            hint="free disk, or set LEVELBENCH_CACHE to another folder",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    made = _cached(home)
    if made is None:
        raise HostError(f"{home} vanished while it was written", hint="check the disk")
    return Artifact(made.folder, made.digest, made.revision, cached=False)


def _fill(model: Model, folder: Path, token: str | None) -> str:
    """Put the files into the folder; gives the revision that they are of."""
    if model.made is not None:
        synthetic.make(model.made.recipe, folder)
        return model.made.recipe
    if model.hub is not None:
        return _fetch(model.hub, folder, token)
    raise CellError(f"model {model.id} has no origin", hint="give it `made` or `hub` in models.toml")


def _fetch(hub: HubOrigin, folder: Path, token: str | None) -> str:
    try:
        snapshot = snapshot_download(
            hub.repository,
            revision=hub.revision,
            allow_patterns=HUB_FILES,
            local_dir=folder,
            token=token or False,
        )
    except GatedRepoError as error:
        raise CellError(
            f"{hub.repository} is gated and this token has no access",
            hint="accept its licence on the hub, then set HF_TOKEN",
            cause=FailureCause.GATED_MODEL,
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, TransportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # the host's fault, whoever wrote
        said = str(error).partition("\n")[0] or type(error).__name__
        raise CellError(
            f"{hub.repository} could not be fetched: {said}",
            hint="check the network, the proxy and the disk, then try again",
        ) from error
    metadata = Path(snapshot) / ".cache" / "huggingface" / "download" / "config.json.metadata"
    commit = metadata.read_text().splitlines()[0] if metadata.exists() else hub.revision
    shutil.rmtree(Path(snapshot) / ".cache", ignore_errors=True)
    return commit


def _write_manifest(draft: Path, revision: str, progress: Progress) -> None:
    found = {}
    for path in sorted((draft / WEIGHTS).rglob("*")):
        if path.is_file():
            path.chmod(0o644)  # engines read as another user
            found[path.relative_to(draft / WEIGHTS).as_posix()] = [path.stat().st_size, files.sha256(path)]
    (draft / WEIGHTS).chmod(0o755)
    progress(f"hashed {len(found)} files")
    text = json.dumps({"revision": revision, "files": found}, indent=1, sort_keys=True)
    (draft / MANIFEST).write_text(text, encoding="utf-8")


def _cached(home: Path) -> Artifact | None:
    """The artifact, when its manifest is whole and every file has the size that it names."""
    try:
        text = (home / MANIFEST).read_text(encoding="utf-8")
        stated = json.loads(text)
        whole = all((home / WEIGHTS / n).stat().st_size == size for n, (size, _) in stated["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not whole:
        return None
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return Artifact(home / WEIGHTS, digest, stated["revision"], cached=True)
