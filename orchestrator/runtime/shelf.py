"""Our images in a daemon: when each was used last, which the daemon does not know, and what it takes alone."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import docker

from orchestrator.domain.shelf import Shelved
from orchestrator.host.locks import file_lock
from orchestrator.runtime.daemon import translated
from orchestrator.runtime.owner import OURS
from orchestrator.store import files

FILE = "images.json"


def note(cache_dir: Path, image_id: str) -> None:
    """That it is used now."""
    path = cache_dir / FILE
    with file_lock(cache_dir / "images.lock", "notes an image's use"):
        known = _read(path) | {image_id: time.time()}
        files.write_atomically(path, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")


def shelved(client: docker.DockerClient, cache_dir: Path) -> tuple[Shelved, ...]:
    """All that carry our label and a tag. Layers that another image shares are not given back, and not counted."""
    with translated("the Docker daemon could not list its images"):
        found = client.df()["Images"] or []
    used = _read(cache_dir / FILE)
    ours = [
        image for image in found if (image.get("Labels") or {}).get(OURS) == "1" and image.get("RepoTags")
    ]
    return tuple(_shelved(image, used) for image in ours)


def _shelved(image: dict[str, Any], used: dict[str, float]) -> Shelved:
    labels = image["Labels"]
    return Shelved(
        name=str(image["RepoTags"][0]),
        label=f"{labels.get(f'{OURS}.backend')}-{labels.get(f'{OURS}.release')}",
        size_bytes=int(image["Size"]) - max(0, int(image.get("SharedSize") or 0)),
        used_s=used.get(str(image["Id"]), _created_s(image)),
    )


def _created_s(image: dict[str, Any]) -> float:
    created = image.get("Created")
    if isinstance(created, int | float):
        return float(created)
    try:
        return datetime.fromisoformat(str(created)).timestamp()
    except ValueError:
        return 0.0


def _read(path: Path) -> dict[str, float]:
    """A file that cannot be read costs the order in which images go, nothing else."""
    try:
        return {str(name): float(used_s) for name, used_s in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
