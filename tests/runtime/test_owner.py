"""orchestrator/runtime/owner.py: dead is only what is proven dead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.host import locks
from orchestrator.runtime import owner

NOBODY = str(2**22 + 1)  # above the largest number that a process can have (proc(5), pid_max)


def labels(**changes: str) -> dict[str, str]:
    names = {"pid": owner.PID, "start": owner.START, "boot": owner.BOOT, "namespace": owner.NAMESPACE}
    return {**owner.labels("mine"), **{names[k]: v for k, v in changes.items()}}


def test_the_labels_name_deployment_and_owner() -> None:
    """Everything that proves an owner's life or death is in them."""
    found = owner.labels("run-7")

    assert "1" == found[owner.OURS]
    assert "run-7" == found[owner.DEPLOYMENT]
    assert str(os.getpid()) == found[owner.PID]
    assert all(found.values())


def test_who_runs_is_not_dead() -> None:
    """We ourselves, for instance."""
    assert not owner.is_dead(labels())


def test_an_ended_process_is_dead() -> None:
    """Its number is free."""
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as process:
        me = locks.identity(process.pid)
        theirs = labels(pid=str(me.pid), start=str(me.start_ticks))
        assert not owner.is_dead(theirs)

    assert owner.is_dead(theirs)


def test_a_killed_process_is_dead_before_anybody_has_asked_how_it_ended() -> None:
    """A zombie still has its number and its start, and in a container nobody may ever ask."""
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as process:
        me = locks.identity(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert owner.is_dead(labels(pid=str(me.pid), start=str(me.start_ticks)))
        assert not me.alive


def test_a_number_that_was_taken_over_is_dead() -> None:
    """The process of that number started at another time."""
    assert owner.is_dead(labels(start="1"))


def test_another_boot_is_dead() -> None:
    """Nothing survives a reboot but containers."""
    assert owner.is_dead(labels(boot="00000000-0000-0000-0000-000000000000"))


@pytest.mark.parametrize(
    "name", [owner.OURS, owner.DEPLOYMENT, owner.BOOT, owner.NAMESPACE, owner.PID, owner.START]
)
def test_what_names_no_whole_owner_is_left_alone(name: str) -> None:
    """Without one of the labels nothing is proven, even where all others speak of death."""
    dead = labels(pid=NOBODY)
    assert owner.is_dead(dead)

    assert not owner.is_dead({k: v for k, v in dead.items() if k != name})
    assert not owner.is_dead({**dead, name: ""})


def test_an_owner_that_is_no_number_is_left_alone() -> None:
    """Labels that somebody else wrote do not end in a crash."""
    assert not owner.is_dead(labels(pid="me"))
    assert not owner.is_dead(labels(start="-"))


def test_an_orchestrator_in_a_container_is_not_dead() -> None:
    """Its number means another process here: nothing can be proven across namespaces."""
    assert not owner.is_dead(labels(pid=NOBODY, namespace="pid:[1]"))


def test_a_process_that_proc_hides_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under hidepid=2 another user's process has no /proc folder, but its number is not free."""
    monkeypatch.setattr(locks, "_start_ticks", lambda _: None)
    assert not owner.is_dead(labels())

    monkeypatch.setattr("os.kill", _forbidden)
    assert not owner.is_dead(labels())


def test_a_number_that_is_free_and_hidden_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """kill(2) tells a free number also where /proc does not."""
    monkeypatch.setattr(locks, "_start_ticks", lambda _: None)

    assert owner.is_dead(labels(pid=NOBODY, start="5"))


def test_nothing_is_proven_without_a_boot_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where /proc is not mounted, nobody is dead."""
    monkeypatch.setattr(locks, "BOOT_ID_PATH", tmp_path / "absent")

    assert not owner.is_dead({**labels(pid=NOBODY), owner.BOOT: "another"})


def test_nothing_is_proven_without_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable namespace is empty in the labels, and empty labels prove nothing."""
    monkeypatch.setattr(Path, "readlink", _forbidden)

    assert "" == owner.labels("mine")[owner.NAMESPACE]
    assert not owner.is_dead(labels(pid=NOBODY))


def _forbidden(*_: object) -> None:
    raise PermissionError
