"""levelbench on another host, for real: shipped, installed and run there over a real sshd, from a checkout and from a
wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from orchestrator.errors import RequestError
from orchestrator.fleet import shipping
from orchestrator.store.runs import RunFolder
from tests.fleet.sshd import NAME, missing, sshd

ROOT = Path(__file__).resolve().parents[2]
BENCH = ("bench", "--runtime", "process", "--model", "tiny", "--users", "1", "--duration", "2")
on_ssh = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as anybody builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run((*build, "--wheel-dir", folder, ROOT), check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel)
    subprocess.run(install, check=True)
    return folder


def _of(folder: Path) -> Distribution:
    return Distribution.at(next(folder.glob("levelbench-*.dist-info")))


def test_the_wheel_is_made_again_of_what_it_was_installed_as(
    wheel: Path, installed: Path, tmp_path: Path
) -> None:
    """Every file with the same bytes, so that it can be installed elsewhere; and the same bytes each time."""
    (tmp_path / "again").mkdir()
    made = shipping.packed(_of(installed), tmp_path)
    again = shipping.packed(_of(installed), tmp_path / "again")
    with ZipFile(wheel) as before, ZipFile(made) as after:
        names = {n for n in before.namelist() if not n.endswith("RECORD")}
        record = after.read(next(n for n in after.namelist() if n.endswith("RECORD"))).decode()

        assert names == {n for n in after.namelist() if not n.endswith("RECORD")}
        assert all(before.read(name) == after.read(name) for name in names)
        assert names <= {line.split(",")[0] for line in record.splitlines()}
    assert wheel.name == made.name
    assert made.read_bytes() == again.read_bytes()
    target = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "t", made)
    subprocess.run(target, check=True)
    assert (tmp_path / "t" / "orchestrator" / "fleet" / "epilog.sh").exists()


def test_an_editable_install_has_no_wheel_to_send(tmp_path: Path) -> None:
    info = tmp_path / "levelbench-1.dist-info"
    info.mkdir()
    (info / "WHEEL").write_text("Wheel-Version: 1.0\n")
    (info / "METADATA").write_text("Name: levelbench\nVersion: 1\n")
    (info / "RECORD").write_text(
        "levelbench-1.dist-info/WHEEL,,\nlevelbench-1.dist-info/METADATA,,\n_l.pth,,\n"
    )
    with pytest.raises(RequestError, match="neither a checkout nor installed from a wheel"):
        shipping.packed(Distribution.at(info), tmp_path)


@pytest.mark.parametrize("kind", ["checkout", "wheel"])
class TestOnAnotherHost:
    """`levelbench on gpubox bench`, which measures a real engine there."""

    pytestmark = on_ssh

    def test_it_is_installed_there_and_its_run_comes_back(
        self, kind: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        """The second time nothing is installed again."""
        where = ROOT if kind == "checkout" else request.getfixturevalue("installed")
        cache = os.environ.get("LEVELBENCH_TEST_CACHE") or str(tmp_path / "cache")
        with sshd(tmp_path / "ssh") as home:
            done = _on(where, tmp_path, "--cache", cache, *BENCH)
            there = home / shipping.HOME / kind
            ready = (there / ".venv" / ".ready").stat().st_mtime_ns
            doctor = _on(where, tmp_path, "doctor", "--json")
            names = [p.name for p in (there / "runs").iterdir() if not p.is_symlink()]
        run = RunFolder.open(tmp_path / "runs" / "latest")

        assert 0 == done.returncode, done.stdout + done.stderr
        assert "was brought to" in " ".join(done.stdout.split() + done.stderr.split())
        assert [run.path.resolve().name] == names
        assert [True] == [bool(s.result and s.result.metrics) for s in run.results()]
        assert '"check"' in doctor.stdout
        assert ready == (there / ".venv" / ".ready").stat().st_mtime_ns
        shutil.rmtree(there)


def _on(where: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "from orchestrator.cli import main; main()"
    return subprocess.run(
        (sys.executable, "-c", code, "--runs", folder / "runs", "on", NAME, *words),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(where)},
        capture_output=True,
        text=True,
        check=False,
    )
