"""Weights: made or fetched once, whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

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
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from backends.contract import FailureCause
from orchestrator import steps
from orchestrator.catalog import loader
from orchestrator.domain.model import Model
from orchestrator.errors import CellError, HostError
from orchestrator.steps import Artifact
from quantize import synthetic

ROOT = Path(__file__).resolve().parent.parent
TINY = loader.model("tiny")
GATED = loader.model("8b")
TOKEN = "hf_planted_secret"  # noqa: S105 - planted, to see that it goes nowhere
COMMIT = "0123456789abcdef0123456789abcdef01234567"


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


def made(
    folder: Path, model: Model = TINY, *, token: str | None = None, said: list[str] | None = None
) -> Artifact:
    return steps.weights(model, folder, token=token, progress=(said if said is not None else []).append)


def home(cache: Path) -> Path:
    return next(p for p in (cache / "models").iterdir() if p.is_dir())


def folders(cache: Path) -> list[str]:
    """Everything but locks that lies beside the artifact, drafts included."""
    return sorted(p.name for p in (cache / "models").iterdir() if p.suffix != ".lock")


def test_weights_are_made_once(tmp_path: Path) -> None:
    """The second time they come from the cache, and the same."""
    said: list[str] = []
    first, second = made(tmp_path, said=said), made(tmp_path, said=said)

    assert (False, True) == (first.cached, second.cached)
    assert (first.folder, first.digest, first.revision) == (second.folder, second.digest, "tiny")
    assert [TINY.origin, "hashed 7 files"] == said


def test_the_manifest_names_every_file_with_size_and_hash(cache: Path) -> None:
    """And the digest is the manifest's own."""
    artifact = made(cache)
    text = (home(cache) / steps.MANIFEST).read_bytes()
    expected = {
        p.name: [p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()]
        for p in artifact.folder.iterdir()
    }

    assert {"revision": "tiny", "files": expected} == json.loads(text)
    assert f"sha256:{hashlib.sha256(text).hexdigest()}" == artifact.digest
    assert "model.gguf" in expected


def test_engines_of_another_user_may_read(cache: Path) -> None:
    """A container's user is not ours."""
    artifact = made(cache)

    assert 0o755 == home(cache).stat().st_mode & 0o777 == artifact.folder.stat().st_mode & 0o777
    assert {0o644} == {p.stat().st_mode & 0o777 for p in artifact.folder.iterdir()}


def truncate(folder: Path) -> None:
    os.truncate(folder / "weights" / "model.safetensors", 1000)


def lose(folder: Path) -> None:
    (folder / "weights" / "tokenizer.json").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / steps.MANIFEST).unlink()


def tear_manifest(folder: Path) -> None:
    os.truncate(folder / steps.MANIFEST, 40)


def empty_manifest(folder: Path) -> None:
    (folder / steps.MANIFEST).write_text("[]")


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
    before = steps.key(TINY)
    monkeypatch.setattr(synthetic, "MAKER", synthetic.MAKER + 1)

    assert before != steps.key(TINY)
    assert steps.key(TINY) != steps.key(loader.model("small"))


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from orchestrator import steps
    from orchestrator.catalog import loader
    steps.files.sha256 = lambda path: os.kill(os.getpid(), signal.SIGKILL)
    steps.weights(loader.model("tiny"), Path(sys.argv[1]), token=None, progress=print)
"""
MADE = """
    import sys
    from pathlib import Path
    from orchestrator import steps
    from orchestrator.catalog import loader
    artifact = steps.weights(loader.model("tiny"), Path(sys.argv[1]), token=None, progress=print)
    print("cached", artifact.cached)
"""
LIMITED = """
    import resource, sys
    from pathlib import Path
    from orchestrator import steps
    from orchestrator.catalog import loader
    from orchestrator.errors import HostError
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    try:
        steps.weights(loader.model("tiny"), Path(sys.argv[1]), token=None, progress=print)
    except HostError as error:
        print("HostError:", error, error.hint)
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_draft_of_a_killed_process_is_not_used_and_goes(tmp_path: Path) -> None:
    """SIGKILL in the middle leaves a draft; the next one makes the weights and clears it away."""
    with start(KILLED, tmp_path) as process:
        process.communicate(timeout=30)
    assert -signal.SIGKILL == process.returncode
    assert [True] == [name.startswith(".tiny-") for name in folders(tmp_path)]

    assert not made(tmp_path).cached
    assert [f"tiny-{steps.key(TINY)}"] == folders(tmp_path)


def test_drafts_of_other_models_stay(tmp_path: Path) -> None:
    """Another process may be at work on them under its own lock."""
    other = tmp_path / "models" / ".tiny-awq-0-x"
    other.mkdir(parents=True)
    made(tmp_path)

    assert other.exists()


