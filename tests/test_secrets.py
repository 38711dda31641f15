"""The hub's token is planted in the environment of a whole run, and then looked for everywhere."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import secrets_made
from tests.fakes.hub import FakeHub
from tests.pipelines_made import files_of, hub
from tests.runtime import made

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_planted/secret+0123456789"  # noqa: S105 - planted, to see that it goes nowhere


@dataclass(frozen=True)
class Ran:
    """A whole run: what it printed, its folders, and what was noted of its containers."""

    folder: Path
    code: int
    output: str
    hub: FakeHub


def run(folder: Path, found: FakeHub, leak: str = "") -> Ran:
    notes = folder / "notes"
    notes.mkdir(parents=True)
    words = (
        *("--runs", str(folder / "runs"), "--cache", str(folder / "cache"), "--base-image", made.BASE),
        *("bench", "--backend", secrets_made.BACKEND, "--model", secrets_made.MODEL, "--runtime", "docker"),
        *("--accelerator", "cpu", "--users", "2", "--duration", "1"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.secrets_made", str(notes), leak, "--", *words],
        cwd=ROOT,
        env={**os.environ, "HF_TOKEN": TOKEN, "HF_ENDPOINT": found.url, "NO_PROXY": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    return Ran(folder, done.returncode, done.stdout, found)


@pytest.fixture
def the_hub() -> Iterator[FakeHub]:
    with hub(secrets_made.MODEL, files_of(secrets_made.MODEL)) as found:
        yield found


def spellings(token: str) -> list[bytes]:
    """As it is, and as headers, addresses and JSON would write it; of base64 each of the three alignments."""
    plain = token.encode()
    aligned = [base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)]
    return [plain, quote(token, safe="").encode(), token.replace("/", "\\/").encode(), *aligned]


def places(folder: Path, token: str = TOKEN) -> list[str]:
    """Every file under the folder whose name or content holds it."""
    wanted = spellings(token)
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_symlink()
        and any(
            word in (os.fsencode(path) + (path.read_bytes() if path.is_file() else b"")) for word in wanted
        )
    )


@pytest.mark.parametrize("spelling", spellings(TOKEN))
def test_a_token_would_be_found_however_it_is_written(tmp_path: Path, spelling: bytes) -> None:
    """Also within a line, within a binary file, deep in a folder."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.bin").write_bytes(b"\0\xff" + spelling + b"\0")
    (tmp_path / "other").write_bytes(TOKEN[:-1].encode())

    assert ["a/b/c.bin"] == places(tmp_path)


@pytest.mark.docker
def test_the_token_goes_to_the_hub_and_nowhere_else(tmp_path: Path, the_hub: FakeHub) -> None:
    """Not into the run's folder, the cache, an image, a container, its network, its processes, or the screen."""
    ran = run(tmp_path, the_hub)

    assert 0 == ran.code, ran.output
    assert f"Bearer {TOKEN}" in {asked.authorization for asked in the_hub.asked}, "the control: it was used"
    assert {"images.json", "container.json", "networks.json", "processes.json"} == {
        path.name for path in (tmp_path / "notes").iterdir()
    }
    assert list(tmp_path.glob("runs/*/cells/*/result.json"))
    assert list(tmp_path.glob("cache/models/*/content/tokenizer.json"))
    assert [] == places(tmp_path)
    assert TOKEN not in ran.output


@pytest.mark.docker
def test_a_token_in_an_engines_environment_would_be_found(tmp_path: Path, the_hub: FakeHub) -> None:
    """The same run with a leak: wherever an environment is told, it shows."""
    ran = run(tmp_path, the_hub, leak="engine")

    assert 0 == ran.code, ran.output
    found = places(tmp_path)
    assert {"notes/container.json", "notes/processes.json"} <= set(found)
    assert {"argv.json", "provenance.json", "result.json"} <= {Path(name).name for name in found}
