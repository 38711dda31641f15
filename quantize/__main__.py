"""`python -m quantize RECIPE FOLDER`: make a synthetic model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from quantize.synthetic import RECIPES, write


def main(argv: list[str] | None = None) -> int:
    asked = _parser().parse_args(argv)
    try:
        for path in write(RECIPES[asked.recipe], asked.folder):
            sys.stdout.write(f"{path.name} {path.stat().st_size}\n")
            sys.stdout.flush()
    except FileExistsError as error:
        sys.stderr.write(f"quantize: {error}; give a new or an empty folder\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quantize", description="Make a synthetic model from random weights."
    )
    parser.add_argument("recipe", choices=sorted(RECIPES), help="which model")
    parser.add_argument("folder", type=Path, help="a new or an empty folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
