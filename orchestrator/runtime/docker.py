"""An engine in a hardened container of its own, on a network of its own that leads nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, Mount

from backends.contract import ImageSpec, ServeSpec
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.provenance import Image
from orchestrator.domain.telemetry import Usage
from orchestrator.errors import CellError, HostError
from orchestrator.render import FILES_IN_IMAGE
from orchestrator.runtime import cgroup_usage, images, owner
from orchestrator.runtime.daemon import Daemon, translated
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Progress, State
from orchestrator.runtime.placement import Placement

EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside the container, on a network that only this host reaches
PIDS_LIMIT = 4096
LOG_S = 5.0
# exec: engines compile kernels into their caches; Docker's own default for a tmpfs is noexec
TMPFS = "rw,exec,nosuid,nodev,mode=1777"


@dataclass(frozen=True, slots=True)
class _Following:
    """The thread that copies a container's output into the engine's log."""

    thread: Thread
    client: docker.DockerClient


class DockerRuntime:
    """Implements Runtime. `base` replaces the base image of every Dockerfile."""

    kind = RuntimeKind.DOCKER

    def __init__(
        self, daemon: Daemon, cache_dir: Path, environment: Mapping[str, str], base: str | None = None
    ) -> None:
        self._daemon = daemon
        self._cache_dir = cache_dir
        self._environment = environment
        self._base = base
        self._following: dict[str, _Following] = {}

    @cached_property
    def client(self) -> docker.DockerClient:
        if not self._daemon.is_local:
            raise HostError(
                f"the Docker daemon at {self._daemon.address} is on another host",
                hint="run levelbench on that host: client and engine must share one",
            )
        return self._daemon.client()

    @property
    def version(self) -> str:
        return f"Docker {self._daemon.version()}"

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        base = self._base or spec.build.base
        self._cache_dir.mkdir(parents=True, exist_ok=True)
        return images.build(self.client, spec, base, self._cache_dir, self._environment, progress)

    def up(self, spec: DeploymentSpec) -> Deployment:
        placement = Placement(
            model=f"/models/{spec.model_id}", files=FILES_IN_IMAGE, bind=EVERYWHERE, port=spec.serve.port
        )
        try:
            with translated("the container could not be started"):
                container, address = self._start(spec, placement)
                self._follow(spec.name, container, spec.log_path)
        except BaseException:
            self._remove(spec.name, stop_s=0)
            raise
        return Deployment(
            name=spec.name,
            handle=str(container.id),
            host=address,
            port=spec.serve.port,
            argv=placement.argv(spec.serve),
            env=placement.env(spec.serve),
            log_path=spec.log_path,
            stop_s=spec.serve.stop_s,
            runtime=self.kind,
        )

    def state(self, deployment: Deployment) -> State:
        with translated("the Docker daemon did not tell the engine's state"):
            try:
                found = self.client.api.inspect_container(deployment.handle)["State"]
            except NotFound:
                return State(running=False)
        if found["Running"]:
            return State(running=True)
        self._end_following(deployment.name)  # so that the log's last words are in the file
        return State(running=False, exit_code=found["ExitCode"], oom_killed=bool(found["OOMKilled"]))

    def usage(self, deployment: Deployment) -> Usage | None:
        try:
            pid = int(self.client.api.inspect_container(deployment.handle)["State"]["Pid"])
        except (DockerException, requests.exceptions.RequestException):
            return None
        return cgroup_usage.usage(pid) if pid else None

    def down(self, deployment: Deployment) -> None:
        self._remove(deployment.name, stop_s=deployment.stop_s)
        self._end_following(deployment.name)

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        with translated("the Docker daemon did not list its containers"):
            everything = (*self._containers(owner.OURS), *self._networks(owner.OURS))
        names = {_labels(x)[owner.DEPLOYMENT] for x in everything if owner.is_dead(_labels(x))}
        for name in () if dry_run else names:
            self._remove(name, stop_s=0)
        return tuple(sorted(names))

    def remove_images(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Remove every image that carries our label and that no container uses."""
        with translated("the Docker daemon could not remove an image"):
            found = self.client.images.list(filters={"label": f"{owner.OURS}=1"})
            for image in () if dry_run else found:
                self.client.images.remove(image.id, force=True)
        return tuple(sorted((image.tags or [image.short_id])[0] for image in found))

    def _start(self, spec: DeploymentSpec, placement: Placement) -> tuple[Container, str]:
        labels = owner.labels(spec.name)
        network = self.client.networks.create(
            spec.name, driver="bridge", internal=True, check_duplicate=True, labels=labels
        )
        container = self.client.containers.create(
            spec.image.digest,
            command=list(placement.argv(spec.serve)),
            environment=placement.env(spec.serve),
            name=spec.name,
            network=network.name,
            labels=labels,
            mounts=[Mount(placement.model, str(spec.weights_dir), type="bind", read_only=True)],
            device_requests=_gpus(spec.gpus),
            **_hardening(spec.serve),
        )
        try:
            container.start()
        except APIError as error:
            raise CellError(
                f"the engine could not be started: {error.explanation}", hint="see the plan's argv"
            ) from error
        container.reload()
        return container, str(container.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"])

    def _follow(self, name: str, container: Container, log_path: Path) -> None:
        client = self._daemon.client()  # of its own: a followed log keeps its connection busy

        def copy() -> None:
            with log_path.open("wb") as log, suppress(DockerException, requests.exceptions.RequestException):
                for piece in client.containers.get(container.id).logs(stream=True, follow=True):
                    log.write(piece)
                    log.flush()

        thread = Thread(target=copy, name=f"log-{name}", daemon=True)
        self._following[name] = _Following(thread, client)
        thread.start()

    def _end_following(self, name: str) -> None:
        following = self._following.pop(name, None)
        if following is not None:
            following.thread.join(LOG_S)
            following.client.close()

    def _remove(self, name: str, *, stop_s: float) -> None:
        """Stop, kill, remove, then prove that nothing with the deployment's label is left."""
        label = f"{owner.DEPLOYMENT}={name}"
        with translated(f"{name} could not be taken down, nothing can be measured beside it"):
            for container in self._containers(label):
                with suppress(NotFound):
                    if stop_s:
                        container.stop(timeout=round(stop_s))
                    container.remove(force=True, v=True)
            for network in self._networks(label):
                with suppress(NotFound):
                    network.remove()
            left = [x.name for x in (*self._containers(label), *self._networks(label))]
        if left:
            raise HostError(
                f"{', '.join(left)} cannot be removed",
                hint=f"remove it by hand: docker ps -a --filter label={label}",
            )

    def _containers(self, label: str) -> list[Container]:
        found: list[Container] = self.client.containers.list(all=True, filters={"label": label}, sparse=True)
        return found

    def _networks(self, label: str) -> list[Any]:
        found: list[Any] = self.client.networks.list(filters={"label": label})
        return found


def _hardening(serve: ServeSpec) -> dict[str, Any]:
    """DESIGN.md section 9: what an engine is not given."""
    return {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": serve.read_only_root,
        "tmpfs": {mount.value: TMPFS for mount in serve.writable},
        "user": serve.user,
        "pids_limit": PIDS_LIMIT,
        "init": True,
        "shm_size": serve.shared_memory_bytes,
    }


def _gpus(uuids: tuple[str, ...]) -> list[DeviceRequest]:
    return [DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])] if uuids else []


def _labels(thing: Any) -> dict[str, str]:
    """Of a container or a network, which keep them in different places."""
    labels: dict[str, str] = thing.attrs.get("Labels") or {}
    return labels
