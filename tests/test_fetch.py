"""Weights from a hub that is a real HTTP server: what is asked, kept, refused, resumed, and where the token goes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.contract import FailureCause, WeightsFormat
from orchestrator import fetch, hub, steps
from orchestrator.artifacts import MANIFEST
from orchestrator.catalog import loader
from orchestrator.domain.model import HubOrigin, Model
from orchestrator.errors import CellError, HostError, Interrupted
from orchestrator.runtime import session
from orchestrator.runtime.interface import JobEnd
from tests.fakes.hub import COMMIT, REPOSITORY, FakeHub
from tests.workshop import Bench, left

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_planted_secret"  # noqa: S105 - planted, to see that it goes nowhere
BIG = bytes(range(256)) * 48 * 1024  # 12 MiB: the library writes 10 MiB at a time
SENT = 11 * 2**20  # before a connection is cut or falls silent
KEPT = 10 * 2**20
FILES = {
    "config.json": b'{"a": 1}',
    "tokenizer.json": b"{}",
    "model.safetensors": BIG,
    "README.md": b"not wanted",
    "sub/extra.json": b"[]",
}
MODEL = loader.model("tiny").model_copy(
    update={
        "id": "hubbed",
        "made": None,
        "hub": HubOrigin(repository=REPOSITORY, revision="main", gated=False),
        "weights_bytes": len(BIG),
    }
)


@pytest.fixture
def server() -> Iterator[FakeHub]:
    with FakeHub(dict(FILES), large=("model.safetensors",)) as fake:
        yield fake


@pytest.fixture
def bench(tmp_path: Path, server: FakeHub) -> Bench:
    # what is needed to reach the hub, and what must not go along
    environment = {"HF_ENDPOINT": server.url, "NO_PROXY": "*", "SECRET": "x", "HF_TOKEN": "never"}
    return Bench(tmp_path, environment=environment, token=TOKEN)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def partial(bench: Bench) -> Path:
    """The large file of an attempt that failed."""
    (draft,) = left(bench.cache)
    assert draft.startswith(".hubbed-")
    return bench.cache / "models" / draft / "content" / "model.safetensors"


def failure(bench: Bench, model: Model = MODEL) -> CellError:
    with pytest.raises(CellError) as caught:
        bench.weights(model)
    return caught.value


def test_weights_come_at_the_commit_that_the_revision_means(bench: Bench, server: FakeHub) -> None:
    """Files that a model consists of, no others; the commit is recorded; the second time nobody is asked."""
    artifact = bench.weights(MODEL)
    asked = len(server.asked)
    again = bench.weights(MODEL)

    assert {name: data for name, data in FILES.items() if name != "README.md"} == contents(artifact.folder)
    assert (COMMIT, False, True) == (artifact.revision, artifact.cached, again.cached)
    assert artifact.manifest.wall_s > 0
    assert 2**20 < (artifact.manifest.peak_memory_bytes or 0) < 2**30
    assert asked == len(server.asked)
    assert any("of 0.0 GB" in line for line in bench.said)


def test_the_token_goes_to_the_hub_alone(bench: Bench, server: FakeHub) -> None:
    """Not along a redirect to the host that keeps large files; into no file; into no word that is said."""
    bench.weights(MODEL)
    sent = {(a.host, a.authorization) for a in server.asked}

    assert {("127.0.0.1", f"Bearer {TOKEN}"), ("127.0.0.2", "")} == sent
    for path in (p for p in bench.folder.rglob("*") if p.is_file()):
        assert TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in "".join(bench.said)


def test_the_token_is_in_no_argv(bench: Bench, server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ps` shows argv to everybody; of our environment only what leads to the hub goes along."""
    commands: list[session.Command] = []
    run = session.run

    def watched(command: session.Command, *rest: Any) -> JobEnd:
        commands.append(command)
        return run(command, *rest)

    monkeypatch.setattr(session, "run", watched)
    bench.weights(MODEL)
    (command,) = commands

    assert TOKEN not in " ".join(command.argv)
    assert TOKEN == command.env["HF_TOKEN"]
    assert "SECRET" not in command.env
    assert TOKEN not in repr(bench.shop())


