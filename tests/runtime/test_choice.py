"""orchestrator/runtime/choice.py: what was asked for is had or fails; only `auto` may choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.contract import Build, PackageSet
from orchestrator.domain.cell import RuntimeChoice, RuntimeKind
from orchestrator.errors import HostError, RequestError
from orchestrator.runtime import images
from orchestrator.runtime.choice import choose
from orchestrator.runtime.daemon import Daemon
from tests.runtime import made

PACKAGED = made.build(packages=(PackageSet(lock="llama-cpp-cpu.txt"),))
IMAGE_ONLY = made.build()


def chosen(
    choice: RuntimeChoice,
    *builds: Build,
    daemon: Daemon | None = None,
    base: str | None = None,
    pull: bool = True,
) -> tuple[RuntimeKind, tuple[str, ...]]:
    runtime, notes = choose(
        choice,
        daemon or Daemon("unix:///no/such.sock"),
        builds,
        base=base,
        cache_dir=Path("/cache"),
        environment={},
        pull=pull,
    )
    return runtime.kind, notes


@pytest.fixture
def bases(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A daemon that answers; base image -> why it cannot be had, and only what is asked for gets in."""
    found: dict[str, Any] = {}

    class Client:
        def info(self) -> dict[str, object]:
            return {"SecurityOptions": found.get("options", []), "OperatingSystem": "Debian"}

        def close(self) -> None:
            found["closed"] = None

    monkeypatch.setattr(Daemon, "client", lambda _: Client())
    monkeypatch.setattr(images, "base_missing", lambda _, name, pull: found.setdefault(name, None))
    return found


def test_process_by_name_asks_no_daemon() -> None:
    """Not even for an unknown context."""
    assert (RuntimeKind.PROCESS, ()) == chosen(RuntimeChoice.PROCESS, PACKAGED, daemon=Daemon(context="no"))


def test_docker_by_name_is_never_replaced() -> None:
    """Without a daemon the run fails later, and says so."""
    assert (RuntimeKind.DOCKER, ()) == chosen(RuntimeChoice.DOCKER, PACKAGED)


def test_auto_is_docker_where_the_base_is(bases: dict[str, Any]) -> None:
    """Without a word: it is the rule. Each base is looked for once."""
    assert (RuntimeKind.DOCKER, ()) == chosen(RuntimeChoice.AUTO, PACKAGED, PACKAGED)
    assert {made.BASE: None} == bases


def test_auto_looks_for_the_base_that_was_named(bases: dict[str, Any]) -> None:
    """BASE= replaces those of all builds."""
    chosen(RuntimeChoice.AUTO, PACKAGED, base="mine:1")

    assert {"mine:1": None} == bases


def test_auto_without_a_daemon_is_a_process_with_a_word() -> None:
    """The reason is the daemon's silence."""
    kind, (note,) = chosen(RuntimeChoice.AUTO, PACKAGED)

    assert RuntimeKind.PROCESS is kind
    assert note.startswith("no Docker daemon answers at unix:///no/such.sock")
    assert note.endswith("(RUNTIME=process)")


def test_auto_without_a_base_is_a_process_with_a_word(bases: dict[str, Any]) -> None:
    """The reason is the base, and the daemon's connection is given back."""
    bases[made.BASE] = "no base"
    kind, (note,) = chosen(RuntimeChoice.AUTO, PACKAGED)

    assert RuntimeKind.PROCESS is kind
    assert note.startswith("no base; ")
    assert "closed" in bases


def test_auto_is_docker_for_what_comes_as_an_image_only() -> None:
    """There is no other way, so a missing daemon is an error later, not a reason to choose."""
    assert (RuntimeKind.DOCKER, ()) == chosen(RuntimeChoice.AUTO, PACKAGED, IMAGE_ONLY)


def test_auto_on_a_daemon_elsewhere_is_a_process_here() -> None:
    """Client and engine must share a host."""
    kind, (note,) = chosen(RuntimeChoice.AUTO, PACKAGED, daemon=Daemon("ssh://far.example"))

    assert RuntimeKind.PROCESS is kind
    assert "ssh://far.example is on another host" in note


def test_docker_on_a_daemon_elsewhere_is_refused() -> None:
    """Before anything is built there."""
    runtime, _ = choose(
        RuntimeChoice.DOCKER,
        Daemon("tcp://10.0.0.1:2375"),
        [PACKAGED],
        base=None,
        cache_dir=Path("/cache"),
        environment={},
        pull=True,
    )
    with pytest.raises(HostError, match="is on another host") as caught:
        runtime.image(made.image_spec(), print)

    assert "HOST=" in caught.value.hint


def test_an_unknown_context_is_not_a_reason_for_a_process(tmp_path: Path) -> None:
    """It is a typing error, which a silent fallback would hide."""
    with pytest.raises(RequestError, match="unknown Docker context"):
        chosen(RuntimeChoice.AUTO, PACKAGED, daemon=Daemon(context="no", config_dir=tmp_path))


def test_auto_leaves_a_rootless_daemon(bases: dict[str, Any]) -> None:
    """Its containers cannot be reached by their own addresses: a wait for the port would tell nothing."""
    bases["options"] = ["name=seccomp", "name=rootless"]
    kind, (note,) = chosen(RuntimeChoice.AUTO, PACKAGED)

    assert RuntimeKind.PROCESS is kind
    assert "rootless Docker" in note


def test_a_setting_replaces_a_plain_base_only() -> None:
    """An engine's own image is never replaced by a bare Debian."""
    assert ("mine", PACKAGED.base) == (PACKAGED.based_on("mine"), PACKAGED.based_on(None))
    assert IMAGE_ONLY.base == IMAGE_ONLY.based_on("mine")


def test_a_plan_says_what_it_would_pull(bases: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It pulls nothing, so it cannot know whether docker will serve."""
    monkeypatch.setattr(images, "find", lambda _, name: None)
    kind, (note,) = chosen(RuntimeChoice.AUTO, PACKAGED, PACKAGED, pull=False)

    assert RuntimeKind.DOCKER is kind
    assert f"{PACKAGED.base} is not here yet" in note
