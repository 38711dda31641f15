"""orchestrator/runtime/docker.py against a real daemon: hardening, no egress, nothing left behind."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests.exceptions
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from backends import load_backends
from backends.contract import Accelerator, FailureCause
from orchestrator.domain.provenance import Image
from orchestrator.errors import CellError, HostError
from orchestrator.runtime import cgroup_usage, docker, owner, wheels
from orchestrator.runtime import container as given
from orchestrator.runtime.container import PIDS_LIMIT, TMPFS
from orchestrator.runtime.daemon import Daemon
from orchestrator.runtime.docker import DockerRuntime
from tests.runtime import made
from tests.runtime.made import BASE, Bench

pytestmark = pytest.mark.docker

DEAD = {owner.PID: str(2**22 + 1)}
NO_IMAGE = Image(reference="none", digest="sha256:" + "0" * 64, size_bytes=0)
REACH = """
import json, socket, sys
def reached(address):
    try:
        socket.create_connection(address, timeout=2).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "unreachable"
    return "open"
print(json.dumps([reached((h, int(p))) for h, p in (a.split(":") for a in sys.argv[1:])]))
"""


def runtime(bench: Bench) -> DockerRuntime:
    assert isinstance(bench.runtime, DockerRuntime)
    return bench.runtime


def inspected(bench: Bench, deployment: Any) -> dict[str, Any]:
    attrs: dict[str, Any] = runtime(bench).client.api.inspect_container(deployment.handle)
    return attrs


@contextmanager
def container(bench: Bench, labels: dict[str, str]) -> Iterator[str]:
    """Somebody's container, made without the runtime; removed at the end if nobody did."""
    client = runtime(bench).client
    found = client.containers.create(bench.image.digest, ["sleep", "60"], labels=labels)
    try:
        yield str(found.id)
    finally:
        with suppress(NotFound):
            found.remove(force=True)


def exists(bench: Bench, container_id: str) -> bool:
    listed = runtime(bench).client.containers.list(all=True, sparse=True)
    return container_id in {found.id for found in listed}


def left(bench: Bench, name: str) -> list[Any]:
    return runtime(bench)._found({owner.DEPLOYMENT: name})


