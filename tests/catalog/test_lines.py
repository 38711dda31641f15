"""Prompts from any JSONL file: four forms, and errors that name the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import lines, prompts
from orchestrator.domain.prompt import Message, Prompt
from orchestrator.domain.workload import PromptSource, PromptSpec
from orchestrator.errors import RequestError

TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "And now?"},
]


def read(*entries: Any) -> tuple[Prompt, ...]:
    return lines.prompts(b"\n".join(json.dumps(e).encode() for e in entries), "some.jsonl")


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("Why?", {"prompt": "Why?", "id": 7}),
        ("Why?", {"text": "Why?"}),
        ("A text. Why?", {"instruction": "Why?", "context": "A text. "}),
        ("Why?", {"instruction": "Why?", "context": None}),
        ("Why?", {"messages": [{"role": "user", "content": "Why?"}]}),
    ],
)
def test_each_form_gives_its_text(text: str, entry: dict[str, Any]) -> None:
    """What else a line holds is passed over."""
    assert (Prompt.of(text),) == read(entry)


def test_a_conversation_keeps_its_turns() -> None:
    """The last one is asked, the others are its history."""
    (found,) = read({"messages": TURNS})

    assert ("And now?", (Message("user", "Hello"), Message("assistant", "Hi."))) == (
        found.text,
        found.history,
    )


def test_empty_lines_are_no_prompts() -> None:
    """Also at the end of the file, and they are counted for the names of lines."""
    assert 1 == len(lines.prompts(b'\n{"text": "a"}\n\n', "some.jsonl"))
    with pytest.raises(RequestError, match="line 3"):
        lines.prompts(b'\n{"text": "a"}\n{\n', "some.jsonl")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ([1], "not an object"),
        ({"question": "Why?"}, "none of prompt, text, messages and instruction"),
        ({"prompt": 7}, "prompt is not text"),
        ({"prompt": " "}, "prompt is empty"),
        ({"text": "\ud83d"}, "text holds half of a character"),
        ({"instruction": "Why?", "context": 7}, "context is not text"),
        ({"messages": []}, "messages is not a list of turns"),
        ({"messages": ["Why?"]}, "a turn whose role is none of system, user, assistant"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "a turn whose role is none of"),
        ({"messages": [{"role": "user"}]}, "content is not text"),
        ({"messages": TURNS[:2]}, "the last turn is the assistant's"),
    ],
)
def test_a_bad_line_is_named(entry: Any, told: str) -> None:
    """With the file, the line and the forms that there are."""
    with pytest.raises(RequestError, match=f"some.jsonl, line 2: {told}") as caught:
        read({"text": "fine"}, entry)

    assert "`messages`" in caught.value.hint


def test_a_file_is_kept_whole_unless_lengths_are_asked_for(tmp_path: Path) -> None:
    """All of its prompts, of every length; the digest knows the file and the choice."""
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"text": "x" * n}) for n in range(1, 51)))

    def load(**changes: Any) -> prompts.PromptSet:
        spec = PromptSpec(source=PromptSource.FILE, path=str(path), **changes)
        return prompts.load(spec, dolly_path=None, count_tokens=len)

    assert ("mine.jsonl", 50) == (load().name, len(load().prompts))
    assert 40 == len(load(min_tokens=11).prompts)
    assert load().digest != load(min_tokens=11).digest


@pytest.mark.parametrize("fields", [{"source": "file"}, {"source": "own", "path": "x"}])
def test_a_path_belongs_to_a_file(fields: dict[str, Any]) -> None:
    """And a file has one."""
    with pytest.raises(ValueError, match="path"):
        PromptSpec.model_validate(fields)
