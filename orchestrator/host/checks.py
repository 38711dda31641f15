"""The single checks of a host. Each looks, changes nothing, raises nothing and gives findings."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.domain.evidence import Apart
from orchestrator.errors import BenchError
from orchestrator.host import cgroup, topology
from orchestrator.host.facts import usable_cpus, usable_memory_bytes
from orchestrator.host.findings import Check, Finding, Level
from orchestrator.host.gpu import Nvml

MIN_PYTHON = (3, 10)
MIN_CPUS = 2
SWAP_NOTICED_BYTES = 64 * 2**20
NVIDIA_RUNTIME = "nvidia"
NVIDIA_HOOK = "nvidia-container-runtime-hook"


@dataclass(frozen=True, slots=True)
class Space:
    """Disk that something will need in a folder, which may not exist yet."""

    path: Path
    needed_bytes: int
    title: str


def docker(version: Callable[[], str], missing: Level) -> Finding:
    """`version` tells the daemon's, or raises a BenchError whose hint is the next step."""
    try:
        return Finding(Check.DOCKER, Level.OK, version())
    except BenchError as error:
        return Finding(Check.DOCKER, missing, str(error), error.hint or "start the Docker daemon")


def toolkit(runtimes: Callable[[], Sequence[str]], missing: Level) -> Finding:
    """Whether containers can be given NVIDIA GPUs: the runtime is registered with the daemon, or its hook
    is installed (which the daemon looks for itself when a GPU is asked for)."""
    try:
        known = runtimes()
    except BenchError as error:
        return Finding(Check.TOOLKIT, missing, f"cannot be seen: {error}", error.hint)
    if NVIDIA_RUNTIME in known:
        return Finding(Check.TOOLKIT, Level.OK, "the daemon has the NVIDIA runtime")
    if shutil.which(NVIDIA_HOOK):
        return Finding(Check.TOOLKIT, Level.OK, f"{NVIDIA_HOOK} is installed")
    step = "install nvidia-container-toolkit, run `nvidia-ctk runtime configure`, restart Docker"
    return Finding(Check.TOOLKIT, missing, "containers cannot be given NVIDIA GPUs", step)


def gpus(missing: Level) -> tuple[Finding, ...]:
    """The GPUs and their driver, those that do not answer, and whoever uses them already."""
    with Nvml() as nvml:
        found = nvml.gpus()
        broken = tuple(_broken_gpu(text) for text in nvml.broken)
        busy = tuple(finding for gpu in found if (finding := _busy_gpu(nvml, gpu.uuid)))
        if not found:
            step = "install the NVIDIA driver, or bench a release for the CPU"
            return (Finding(Check.GPU, missing, nvml.absence, step), *broken)
    names = ", ".join(f"{gpu.name} ({gigabytes(gpu.memory_bytes)})" for gpu in found)
    return (Finding(Check.GPU, Level.OK, f"{names}, driver {found[0].driver}"), *broken, *busy)


def python(missing: Level) -> Finding:
    """The interpreter, and whether it can make the virtual environments of the process runtime."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < MIN_PYTHON:
        step = f"run with Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer"
        return Finding(Check.PYTHON, Level.FAIL, f"{version} is too old", step)
    absent = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if absent:
        text = f"{version} comes without {' and '.join(absent)}"
        return Finding(Check.PYTHON, missing, text, "apt install python3-venv")
    return Finding(Check.PYTHON, Level.OK, f"{version} with venv and ensurepip")


def cpus(root: Path = Path("/")) -> Finding:
    """Whether client and engine can be kept on cores of their own."""
    count, apart = usable_cpus(root), topology.cpu_sets(root=root).apart
    if count >= MIN_CPUS and apart is Apart.CORES:
        return Finding(Check.CPUS, Level.OK, f"{count} usable")
    text = f"{count} usable, of one core: the client and the engine share it, so each slows the other"
    return Finding(Check.CPUS, Level.WARN, text, "use a machine with two cores or more for figures")


def governor(root: Path = Path("/")) -> Finding:
    """How the kernel chooses clock rates; many virtual machines do not show it."""
    paths = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({name for path in paths if (name := _first_line(path))})
    if not found:
        return Finding(Check.GOVERNOR, Level.OK, "not readable here")
    if found == ["performance"]:
        return Finding(Check.GOVERNOR, Level.OK, "performance")
    text = f"{', '.join(found)}: clock rates follow the load and move the figures"
    return Finding(Check.GOVERNOR, Level.WARN, text, "cpupower frequency-set -g performance")


def memory(needed_bytes: int = 0, root: Path = Path("/")) -> Finding:
    """Memory that is free for a program now, within the control group's limit."""
    available_bytes = psutil.virtual_memory().available
    limit_bytes = cgroup.memory_limit_bytes(root)
    free_bytes = available_bytes if limit_bytes is None else min(available_bytes, limit_bytes)
    text = f"{gigabytes(free_bytes)} free of {gigabytes(usable_memory_bytes(root))}"
    if free_bytes >= needed_bytes:
        return Finding(Check.MEMORY, Level.OK, text)
    step = "end what uses the memory, or take a smaller model"
    return Finding(Check.MEMORY, Level.FAIL, f"{text}, {gigabytes(needed_bytes)} needed", step)


