"""Prompts of a data set on the hub, fetched once, by the rules that weights are fetched by: the revision becomes a
commit, what every file must be is what the hub states of it, the token goes to the fetch alone."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator import fetch, hub
from orchestrator.artifacts import DATASETS, Making, Order, Progress, Store
from orchestrator.catalog.prompts import HubFile
from orchestrator.domain.model import HubOrigin
from orchestrator.domain.workload import PromptSpec
from orchestrator.interrupts import Interrupts

COMMIT_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a data set is fetched with. `environment` is ours, of which the fetch gets what leads to the hub."""

    store: Store
    log_path: Path
    interrupts: Interrupts
    progress: Progress
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


def provide(spec: PromptSpec, means: Means) -> HubFile | None:
    """The file of the prompts, from the cache or fetched now; None for prompts from elsewhere."""
    if spec.repository is None or spec.path is None:
        return None
    label = spec.repository.replace("/", "--")
    key = hashlib.sha256(json.dumps([spec.repository, spec.revision, spec.path]).encode()).hexdigest()[:12]
    order = Order(
        home=means.store.cache_dir / DATASETS / f"{label}-{key}",
        key=key,
        title=f"fetch {spec.path} of {spec.repository}@{spec.revision}",
        estimate_bytes=0,
        resumed=True,
    )
    job = fetch.Job(
        name=f"prompts-{label}",
        hub=HubOrigin(repository=hub.DATASETS + spec.repository, revision=spec.revision, gated=False),
        patterns=(glob.escape(spec.path),),
        folder=Path(),
        log_path=means.log_path,
        token=means.token,
        environment=means.environment,
    )
    found = means.store.provide(order, lambda folder: _fetched(job, folder, means), means.progress)
    name = f"{spec.repository}@{found.revision[:COMMIT_CHARS]}/{spec.path}"
    return HubFile(found.folder / spec.path, name, found.manifest.files[spec.path][1])


def _fetched(job: fetch.Job, folder: Path, means: Means) -> Making:
    with means.interrupts.deferred():
        return fetch.run(replace(job, folder=folder), means.progress, means.interrupts.check)