def test_without_a_token_none_is_sent(bench: Bench, server: FakeHub) -> None:
    """Not even one that lies in this user's files or environment."""
    bench.token = None
    bench.weights(MODEL)

    assert {""} == {a.authorization for a in server.asked}


@pytest.mark.parametrize("end", ["main", "model.safetensors"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_how_to_get_access(bench: Bench, server: FakeHub, status: int, end: str) -> None:
    """Refused with the listing or with the first large file: the cause is typed."""
    server.fail[end] = (status, "GatedRepo")
    error = failure(bench)

    assert FailureCause.GATED_MODEL is error.cause
    assert f"{REPOSITORY} is gated" in str(error)
    assert "accept its licence" in error.hint
    assert TOKEN not in error.log_tail


@pytest.mark.parametrize("code", ["RepoNotFound", "RevisionNotFound"])
def test_what_is_not_there_is_told(bench: Bench, server: FakeHub, code: str) -> None:
    """Repository and revision are named."""
    server.fail["main"] = (404, code)
    error = failure(bench)

    assert f"{REPOSITORY}@main is not on the hub" in str(error)
    assert FailureCause.MODEL_FILES is error.cause
    assert "models.toml" in error.hint


def test_a_repository_without_weights_is_told(bench: Bench, server: FakeHub) -> None:
    """Nothing in it that a model consists of."""
    server.files.clear()

    assert "has no *.safetensors, *.gguf, *.json" in str(failure(bench))


@pytest.mark.parametrize("name", ["../../evil.json", "/tmp/evil.json", "a/../../evil.json"])  # noqa: S108
def test_a_file_outside_of_its_folder_is_refused(bench: Bench, server: FakeHub, name: str) -> None:
    """A mirror is not trusted with our disk."""
    server.files[name] = b"{}"

    assert f"names a file outside of its folder: {name}" in str(failure(bench))
    assert not any(p.name == "evil.json" for p in bench.folder.rglob("*"))


@pytest.mark.parametrize(
    ("formats", "expected"),
    [((WeightsFormat.SAFETENSORS,), "*.safetensors"), ((WeightsFormat.MLC,), "params_shard_*.bin")],
)
def test_what_is_fetched_follows_from_the_format(formats: tuple[WeightsFormat, ...], expected: str) -> None:
    """Weights, and what goes with any of them."""
    assert (expected, *fetch.ALWAYS) == fetch.patterns(formats)


def test_a_hub_that_cannot_be_reached_is_the_cells_failure(bench: Bench) -> None:
    """In one line, with what to do."""
    bench.environment = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    error = failure(bench)

    assert "could not be fetched: [Errno 111] Connection refused" in str(error)
    assert "check the network" in error.hint


def test_a_cut_is_resumed_within_one_attempt(bench: Bench, server: FakeHub) -> None:
    """The library asks again from where the bytes ended."""
    server.cut["model.safetensors"] = SENT
    artifact = bench.weights(MODEL)

    assert BIG == (artifact.folder / "model.safetensors").read_bytes()
    assert [0, KEPT] == server.offsets("model.safetensors")


def test_what_came_before_a_failure_is_resumed_by_the_next_attempt(bench: Bench, server: FakeHub) -> None:
    """A fetch that falls silent is ended; what it has is kept, looks like nothing finished, and is gone on from."""
    server.stall["model.safetensors"] = SENT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "SILENCE_S", 2.0)
        error = failure(bench)
    server.release()

    assert f"the fetch of {REPOSITORY} made no progress for 2 s" in str(error)
    assert KEPT == partial(bench).stat().st_size
    assert not (partial(bench).parent.parent / MANIFEST).exists()
    artifact = bench.weights(MODEL)
    assert [0, KEPT] == server.offsets("model.safetensors")
    assert BIG == (artifact.folder / "model.safetensors").read_bytes()


def test_a_file_that_changed_meanwhile_is_fetched_anew(bench: Bench, server: FakeHub) -> None:
    """`main` may have moved on between two attempts: halves of two files are no file."""
    server.stall["model.safetensors"] = SENT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "SILENCE_S", 2.0)
        failure(bench)
    server.release()
    server.files["model.safetensors"] = BIG[::-1]
    artifact = bench.weights(MODEL)

    assert [0, 0] == server.offsets("model.safetensors")
    assert BIG[::-1] == (artifact.folder / "model.safetensors").read_bytes()


