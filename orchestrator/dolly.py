"""Fetches the article's prompts, once, where the network lets us; the sha256 decides what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

from orchestrator.catalog.prompts import DOLLY_BYTES, DOLLY_NAME, DOLLY_SHA256, DOLLY_URL
from orchestrator.domain.workload import PromptSource
from orchestrator.store.files import write_atomically

TIMEOUT_S = 10.0


def provide(
    source: PromptSource, path: Path, *, url: str = DOLLY_URL, progress: Callable[[str], None]
) -> None:
    """Put dolly-15k at `path` if it is asked for and not there. Where it cannot be had that is told;
    whether our own prompts may stand in is the prompt loader's decision."""
    if source not in (PromptSource.DOLLY, PromptSource.AUTO) or path.exists():
        return
    try:
        content = _download(url)
    except httpx.HTTPError as error:
        progress(f"{DOLLY_NAME} cannot be fetched here ({type(error).__name__})")
        return
    if hashlib.sha256(content).hexdigest() != DOLLY_SHA256:
        progress(f"what came for {DOLLY_NAME} is not the known file ({len(content)} bytes): left out")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _download(url: str) -> bytes:
    """The body, but never much more than the file is known to hold."""
    content = bytearray()
    with httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT_S) as reply:
        reply.raise_for_status()
        for piece in reply.iter_bytes():
            content += piece
            if len(content) > DOLLY_BYTES:
                break
    return bytes(content)
