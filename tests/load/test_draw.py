"""Which prompts are sent: seeded, each once before any twice, with or without the system prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from backends.contract import Dialect, RequestSpec
from orchestrator.catalog.prompts import PromptSet
from orchestrator.domain.cell import Load
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.load.draw import Draw

WITHOUT = Load(users=1, system_prompt=SystemPrompt.WITHOUT)
WITH = Load(users=1, system_prompt=SystemPrompt.WITH)
TEXTS = tuple(f"prompt {i}" for i in range(5))


def draw(seed: int = 1, dialect: Dialect = Dialect.OPENAI_CHAT) -> Draw:
    prompts = PromptSet(name="own", digest="sha256:0", texts=TEXTS)
    sampling = Sampling(max_tokens=64, temperature=0.5, seed=7)
    return Draw(prompts, "be brief", RequestSpec(dialect=dialect), "tiny", sampling, seed)


def parsed(bodies: Iterable[bytes]) -> list[dict[str, Any]]:
    return [json.loads(body) for body in bodies]


def texts(bodies: Iterable[bytes]) -> list[str]:
    return [body["messages"][-1]["content"] for body in parsed(bodies)]


def test_every_prompt_comes_once() -> None:
    """One round is the whole set."""
    assert sorted(TEXTS) == sorted(texts(draw().bodies(WITHOUT)))


def test_the_order_is_the_seeds() -> None:
    """The same on every machine; another seed gives another order; the file's own order is not it."""
    assert texts(draw(1).bodies(WITHOUT)) == texts(draw(1).bodies(WITHOUT))
    orders = {tuple(texts(draw(seed).bodies(WITHOUT))) for seed in range(6)}
    assert len(orders) > 1


def test_the_next_load_begins_with_a_fresh_prompt() -> None:
    """What has been drawn goes to the end of the round."""
    d = draw()
    first = texts(d.bodies(WITHOUT))
    d.drawn(2)

    assert [*first[2:], *first[:2]] == texts(d.bodies(WITHOUT))


def test_drawing_goes_round() -> None:
    """More requests than prompts begin again where a round ends."""
    d = draw()
    first = texts(d.bodies(WITHOUT))
    d.drawn(3)
    d.drawn(4)

    assert first[2] == texts(d.bodies(WITHOUT))[0]


def test_system_prompt_is_sent_where_the_load_asks_for_it() -> None:
    """Without: the user's message alone."""
    (without, *_), (with_, *_) = parsed(draw().bodies(WITHOUT)), parsed(draw().bodies(WITH))

    assert ["user"] == [m["role"] for m in without["messages"]]
    assert {"role": "system", "content": "be brief"} == with_["messages"][0]


def test_sampling_and_name_go_with_every_request() -> None:
    """So that no engine falls back to its own default."""
    for body in parsed(draw().bodies(WITHOUT)):
        assert ("tiny", 64, 0.5, 7) == (body["model"], body["max_tokens"], body["temperature"], body["seed"])


def test_limit_shortens_and_never_lengthens() -> None:
    """A warm-up asks for fewer tokens than the load, whatever the load asks for."""
    assert 4 == parsed(draw().bodies(WITHOUT, max_tokens=4))[0]["max_tokens"]
    assert 64 == parsed(draw().bodies(WITHOUT, max_tokens=100))[0]["max_tokens"]


def test_completions_carry_the_same_prompts() -> None:
    """The dialect changes the shape, not the draw."""
    chat = texts(draw().bodies(WITHOUT))
    completions = [b["prompt"] for b in parsed(draw(dialect=Dialect.OPENAI_COMPLETIONS).bodies(WITHOUT))]

    assert all(text in prompt for text, prompt in zip(chat, completions, strict=True))
