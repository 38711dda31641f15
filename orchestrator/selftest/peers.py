"""Other load clients against the same reference server: what they report beside what it wrote.

A peer is a program on this host: by its name if it is on the PATH, or `name=/path/to/program`. Each is run as
its users run it, with as many concurrent streams, and judged by its own report of the same answers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from orchestrator.errors import RequestError
from orchestrator.host.scratch import owned_prefix
from orchestrator.runtime.command import CommandError, run
from orchestrator.selftest.figures import PeerPoint
from orchestrator.selftest.server import MODEL, Log, ReferenceServer, Schedule

DEADLINE_S = 300.0
SETTLE_S = 0.3
QUANTILES = (50, 99)
ROUNDS = 3  # answers for each concurrent stream
MIN_ANSWERS = 10
PROMPT = "count to a hundred and twenty-eight"
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, slots=True)
class Reported:
    """A peer's own report: TTFT of each answer and ITL of each gap, in seconds; with `means` the mean gap of each
    answer, where a peer keeps no more."""

    ttft_s: Sequence[float]
    itl_s: Sequence[float]
    means: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What a peer is asked to do."""

    url: str
    users: int
    requests: int
    folder: Path

    @property
    def prompts(self) -> Path:
        return self.folder / "prompts.jsonl"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"


@dataclass(frozen=True, slots=True)
class Peer:
    """How a client is called and where its report stands: tried with vllm 0.33.0, aiperf 0.13.0 and guidellm
    0.8.1."""

    name: str
    program: str
    prompt_field: str
    argv: Callable[[Call], tuple[str, ...]]
    report: Callable[[Path], Reported]


def find(names: Sequence[str]) -> Iterator[tuple[str, Peer | None, str]]:
    """(name, peer, program) of each that is asked for; no program where none is installed."""
    for text in names:
        name, _, path = text.partition("=")
        if name not in PEERS:
            raise RequestError(f"no peer is called {name!r}", hint=f"known are {', '.join(sorted(PEERS))}")
        peer = PEERS[name]
        program = shutil.which(path or peer.program)
        yield name, peer if program else None, program or path or peer.program


def compare(
    found: Sequence[tuple[str, Peer | None, str]],
    users: Sequence[int],
    schedule: Schedule,
    environment: Mapping[str, str],
) -> Iterator[PeerPoint]:
    """Every peer at every number of users; one that is not installed is said so."""
    with ReferenceServer(schedule) as server:
        for count in users:
            for name, peer, program in found:
                if peer is None:
                    yield PeerPoint(peer=name, users=count, note=f"{program} is not installed")
                else:
                    yield _one(server, peer, program, count, environment)


