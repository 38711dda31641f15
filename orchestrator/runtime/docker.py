"""An engine in a hardened container of its own, on a network of its own that leads nowhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from backends.contract import COMMON_FAILURES, FailureCause, ImageSpec
from orchestrator.domain.cell import RuntimeKind
from orchestrator.domain.failure import classify
from orchestrator.domain.provenance import Image
from orchestrator.domain.shelf import Shelved
from orchestrator.domain.telemetry import Usage
from orchestrator.errors import CellError, HostError
from orchestrator.runtime import cgroup_usage, container, images, owner, shelf
from orchestrator.runtime.daemon import Daemon, patiently, translated
from orchestrator.runtime.following import Following, follow
from orchestrator.runtime.interface import (
    CommandSpec,
    Deployment,
    DeploymentSpec,
    JobEnd,
    JobSpec,
    Progress,
    Rendered,
    State,
)
from orchestrator.runtime.job import Limits, until_ended
from orchestrator.runtime.placement import Placement, write_files

LOG_S = 5.0
GONE_S = 20.0
POLL_S = 0.1
CONFLICT = 409
# A container that is being removed already; a network whose last endpoint is going (Docker 20.10 says 403)
REFUSED_FOR_NOW = (403, CONFLICT)


class DockerRuntime:
    """Implements Runtime. `base` replaces the plain base image of what is installed from wheels."""

    kind = RuntimeKind.DOCKER

    def __init__(
        self, daemon: Daemon, cache_dir: Path, environment: Mapping[str, str], base: str | None = None
    ) -> None:
        self._daemon = daemon
        self._cache_dir = cache_dir
        self._environment = environment
        self._base = base
        self._following: dict[str, Following] = {}
        self._was_away = False

    @cached_property
    def client(self) -> docker.DockerClient:
        if not self._daemon.is_local:
            raise HostError(
                f"the Docker daemon at {self._daemon.address} is on another host",
                hint="client and engine must share one: make bench HOST=NAME runs levelbench there",
            )
        client = self._daemon.client()
        with translated("the Docker daemon did not tell what it is"):
            apart = _apart(client.info())
        if apart is not None:
            client.close()
            raise HostError(
                f"{apart} keeps its containers on a network of its own, which this host cannot reach",
                hint="use RUNTIME=process, or a daemon that runs as root on this Linux host",
            )
        return client

    @property
    def version(self) -> str:
        return f"Docker {self._daemon.version()}"

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        base = spec.build.based_on(self._base)
        self._cache_dir.mkdir(parents=True, exist_ok=True)
        image = images.build(self.client, spec, base, self._cache_dir, self._environment, progress)
        shelf.note(self._cache_dir, image.digest)
        return image

    def shelved(self) -> tuple[Shelved, ...]:
        return shelf.shelved(self.client, self._cache_dir)

    def discard(self, name: str) -> bool:
        return self._remove_image(name)

    def rendered(self, spec: DeploymentSpec) -> Rendered:
        placement = _serving(spec)
        return Rendered(placement.argv(spec.serve), placement.env(spec.serve))

    def up(self, spec: DeploymentSpec) -> Deployment:
        placement = _serving(spec)
        write_files(spec.serve, placement, spec.config_dir)
        self._was_away = False
        try:
            with translated("the container could not be started"):
                network = self._network(spec.name)
                options = container.options(spec, spec.serve, placement)
                found = self._start(spec, network=network, **options)
                address = found.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
        except BaseException:
            self._remove(owner.labels(spec.name))
            self._end_following(spec.name)
            raise
        return Deployment(
            name=spec.name,
            handle=str(found.id),
            host=str(address),
            port=spec.serve.port,
            argv=placement.argv(spec.serve),
            env=placement.env(spec.serve),
            log_path=spec.log_path,
            stop_s=spec.serve.stop_s,
            runtime=self.kind,
            engine_port=spec.serve.engine_port,
        )

    def state(self, deployment: Deployment) -> State:
        return self._state(deployment.name, deployment.handle)

    def usage(self, deployment: Deployment) -> Usage | None:
        return self._usage(deployment.handle)

    def pids(self, deployment: Deployment) -> frozenset[int] | None:
        pid = self._pid(deployment.handle)
        return frozenset() if pid is None else cgroup_usage.pids(pid, deployment.handle)

    def run(self, spec: JobSpec, on_line: Progress, watch: Callable[[], None]) -> JobEnd:
        placement = container.placement(spec, spec.step, out=container.output(spec.step.id))
        write_files(spec.step, placement, spec.config_dir)
        options = container.options(spec, spec.step, placement, out_dir=spec.out_dir)
        try:
            with translated("the step's container could not be started"):
                found = self._start(spec, network_mode="none", **options)
            running = _Container(self, spec.name, str(found.id))
            return until_ended(running, spec.log_path, Limits(spec.step.deadline_s), on_line, watch)
        finally:
            self._remove(owner.labels(spec.name))
            self._end_following(spec.name)
            self._own(spec)

    def down(self, deployment: Deployment) -> None:
        self._remove(owner.labels(deployment.name), stop_s=deployment.stop_s)
        self._end_following(deployment.name)

    def reap(self, *, dry_run: bool = False) -> tuple[str, ...]:
        doing = "the Docker daemon did not list its containers"
        listed = patiently(doing, lambda: self._found({owner.OURS: "1"}), self._wait_for_daemon)
        found = [_labels(x) for x in listed]
        dead = {labels[owner.DEPLOYMENT]: labels for labels in found if owner.is_dead(labels)}
        for labels in () if dry_run else dead.values():
            self._remove({name: labels[name] for name in owner.labels("")})
        return tuple(sorted(dead))

    def remove_images(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Remove every image that carries our label and that no container uses."""
        with translated("the Docker daemon could not list its images"):
            found = self.client.images.list(filters={"label": f"{owner.OURS}=1"})
        names = [name for image in found for name in (image.tags or [str(image.id)])]
        return tuple(sorted(name for name in names if dry_run or self._remove_image(name)))

    def _remove_image(self, name: str) -> bool:
        with translated(f"the Docker daemon could not remove {name}"):
            try:
                self.client.images.remove(name)
            except ImageNotFound:
                return False
            except APIError as error:
                if error.status_code == CONFLICT:
                    return False
                raise
        return True

    def _network(self, name: str) -> str:
        """A network that leads to this host alone."""
        self.client.networks.create(
            name, driver="bridge", internal=True, check_duplicate=True, labels=owner.labels(name)
        )
        return name

    def _start(self, spec: CommandSpec, **options: Any) -> Container:
        """A container that runs the command, its output followed into the log."""
        found = self.client.containers.create(
            spec.image.digest, name=spec.name, labels=owner.labels(spec.name), **options
        )
        try:
            found.start()
        except APIError as error:
            said = str(error.explanation)
            cause, hint = classify(exit_code=None, oom_killed=False, log=said, signatures=COMMON_FAILURES)
            if cause is FailureCause.UNKNOWN:
                hint = "see the plan's argv"
            raise CellError(f"{spec.name} could not be started: {said}", hint=hint, cause=cause) from error
        self._follow(spec.name, found, spec.log_path)
        found.reload()
        return found

    def _state(self, name: str, container_id: str) -> State:
        doing = "the Docker daemon did not tell the engine's state"
        try:
            found = patiently(
                doing, lambda: self.client.api.inspect_container(container_id)["State"], self._wait_for_daemon
            )
        except HostError as error:
            if isinstance(error.__cause__, NotFound):
                return State(running=False)
            raise
        if found["Running"]:
            return State(running=True)
        self._join(name)  # so that the log's last words are in the file
        why = "the Docker daemon was restarted, and its containers with it" if self._was_away else ""
        return State(running=False, exit_code=found["ExitCode"], oom_killed=bool(found["OOMKilled"]), why=why)

    def _wait_for_daemon(self) -> None:
        self._was_away = True
        time.sleep(POLL_S)

    def _usage(self, container_id: str) -> Usage | None:
        pid = self._pid(container_id)
        return None if pid is None else cgroup_usage.usage(pid, container_id)

    def _pid(self, container_id: str) -> int | None:
        """Of its main process; None when it is gone."""
        try:
            pid = int(self.client.api.inspect_container(container_id)["State"]["Pid"])
        except (DockerException, requests.exceptions.RequestException):
            return None
        return pid or None

    def _own(self, spec: JobSpec) -> None:
        """Make the output this user's, whoever wrote it: only root may do that, so a container does."""
        if all(path.lstat().st_uid == os.getuid() for path in spec.out_dir.rglob("*")):
            return
        name = f"{spec.name}-own"
        options = container.owning(spec.out_dir, os.getuid(), os.getgid())
        try:
            with translated(f"what {spec.name} wrote could not be taken over"):
                found = self.client.containers.create(
                    spec.image.digest, name=name, labels=owner.labels(name), **options
                )
                found.start()
                if found.wait()["StatusCode"]:
                    raise CellError(
                        f"what {spec.name} wrote belongs to another user, and chown failed",
                        hint="an image that makes files needs `chown`",
                        log_tail=found.logs().decode(errors="replace"),
                    )
        finally:
            self._remove(owner.labels(name))

    def _follow(self, name: str, followed: Container, log_path: Path) -> None:
        self._following[name] = follow(self._daemon.client(), name, str(followed.id), log_path)

    def _join(self, name: str) -> None:
        if name in self._following:
            self._following[name].thread.join(LOG_S)

    def _end_following(self, name: str) -> None:
        self._join(name)
        following = self._following.pop(name, None)
        if following is not None:
            following.client.close()

    def _remove(self, labels: Mapping[str, str], *, stop_s: float = 0.0) -> None:
        """Stop, kill, remove, then prove that nothing with all these labels is left."""
        doing = f"{labels[owner.DEPLOYMENT]} could not be taken down, nothing can be measured beside it"
        patiently(doing, lambda: self._take_down(labels, stop_s), self._wait_for_daemon)

    def _take_down(self, labels: Mapping[str, str], stop_s: float) -> None:
        if stop_s:
            self._stop(labels, stop_s)
        name, until_s = labels[owner.DEPLOYMENT], time.monotonic() + GONE_S
        while left := self._sweep(labels):
            if time.monotonic() > until_s:
                raise HostError(
                    f"{', '.join(left)} of {name} cannot be removed",
                    hint=f"remove it by hand: docker ps -a --filter label={owner.DEPLOYMENT}={name}",
                )
            time.sleep(POLL_S)

    def _stop(self, labels: Mapping[str, str], stop_s: float) -> None:
        for found in self._containers(labels):
            with suppress(NotFound):
                found.stop(timeout=ceil(stop_s))

    def _sweep(self, labels: Mapping[str, str]) -> list[str]:
        """Remove what is there; what is left then, in words. A removal under way (conflict) is waited for."""
        for found in self._containers(labels):
            with _removing():
                found.remove(force=True, v=True)
        for network in self._networks(labels):
            with _removing():
                network.remove()
        return [f"{type(x).__name__.lower()} {x.short_id}" for x in self._found(labels)]

    def _found(self, labels: Mapping[str, str]) -> list[Any]:
        return [*self._containers(labels), *self._networks(labels)]

    def _containers(self, labels: Mapping[str, str]) -> list[Container]:
        found: list[Container] = self.client.containers.list(all=True, filters=_filter(labels), sparse=True)
        return found

    def _networks(self, labels: Mapping[str, str]) -> list[Any]:
        found: list[Any] = self.client.networks.list(filters=_filter(labels))
        return found


@dataclass(frozen=True, slots=True)
class _Container:
    """One that runs a job."""

    runtime: DockerRuntime
    name: str
    id: str

    def state(self) -> State:
        return self.runtime._state(self.name, self.id)  # noqa: SLF001 - part of it

    def usage(self) -> Usage | None:
        return self.runtime._usage(self.id)  # noqa: SLF001


def _serving(spec: DeploymentSpec) -> Placement:
    serve = spec.serve
    return container.placement(spec, serve, port=serve.port, engine_port=serve.engine_port)


@contextmanager
def _removing() -> Iterator[None]:
    try:
        yield
    except NotFound:
        pass
    except APIError as error:
        if error.status_code not in REFUSED_FOR_NOW:
            raise


def _filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def _apart(info: Mapping[str, Any]) -> str | None:
    """The kind of daemon whose containers' addresses mean nothing on this host, else None."""
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        return "rootless Docker"
    system = str(info.get("OperatingSystem", ""))
    return system if system.startswith("Docker Desktop") else None


def _labels(thing: Any) -> dict[str, str]:
    """Of a container or a network, which keep them in different places."""
    labels: dict[str, str] = thing.attrs.get("Labels") or {}
    return labels
