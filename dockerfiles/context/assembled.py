"""Puts a folder together out of links, then becomes the command that reads it.

    assembled.py FOLDER PART... exec COMMAND...

A part is `NAME=SOURCE` (a link; with `.` as the name, a link to each entry of the source) or `NAME/` (an
empty folder). Who names an entry first keeps it. Engines want one folder where steps, images and
configuration have left several; a copy would cost the size of the weights.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

USAGE = "usage: assembled.py FOLDER NAME=SOURCE|NAME/... exec COMMAND..."


def main(words: list[str]) -> None:
    if "exec" not in words[1:-1]:
        sys.exit(USAGE)
    end = words.index("exec")
    assemble(Path(words[0]), words[1:end])
    command = words[end + 1 :]
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"assembled.py: cannot run {command[0]}: {error.strerror}")


def assemble(folder: Path, parts: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        name, equals, source = part.partition("=")
        if not equals:
            (folder / name).mkdir(parents=True, exist_ok=True)
        elif name == ".":
            for entry in sorted(_present(source).iterdir()):
                _link(folder / entry.name, entry)
        elif not (folder / name).exists():
            _link(folder / name, _present(source))


def _present(source: str) -> Path:
    path = Path(source)
    if not path.exists():
        sys.exit(f"assembled.py: {source} is not there: the step or the image that makes it has changed")
    return path


def _link(target: Path, source: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


if __name__ == "__main__":
    main(sys.argv[1:])
