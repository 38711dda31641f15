"""DESIGN.md section 9, item by item, on a real container: as its daemon has it, and as it looks from inside."""

from __future__ import annotations

import json
import socket
from typing import Any

import psutil
import pytest

from orchestrator.runtime.container import PIDS_LIMIT
from orchestrator.runtime.docker import DockerRuntime
from tests.runtime import made
from tests.runtime.made import Bench

pytestmark = pytest.mark.docker

# What an engine that was taken over would try
INSIDE = r"""
import errno, json, os, socket
status = dict(line.split(":\t", 1) for line in open("/proc/1/status").read().splitlines() if ":\t" in line)

def tried(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"

def write(path):
    def action():
        with open(path, "w") as file:
            file.write("x")
    return action

def raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()

def limit():
    for path in ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"):
        if os.path.exists(path):
            return open(path).read().strip()

print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "capabilities": [status[k].strip().strip("0") for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "main": open("/proc/1/cmdline").read().split("\0")[0],
    "root": tried(write("/planted")), "etc": tried(write("/etc/passwd")),
    "weights": tried(write("/models/stub/planted")), "tmp": tried(write("/tmp/planted")),
    "chown": tried(lambda: os.chown("/tmp/planted", 0, 0)),
    "setuid": tried(lambda: os.setuid(0)), "raw": tried(raw),
    "host_name": tried(lambda: socket.sethostname("x")),
    "device": tried(lambda: os.mknod("/tmp/kmem", 0o20600, os.makedev(1, 2))),
    "socket": os.path.exists("/var/run/docker.sock"),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "egress": tried(lambda: socket.create_connection(("1.1.1.1", 443), timeout=2)),
    "pids": limit(),
}))
"""


@pytest.fixture
def engine(docker_bench: Bench) -> tuple[dict[str, Any], dict[str, Any], Bench]:
    """One engine as its daemon has it, and as it sees itself."""
    deployment = docker_bench.serving()
    assert isinstance(docker_bench.runtime, DockerRuntime)
    found = docker_bench.runtime.client.containers.get(deployment.handle)
    code, said = found.exec_run(["python3", "-c", INSIDE])
    assert 0 == code, said
    return found.attrs, json.loads(said), docker_bench


def test_every_item_of_the_list_holds(engine: tuple[dict[str, Any], dict[str, Any], Bench]) -> None:
    """One container, since one is what takes the time; a line for each item."""
    attrs, inside, _ = engine
    host, network = attrs["HostConfig"], attrs["NetworkSettings"]

    # no --privileged, no host network, no host's processes, memory, users or devices
    assert (False, "", "private", "") == (
        host["Privileged"],
        host["PidMode"],
        host["IpcMode"],
        host["UsernsMode"],
    )
    assert host["NetworkMode"] not in {"host", "bridge", "default"}
    assert (None, [], None) == (host["Devices"] or None, host["DeviceRequests"] or [], host["VolumesFrom"])
    assert "EPERM" == inside["device"]
    # capabilities dropped: none held, none that could be got back
    assert (["ALL"], []) == (host["CapDrop"], host["CapAdd"] or [])
    assert [""] * 5 == inside["capabilities"]
    assert ["EPERM"] * 4 == [inside[tried] for tried in ("chown", "setuid", "raw", "host_name")]
    # no new privileges
    assert (["no-new-privileges"], "1") == (host["SecurityOpt"], inside["no_new_privileges"])
    # a user, not root
    assert ("1000:1000", 1000, 1000) == (attrs["Config"]["User"], inside["uid"], inside["gid"])
    # read-only root with a tmpfs, and no other place to write
    assert (True, ["/tmp"]) == (host["ReadonlyRootfs"], list(host["Tmpfs"]))  # noqa: S108
    assert ("EROFS", "EROFS", "done") == (inside["root"], inside["etc"], inside["tmp"])
    # the model mounted read-only, and nothing else of the host, the daemon's socket least of all
    assert [("/models/stub", False)] == [(m["Destination"], m["RW"]) for m in attrs["Mounts"]]
    assert ("EROFS", False) == (inside["weights"], inside["socket"])
    # pids limit
    assert PIDS_LIMIT == host["PidsLimit"]
    assert inside["pids"] in {str(PIDS_LIMIT), None}  # None where the container is not shown its own group
    # init, so that no zombie is left and signals arrive
    assert host["Init"] is True
    assert inside["main"].endswith(("docker-init", "tini"))
    # no egress (test_docker.py has the control: what this host reaches, and the container does not)
    assert "done" != inside["egress"]
    assert 2 == len(inside["interfaces"])
    # no port published: this host reaches the container's own address, nobody else does
    assert ({}, False) == (host["PortBindings"] or {}, host["PublishAllPorts"])
    assert not any(network["Ports"].values())


def test_a_network_is_internal_and_its_own(engine: tuple[dict[str, Any], dict[str, Any], Bench]) -> None:
    """One engine is on it, and the daemon lets nothing out."""
    attrs, _, bench = engine
    ((name, _),) = attrs["NetworkSettings"]["Networks"].items()
    assert isinstance(bench.runtime, DockerRuntime)
    (network,) = bench.runtime.client.networks.list(names=[name], greedy=True)

    assert network.attrs["Internal"] is True
    assert [attrs["Id"]] == list(network.attrs["Containers"])


def test_no_process_of_this_host_listens_for_the_engine(
    engine: tuple[dict[str, Any], dict[str, Any], Bench],
) -> None:
    """Docker's proxy would listen on all addresses of the host."""
    _, _, bench = engine
    listening = {
        (c.laddr.ip, c.laddr.port)
        for c in psutil.net_connections(kind="tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr and c.pid
    }
    assert 8000 == bench.live[0].port
    assert bench.live[0].host not in {ip for ip, _ in listening}
    with socket.socket() as probe:
        probe.settimeout(2)
        if ("127.0.0.1", 8000) not in listening and not any(port == 8000 for _, port in listening):
            assert probe.connect_ex(("127.0.0.1", 8000)) != 0


def test_the_daemon_knows_an_engines_cpus(docker_bench: Bench) -> None:
    """As a set that the kernel keeps; what the engine sees of it stands in test_contract.py."""
    one = max(made.allowed_cpus())
    deployment = docker_bench.up(cpus=(one,))
    assert isinstance(docker_bench.runtime, DockerRuntime)
    found = docker_bench.runtime.client.containers.get(deployment.handle)

    assert str(one) == found.attrs["HostConfig"]["CpusetCpus"]
