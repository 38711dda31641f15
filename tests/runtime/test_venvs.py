"""orchestrator/runtime/venvs.py: with real pip where its answer is the point, without network always."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.contract import ImageSpec, PackageSet, SiteFile
from orchestrator.errors import CellError, HostError, RequestError
from orchestrator.host.locks import beside
from orchestrator.runtime import venvs
from orchestrator.runtime.command import CommandError
from tests.runtime import made

SITE_FILE = SiteFile(path="stub.dist-info/METADATA", text="Name: stub\n", reason="tests")
HERE = sys.version_info[:2]


def quiet(_: str) -> None:
    """Progress is not looked at."""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every command that would have run; making a venv makes its folders only."""
    found: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **_: object) -> None:
        found.append(argv)
        if "venv" in argv:
            _make_folders(Path(argv[-1]))

    monkeypatch.setattr(venvs, "run", run)
    return found


def _make_folders(home: Path) -> None:
    site = home / "lib" / "python3.11" / "site-packages"
    (site / "a-1.dist-info").mkdir(parents=True)
    (site / "a.py").touch()
    (site / "a-1.dist-info" / "RECORD").write_text("a.py,sha256=x,0\n__pycache__/a.pyc,,\n")
    (home / "bin").mkdir()
    (home / "bin" / "python3").touch()


@pytest.mark.parametrize(
    "lost",
    ["bin/python3", "lib/python3.11/site-packages/a.py", "lib/python3.11/site-packages/a-1.dist-info/RECORD"],
)
def test_a_damaged_venv_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]], lost: str
) -> None:
    """A file that has gone is found before the engine dies of it, or runs under the system's Python."""
    spec = made.image_spec(made.build(packages=(made.lock(monkeypatch, tmp_path / "locks", "a==1\n"),)))
    home = venvs.ready(spec, tmp_path / "venvs", {}, quiet).folder
    (home / lost).unlink()
    said: list[str] = []
    venvs.ready(spec, tmp_path / "venvs", {}, said.append)

    assert (home / lost).exists()
    assert 4 == len(ran)
    assert [f"{home.name} is damaged in the cache: made again"] == said


def test_one_that_is_named_by_its_digest_is_found_and_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """The environment of an earlier night, whose packages are no longer those of the release's lock."""
    locks = tmp_path / "locks"
    old = made.image_spec(made.build(packages=(made.lock(monkeypatch, locks, "a==1\n"),)))
    first = venvs.ready(old, tmp_path / "venvs", {}, quiet)
    new = made.image_spec(made.build(packages=(made.lock(monkeypatch, locks, "a==2\n"),)))
    second = venvs.ready(new, tmp_path / "venvs", {}, quiet)
    commands = len(ran)
    pinned = new.model_copy(update={"digest": first.image.digest})

    assert first.image.digest != second.image.digest
    assert first == venvs.ready(pinned, tmp_path / "venvs", {}, quiet)
    (first.folder / "bin" / "python3").unlink()
    with pytest.raises(CellError, match="is not here any more"):
        venvs.ready(pinned, tmp_path / "venvs", {}, quiet)
    assert commands == len(ran)


def test_a_release_is_installed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """The second time it is there, with the same digest."""
    the_build = made.build(packages=(made.lock(monkeypatch, tmp_path / "locks", "a==1\n"),))
    spec = made.image_spec(the_build)

    first = venvs.ready(spec, tmp_path / "venvs", {}, quiet)
    commands = len(ran)
    second = venvs.ready(spec, tmp_path / "venvs", {}, quiet)

    assert first == second
    assert 2 == commands == len(ran)


def test_pip_is_told_not_to_resolve_nor_to_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """Exactly the lock, as wheels, checked by hash where it has hashes, from the index that it names."""
    hashed = made.lock(monkeypatch, tmp_path / "locks", "a==1 --hash=sha256:0\n", "hashed.txt")
    plain = made.lock(monkeypatch, tmp_path / "locks", "b==1\n", "plain.txt")
    indexed = plain.model_copy(update={"index_url": "https://index.example"})

    venvs.ready(made.image_spec(made.build(packages=(hashed, indexed))), tmp_path / "venvs", {}, quiet)

    _, one, two = ran
    assert {"--no-deps", "--only-binary", "--require-hashes", "-I"} <= set(one)
    assert "--index-url" not in one
    assert "--require-hashes" not in two
    assert "https://index.example" == two[two.index("--index-url") + 1]


@pytest.mark.parametrize("fault", [CommandError("x", 1, ""), KeyboardInterrupt()])
def test_a_half_made_venv_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]], fault: BaseException
) -> None:
    """Whatever ended the first attempt, the second starts from an empty folder."""
    the_build = made.build(packages=(made.lock(monkeypatch, tmp_path / "locks", "a==1\n"),))
    spec = made.image_spec(the_build)

    def fail(argv: tuple[str, ...], **_: object) -> None:
        if "install" in argv:
            raise fault
        (Path(argv[-1]) / "lib").mkdir(parents=True)

    with monkeypatch.context() as patch:
        patch.setattr(venvs, "run", fail)
        with pytest.raises((CellError, KeyboardInterrupt)):
            venvs.ready(spec, tmp_path / "venvs", {}, quiet)
    (home,) = (tmp_path / "venvs").glob("stub-*[!k]")
    (home / "half").touch()

    assert home == venvs.ready(spec, tmp_path / "venvs", {}, quiet).folder
    assert not (home / "half").exists()


