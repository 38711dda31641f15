"""orchestrator/host/preflight.py: which checks are made for whom."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.contract import Accelerator
from orchestrator.domain.cell import RuntimeKind
from orchestrator.errors import HostError
from orchestrator.host.findings import Check, Finding, Level, lines, require
from orchestrator.host.preflight import Needs, Site, check_plan, doctor
from tests.fakes.nvml import Stub

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123"  # noqa: S105 - planted, to see that it does not come out


def site(
    folder: Path, runtimes: Sequence[str] = ("runc",), *, daemon: bool = True, token: str | None = None
) -> Site:
    def version() -> str:
        if not daemon:
            raise HostError("no daemon answers", hint="start it")
        return "Docker 27.1"

    return Site(
        cache_dir=folder / "cache",
        runs_dir=folder / "runs",
        docker_version=version,
        docker_runtimes=lambda: runtimes,
        token=token,
    )


def needs(
    accelerator: Accelerator = Accelerator.CPU,
    runtime: RuntimeKind = RuntimeKind.PROCESS,
    cache_bytes: int = 0,
    ports: tuple[int, ...] = (),
    *,
    gated: bool = False,
) -> Needs:
    return Needs(accelerator=accelerator, runtime=runtime, cache_bytes=cache_bytes, ports=ports, gated=gated)


def levels(findings: Sequence[Finding]) -> dict[Check, Level]:
    return {finding.check: finding.level for finding in findings}


@pytest.fixture
def no_gpu(nvml_stub: Stub) -> Stub:
    nvml_stub.script("nvmlInitWithFlags * 9")
    return nvml_stub


def test_doctor_looks_at_everything_at_once(tmp_path: Path, no_gpu: Stub) -> None:
    """Each check has a finding, whatever the others found; a box without Docker or GPU can still bench."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = levels(doctor(site(tmp_path, daemon=False), [listener.getsockname()[1]]))

    assert set(found) == set(Check) - {Check.TOOLKIT}
    assert (found[Check.DOCKER], found[Check.GPU], found[Check.PORT]) == (Level.WARN, Level.WARN, Level.FAIL)


def test_doctor_looks_for_the_toolkit_where_it_matters(tmp_path: Path, nvml_stub: Stub) -> None:
    """With a daemon and a GPU, containers should get the GPU."""
    assert levels(doctor(site(tmp_path, ("runc", "nvidia"))))[Check.TOOLKIT] is Level.OK
    assert Check.TOOLKIT not in levels(doctor(site(tmp_path, daemon=False)))


def test_no_token_ever_comes_out(tmp_path: Path, no_gpu: Stub) -> None:
    """Planted, the token is only said to be present."""
    place = site(tmp_path, token=TOKEN)
    findings = (*doctor(place), *check_plan(place, needs(gated=True)))

    said = f"{findings!r} {lines(findings)} {place!r}"

    assert "hub token: present" in said
    assert TOKEN not in said


def test_a_process_on_the_cpu_needs_no_docker_and_no_gpu(tmp_path: Path, no_gpu: Stub) -> None:
    """What the plan does not use is not looked at."""
    found = levels(check_plan(site(tmp_path, daemon=False), needs()))

    assert Level.FAIL not in found.values()
    assert not {Check.DOCKER, Check.TOOLKIT, Check.GPU, Check.TOKEN, Check.PORT} & set(found)
    assert Check.PYTHON in found


def test_a_container_needs_a_daemon(tmp_path: Path, no_gpu: Stub) -> None:
    """An explicit runtime never falls back."""
    found = levels(check_plan(site(tmp_path, daemon=False), needs(runtime=RuntimeKind.DOCKER)))

    assert found[Check.DOCKER] is Level.FAIL
    assert Check.PYTHON not in found


def test_a_container_on_the_cpu_needs_no_toolkit(tmp_path: Path, nvml_stub: Stub) -> None:
    """A GPU in the box changes nothing for a CPU release."""
    found = levels(check_plan(site(tmp_path), needs(runtime=RuntimeKind.DOCKER)))

    assert found[Check.DOCKER] is Level.OK
    assert Check.TOOLKIT not in found


def test_a_container_on_a_gpu_needs_the_toolkit(
    tmp_path: Path, nvml_stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daemon and GPU are there, but nothing that joins them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = levels(check_plan(site(tmp_path), needs(Accelerator.CUDA, RuntimeKind.DOCKER)))

    assert (found[Check.DOCKER], found[Check.GPU], found[Check.TOOLKIT]) == (Level.OK, Level.OK, Level.FAIL)


def test_a_gpu_release_needs_a_gpu(tmp_path: Path, no_gpu: Stub) -> None:
    """Missing, it is a failure and not a warning."""
    assert levels(check_plan(site(tmp_path), needs(Accelerator.CUDA)))[Check.GPU] is Level.FAIL


def test_a_gated_model_needs_a_token(tmp_path: Path, no_gpu: Stub) -> None:
    """The absence is told before anything is started."""
    assert levels(check_plan(site(tmp_path), needs(gated=True)))[Check.TOKEN] is Level.FAIL
    assert levels(check_plan(site(tmp_path, token=TOKEN), needs(gated=True)))[Check.TOKEN] is Level.OK


def test_everything_that_stands_in_the_way_is_one_error(tmp_path: Path, no_gpu: Stub) -> None:
    """No daemon, no GPU, no disk, no port: one HostError with all four."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        wanted = needs(Accelerator.CUDA, RuntimeKind.DOCKER, cache_bytes=10**18, ports=(number,))
        with pytest.raises(HostError) as caught:
            require(check_plan(site(tmp_path, daemon=False), wanted))

    message = str(caught.value)
    assert message.startswith(
        "4 things stand in the way on this host:\n- Docker: no daemon answers -> start it"
    )
    assert all(f"\n- {check.value}: " in message for check in (Check.GPU, Check.DISK, Check.PORT))
