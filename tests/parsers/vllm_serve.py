"""Run by vLLM's own interpreter: what `vllm serve` takes (`options`), and which of the argvs on stdin it takes
(`takes`). The last line printed is the answer, as JSON."""

from __future__ import annotations

import json
import sys

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser

from tests.parsers.argparse_walk import walk


def main() -> None:
    parser = FlexibleArgumentParser()
    command = ServeSubcommand()
    serve = command.subparser_init(parser.add_subparsers(dest="subparser"))
    taken = [takes(parser, command, words) for words in json.load(sys.stdin)]
    print(json.dumps({"options": walk(serve), "takes": taken}))  # noqa: T201


def takes(parser: FlexibleArgumentParser, command: ServeSubcommand, words: list[str]) -> bool:
    """As `vllm serve` does it: parsed, then validated."""
    try:
        command.validate(parser.parse_args(["serve", *words]))
    except (SystemExit, ValueError, TypeError, KeyError):
        return False
    return True


if __name__ == "__main__":
    main()
