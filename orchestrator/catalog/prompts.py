"""The prompts that requests carry: our own set, databricks-dolly-15k where its exact file is at hand, or a file.

The first two have dolly's schema, one JSON object per line. As in the article's client a request's text is the
context followed by the instruction with nothing in between, and a prompt is kept when its text has a
number of tokens within two bounds.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from pathlib import Path

from pydantic import Field, ValidationError

from backends.contract import Value
from orchestrator.catalog import exact, lines, rows, sessions, traces
from orchestrator.catalog.exact import Words
from orchestrator.domain.prompt import Prompt
from orchestrator.domain.workload import EVERY_LENGTH, PromptSource, PromptSpec
from orchestrator.errors import RequestError

OWN_NAME = "levelbench-own"
SYNTHETIC_NAME = "synthetic"
DOLLY_NAME = "databricks-dolly-15k"
DOLLY_SHA256 = "2df9083338b4abd6bceb5635764dab5d833b393b55759dffb0959b6fcbf794ec"
DOLLY_BYTES = 13_085_339
DOLLY_URL = (
    "https://huggingface.co/datasets/databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl"
)

# Fewer than this, and a load of a hundred users would mostly repeat itself: prefix caches would win.
MIN_PROMPTS = 32

_FOLDER = Path(__file__).parent / "prompts"
OWN_PATH = _FOLDER / "levelbench.jsonl"
_SYSTEM_PATH = _FOLDER / "system.txt"


class Category(str, Enum):
    """The eight kinds of task that dolly knows."""

    BRAINSTORMING = "brainstorming"
    CLASSIFICATION = "classification"
    CLOSED_QA = "closed_qa"
    CREATIVE_WRITING = "creative_writing"
    GENERAL_QA = "general_qa"
    INFORMATION_EXTRACTION = "information_extraction"
    OPEN_QA = "open_qa"
    SUMMARIZATION = "summarization"


class Task(Value):
    """One line of dolly, or of our own set."""

    instruction: str = Field(min_length=1)
    context: str
    response: str
    category: Category

    @property
    def text(self) -> str:
        return self.context + self.instruction


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a data set of the hub, fetched: which commit it is of, and the sha256 of its content."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class PromptSet:
    """What a workload draws from. `digest` identifies the file and what was kept of it. `turns` says how many
    neighbouring prompts are the turns of each session, `times_s` when each came in the trace that it is from."""

    name: str
    digest: str
    prompts: tuple[Prompt, ...]
    turns: tuple[int, ...] = ()
    times_s: tuple[float, ...] = ()

    @property
    def in_order(self) -> bool:
        """Whether the order of the file is kept: a trace's is part of it."""
        return bool(self.times_s)

    @property
    def sessions(self) -> tuple[range, ...]:
        """The indices of `prompts` that belong together, in their order; without `turns` each stands alone."""
        counts = self.turns or (1,) * len(self.prompts)
        ends = list(accumulate(counts))
        return tuple(range(end - count, end) for end, count in zip(ends, counts, strict=True))

    def order(self, seed: int) -> Iterator[int]:
        """Indices of `sessions` without end: each pass has every session once, newly shuffled unless their own
        order is to be kept.

        Python promises that a seeded `random()` stays the same across versions, but not `shuffle()`.
        """
        source = random.Random(seed)
        while True:
            keys = [0.0 if self.in_order else source.random() for _ in self.sessions]
            yield from sorted(range(len(keys)), key=keys.__getitem__)


def _no_words() -> Words:
    raise RequestError(
        "prompts of exact lengths are made of the model's tokenizer, and there is none",
        hint="name the model's folder: --tokenizer FOLDER",
    )


def load(
    spec: PromptSpec,
    *,
    dolly_path: Path | None,
    count_tokens: Callable[[str], int],
    words: Callable[[], Words] = _no_words,
    fetched: HubFile | None = None,
) -> PromptSet:
    """The prompts of `spec`. `count_tokens` is the model's tokenizer, with its begin-of-text token; `words`
    makes texts of it; `fetched` is the file of a data set of the hub."""
    if spec.source is PromptSource.SYNTHETIC:
        return _synthetic(spec, words())
    if fetched is not None:
        found = rows.prompts(fetched.path, fetched.name, spec.column, spec.rows)
        return _kept(spec, fetched.name, bytes.fromhex(fetched.sha256), found, count_tokens)
    file = _file(spec, dolly_path)
    if spec.source is PromptSource.TRACE:
        arrivals = traces.read(file.content, str(file.path))
        texts = traces.prompts(arrivals, words(), spec.seed)
        return PromptSet(file.name, _text_digest(texts), texts, times_s=tuple(a.at_s for a in arrivals))
    if spec.source is PromptSource.SESSIONS:
        talks = sessions.read(file.content, str(file.path))
        return PromptSet(file.name, _text_digest(talks.prompts), talks.prompts, talks.turns)
    content = hashlib.sha256(file.content).digest()
    return _kept(spec, file.name, content, _prompts(spec, file), count_tokens)