def test_two_processes_make_weights_once(tmp_path: Path) -> None:
    """One makes, the other waits and takes the same."""
    processes = [start(MADE, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    ends = sorted(output.splitlines()[-1] for output in outputs)

    assert ["cached False", "cached True"] == ends
    assert 1 == "".join(outputs).count("hashed")


def test_disk_that_is_full_leaves_nothing_half_made(tmp_path: Path) -> None:
    """A real limit on the size of files: the host's fault, with a way out, and no draft stays."""
    with start(LIMITED, tmp_path) as process:
        output = process.communicate(timeout=30)[0]

    assert "HostError: weights of tiny could not be written" in output
    assert "free disk" in output
    assert [] == folders(tmp_path)


def test_disk_that_is_full_while_the_manifest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last file fails like the first."""

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(synthetic, "make", lambda _, folder: (folder / "config.json").touch())
    with pytest.raises(HostError, match="No space left"):
        made(tmp_path)

    assert [] == folders(tmp_path)


# The hub, with snapshot_download replaced: the one place where the library is called.


def hub(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, *, commit: str = ""
) -> dict[str, Any]:
    """Let the hub deliver two files, or fail; gives what it was asked."""
    asked: dict[str, Any] = {}

    def snapshot_download(repository: str, *, local_dir: Path, **options: Any) -> str:
        asked.update(repository=repository, **options)
        (local_dir / "config.json").write_text("{}")
        if error is not None:
            raise error
        (local_dir / "model-1.safetensors").write_bytes(b"weights")
        if commit:
            metadata = local_dir / ".cache" / "huggingface" / "download"
            metadata.mkdir(parents=True)
            (metadata / "config.json.metadata").write_text(f"{commit}\netag\n0\n")
        return str(local_dir)

    monkeypatch.setattr(steps, "snapshot_download", snapshot_download)
    return asked


# The HTTP library that this release of the hub's library has under it.
http: Any = sys.modules[HfHubHTTPError.__bases__[0].__module__]


def response(status: int) -> Any:
    return http.Response(status, request=http.Request("GET", "https://hub.invalid"))


def test_hub_weights_are_fetched_at_their_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit that came is the artifact's revision; the library's own bookkeeping is not weights."""
    assert GATED.hub is not None
    asked = hub(monkeypatch, commit=COMMIT)
    artifact = made(tmp_path, GATED, token=TOKEN)

    assert (GATED.hub.repository, GATED.hub.revision) == (asked["repository"], asked["revision"])
    assert (COMMIT, False) == (artifact.revision, artifact.cached)
    assert ["config.json", "model-1.safetensors"] == sorted(p.name for p in artifact.folder.iterdir())
    assert made(tmp_path, GATED).cached


def test_hub_weights_without_a_known_commit_keep_the_asked_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror may not tell it."""
    hub(monkeypatch)

    assert "main" == made(tmp_path, loader.model("70b-awq")).revision


def test_the_token_goes_to_the_hub_and_into_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor into anything that is said."""
    asked = hub(monkeypatch, commit=COMMIT)
    said: list[str] = []
    made(tmp_path, GATED, token=TOKEN, said=said)

    assert TOKEN == asked["token"]
    assert not any(TOKEN.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert TOKEN not in "".join(said)


def test_without_a_token_none_is_taken_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """False forbids the library to look for one that nobody handed over."""
    asked = hub(monkeypatch)
    made(tmp_path, GATED)

    assert asked["token"] is False


def test_gated_model_says_how_to_get_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell fails with a cause; nothing half-fetched stays."""
    hub(monkeypatch, GatedRepoError("403", response=response(403)))
    with pytest.raises(CellError, match="is gated") as caught:
        made(tmp_path, GATED, token=TOKEN)

    assert FailureCause.GATED_MODEL is caught.value.cause
    assert "accept its licence" in caught.value.hint
    assert TOKEN not in str(caught.value)
    assert [] == folders(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LocalEntryNotFoundError("no network\nand more"), "could not be fetched: no network$"),
        (RepositoryNotFoundError("404", response=response(404)), "could not be fetched: 404"),
        (http.ConnectError("Name or service not known"), "Name or service not known"),
        (http.ReadTimeout(""), "ReadTimeout"),
        (ConnectionResetError(104, "reset by peer"), "reset by peer"),
        (OSError(), "could not be fetched: OSError"),
    ],
)
def test_network_that_fails_is_the_cells_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """Whatever the library lets through, in one line, with what to do; nothing half-fetched stays."""
    hub(monkeypatch, error)
    with pytest.raises(CellError, match=said) as caught:
        made(tmp_path, GATED, token=TOKEN)

    assert "check the network" in caught.value.hint
    assert [] == folders(tmp_path)


def test_disk_that_fills_while_fetching_is_the_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 GB more of the next model would not fit either."""
    hub(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(HostError, match="No space left"):
        made(tmp_path, GATED)


def test_model_without_origin_is_told(tmp_path: Path) -> None:
    """A mistake in the catalogue, named."""
    with pytest.raises(CellError, match="has no origin"):
        made(tmp_path, TINY.model_copy(update={"made": None}))
