"""The store: made once, whole or not at all, whatever happens meanwhile; and what makes room. The weights of
`tiny`, made here, stand for whatever is kept."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import artifacts, steps
from orchestrator.artifacts import Artifact, Making, Order, Store
from orchestrator.catalog import loader
from orchestrator.domain.model import Model
from orchestrator.errors import CellError, HostError
from orchestrator.host.locks import beside, file_lock
from orchestrator.store import files
from quantize import synthetic
from tests.workshop import Bench, left

ROOT = Path(__file__).resolve().parent.parent
TINY = loader.model("tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with tiny in it, to be copied."""
    folder = tmp_path_factory.mktemp("whole")
    made(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, whole: Path) -> Path:
    """A cache of the test's own, with tiny in it."""
    shutil.copytree(whole, tmp_path / "cache")
    return tmp_path / "cache"


def made(folder: Path, model: Model = TINY, *, said: list[str] | None = None) -> Artifact:
    bench = Bench(folder.parent / f"{folder.name}-bench", said=said if said is not None else [])
    return steps.weights(model, dataclasses.replace(bench.shop(), store=Store(folder)))


def home(cache: Path) -> Path:
    return next(p for p in (cache / "models").iterdir() if p.is_dir())


def test_weights_are_made_once(tmp_path: Path) -> None:
    """The second time they come from the cache, and the same."""
    said: list[str] = []
    first, second = made(tmp_path / "cache", said=said), made(tmp_path / "cache", said=said)

    assert (False, True) == (first.cached, second.cached)
    assert (first.folder, first.digest, first.revision) == (second.folder, second.digest, "tiny")
    assert [TINY.origin, "hashed 7 files"] == said


def test_the_manifest_names_every_file_with_size_and_hash(cache: Path) -> None:
    """And what it cost."""
    artifact = made(cache)
    stated = json.loads((home(cache) / artifacts.MANIFEST).read_bytes())
    expected = {
        p.name: [p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()]
        for p in artifact.folder.iterdir()
    }

    assert ("tiny", expected) == (stated["revision"], stated["files"])
    assert 0 < stated["wall_s"] < 60
    assert "model.gguf" in expected


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    """The same files made twice are the same, whatever they cost; the record tells what they had cost."""
    first, second = made(tmp_path / "a"), made(tmp_path / "b")
    record = made(tmp_path / "a").record("weights")

    assert first.digest == second.digest
    assert first.manifest.wall_s != second.manifest.wall_s
    assert (True, first.manifest.wall_s, None) == (record.cached, record.wall_s, record.peak_memory_bytes)
    assert sum(p.stat().st_size for p in first.folder.iterdir()) == record.output_bytes


def test_engines_of_another_user_may_read(cache: Path) -> None:
    """A container's user is not ours."""
    artifact = made(cache)

    assert 0o755 == home(cache).stat().st_mode & 0o777 == artifact.folder.stat().st_mode & 0o777
    assert {0o644} == {p.stat().st_mode & 0o777 for p in artifact.folder.iterdir()}


def truncate(folder: Path) -> None:
    os.truncate(folder / "content" / "model.safetensors", 1000)


def lose(folder: Path) -> None:
    (folder / "content" / "tokenizer.json").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / artifacts.MANIFEST).unlink()


def tear_manifest(folder: Path) -> None:
    os.truncate(folder / artifacts.MANIFEST, 40)


def empty_manifest(folder: Path) -> None:
    (folder / artifacts.MANIFEST).write_text("[]")


@pytest.mark.parametrize("damage", [truncate, lose, lose_manifest, tear_manifest, empty_manifest])
def test_damaged_weights_are_made_again(cache: Path, damage: Callable[[Path], None]) -> None:
    """What is not whole is never used; it is told, removed and made anew, with the same digest."""
    digest = made(cache).digest
    damage(home(cache))
    said: list[str] = []
    artifact = made(cache, said=said)

    assert (False, digest) == (artifact.cached, artifact.digest)
    assert f"{home(cache).name} is damaged in the cache: made again" == said[0]
    assert made(cache).cached


def test_recipe_that_changes_gets_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of before are not taken for those of now."""
    before = steps.weights_key(TINY)
    monkeypatch.setattr(synthetic, "MAKER", synthetic.MAKER + 1)

    assert before != steps.weights_key(TINY)
    assert steps.weights_key(TINY) != steps.weights_key(loader.model("small"))


KILLED = """
    import os, signal
    from orchestrator import artifacts
    artifacts.files.sha256 = lambda path: os.kill(os.getpid(), signal.SIGKILL)
