"""Base images named by a tag: the digest that each had when it was first used here, to which it is held."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.errors import CellError, HostError
from orchestrator.host.locks import file_lock
from orchestrator.store import files

FILE = "bases.json"


def digest_of(image: Any, reference: str) -> str:
    """What the registry knows it by; what the daemon does, where it never saw a registry."""
    repository = reference.rpartition(":")[0] if "/" not in reference.rpartition(":")[2] else reference
    known = [str(name).partition("@") for name in image.attrs.get("RepoDigests") or []]
    own = [digest for name, _, digest in known if name == repository]
    return next(iter([*own, *(digest for _, _, digest in known)]), str(image.id))


def hold(cache_dir: Path, reference: str, digest: str) -> None:
    """Note a tag's digest the first time; CellError when it is another one now: what is built on it would
    not be what was measured before."""
    if "@" in reference:
        return
    path = cache_dir / FILE
    with file_lock(path.with_suffix(".lock"), f"notes the digest of {reference}"):
        known = _read(path)
        seen = known.setdefault(
            reference, {"digest": digest, "date": datetime.now(timezone.utc).date().isoformat()}
        )
        if seen["digest"] == digest:
            files.write_atomically(path, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")
            return
    raise CellError(
        f"{reference} is {digest} now, and was {seen['digest']} when it was first used here ({seen['date']})",
        hint=f"give the tag back to the first with `docker tag`, or take its entry out of {path} to accept "
        "the new one; results of both must not be compared",
    )


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        known = json.loads(path.read_bytes()) if path.exists() else {}
        return {str(name): {"digest": seen["digest"], "date": seen["date"]} for name, seen in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(
            f"{path}, which holds tags to their digests, cannot be read: {error}",
            hint="mend it, or remove it: digests are noted anew then",
        ) from error
