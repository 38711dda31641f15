"""Images: a base pulled or found, a context put together, a build whose result is addressed by content."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from backends.contract import Build, FailureCause, ImageSpec
from orchestrator.domain.provenance import Image
from orchestrator.errors import CellError, HostError
from orchestrator.host.locks import file_lock
from orchestrator.host.scratch import owned_prefix
from orchestrator.render import FOLDER, render
from orchestrator.runtime import bases
from orchestrator.runtime.daemon import said, translated
from orchestrator.runtime.interface import Progress
from orchestrator.runtime.owner import OURS
from orchestrator.runtime.venvs import lock_path
from orchestrator.runtime.wheels import fetch

SILENCE_S = 1800  # a step that installs gigabytes may say nothing for long
TAIL_LINES = 30
FULL = "no space left on device"


def base_missing(client: docker.DockerClient, reference: str, *, pull: bool) -> str | None:
    """Why the base image cannot be had, in one line; None when it is here or came by pulling."""
    with translated("the Docker daemon could not look for an image"):
        if find(client, reference) is not None or not pull:
            return None
        try:
            client.images.pull(reference)
        except APIError as error:
            if FULL in said(error):
                raise HostError(
                    f"{reference} filled the daemon's disk: {said(error)}",
                    hint="free disk there: docker system df; a night's disk_gb and `make clean` remove our images",
                ) from error
            return f"{reference} is not here and cannot be pulled: {said(error)}"
    return None


def build(
    client: docker.DockerClient,
    spec: ImageSpec,
    base: str,
    cache_dir: Path,
    env: Mapping[str, str],
    progress: Progress,
) -> Image:
    """The release's image, from before or built now; one that is named by its digest is never built."""
    if spec.digest is not None:
        return _pinned(client, spec.name, spec.digest)
    missing = base_missing(client, base, pull=True)
    if missing is not None:
        raise CellError(
            missing,
            hint="check the network, the registry and the name; import a base image and name it with BASE=, or use "
            "RUNTIME=process",
            cause=FailureCause.IMAGE_PULL,
        )
    with translated(f"the image of {spec.name} {spec.build.version} could not be made"):
        base_image = client.images.get(base)
        base_digest = bases.digest_of(base_image, base)
        bases.hold(cache_dir, base, base_digest)
        dockerfile = render(spec, base=base)
        tag = f"levelbench/{spec.name}:{content_key(spec, dockerfile, str(base_image.id))}"
        with file_lock(cache_dir / "images.lock", f"builds {tag}", progress=progress):
            found = find(client, tag) or _make(client, spec, tag, dockerfile, cache_dir, env, progress)
    return Image(
        reference=tag,
        digest=str(found.id),
        base_digest=base_digest,
        size_bytes=int(found.attrs["Size"]),
    )


def _pinned(client: docker.DockerClient, name: str, digest: str) -> Image:
    with translated(f"the image {digest} could not be looked for"):
        found = find(client, digest)
    if found is None:
        raise CellError(f"the image {digest} of {name} is not here any more", hint="measure the current one")
    return Image(
        reference=next(iter(found.tags), digest), digest=str(found.id), size_bytes=int(found.attrs["Size"])
    )


def content_key(spec: ImageSpec, dockerfile: str, base_id: str) -> str:
    """12 characters over everything that goes into the image."""
    digest = hashlib.sha256(f"{dockerfile}\0{base_id}".encode())
    for package_set in spec.build.packages:
        digest.update(lock_path(package_set).read_bytes())
    for name in spec.build.context:
        digest.update((FOLDER / "context" / name).read_bytes())
    for site_file in spec.build.site_files:
        digest.update(f"{site_file.path}\0{site_file.text}".encode())
    if spec.layer is not None:
        digest.update(content_key(spec.layer, "", "").encode())
    return digest.hexdigest()[:12]


def find(client: docker.DockerClient, reference: str) -> Any:
    """The image, or None where the daemon has none of that name."""
    try:
        return client.images.get(reference)
    except ImageNotFound:
        return None


def _make(
    client: docker.DockerClient,
    spec: ImageSpec,
    tag: str,
    dockerfile: str,
    cache_dir: Path,
    env: Mapping[str, str],
    progress: Progress,
) -> Any:
    def fetched(of: Build) -> Path | None:
        return fetch(of, cache_dir / "wheels", env, progress) if of.packages else None

    wheels = {"wheels": fetched(spec.build)}
    if spec.layer is not None:
        wheels["serving/wheels"] = fetched(spec.layer.build)
    with tempfile.TemporaryDirectory(prefix=owned_prefix("build"), dir=cache_dir) as folder:
        _fill(Path(folder), spec, dockerfile, wheels)
        try:
            _build(client, folder, tag, spec, progress)
        finally:
            _remove_stages(client, spec)
    return client.images.get(tag)


def _remove_stages(client: docker.DockerClient, spec: ImageSpec) -> None:
    """What the builder leaves besides the image: the stage with the wheels is as large as the image itself,
    and a build that failed leaves every stage as far as it came. All carry the release's labels."""
    labels = [f"{OURS}=1", f"{OURS}.backend={spec.name}", f"{OURS}.release={spec.release}"]
    for image in client.images.list(filters={"dangling": True, "label": labels}):
        with suppress(APIError):  # in use, or gone already: then it is not ours to remove
            client.images.remove(image.id)


def _fill(folder: Path, spec: ImageSpec, dockerfile: str, wheels: Mapping[str, Path | None]) -> None:
    """The build's context: all that the Dockerfile copies."""
    build = spec.build
    texts = {"Dockerfile": dockerfile, **{f"site/{x.path}": x.text for x in build.site_files}}
    texts |= {f"files/{name}": _program(name) for name in build.context}
    if spec.layer is not None:
        layer = spec.layer.build
        texts |= {f"serving/files/{name}": _program(name) for name in layer.context}
        texts["serving/lock.txt"] = "".join(lock_path(p).read_text("utf-8") for p in layer.packages)
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name, source in wheels.items():
            if source is not None:
                shutil.copytree(source, folder / name, copy_function=_link)
    except OSError as error:
        raise HostError(
            f"the build's files could not be put together: {error}", hint="free disk, or set LEVELBENCH_CACHE"
        ) from error


def _program(name: str) -> str:
    return (FOLDER / "context" / name).read_text("utf-8")


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


def _build(client: docker.DockerClient, folder: str, tag: str, spec: ImageSpec, progress: Progress) -> None:
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    failed = False
    events: Iterator[dict[str, Any]] = client.api.build(
        path=folder, tag=tag, rm=True, forcerm=True, decode=True, timeout=SILENCE_S
    )
    for event in events:  # to their end, also after an error: else the connection stays open
        failed = failed or "error" in event
        lines = str(event.get("stream") or event.get("status") or event.get("error") or "").strip()
        tail.extend(lines.splitlines())
        if lines:
            progress(tail[-1])
    if failed and any(FULL in line for line in tail):
        raise HostError(
            f"the image of {spec.name} {spec.build.version} filled the daemon's disk: {tail[-1]}",
            hint="free disk there: docker system df; a night's disk_gb and `make clean` remove our images",
        )
    if failed:
        raise CellError(
            f"the image of {spec.name} {spec.build.version} could not be built",
            hint="see the build's last lines; `make plan` shows the template and its base",
            cause=FailureCause.IMAGE_BUILD,
            log_tail="\n".join(tail),
        )