"""
LIMITED = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
"""
MADE = """
    import sys
    from pathlib import Path
    from orchestrator.errors import HostError
    from tests.test_artifacts import made
    said = []
    try:
        print("cached", made(Path(sys.argv[1]), said=said).cached)
    except HostError as error:
        print("HostError:", error, error.hint)
    print("said", said)
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(program) + textwrap.dedent(MADE), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_draft_of_a_killed_process_is_not_used_and_goes(tmp_path: Path) -> None:
    """SIGKILL in the middle leaves a draft; the next one makes the weights and clears it away."""
    with start(KILLED, tmp_path / "cache") as process:
        process.communicate(timeout=30)
    assert -signal.SIGKILL == process.returncode
    assert [True] == [name.startswith(".tiny-") for name in left(tmp_path / "cache")]

    assert not made(tmp_path / "cache").cached
    assert [f"tiny-{steps.weights_key(TINY)}"] == left(tmp_path / "cache")


def test_drafts_of_other_models_stay(tmp_path: Path) -> None:
    """Another process may be at work on them under its own lock."""
    other = tmp_path / "cache" / "models" / ".tiny-awq-0-x"
    other.mkdir(parents=True)
    made(tmp_path / "cache")

    assert other.exists()


def test_two_processes_make_weights_once(tmp_path: Path) -> None:
    """One makes, the other waits and takes the same."""
    processes = [start("", tmp_path / "cache") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    ends = sorted(output.splitlines()[-2] for output in outputs)

    assert ["cached False", "cached True"] == ends
    assert 1 == "".join(outputs).count("hashed")


def test_disk_that_is_full_leaves_nothing_half_made(tmp_path: Path) -> None:
    """A real limit on the size of files: the host's fault, with a way out, and no draft stays."""
    with start(LIMITED, tmp_path / "cache") as process:
        output = process.communicate(timeout=30)[0]

    assert f"HostError: tiny-{steps.weights_key(TINY)} could not be written" in output
    assert "free disk" in output
    assert [] == left(tmp_path / "cache")


def test_disk_that_is_full_while_the_manifest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last file fails like the first."""

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def make(_: str, folder: Path) -> None:
        (folder / "config.json").touch()
        monkeypatch.setattr(files, "write_atomically", full)

    monkeypatch.setattr(synthetic, "make", make)
    with pytest.raises(HostError, match="No space left"):
        made(tmp_path / "cache")

    assert [] == left(tmp_path / "cache")


def test_model_without_origin_is_told(tmp_path: Path) -> None:
    """A mistake in the catalogue, named."""
    with pytest.raises(CellError, match="has no origin"):
        made(tmp_path / "cache", TINY.model_copy(update={"made": None}))


# What is said to have a hash has it.


def order(cache: Path, name: str, size: int = 0, **changes: Any) -> Order:
    values: dict[str, Any] = {
        "home": cache / "artifacts" / name,
        "key": "k",
        "title": f"make {name}",
        "estimate_bytes": size,
    }
    return Order(**{**values, **changes})


def bytes_of(size: int, **making: Any) -> Callable[[Path], Making]:
    def make(folder: Path) -> Making:
        (folder / "data").write_bytes(b"x" * size)
        return Making(wall_s=1.0, **making)

    return make


@pytest.mark.parametrize("resumed", [False, True])
def test_a_file_that_is_not_what_was_stated_is_removed(tmp_path: Path, *, resumed: bool) -> None:
    """It does not come into the store; where a draft is kept, the next attempt begins that file anew."""
    with pytest.raises(CellError, match="data has the sha256"):
        Store(tmp_path).provide(
            order(tmp_path, "a", resumed=resumed), bytes_of(1, stated={"data": "0" * 64}), print
        )

    assert ([".a.draft"] if resumed else []) == left(tmp_path, "artifacts")
    assert [] == list(tmp_path.rglob("data"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A step's output may point to this host's files: they are neither read nor opened to others."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    def make(folder: Path) -> Making:
        (folder / "link").symlink_to(secret)
        (folder / "folder").symlink_to(closed)
        (folder / "tool").touch(0o700)
        return Making(wall_s=0.0)

    found = Store(tmp_path / "cache").provide(order(tmp_path / "cache", "a"), make, print)

    assert {"tool"} == set(found.manifest.files)
    assert (0o600, 0o700) == (secret.stat().st_mode & 0o777, closed.stat().st_mode & 0o777)
    assert 0o755 == (found.folder / "tool").stat().st_mode & 0o777


def test_a_draft_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed step's files may belong to another user: they never get into what is made now."""
    (tmp_path / "artifacts" / ".a.draft" / "content").mkdir(parents=True)
    with monkeypatch.context() as patch, pytest.raises(HostError, match="cannot be removed") as caught:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        Store(tmp_path).provide(order(tmp_path, "a"), bytes_of(1), print)

    assert "sudo rm -r" in caught.value.hint


