"""A scripted libnvidia-ml.so.1: nvml.c, compiled when a test first asks for it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE_PATH = Path(__file__).with_name("nvml.c")
SCRIPT_VARIABLE = "LEVELBENCH_NVML_STUB"


@dataclass(frozen=True)
class Stub:
    """The compiled library and the script that it follows; both may be used from another process."""

    library_path: Path
    script_path: Path

    def script(self, *lines: str) -> None:
        """From the next call on: `<value or function> <gpu or *> <number or error code>` per line."""
        self.script_path.write_text("".join(f"{line}\n" for line in lines))


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def build(directory: Path) -> Path:
    """Compile the stub under the name by which pynvml looks for the real library."""
    path = directory / "libnvidia-ml.so.1"
    subprocess.run(
        [str(compiler()), "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(path), str(SOURCE_PATH)],
        check=True,
        timeout=60,
    )
    return path