def test_site_files_stand_beside_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """Where Python will look for them."""
    lock = made.lock(monkeypatch, tmp_path / "locks", "a==1\n")
    spec = made.image_spec(made.build(packages=(lock,), site_files=(SITE_FILE,)))

    home = venvs.ready(spec, tmp_path / "venvs", {}, quiet).folder

    assert SITE_FILE.text == (home / "lib/python3.11/site-packages" / SITE_FILE.path).read_text()


def test_the_key_changes_with_whatever_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another lock or another site file is another venv; another title is not."""
    lock = made.lock(monkeypatch, tmp_path / "locks", "a==1\n")
    the_build = made.build(packages=(lock,))
    before = venvs.content_key(the_build)

    assert before == venvs.content_key(the_build.model_copy(update={"version": "stub 2"}))
    assert before != venvs.content_key(the_build.model_copy(update={"site_files": (SITE_FILE,)}))
    made.lock(monkeypatch, tmp_path / "locks", "a==2\n")
    assert before != venvs.content_key(the_build)


def test_pips_own_words_tell_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that no index has: the cell fails with pip's last lines. Real pip, no index, no network."""
    lock = made.lock(monkeypatch, tmp_path / "locks", "no-such-package==1.0\n")
    spec = made.image_spec(made.build(packages=(lock,)))

    with pytest.raises(CellError, match=r"stub 1 could not be installed \(.*ended with 1\)") as caught:
        venvs.ready(spec, tmp_path / "venvs", made.environment(PYTHONPATH="/nowhere"), quiet)

    assert "No matching distribution found for no-such-package" in caught.value.log_tail
    assert caught.value.hint


def test_a_disk_that_is_full_is_the_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """Also where it is our own file that does not fit."""
    lock = made.lock(monkeypatch, tmp_path / "locks", "a==1\n")
    spec = made.image_spec(made.build(packages=(lock,), site_files=(SITE_FILE,)))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(venvs, "_write_site_files", full)
    with pytest.raises(HostError, match=r"could not be made: .*No space left"):
        venvs.ready(spec, tmp_path / "venvs", {}, quiet)


def test_a_lock_that_is_missing_is_named() -> None:
    """A release without its lock file was not finished."""
    with pytest.raises(RequestError, match=r"lock file no-such\.txt is missing"):
        venvs.lock_path(PackageSet(lock="no-such.txt"))


def test_a_release_that_comes_as_an_image_is_refused(tmp_path: Path) -> None:
    """The hint names the runtime that can."""
    with pytest.raises(RequestError, match="comes as an image only") as caught:
        venvs.ready(made.image_spec(), tmp_path, {}, quiet)

    assert "RUNTIME=docker" in caught.value.hint


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [
        ({"python": (HERE[0], HERE[1] + 1)}, HERE[1] + 1),
        ({"max_python": (HERE[0], HERE[1] - 1)}, HERE[1] - 1),
    ],
)
def test_another_python_is_asked_for(bounds: dict[str, tuple[int, int]], wanted: int) -> None:
    """Too old and too new alike, with the command that helps."""
    with pytest.raises(HostError, match=rf"under Python 3\.{wanted}, this is") as caught:
        venvs.require_python(made.build(**bounds))

    assert f"PYTHON=python3.{wanted}" in caught.value.hint


def test_this_python_is_taken() -> None:
    """Both bounds are inclusive."""
    venvs.require_python(made.build(python=HERE, max_python=HERE))


def test_the_lock_stands_beside_its_folder() -> None:
    """A release's name may hold dots."""
    assert Path("/c/engine-1.2-abc.lock") == beside(Path("/c/engine-1.2-abc"))


def test_a_serving_layer_has_a_venv_beside_the_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """Two folders, told as one image: a change of either is another."""

    def spec(name: str, lock: str) -> ImageSpec:
        build = made.build(packages=(made.lock(monkeypatch, tmp_path / "locks", lock, f"{name}.txt"),))
        return made.image_spec(build).model_copy(update={"name": name})

    engine = spec("engine", "a==1\n")
    alone = venvs.ready(engine, tmp_path / "venvs", {}, quiet)
    both = [
        venvs.ready(engine.model_copy(update={"layer": spec("layer", lock)}), tmp_path / "venvs", {}, quiet)
        for lock in ("b==1\n", "b==2\n")
    ]

    assert alone.layer is None
    assert {alone.folder} == {venv.folder for venv in both}
    assert all(venv.layer is not None and venv.layer.is_dir() for venv in both)
    assert 3 == len({venv.image.digest for venv in (alone, *both)})
    assert 3 == len({venv.image.reference for venv in (alone, *both)})