# Making room.

KB = 2**10


def provide(
    cache: Path, *names: str, limit_bytes: int | None = None, said: list[str] | None = None, **store: Any
) -> Store:
    """A store in which each of the names is provided in turn, 100 KiB each."""
    found = Store(cache, limit_bytes, **store)
    for number, name in enumerate(names):
        found.provide(order(cache, name, 100 * KB), bytes_of(100 * KB), (said or []).append)
        os.utime(cache / "artifacts" / name / artifacts.MANIFEST, (number + 1, number + 1))
    return found


def test_what_was_used_least_recently_makes_room(tmp_path: Path) -> None:
    """Use counts, not age: what came from the cache is young again."""
    provide(tmp_path, "a", "b", "c")
    provide(tmp_path, "a")
    os.utime(tmp_path / "artifacts" / "a" / artifacts.MANIFEST, (9, 9))
    said: list[str] = ["said"]
    provide(tmp_path, "d", limit_bytes=350 * KB, said=said)

    assert ["a", "c", "d"] == left(tmp_path, "artifacts")
    assert "removed b from the cache: it was used least recently" in said


def test_a_use_is_stamped(tmp_path: Path) -> None:
    """The manifest's time is that of the last use."""
    store = provide(tmp_path, "a")
    store.provide(order(tmp_path, "a"), bytes_of(1), print)

    assert (tmp_path / "artifacts" / "a" / artifacts.MANIFEST).stat().st_mtime > 10**9


def test_what_the_plan_needs_stays_and_it_is_told(tmp_path: Path) -> None:
    """By the beginning of its name, before it was asked for; what this run used stays as well."""
    provide(tmp_path, "old", "plan-b-1")
    said: list[str] = ["said"]
    store = provide(tmp_path, "x", limit_bytes=210 * KB, needed=("plan-b-",), said=said)
    assert ["plan-b-1", "x"] == left(tmp_path, "artifacts")

    store.provide(order(tmp_path, "y", 100 * KB), bytes_of(100 * KB), said.append)
    assert ["plan-b-1", "x", "y"] == left(tmp_path, "artifacts")
    assert any("above its limit" in line for line in said)


def test_what_somebody_is_making_stays(tmp_path: Path) -> None:
    """Its lock is held."""
    provide(tmp_path, "a", "b")
    with file_lock(beside(tmp_path / "artifacts" / "a"), "makes a"):
        assert ["b"] == list(artifacts.trim(tmp_path, 0))

    assert ["a"] == left(tmp_path, "artifacts")


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    """It names what would go, and no more than has to."""
    provide(tmp_path, "a", "b", "c")

    assert ["a", "b"] == list(artifacts.trim(tmp_path, 150 * KB, dry_run=True))
    assert ["a", "b", "c"] == left(tmp_path, "artifacts")


def test_models_and_drafts_count_too(tmp_path: Path) -> None:
    """What a broken download left is room as well."""
    provide(tmp_path, "a")
    draft = tmp_path / "models" / ".m-1.draft" / "content"
    draft.mkdir(parents=True)
    (draft / "part").write_bytes(b"x" * 100 * KB)
    os.utime(draft / "part", (0, 0))
    for folder in (draft, draft.parent):
        os.utime(folder, (0, 0))

    assert [".m-1.draft"] == list(artifacts.trim(tmp_path, 150 * KB))
    assert ["a"] == left(tmp_path, "artifacts")
    assert [] == left(tmp_path)


def test_drafts_of_killed_steps_are_swept(tmp_path: Path) -> None:
    """Unless somebody is at work on one; a download's is kept to be resumed."""
    for name in ("artifacts/.a.draft", "artifacts/.b.draft", "models/.m.draft"):
        (tmp_path / name).mkdir(parents=True)
    with file_lock(beside(tmp_path / "artifacts" / "b"), "makes b"):
        Store(tmp_path).sweep()

    assert [".b.draft"] == left(tmp_path, "artifacts")
    assert [".m.draft"] == left(tmp_path)
