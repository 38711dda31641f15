"""What a container is given, and what not: DESIGN.md section 9. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from backends.contract import Launch
from orchestrator.domain.cpus import ranges
from orchestrator.render import FILES_IN_IMAGE, LAYER_IN_IMAGE
from orchestrator.runtime.interface import CommandSpec
from orchestrator.runtime.placement import Placement

EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside the container, on a network that only this host reaches
CONFIG = "/levelbench/config"
STEPS = "/levelbench/steps"
PIDS_LIMIT = 4096
# Docker's own resolver asks beyond an internal network too, on older daemons (CVE-2024-29018): the
# container's loopback is asked instead, where nothing answers
NO_DNS = "127.0.0.1"
# exec: engines compile kernels into their caches; Docker's own default for a tmpfs is noexec
TMPFS = "rw,exec,nosuid,nodev,mode=1777"
NEVER = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "pids_limit": PIDS_LIMIT,
    "init": True,
    "use_config_proxy": False,  # docker-py would hand over the proxies of this user's config.json
    # a daemon's own default may keep no log to follow
    "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "200m"}),
}


def placement(
    spec: CommandSpec, launch: Launch, *, port: int = 0, engine_port: int | None = None, out: str = ""
) -> Placement:
    return Placement(
        model=f"/models/{spec.model_folder}",
        files=FILES_IN_IMAGE,
        config=CONFIG,
        bind=EVERYWHERE,
        port=port,
        out=out,
        engine_port=engine_port or 0,
        layer=LAYER_IN_IMAGE,
        steps={name: output(name) for name in spec.inputs(launch)},
    )


def output(step_id: str) -> str:
    """A step writes where its readers will find it, since some tools note down their own folder."""
    return f"{STEPS}/{step_id}"


def options(
    spec: CommandSpec, launch: Launch, place: Placement, *, out_dir: Path | None = None
) -> dict[str, Any]:
    """Everything but name, labels and network."""
    mounts = [_read_only(place.model, spec.weights_dir)]
    mounts += [_read_only(place.steps[name], folder) for name, folder in spec.inputs(launch).items()]
    mounts += [_read_only(place.config, spec.config_dir)] if launch.files else []
    mounts += [Mount(place.out, str(out_dir), type="bind")] if out_dir is not None else []
    return {
        **NEVER,
        "command": list(place.argv(launch)),
        "environment": place.env(launch),
        "mounts": mounts,
        "device_requests": _gpus(spec.gpus),
        "cpuset_cpus": ranges(spec.cpus) or None,
        "read_only": launch.read_only_root,
        "tmpfs": {mount.value: TMPFS for mount in launch.writable},
        "user": launch.user,
        "dns": [NO_DNS],
        "shm_size": launch.shared_memory_bytes,
        "ulimits": _ulimits(launch.ulimits),
    }


def owning(folder: Path, uid: int, gid: int) -> dict[str, Any]:
    """A container that gives a folder's files to a user, and can do nothing else."""
    return {
        **NEVER,
        "entrypoint": ["chown", "--recursive", "--no-dereference", f"{uid}:{gid}", STEPS],
        "user": "0:0",
        "cap_add": ["CHOWN", "DAC_OVERRIDE"],
        "read_only": True,
        "network_mode": "none",
        "mounts": [Mount(STEPS, str(folder), type="bind")],
    }


def _read_only(target: str, source: Path) -> Mount:
    return Mount(target, str(source), type="bind", read_only=True)


def _gpus(uuids: tuple[str, ...]) -> list[DeviceRequest]:
    return [DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])] if uuids else []


def _ulimits(limits: Mapping[str, int]) -> list[Ulimit]:
    return [Ulimit(name=name, soft=value, hard=value) for name, value in limits.items()]