def _kept(
    spec: PromptSpec,
    name: str,
    content_sha256: bytes,
    found: Sequence[Prompt],
    count_tokens: Callable[[str], int],
) -> PromptSet:
    """Those whose length fits."""
    low, high = spec.bounds
    kept = [i for i, prompt in enumerate(found) if low <= count_tokens(_whole(prompt)) <= high]
    if len(kept) < MIN_PROMPTS:
        within = "" if (low, high) == EVERY_LENGTH else f" of {low} to {high:.0f} tokens"
        raise RequestError(
            f"{name} has only {len(kept)} prompts{within}",
            hint=f"at least {MIN_PROMPTS} are needed: widen prompts.min_tokens and max_tokens, or add prompts",
        )
    return PromptSet(name, _digest(content_sha256, (low, high), kept), tuple(found[i] for i in kept))


def examples(source: PromptSource, dolly_path: Path | None) -> tuple[str, tuple[Task, ...]]:
    """The name of a prompt file and all that it holds, replies included."""
    file = _known(source, dolly_path)
    return file.name, parse(file.content, file.path)


def parse(content: bytes, path: Path) -> tuple[Task, ...]:
    """Every line of a file of dolly's schema; `path` is for the error of a malformed one."""
    each = content.removesuffix(b"\n").split(b"\n")
    return tuple(_task(line, number, path) for number, line in enumerate(each, start=1))


def system_prompt() -> str:
    """The common system prompt, about 110 tokens long."""
    return _SYSTEM_PATH.read_text(encoding="utf-8").strip()


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    content: bytes


def _synthetic(spec: PromptSpec, words: Words) -> PromptSet:
    if spec.input_tokens is None:
        raise RequestError("synthetic prompts need input_tokens")
    inputs = exact.drawn(spec.input_tokens, spec.count, f"{spec.seed} inputs")
    outputs: Sequence[int | None] = [None] * spec.count
    if spec.output_tokens is not None:
        outputs = exact.drawn(spec.output_tokens, spec.count, f"{spec.seed} outputs")
    texts = words.prompts(inputs, [words.source(f"{spec.seed} {i}") for i in range(spec.count)], outputs)
    return PromptSet(SYNTHETIC_NAME, _text_digest(texts), texts)


def _text_digest(prompts: Sequence[Prompt]) -> str:
    """Over every turn and every answer length."""
    said = [[[(m.role, m.content) for m in p.messages], p.output_tokens] for p in prompts]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _prompts(spec: PromptSpec, file: _File) -> tuple[Prompt, ...]:
    if spec.source is PromptSource.FILE:
        return lines.prompts(file.content, str(file.path), spec.column)
    return tuple(Prompt.of(task.text) for task in parse(file.content, file.path))


def _whole(prompt: Prompt) -> str:
    """All turns: what the length of a conversation is judged by."""
    return "\n".join(message.content for message in prompt.messages)


def _file(spec: PromptSpec, dolly_path: Path | None) -> _File:
    if spec.path is not None:
        return _given(Path(spec.path))
    return _known(spec.source, dolly_path)


def _known(source: PromptSource, dolly_path: Path | None) -> _File:
    if source is PromptSource.OWN:
        return _own()
    try:
        return _dolly(dolly_path)
    except RequestError:
        if source is PromptSource.DOLLY:
            raise
        return _own()


def _given(path: Path) -> _File:
    try:
        return _File(path.name, path, path.read_bytes())
    except OSError as error:
        raise RequestError(
            f"cannot read prompts from {path}: {error.strerror}", hint="name a JSONL file, own or dolly"
        ) from error


def _own() -> _File:
    return _File(OWN_NAME, OWN_PATH, OWN_PATH.read_bytes())


def _dolly(path: Path | None) -> _File:
    if path is None:
        raise RequestError(f"no path is set for {DOLLY_NAME}", hint=f"download {DOLLY_URL} and set its path")
    hint = f"download {DOLLY_URL} to {path}, or take the prompts that come with levelbench"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    found = hashlib.sha256(content).hexdigest()
    if found != DOLLY_SHA256:
        raise RequestError(
            f"{path} is not the known {DOLLY_NAME}: {len(content)} bytes with sha256 {found}, "
            f"expected {DOLLY_BYTES} bytes with sha256 {DOLLY_SHA256}",
            hint=hint,
        )
    return _File(DOLLY_NAME, path, content)


def _task(line: bytes, number: int, path: Path) -> Task:
    try:
        return Task.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = f"{field}: {first['msg']}" if field else first["msg"]
        raise RequestError(
            f"{path}, line {number}: {reason}",
            hint="each line is a JSON object with instruction, context, response and category",
        ) from error


def _digest(content_sha256: bytes, bounds: tuple[int, float], kept: list[int]) -> str:
    """Over the file and the filter, of which the tokenizer is a part: so what it kept stands for it."""
    chosen = json.dumps({"min": bounds[0], "max": bounds[1], "kept": kept})
    return hashlib.sha256(content_sha256 + chosen.encode()).hexdigest()
