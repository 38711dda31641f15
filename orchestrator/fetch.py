"""Weights and data sets from the hub, as a job of its own: the only one with network and token. What came before a failure
is resumed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import FailureCause, WeightsFormat
from orchestrator import hub
from orchestrator.artifacts import Making, Progress
from orchestrator.domain.model import HubOrigin
from orchestrator.errors import BenchError, CellError, HostError
from orchestrator.host.scratch import owned_prefix
from orchestrator.ready import tail
from orchestrator.runtime import session
from orchestrator.runtime.interface import JobEnd
from orchestrator.runtime.job import Limits

# Longer than the library's own patience with a connection that says nothing
SILENCE_S = 180.0
BY_FORMAT = {
    WeightsFormat.SAFETENSORS: "*.safetensors",
    WeightsFormat.GGUF: "*.gguf",
    WeightsFormat.MLC: "params_shard_*.bin",
}
ALWAYS = ("*.json", "*.jinja", "tokenizer*", "*.model", "merges.txt")
# What it takes from our environment: how to reach the hub, and whom to trust
HANDED_ON = (
    *("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A repository at a revision, to be brought into a folder."""

    name: str
    hub: HubOrigin
    patterns: tuple[str, ...]
    folder: Path
    log_path: Path
    token: str | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def patterns(formats: Sequence[WeightsFormat]) -> tuple[str, ...]:
    """Names of the files that a model consists of: its weights, and what goes with any of them."""
    return (*(BY_FORMAT[name] for name in formats), *ALWAYS)


def run(job: Job, progress: Progress, watch: Callable[[], None]) -> Making:
    """Fetch what is missing, and tell of which commit it is and what every file's sha256 has to be."""
    with tempfile.TemporaryDirectory(prefix=owned_prefix("fetch")) as scratch:
        command = session.Command(
            name=job.name,
            argv=(
                *(sys.executable, "-I", hub.__file__),
                *(job.hub.repository, job.hub.revision, str(job.folder), *job.patterns),
            ),
            env=_environment(job, scratch),
            folder=Path(scratch),
            log_path=job.log_path,
        )
        end = session.run(command, Limits(silence_s=SILENCE_S), progress, watch)
    if end.late or end.state.exit_code:
        raise _failure(job, end)
    listing = hub.Listing.read(job.folder)
    return Making(
        revision=listing.commit,
        wall_s=end.wall_s,
        peak_memory_bytes=end.peak_memory_bytes or None,
        stated={file.name: file.sha256 for file in listing.files if file.sha256},
    )


def _environment(job: Job, scratch: str) -> dict[str, str]:
    """The token is here and nowhere else; without one the library is not to look for another."""
    return {
        **{name: job.environment[name] for name in HANDED_ON if name in job.environment},
        "HOME": scratch,
        "HF_HOME": scratch,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **({"HF_TOKEN": job.token} if job.token else {}),
    }


def _named_in(job: Job) -> str:
    is_set = hub.kind_and_name(job.hub.repository)[0] == "dataset"
    return "of the workload's prompts" if is_set else "in models.toml"


def _failure(job: Job, end: JobEnd) -> BenchError:
    said = (tail(job.log_path).splitlines() or [""])[-1]
    what, log_tail = job.hub.repository, tail(job.log_path)
    if end.late:
        return CellError(
            f"the fetch of {what} {end.late}",
            hint="check the network and the proxy, then try again: what came is kept and resumed",
            cause=FailureCause.DOWNLOAD,
            log_tail=log_tail,
        )
    if end.state.exit_code == hub.GATED:
        return CellError(
            f"{what} is gated and this token has no access",
            hint="accept its licence on the hub, then set HF_TOKEN",
            cause=FailureCause.GATED_MODEL,
            log_tail=log_tail,
        )
    if end.state.exit_code == hub.FULL:
        return HostError(
            f"{what} could not be written: {said}",
            hint="free disk, or set LEVELBENCH_CACHE to another folder",
        )
    if end.state.exit_code == hub.NOT_FOUND:
        return CellError(
            f"{what}@{job.hub.revision} is not on the hub: {said}",
            hint=f"check repository and revision {_named_in(job)}; a private one needs HF_TOKEN",
            cause=FailureCause.MODEL_FILES,
            log_tail=log_tail,
        )
    return CellError(
        f"{what} could not be fetched: {said or f'it ended with {end.state.exit_code}'}",
        hint="check the network, the proxy and the disk, then try again: what came is kept and resumed",
        cause=FailureCause.DOWNLOAD,
        log_tail=log_tail,
    )