def test_wrong_bytes_are_refused_and_removed(bench: Bench, server: FakeHub) -> None:
    """The right number of them, with another sha256 than the hub states; the next attempt fetches that file
    alone."""
    server.lie["model.safetensors"] = BIG[::-1]
    error = failure(bench)

    assert "model.safetensors has the sha256" in str(error)
    assert FailureCause.MODEL_FILES is error.cause
    assert not partial(bench).exists()
    server.lie.clear()
    before = len(server.asked)
    bench.weights(MODEL)
    assert 3 == len(server.asked) - before, "the listing, the redirect, the file"


def test_wrong_bytes_of_a_small_file_are_refused_too(bench: Bench, server: FakeHub) -> None:
    """It has no sha256, but git's own hash."""
    server.lie["config.json"] = b'{"a": 2}'
    error = failure(bench)

    assert "config.json is not the file that the hub states" in str(error)
    assert not partial(bench).with_name("config.json").exists()


def test_an_interrupt_ends_the_fetch_and_keeps_what_came(bench: Bench, server: FakeHub) -> None:
    """Nothing of it runs on."""
    server.stall["model.safetensors"] = SENT
    interrupts = bench.interrupts

    def interrupted(text: str) -> None:
        if "MB/s" in text:
            signal.raise_signal(signal.SIGTERM)

    shop = dataclasses.replace(bench.shop(), progress=interrupted)
    with interrupts.installed(), pytest.raises(Interrupted):
        steps.weights(MODEL, shop)
    server.release()

    assert KEPT == partial(bench).stat().st_size
    assert () == session.reap(dry_run=True)


KILLED = """
    import sys
    from pathlib import Path
    from tests.test_fetch import MODEL, Bench
    Bench(Path(sys.argv[1]), environment={"HF_ENDPOINT": sys.argv[2]}).weights(MODEL)
"""


def test_a_killed_fetch_is_resumed(bench: Bench, server: FakeHub) -> None:
    """SIGKILL of levelbench in the middle ends the fetch with it; the next attempt goes on from there."""
    server.stall["model.safetensors"] = SENT
    argv = [sys.executable, "-c", textwrap.dedent(KILLED), str(bench.folder), server.url]
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        wait_for(lambda: any((bench.cache / "models").glob(".*/content/model.safetensors")))
        wait_for(lambda: partial(bench).stat().st_size == KEPT)
        process.kill()
    server.release()
    wait_for(lambda: not session.reap(dry_run=True))

    assert bench.weights(MODEL).revision == COMMIT
    assert [0, KEPT] == server.offsets("model.safetensors")
    assert [f"hubbed-{steps.weights_key(MODEL)}"] == left(bench.cache)


def wait_for(done: object, timeout_s: float = 20.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not done():  # type: ignore[operator]
        assert time.monotonic() < until_s, "what was waited for did not happen"
        time.sleep(0.05)


def test_a_full_disk_is_the_hosts_fault(
    bench: Bench, server: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 GB more of the next model would not fit either; a real file system that is too small."""
    (bench.cache / "models").mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(bench.cache / "models")]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        with pytest.raises(HostError, match=f"{REPOSITORY} could not be written: .*No space left"):
            bench.weights(MODEL)
    finally:
        subprocess.run(["umount", str(bench.cache / "models")], check=True)


@pytest.mark.parametrize(
    ("now", "rate", "expected"),
    [
        (0, 0.0, "0.0 of 16.1 GB, 0.0 MB/s"),
        (3_100_000_000, 85.3e6, "3.1 of 16.1 GB, 85.3 MB/s, 2.5 min left"),
        (16_100_000_000, 85.3e6, "16.1 of 16.1 GB, 85.3 MB/s"),
    ],
)
def test_progress_tells_bytes_rate_and_time_left(now: int, rate: float, expected: str) -> None:
    """As far as they can be known."""
    assert expected == hub.progress(now, 16_100_000_000, rate)