def test_the_engine_is_given_as_little_as_it_needs(docker_bench: Bench) -> None:
    """DESIGN.md section 9, item by item, as the daemon has it."""
    host = inspected(docker_bench, docker_bench.up())["HostConfig"]

    assert ["ALL"] == host["CapDrop"]
    assert not host["CapAdd"]
    assert ["no-new-privileges"] == host["SecurityOpt"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["Init"] is True
    assert PIDS_LIMIT == host["PidsLimit"]
    assert {"/tmp": TMPFS} == host["Tmpfs"]  # noqa: S108 - a path inside the container
    assert "exec" in TMPFS.split(",")
    assert host["NetworkMode"] not in {"host", "bridge", "default"}
    assert host["PidMode"] == ""
    assert host["IpcMode"] == "private"
    assert not host["PortBindings"]
    assert not host["PublishAllPorts"]
    assert not host["DeviceRequests"]
    assert "json-file" == host["LogConfig"]["Type"]


def test_the_engine_is_no_root_and_cannot_write_the_weights(docker_bench: Bench) -> None:
    """The one mount is the model's folder, read-only."""
    attrs = inspected(docker_bench, docker_bench.up())

    assert "1000:1000" == attrs["Config"]["User"]
    (mount,) = attrs["Mounts"]
    assert ("/models/stub", False) == (mount["Destination"], mount["RW"])


def test_an_engine_that_needs_more_says_so(docker_bench: Bench) -> None:
    """A vendor's image that runs as root with a writable root file system gets just that."""
    serve = made.serve(user=None, read_only_root=False, shared_memory_bytes=2**30)
    host = inspected(docker_bench, docker_bench.up(serve))["HostConfig"]

    assert host["ReadonlyRootfs"] is False
    assert 2**30 == host["ShmSize"]
    assert ["ALL"] == host["CapDrop"]


def test_the_environment_holds_no_proxy_of_the_users(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker-py hands config.json's proxies, credentials and all, to containers unless told not to."""
    monkeypatch.setattr(
        runtime(docker_bench).client.api._proxy_configs,
        "inject_proxy_environment",
        lambda _: pytest.fail("proxies were asked for"),
    )

    env = inspected(docker_bench, docker_bench.up())["Config"]["Env"]

    assert ["PATH", "STUB_CACHE"] == sorted(word.partition("=")[0] for word in env)


def test_nothing_but_this_host_can_be_reached_from_inside(docker_bench: Bench) -> None:
    """No internet, no other engine, no other container. This host answers on whatever it listens on at all
    addresses: docs/decisions/0001-container-network.md says so."""
    deployment, other = docker_bench.serving(), docker_bench.serving()
    with bridged_server(docker_bench) as bridged, socket.create_server(("", 0)) as server:
        assert "open" == reached(bridged), "the control: from this host it answers"
        host = f"{host_address()}:{server.getsockname()[1]}"
        targets = ["1.1.1.1:443", f"{other.host}:{other.port}", bridged, host]
        argv = ["python3", "-c", REACH, *targets]
        _, said = runtime(docker_bench).client.containers.get(deployment.handle).exec_run(argv)

    assert ["unreachable", "unreachable", "unreachable", "open"] == json.loads(said)


def test_no_name_of_the_world_is_resolved(docker_bench: Bench) -> None:
    """Docker's resolver would carry questions out of an internal network (CVE-2024-29018)."""
    deployment = docker_bench.serving()
    argv = ["python3", "-c", "import socket; socket.getaddrinfo('example.com', 80)"]

    code, said = runtime(docker_bench).client.containers.get(deployment.handle).exec_run(argv)

    assert 1 == code
    assert b"gaierror" in said
    assert ["127.0.0.1"] == inspected(docker_bench, deployment)["HostConfig"]["Dns"]


def reached(address: str) -> str:
    done = subprocess.run(
        (sys.executable, "-c", REACH, address), capture_output=True, text=True, check=True, timeout=30
    )
    return str(json.loads(done.stdout)[0])


@contextmanager
def bridged_server(bench: Bench) -> Iterator[str]:
    """A web server in a container on Docker's default network."""
    found = runtime(bench).client.containers.run(
        bench.image.digest, ["python3", "-m", "http.server", "8000"], detach=True, network="bridge"
    )
    try:
        found.reload()
        address = f"{found.attrs['NetworkSettings']['Networks']['bridge']['IPAddress']}:8000"
        made.wait_for(lambda: reached(address) == "open")
        yield address
    finally:
        found.remove(force=True)


def host_address() -> str:
    """The address of this host's own way out; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("1.1.1.1", 53))
        return str(probe.getsockname()[0])


def test_container_and_network_carry_the_owner(docker_bench: Bench) -> None:
    """Both can be proven a dead orchestrator's."""
    deployment = docker_bench.up()
    expected = owner.labels(deployment.name)

    for thing in left(docker_bench, deployment.name):
        assert expected.items() <= docker._labels(thing).items()
    assert 2 == len(left(docker_bench, deployment.name))


def test_down_leaves_nothing(docker_bench: Bench) -> None:
    """Neither container nor network."""
    deployment = docker_bench.up()

    docker_bench.runtime.down(deployment)

    assert [] == left(docker_bench, deployment.name)


def test_only_what_a_dead_owner_left_is_reaped(docker_bench: Bench) -> None:
    """Not a living owner's, not what says nothing of levelbench or of its owner."""
    living = docker_bench.up()
    ours = owner.labels("test-reap-dead")
    with (
        container(docker_bench, {**ours, **DEAD}) as dead,
        container(docker_bench, {owner.OURS: "1", owner.DEPLOYMENT: "test-reap-unowned"}) as unowned,
        container(docker_bench, {"somebody": "else"}) as foreign,
    ):
        assert "test-reap-dead" in docker_bench.runtime.reap(dry_run=True)
        assert exists(docker_bench, dead)
        assert "test-reap-dead" in docker_bench.runtime.reap()
        assert not exists(docker_bench, dead)
        assert exists(docker_bench, unowned)
        assert exists(docker_bench, foreign)
    assert docker_bench.runtime.state(living).running


def test_a_namesake_of_another_owner_is_not_taken_down(docker_bench: Bench) -> None:
    """A failing `up` cleans up after itself, by the owner's labels and not by the name alone."""
    ours = owner.labels("test-namesake")
    with container(docker_bench, {**ours, **DEAD}) as other:
        runtime(docker_bench)._remove(ours)
        assert exists(docker_bench, other)


def test_a_refusal_of_the_daemon_leaves_nothing(docker_bench: Bench) -> None:
    """The network is there before the container is refused, and gone after."""
    spec = made.deployment_spec(docker_bench.folder, NO_IMAGE)

    with pytest.raises(HostError, match=r"the container could not be started: .*[Nn]o such image"):
        docker_bench.runtime.up(spec)

    assert [] == left(docker_bench, spec.name)


def test_an_argv_that_cannot_start_is_the_cells_fault(docker_bench: Bench) -> None:
    """Made but not started: the container stays in state Created unless it is removed."""
    serve = made.serve(argv=("/no/such/engine",), read_only_root=False)
    spec = made.deployment_spec(docker_bench.folder, docker_bench.image, serve)
    try:
        deployment = docker_bench.runtime.up(spec)
    except CellError:
        assert [] == left(docker_bench, spec.name)
        return
    docker_bench.live.append(deployment)  # Docker's init started, and could not start the engine
    made.wait_for(lambda: not docker_bench.runtime.state(deployment).running)
    assert 127 == docker_bench.runtime.state(deployment).exit_code


@pytest.mark.parametrize("kind", [KeyboardInterrupt, CellError])
def test_whatever_ends_up_leaves_nothing(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """Also an interrupt between start and return."""
    spec = made.deployment_spec(docker_bench.folder, docker_bench.image)

    def interrupt(*_: object) -> None:
        raise kind("stop")

    monkeypatch.setattr(docker_bench.runtime, "_follow", interrupt)
    with pytest.raises(kind):
        docker_bench.runtime.up(spec)

    assert [] == left(docker_bench, spec.name)


def test_a_job_that_the_kernel_kills_for_memory_says_so(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step has a limit of its own; should the host's be reached, the daemon knows why it died."""
    monkeypatch.setitem(given.NEVER, "mem_limit", 48 * 2**20)
    monkeypatch.setitem(given.NEVER, "memswap_limit", 48 * 2**20)
    end = docker_bench.runtime.run(docker_bench.job(made.step("hoard", "128")), print, lambda: None)

    assert (137, True) == (end.state.exit_code, end.state.oom_killed)


def test_a_job_is_given_as_little_as_an_engine(docker_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no network at all; its output is the one thing that it may write."""
    job, seen = docker_bench.job(made.step("hang")), list[dict[str, Any]]()

    def watch() -> None:
        if job.log_path.exists() and job.log_path.stat().st_size:
            seen.append(runtime(docker_bench).client.api.inspect_container(job.name))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        docker_bench.runtime.run(job, lambda _: None, watch)
    (attrs,) = seen
    host = attrs["HostConfig"]

    assert "none" == host["NetworkMode"]
    assert ["ALL"] == host["CapDrop"]
    assert ["no-new-privileges"] == host["SecurityOpt"]
    assert (True, False, True) == (host["ReadonlyRootfs"], host["Privileged"], host["Init"])
    assert PIDS_LIMIT == host["PidsLimit"]
    assert {"/models/stub": False, "/levelbench/steps/build": True} == {
        mount["Destination"]: mount["RW"] for mount in attrs["Mounts"]
    }
    assert owner.labels(job.name).items() <= attrs["Config"]["Labels"].items()
    assert [] == left(docker_bench, job.name)


def test_gpus_are_asked_for_by_uuid() -> None:
    """Never all of them."""
    (request,) = given._gpus(("GPU-1", "GPU-2"))

    assert ["GPU-1", "GPU-2"] == request["DeviceIDs"]
    assert [["gpu"]] == request["Capabilities"]
    assert [] == given._gpus(())


def test_what_cannot_be_removed_stops_the_run(docker_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and nothing is measured beside it."""
    deployment = docker_bench.up()
    with monkeypatch.context() as patch:
        patch.setattr(docker, "GONE_S", 0.0)
        patch.setattr("docker.models.containers.Container.remove", lambda *_, **__: None)
        with pytest.raises(HostError, match=rf"container {deployment.handle[:12]}.* cannot be removed"):
            docker_bench.runtime.down(deployment)


def test_usage_is_none_for_a_process_of_another_group(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures are the container's or none."""
    deployment = docker_bench.serving()
    pid = inspected(docker_bench, deployment)["State"]["Pid"]

    assert cgroup_usage.usage(pid, deployment.handle) is not None
    assert cgroup_usage.usage(os.getpid(), deployment.handle) is None


def test_a_log_that_cannot_be_written_ends_nothing(docker_bench: Bench, tmp_path: Path) -> None:
    """A full disk costs the log; the engine serves on and is taken down."""
    spec = made.deployment_spec(docker_bench.folder, docker_bench.image)
    spec.log_path.mkdir()

    deployment = docker_bench.runtime.up(spec)
    docker_bench.live.append(deployment)

    made.wait_for(lambda: made.answers(deployment))


def test_the_runtime_says_what_it_is(docker_bench: Bench) -> None:
    """The daemon's version goes into every result."""
    assert docker_bench.runtime.version.startswith("Docker ")


def test_a_daemon_that_is_silent_stops_the_run(docker_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not pass for a dead engine; telemetry alone goes on without."""
    deployment = docker_bench.up()

    def silent(*_: object) -> None:
        raise requests.exceptions.ReadTimeout("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(runtime(docker_bench).client.api, "inspect_container", silent)
        with pytest.raises(HostError, match="the Docker daemon did not tell the engine's state: timed out"):
            docker_bench.runtime.state(deployment)
        assert docker_bench.runtime.usage(deployment) is None


def test_the_first_engine_is_built_for_real(tmp_path: Path) -> None:
    """A Dockerfile of ours, with wheels from a lock: the engine's library loads as the user it will run as,
    the build's own stage is gone, and a second request builds nothing."""
    backend = load_backends()["llama-cpp"]
    build = backend.releases[-1].build(Accelerator.CPU)
    assert build is not None
    spec = backend.image(build.model_copy(update={"version": f"{build.version} test"}))
    real = DockerRuntime(Daemon(), tmp_path, dict(os.environ), BASE)
    try:
        image = real.image(spec, lambda _: None)
        said = real.client.containers.run(
            image.digest,
            ["python3", "-c", "import os, xllamacpp; print(os.getuid(), xllamacpp.__version__)"],
            remove=True,
            network_mode="none",
        )
        assert f"1000 {build.version.split()[1]}" == said.decode().strip()
        again: list[str] = []
        assert image == real.image(spec, again.append)
        assert [] == again
        assert image.digest != image.base_digest
        assert [] == real.client.images.list(filters={"dangling": True, **stage(spec)})
    finally:
        real.client.images.remove(image.reference)
        real.close()


def test_an_image_that_is_named_by_its_digest_is_never_built(docker_bench: Bench) -> None:
    """Of an earlier night, under no tag of today's; one that is gone is told."""
    real = runtime(docker_bench)
    spec = made.image_spec(made.build(base="no-such-base:1")).model_copy(
        update={"digest": docker_bench.image.digest}
    )
    found = real.image(spec, lambda _: None)

    assert docker_bench.image.digest == found.digest
    assert found.size_bytes > 0
    with pytest.raises(CellError, match="is not here any more"):
        real.image(spec.model_copy(update={"digest": NO_IMAGE.digest}), lambda _: None)


def stage(spec: Any) -> dict[str, Any]:
    return {"label": [f"{owner.OURS}.backend={spec.name}", f"{owner.OURS}.version={spec.build.version}"]}


def test_a_build_that_fails_tells_its_last_lines(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's own words, and nothing that the half-built image left."""
    monkeypatch.setattr(
        "orchestrator.runtime.images.render",
        lambda spec, base: (
            f"FROM {base}\nLABEL levelbench=1 levelbench.backend=stub "
            "levelbench.release=current levelbench.broken=1\nRUN echo almost && exit 9\n"
        ),
    )

    with pytest.raises(CellError, match="the image of stub stub 1 could not be built") as caught:
        docker_bench.runtime.image(made.image_spec(), lambda _: None)

    assert "almost" in caught.value.log_tail
    assert "returned a non-zero code: 9" in caught.value.log_tail
    broken = {"label": "levelbench.broken=1"}
    assert [] == runtime(docker_bench).client.images.list(filters=broken)


def test_wheels_that_cannot_be_fetched_build_nothing(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip's own last lines tell why."""
    lock = made.lock(monkeypatch, docker_bench.folder / "locks", "no-such-package==1.0\n")
    monkeypatch.setattr(wheels, "DEADLINE_S", 60.0)
    spec = made.image_spec(made.build(packages=(lock,)), "llama-cpp.Dockerfile.j2")

    with pytest.raises(CellError, match="wheels of stub 1 could not be fetched") as caught:
        docker_bench.runtime.image(spec, lambda _: None)

    assert "no-such-package" in caught.value.log_tail


def test_a_base_that_cannot_be_had(docker_bench: Bench, tmp_path: Path) -> None:
    """The hint names the way out: another base."""
    other = DockerRuntime(Daemon(), tmp_path, {})
    spec = made.image_spec()
    spec = spec.model_copy(
        update={"build": spec.build.model_copy(update={"base": "localhost:9/no/such:base"})}
    )
    try:
        with pytest.raises(
            CellError, match="localhost:9/no/such:base is not here and cannot be pulled"
        ) as caught:
            other.image(spec, lambda _: None)
    finally:
        other.close()

    assert "BASE=" in caught.value.hint
    assert FailureCause.IMAGE_PULL is caught.value.cause


def test_images_go_unless_a_container_uses_them(docker_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """`clean` removes what is labelled; what is in use stays and is not said to be gone."""
    real, label = runtime(docker_bench), f"levelbench-test-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(owner, "OURS", label)  # so that the images of this host's user stay
    used, unused = (made_image(real, label, name) for name in ("used", "unused"))
    container = real.client.containers.create(used, ["true"])
    try:
        assert (unused, used) == real.remove_images(dry_run=True)
        assert (unused,) == real.remove_images()
    finally:
        container.remove()
    assert (used,) == real.remove_images()
    assert () == real.remove_images()


def made_image(real: DockerRuntime, label: str, name: str) -> str:
    dockerfile = f"FROM {BASE}\nLABEL {label}=1 levelbench.name={name}\n"
    tag = f"{label}:{name}"
    real.client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True)
    return tag


def test_a_container_that_the_driver_refuses_says_so(
    docker_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of NVIDIA's container toolkit; nothing is left of it."""
    said = "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver"

    def refuse(_: object) -> None:
        raise APIError("x", explanation=said)

    monkeypatch.setattr(Container, "start", refuse)
    spec = made.deployment_spec(docker_bench.folder, docker_bench.image)
    with pytest.raises(CellError, match="unsatisfied condition") as caught:
        docker_bench.runtime.up(spec)

    assert FailureCause.DRIVER_TOO_OLD is caught.value.cause
    assert [] == left(docker_bench, spec.name)
