"""Synthetic prompts, traces and sessions: lengths exact to the token, seeded, and errors that name the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from orchestrator.catalog import chat_template, exact, prompts, sessions, traces
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.catalog.exact import Words
from orchestrator.domain.prompt import Prompt
from orchestrator.domain.workload import Lengths, PromptSource, PromptSpec
from orchestrator.errors import CellError, RequestError
from quantize import synthetic


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tiny")
    synthetic.make("tiny", folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> ChatTemplate:
    folder = tmp_path_factory.mktemp("tiny")
    synthetic.make("tiny", folder)
    return chat_template.load(folder, tokenizer)


def made(words: Words, **changes: Any) -> prompts.PromptSet:
    known: dict[str, Any] = {"source": PromptSource.SYNTHETIC, "input_tokens": 64, "count": 40}
    spec = PromptSpec.model_validate({**known, **changes})
    return prompts.load(spec, dolly_path=None, count_tokens=len, words=lambda: words)


def lengths(chat: ChatTemplate, of: tuple[Prompt, ...]) -> list[int]:
    return [len(r.tokens) for r in chat.render(of, None)]


def test_synthetic_prompts_have_the_length_asked_for(tokenizer: Tokenizer, chat: ChatTemplate) -> None:
    """To the token, as the model's template renders them; all are different."""
    found = made(Words(tokenizer, chat), output_tokens={"mean": 7})

    assert [64] * 40 == lengths(chat, found.prompts)
    assert 40 == len({p.text for p in found.prompts})
    assert {7} == {p.output_tokens for p in found.prompts}


def test_lengths_may_be_distributed(tokenizer: Tokenizer, chat: ChatTemplate) -> None:
    """Around the mean, within the bounds, and just as exact."""
    asked = Lengths(mean=200, stdev=80, min=100, max=300)
    found = made(Words(tokenizer, chat), input_tokens=asked, count=200)
    got = lengths(chat, found.prompts)

    assert exact.drawn(asked, 200, "20240605 inputs") == got
    assert (100, 300) == (min(got), max(got))
    assert 190 < sum(got) / 200 < 210
    assert len(set(got)) > 50


def test_the_shortest_prompt_is_the_template_and_a_word(tokenizer: Tokenizer, chat: ChatTemplate) -> None:
    """Anything shorter cannot be sent."""
    words = Words(tokenizer, chat)

    assert [words.least_tokens] * 40 == lengths(chat, made(words, input_tokens=words.least_tokens).prompts)
    with pytest.raises(RequestError, match=f"the chat template alone takes {words.least_tokens - 1}"):
        made(words, input_tokens=words.least_tokens - 1)


def test_a_seed_gives_the_same_prompts(tokenizer: Tokenizer, chat: ChatTemplate) -> None:
    """And their digest; another seed gives others."""
    words = Words(tokenizer, chat)

    assert made(words) == made(words)
    assert made(words).digest != made(words, seed=1).digest


def test_without_a_template_the_text_alone_is_counted(tokenizer: Tokenizer) -> None:
    """As an engine sees it that is given text."""
    found = made(Words(tokenizer, None))

    assert [64] * 40 == [len(tokenizer.encode(p.text).ids) for p in found.prompts]


def test_a_tokenizer_without_words_is_refused() -> None:
    """Nothing exact can be made of it."""
    with pytest.raises(CellError, match="only 0 words that are one token"):
        Words(Tokenizer(WordLevel({"?": 0}, unk_token="?")), None)  # noqa: S106 - a word


def test_exact_lengths_need_a_tokenizer() -> None:
    """An endpoint may come without."""
    spec = PromptSpec.model_validate({"source": "synthetic", "input_tokens": 9})
    with pytest.raises(RequestError, match="made of the model's tokenizer"):
        prompts.load(spec, dolly_path=None, count_tokens=len)


def write(folder: Path, *entries: Any) -> str:
    path = folder / "some.jsonl"
    path.write_text("\n".join(json.dumps(e) for e in entries))
    return str(path)


def arrival(**changes: Any) -> dict[str, Any]:
    return {"timestamp": 0, "input_length": 100, "output_length": 5, "hash_ids": [1], **changes}


def test_a_trace_gives_lengths_and_common_beginnings(
    tmp_path: Path, tokenizer: Tokenizer, chat: ChatTemplate
) -> None:
    """Requests that share their first block share its text; in the trace's own order."""
    path = write(
        tmp_path,
        arrival(input_length=600, hash_ids=[1, 2]),
        arrival(input_length=700, hash_ids=[1, 3], output_length=9),
        arrival(input_length=600, hash_ids=[4, 2], timestamp=1500),
    )
    spec = PromptSpec(source=PromptSource.TRACE, path=path)
    found = prompts.load(spec, dolly_path=None, count_tokens=len, words=lambda: Words(tokenizer, chat))
    one, two, three = (p.text.split() for p in found.prompts)

    assert [600, 700, 600] == lengths(chat, found.prompts)
    assert [5, 9, 5] == [p.output_tokens for p in found.prompts]
    assert one[:512] == two[:512]
    assert one[512:560] != two[512:560]
    assert one[:20] != three[:20]
    assert found.in_order


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"input_length": 5}, "timestamp is not a number"),
        (arrival(output_length=0), "output_length is not a number of at least 1"),
        (arrival(input_length=True), "input_length is not a number"),
        (arrival(hash_ids="x"), "hash_ids is not a list of numbers"),
    ],
)
def test_a_bad_arrival_is_named(entry: Any, told: str) -> None:
    """With file and line."""
    with pytest.raises(RequestError, match=f"a.jsonl, line 1: {told}"):
        traces.read(json.dumps(entry).encode(), "a.jsonl")


def turn(role: str, content: str = "x") -> dict[str, str]:
    return {"role": role, "content": content}


def test_each_turn_of_a_session_carries_the_recorded_ones() -> None:
    """The engine's own answers are not kept: every engine gets the same prompts."""
    talk = {
        "messages": [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    }
    found = sessions.read(b"\n".join([json.dumps(talk).encode()] * 2), "s.jsonl")

    assert (2, 2) == found.turns
    assert [["a"], ["a", "b", "c"]] == [[m.content for m in p.messages] for p in found.prompts[:2]]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([turn("assistant")], "no turn of a user's"),
        ([turn("user"), turn("user")], "do not take turns"),
        ([turn("assistant"), turn("user")], "do not take turns"),
        (
            [turn("user"), turn("system"), turn("assistant"), turn("user")],
            "a system prompt that is not the first",
        ),
    ],
)
def test_a_bad_session_is_named(messages: Any, told: str) -> None:
    """With file and line."""
    with pytest.raises(RequestError, match=f"s.jsonl, line 1: .*{told}"):
        sessions.read(json.dumps({"messages": messages}).encode(), "s.jsonl")


def test_sessions_come_from_a_file(tmp_path: Path) -> None:
    """Their turns stay together."""
    path = write(tmp_path, {"messages": [turn("user"), turn("assistant"), turn("user")]})
    found = prompts.load(
        PromptSpec(source=PromptSource.SESSIONS, path=path), dolly_path=None, count_tokens=len
    )

    assert ((2,), (range(2),)) == (found.turns, found.sessions)