def _one(server: ReferenceServer, peer: Peer, program: str, users: int, env: Mapping[str, str]) -> PeerPoint:
    """One run of one peer."""
    server.take_log()
    with TemporaryDirectory(prefix=owned_prefix("peer")) as name:
        call = Call(server.url, users, max(MIN_ANSWERS, users * ROUNDS), Path(name))
        _prepare(call, peer)
        try:
            argv = (program, *peer.argv(call))
            run(argv, on_line=lambda _: None, deadline_s=DEADLINE_S, env={**env, **QUIET})
            reported = peer.report(call.folder)
        except CommandError as error:
            last = error.tail.splitlines()[-1:]
            return PeerPoint(peer=peer.name, users=users, note=": ".join((str(error), *last)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            return PeerPoint(peer=peer.name, users=users, note=f"its report cannot be read: {error!r}")
    time.sleep(SETTLE_S)
    return judge(peer.name, users, reported, server.take_log())


def _prepare(call: Call, peer: Peer) -> None:
    """Prompts as the peer reads them, and a tokenizer, without which some do not start."""
    line = json.dumps({peer.prompt_field: PROMPT}) + "\n"
    call.prompts.write_text(line * call.requests, encoding="utf-8")
    call.tokenizer.mkdir()
    words = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - no password
    words.save(str(call.tokenizer / "tokenizer.json"))
    config = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"})
    (call.tokenizer / "tokenizer_config.json").write_text(config, encoding="utf-8")


def judge(name: str, users: int, reported: Reported, log: Log) -> PeerPoint:
    """What was reported less what was written, quantile by quantile."""
    answers = [w for w in log.values() if w.before_ns]
    first_s = [(w.before_ns[0] - w.arrival_ns) / 1e9 for w in answers]
    gaps_s = [np.diff(np.array(w.before_ns, np.int64)) / 1e9 for w in answers]
    if reported.means:
        gaps_s = [gaps.mean(keepdims=True) for gaps in gaps_s if len(gaps)]
    return PeerPoint(
        peer=name,
        users=users,
        answers=len(reported.ttft_s),
        written=len(answers),
        ttft_error_s=_shift(reported.ttft_s, first_s),
        itl_error_s=_shift(reported.itl_s, np.concatenate([np.empty(0), *gaps_s])),
    )


def _shift(reported: Sequence[float], written: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    if not len(reported) or not len(written):
        return {}
    return {f"p{q}": float(np.percentile(reported, q) - np.percentile(written, q)) for q in QUANTILES}


def _vllm_argv(call: Call) -> tuple[str, ...]:
    return (
        *("bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions"),
        *("--base-url", call.url, "--model", MODEL, "--skip-tokenizer-init"),
        *("--dataset-name", "custom", "--dataset-path", str(call.prompts), "--custom-output-len", "128"),
        *("--num-prompts", str(call.requests), "--max-concurrency", str(call.users), "--disable-tqdm"),
        *("--save-result", "--save-detailed", "--result-dir", str(call.folder)),
        *("--result-filename", "out.json"),
    )


def _vllm_report(folder: Path) -> Reported:
    found = json.loads((folder / "out.json").read_bytes())
    return Reported(ttft_s=found["ttfts"], itl_s=[gap_s for gaps_s in found["itls"] for gap_s in gaps_s])


def _aiperf_argv(call: Call) -> tuple[str, ...]:
    return (
        *("profile", "--model", MODEL, "--url", call.url, "--endpoint-type", "chat", "--streaming"),
        *("--concurrency", str(call.users), "--request-count", str(call.requests)),
        *("--custom-dataset-type", "single_turn", "--input-file", str(call.prompts)),
        *("--tokenizer", str(call.tokenizer), "--use-server-token-count", "--ui", "none"),
        *("--no-gpu-telemetry", "--no-server-metrics", "--export-level", "records"),
        *("--output-artifact-dir", str(call.folder / "out")),
    )


def _aiperf_report(folder: Path) -> Reported:
    lines = (folder / "out" / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["metrics"] for line in lines]
    return Reported(
        ttft_s=[m["time_to_first_token"]["value"] / 1e3 for m in found if "time_to_first_token" in m],
        itl_s=[
            ms / 1e3 for m in found if "inter_chunk_latency" in m for ms in m["inter_chunk_latency"]["value"]
        ],
    )


def _guidellm_argv(call: Call) -> tuple[str, ...]:
    return (
        *("run", "--backend", f"kind=openai_http,target={call.url},model={MODEL}"),
        *("--profile", f"kind=concurrent,streams={call.users}"),
        *("--constraint", f"kind=max_requests,count={call.requests}"),
        *("--data", f"kind=json_file,path={call.prompts}"),
        *("--output", f"kind=json,path={call.folder / 'out.json'}", "--disable-console"),
    )


def _guidellm_report(folder: Path) -> Reported:
    """It keeps the mean gap of each answer, no single ones."""
    (benchmark,) = json.loads((folder / "out.json").read_bytes())["benchmarks"]
    found = benchmark["requests"]["successful"]
    return Reported(
        ttft_s=[r["time_to_first_token_ms"] / 1e3 for r in found],
        itl_s=[r["inter_token_latency_ms"] / 1e3 for r in found if r["inter_token_latency_ms"] is not None],
        means=True,
    )


PEERS = {
    peer.name: peer
    for peer in (
        Peer("vllm", "vllm", prompt_field="prompt", argv=_vllm_argv, report=_vllm_report),
        Peer("aiperf", "aiperf", prompt_field="text", argv=_aiperf_argv, report=_aiperf_report),
        Peer("guidellm", "guidellm", prompt_field="prompt", argv=_guidellm_argv, report=_guidellm_report),
    )
}
