"""Images: a base pulled or found, a context put together, a build whose result is addressed by content."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from backends.contract import ImageSpec
from orchestrator.domain.provenance import Image
from orchestrator.errors import CellError, HostError
from orchestrator.render import FOLDER, render
from orchestrator.runtime.daemon import translated
from orchestrator.runtime.venvs import lock_path
from orchestrator.runtime.wheels import fetch

Progress = Callable[[str], None]
TAIL_LINES = 30


def base_missing(client: docker.DockerClient, reference: str, *, pull: bool) -> str | None:
    """Why the base image cannot be had, in one line; None when it is here or came by pulling."""
    with translated("the Docker daemon could not look for an image"):
        try:
            client.images.get(reference)
        except ImageNotFound:
            pass
        else:
            return None
    if not pull:
        return None
    try:
        client.images.pull(reference)
    except (APIError, ImageNotFound) as error:
        return f"{reference} is not here and cannot be pulled: {_first_line(error)}"
    return None


def build(
    client: docker.DockerClient,
    spec: ImageSpec,
    base: str,
    cache_dir: Path,
    env: Mapping[str, str],
    progress: Progress,
) -> Image:
    """The release's image, from before or built now."""
    missing = base_missing(client, base, pull=True)
    if missing is not None:
        raise HostError(missing, hint="import a base image and name it with BASE=, or use RUNTIME=process")
    with translated("the Docker daemon could not inspect an image"):
        base_image = client.images.get(base)
        dockerfile = render(spec, base=base)
        tag = f"levelbench/{spec.backend}:{content_key(spec, dockerfile, str(base_image.id))}"
        found = _find(client, tag)
        if found is None:
            with _context(spec, dockerfile, cache_dir, env, progress) as folder:
                _build(client, folder, tag, spec, progress)
            found = client.images.get(tag)
    digests = base_image.attrs.get("RepoDigests") or [str(base_image.id)]
    return Image(
        reference=tag,
        digest=str(found.id),
        base_digest=str(digests[0]).rpartition("@")[2],
        size_bytes=int(found.attrs["Size"]),
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
    return digest.hexdigest()[:12]


@contextmanager
def _context(
    spec: ImageSpec, dockerfile: str, cache_dir: Path, env: Mapping[str, str], progress: Progress
) -> Iterator[Path]:
    """A folder with all that the Dockerfile copies; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="levelbench-build-", dir=cache_dir) as temporary:
        folder = Path(temporary)
        (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
        if spec.build.packages:
            wheels = fetch(spec.build, cache_dir / "wheels", env, progress)
            shutil.copytree(wheels, folder / "wheels", copy_function=_link)
        for name in spec.build.context:
            (folder / "files").mkdir(exist_ok=True)
            shutil.copy(FOLDER / "context" / name, folder / "files" / name)
        for site_file in spec.build.site_files:
            path = folder / "site" / site_file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(site_file.text, encoding="utf-8")
        yield folder


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


def _build(client: docker.DockerClient, folder: Path, tag: str, spec: ImageSpec, progress: Progress) -> None:
    lines: list[str] = []
    events: Iterator[dict[str, Any]] = client.api.build(
        path=str(folder), tag=tag, rm=True, forcerm=True, decode=True
    )
    for event in events:
        text = str(event.get("stream") or event.get("status") or event.get("error") or "").strip()
        if text:
            lines.append(text)
            progress(text.splitlines()[-1])
        if "error" in event:
            raise CellError(
                f"the image of {spec.backend} {spec.build.version} could not be built",
                hint="see the build's last lines; `make plan` shows the template and its base",
                log_tail="\n".join("\n".join(lines).splitlines()[-TAIL_LINES:]),
            )


def _find(client: docker.DockerClient, tag: str) -> Any:
    try:
        return client.images.get(tag)
    except ImageNotFound:
        return None


def _first_line(error: APIError) -> str:
    return str(error.explanation or error).splitlines()[0]