def swap() -> Finding:
    used_bytes = psutil.swap_memory().used
    if used_bytes < SWAP_NOTICED_BYTES:
        return Finding(Check.SWAP, Level.OK, "not in use")
    text = f"{gigabytes(used_bytes)} in use: reading it back in stalls whoever needs it"
    return Finding(Check.SWAP, Level.WARN, text, "end what uses the memory, then swapoff -a && swapon -a")


def disk(spaces: Sequence[Space]) -> tuple[Finding, ...]:
    """One finding per file system, since folders on the same one take from the same free space."""
    by_device: dict[int, list[Space]] = defaultdict(list)
    for space in spaces:
        by_device[_existing(space.path).stat().st_dev].append(space)
    return tuple(_disk(together) for together in by_device.values())


def models(folder: Path) -> Finding:
    """Whether weights can be put into the cache folder, and how much lies there."""
    existing = _existing(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        step = "make it a folder that this user may write, or choose another one"
        return Finding(Check.MODELS, Level.FAIL, f"{folder} cannot be written", step)
    if existing != folder:
        return Finding(Check.MODELS, Level.OK, f"{folder} will be made")
    return Finding(Check.MODELS, Level.OK, f"{folder} holds {gigabytes(folder_bytes(folder))}")


def token(value: str | None, absent: Level) -> Finding:
    """Whether there is a token for the model hub. The token itself goes nowhere from here."""
    if value:
        return Finding(Check.TOKEN, Level.OK, "present")
    step = "make one on the hub and pass it as HF_TOKEN; gated models need it"
    return Finding(Check.TOKEN, absent, "absent", step)


def folder_bytes(folder: Path) -> int:
    """Disk that a folder takes; links are not followed, and a file with two names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            status = _status(Path(parent, name))
            if status is not None:
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _broken_gpu(text: str) -> Finding:
    step = "reset the GPU or restart the machine; nvidia-smi and dmesg (Xid) tell more"
    return Finding(Check.GPU, Level.FAIL, text, step)


def _busy_gpu(nvml: Nvml, uuid: str) -> Finding | None:
    processes = nvml.processes(uuid)
    if not processes:
        return None
    numbers = ", ".join(str(process.pid) for process in processes)
    text = f"gpu{nvml.index(uuid)} is in use by process {numbers}"
    return Finding(Check.GPU, Level.WARN, text, "end it before measuring on this GPU")


def _disk(spaces: Sequence[Space]) -> Finding:
    free_bytes = shutil.disk_usage(_existing(spaces[0].path)).free
    needed_bytes = sum(space.needed_bytes for space in spaces)
    titles = " and ".join(f"{space.title} ({space.path})" for space in spaces)
    text = f"{gigabytes(free_bytes)} free for {titles}"
    if free_bytes >= needed_bytes:
        return Finding(Check.DISK, Level.OK, text)
    step = f"free {gigabytes(needed_bytes - free_bytes)} there, or choose other folders"
    return Finding(Check.DISK, Level.FAIL, f"{text}, {gigabytes(needed_bytes)} needed", step)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    # os.path.exists takes a folder that may not be looked into for absent; Path.exists raises there.
    places = (path.absolute(), *path.absolute().parents)
    return next(place for place in places if os.path.exists(place))  # noqa: PTH110


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip().partition("\n")[0]
    except OSError:
        return ""


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
