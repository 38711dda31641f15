"""What the three quantising programs share: their arguments, the calibration texts, the finished folder.

The finished checkpoint is the source's own folder with other weights: its config.json gains the
quantisation, its tokenizer stays byte for byte. What a tool writes there itself has the form of its own
release of transformers, which engines of 2024 cannot read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORD = "quantization-record.json"
GROUP = 128  # inputs that share a scale, in every 4-bit form
# The dtype of every 4-bit kernel of 2024, and what the benchmark serves with everywhere
DTYPE = "float16"
WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.gguf",
    "*.bin",
    "*.bin.index.json",
    "*.pth",
    "*.pt",
)


@dataclass(frozen=True)
class Asked:
    """What the program was told."""

    model: Path
    calibration: Path
    out: Path
    method: str
    seed: int
    samples: int
    tokens: int


def asked(tool: str, methods: Iterable[str]) -> Asked:
    """The command line; a wrong one ends the program with 2 and the reason."""
    parser = argparse.ArgumentParser(prog=f"quantize_{tool}", description=f"Quantise a model by {tool}.")
    parser.add_argument("model", type=Path, help="folder with the 16-bit checkpoint; only read")
    parser.add_argument("calibration", type=Path, help='JSON lines: {"prompt": ..., "response": ...}')
    parser.add_argument("out", type=Path, help="an empty folder")
    parser.add_argument("--method", required=True, choices=sorted(methods))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=128, help="calibration texts, drawn by the seed")
    parser.add_argument("--tokens", type=int, default=512, help="of each text at most")
    found = Asked(**vars(parser.parse_args()))
    if not (found.model / "config.json").is_file():
        parser.error(f"{found.model} has no config.json: give the folder of a checkpoint")
    if not found.calibration.is_file():
        parser.error(f"{found.calibration} is no file: give the calibration texts")
    if not found.out.is_dir() or any(found.out.iterdir()):
        parser.error(f"{found.out} must be an empty folder")
    return found


def texts(asked: Asked, tokenizer: Any) -> list[list[int]]:
    """The drawn calibration texts as ids, each a whole exchange in the model's own chat template."""
    lines = asked.calibration.read_text(encoding="utf-8").splitlines()
    if len(lines) < asked.samples:
        sys.exit(
            f"{asked.calibration} has {len(lines)} texts, {asked.samples} are asked for: lower --samples"
        )
    drawn = random.Random(asked.seed).sample(lines, asked.samples)
    return [_ids(json.loads(line), tokenizer, asked.tokens) for line in drawn]


def finish(asked: Asked, made: Path, quantization: dict[str, Any], packages: Iterable[str]) -> None:
    """Move the tool's weights into the output, with the source's other files and a record."""
    for path in sorted(p for pattern in WEIGHTS[:2] for p in made.glob(pattern)):
        shutil.move(path, asked.out / path.name)
    for path in sorted(p for p in asked.model.iterdir() if p.is_file() and not any(map(p.match, WEIGHTS))):
        shutil.copyfile(path, asked.out / path.name)
    config = json.loads((asked.model / "config.json").read_text(encoding="utf-8"))
    config |= {"quantization_config": quantization, "torch_dtype": DTYPE}
    if "dtype" in config:  # the newer name of the same
        config["dtype"] = DTYPE
    _write(asked.out / "config.json", config)
    _write(asked.out / RECORD, _record(asked, packages))
    print(f"levelbench: quantised by {asked.method}", flush=True)


def _ids(line: dict[str, str], tokenizer: Any, limit: int) -> list[int]:
    prompt, response = line["prompt"], line.get("response", "")
    if tokenizer.chat_template is None:
        text = f"{prompt}\n{response}"
        return list(tokenizer(text, truncation=True, max_length=limit)["input_ids"])
    turns = [{"role": "user", "content": prompt}]
    if response:
        turns.append({"role": "assistant", "content": response})
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=not response)
    ids = tokenizer(text, add_special_tokens=False, truncation=True, max_length=limit)["input_ids"]
    return list(ids)


def _record(asked: Asked, packages: Iterable[str]) -> dict[str, Any]:
    digest = hashlib.sha256(asked.calibration.read_bytes()).hexdigest()
    return {
        "calibration": {"samples": asked.samples, "sha256": digest, "tokens": asked.tokens},
        "group": GROUP,
        "method": asked.method,
        "packages": {name: version(name) for name in ("torch", "transformers", *packages)},
        "seed": asked.seed,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
