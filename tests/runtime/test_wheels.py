"""orchestrator/runtime/wheels.py, with the commands recorded instead of run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import CellError
from orchestrator.runtime import wheels
from orchestrator.runtime.command import CommandError
from tests.runtime import made


def quiet(_: str) -> None:
    """Progress is not looked at."""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **_: object) -> None:
        found.append(argv)
        folder = Path(argv[argv.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(found)}.whl").touch()

    monkeypatch.setattr(wheels, "run", run)
    return found


def test_wheels_are_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """All sets into one folder, which a second request finds."""
    sets = tuple(made.lock(monkeypatch, tmp_path / "locks", "a==1\n", name) for name in ("1.txt", "2.txt"))
    the_build = made.build(packages=sets)

    first = wheels.fetch(the_build, tmp_path / "wheels", {}, quiet)
    second = wheels.fetch(the_build, tmp_path / "wheels", {}, quiet)

    assert first == second
    assert 2 == len(ran)
    assert ["1.whl", "2.whl"] == sorted(p.name for p in first.glob("*.whl"))


def test_they_are_for_the_images_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """Not for the one that runs levelbench; and never resolved nor built."""
    lock = made.lock(monkeypatch, tmp_path / "locks", "a==1\n")
    wheels.fetch(made.build(packages=(lock,), python=(3, 9)), tmp_path / "wheels", {}, quiet)

    (argv,) = ran
    assert "3.9" == argv[argv.index("--python-version") + 1]
    assert {"--no-deps", "--only-binary"} <= set(argv)


def test_another_lock_or_python_is_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """Nothing is mixed."""
    lock = made.lock(monkeypatch, tmp_path / "locks", "a==1\n")
    one = wheels.fetch(made.build(packages=(lock,)), tmp_path / "wheels", {}, quiet)
    two = wheels.fetch(made.build(packages=(lock,), python=(3, 9)), tmp_path / "wheels", {}, quiet)
    made.lock(monkeypatch, tmp_path / "locks", "a==2\n")
    three = wheels.fetch(made.build(packages=(lock,)), tmp_path / "wheels", {}, quiet)

    assert 3 == len({one, two, three})


def test_half_a_fetch_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """What a failed attempt left is not taken for the whole."""
    the_build = made.build(packages=(made.lock(monkeypatch, tmp_path / "locks", "a==1\n"),))

    def fail(argv: tuple[str, ...], **_: object) -> None:
        folder = Path(argv[argv.index("--dest") + 1])
        folder.mkdir(parents=True)
        (folder / "half.whl").touch()
        raise CommandError("pip ended with 1", 1, "no route")

    with monkeypatch.context() as patch:
        patch.setattr(wheels, "run", fail)
        with pytest.raises(CellError, match="wheels of stub 1 could not be fetched") as caught:
            wheels.fetch(the_build, tmp_path / "wheels", {}, quiet)

    assert "no route" == caught.value.log_tail
    home = wheels.fetch(the_build, tmp_path / "wheels", {}, quiet)
    assert ["1.whl"] == [p.name for p in home.glob("*.whl")]


LOCK = """\
a==1 ; python_full_version < '3.11' \\
    --hash=sha256:1
a==2 ; python_full_version >= '3.11' \\
    --hash=sha256:2 \\
    --hash=sha256:3
b==1 \\
    --hash=sha256:4
"""


def test_a_locks_conditions_are_judged_for_the_target() -> None:
    """pip would judge them by the Python that it runs on. Entries go whole, with their hashes."""
    old = "a==1 \\\n    --hash=sha256:1\nb==1 \\\n    --hash=sha256:4\n"
    new = "a==2 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\nb==1 \\\n    --hash=sha256:4\n"

    assert old == wheels.entries(LOCK, (3, 10))
    assert new == wheels.entries(LOCK, (3, 12))


def test_wheels_for_several_pythons_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]
) -> None:
    """For what goes into images whose Python is not known: each with its own versions of the lock."""
    lock = made.lock(monkeypatch, tmp_path / "locks", LOCK)
    wheels.fetch(made.build(packages=(lock,), wheels_for=((3, 10), (3, 12))), tmp_path / "wheels", {}, quiet)

    assert ["3.10", "3.12"] == [argv[argv.index("--python-version") + 1] for argv in ran]
    assert 1 == len({argv[argv.index("--dest") + 1] for argv in ran})
    assert all("--require-hashes" in argv for argv in ran)
