"""Which prompts are sent: seeded, each once before any twice, with or without the system prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from backends.contract import Dialect, RequestSpec, Template
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.catalog.prompts import PromptSet
from orchestrator.domain.cell import Load
from orchestrator.domain.prompt import Message, Prompt
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.errors import CellError
from orchestrator.load.draw import Draw, Drawn

WITHOUT = Load(users=1, system_prompt=SystemPrompt.WITHOUT)
WITH = Load(users=1, system_prompt=SystemPrompt.WITH)
TEXTS = tuple(f"prompt {i}" for i in range(5))


CHAT = "{{ bos_token }}{% for m in messages %} {{ m.role }} {{ m.content }}{% endfor %} assistant"


def draw(
    seed: int = 1,
    dialect: Dialect = Dialect.OPENAI_CHAT,
    *,
    template: Template = Template.MESSAGES,
    chat: ChatTemplate | None = None,
) -> Draw:
    prompts = PromptSet(name="own", digest="sha256:0", prompts=tuple(map(Prompt.of, TEXTS)))
    sampling = Sampling(max_tokens=64, temperature=0.5, seed=7)
    request = RequestSpec(dialect=dialect, template=template)
    return Draw(prompts, "be brief", request, "tiny", sampling, seed, chat)


def words(source: str = CHAT) -> ChatTemplate:
    """A template whose tokens are words; whatever is not begin-of-text has the id 1."""
    tokenizer = Tokenizer(WordLevel({"<s>": 0, "?": 1}, unk_token="?"))  # noqa: S106 - a word
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return ChatTemplate(source, {"bos_token": "<s>"}, tokenizer)


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
    d.drawn(range(2))

    assert [*first[2:], *first[:2]] == texts(d.bodies(WITHOUT))


def test_drawing_goes_round() -> None:
    """More requests than prompts begin again where a round ends."""
    d = draw()
    first = texts(d.bodies(WITHOUT))
    d.drawn(range(3))
    d.drawn(range(4))

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


def test_a_prompt_is_rendered_where_the_request_says_so() -> None:
    """As text without or with begin-of-text, or as token ids; the system prompt is inside it."""
    completions = Dialect.OPENAI_COMPLETIONS
    forms = {
        form: parsed(draw(dialect=completions, template=form, chat=words()).bodies(WITH))[0]["prompt"]
        for form in (Template.TEXT, Template.TEXT_WITH_BOS, Template.TOKENS)
    }
    number = forms[Template.TEXT].split()[-2]

    assert f" system be brief user prompt {number} assistant" == forms[Template.TEXT]
    assert "<s>" + forms[Template.TEXT] == forms[Template.TEXT_WITH_BOS]
    assert [0, *[1] * 7] == forms[Template.TOKENS]


def test_a_rendered_prompt_has_no_second_system_prompt() -> None:
    """Where the client renders, the shape has nothing to add."""
    sent = parsed(draw(dialect=Dialect.TENSOR_STREAM, template=Template.TEXT, chat=words()).bodies(WITH))

    assert 1 == sent[0]["text_input"].count("be brief")


def test_rendering_without_a_template_is_an_error() -> None:
    """No text is sent in its place."""
    with pytest.raises(CellError, match="there is no chat template"):
        draw(dialect=Dialect.OPENAI_COMPLETIONS, template=Template.TOKENS).bodies(WITHOUT)


def test_a_template_that_refuses_ends_only_what_it_renders() -> None:
    """An engine that renders will say so itself."""
    refusing = words("{{ raise_exception('no') }}")
    with pytest.raises(CellError, match="cannot render user: no"):
        draw(dialect=Dialect.OPENAI_COMPLETIONS, template=Template.TOKENS, chat=refusing).bodies(WITHOUT)

    assert (None,) * 5 == draw(chat=refusing).prompt_tokens(WITHOUT)


def test_the_length_of_each_prompt_is_known_in_the_order_of_the_bodies() -> None:
    """What the engine counts is held against it, whoever renders."""
    chat = words("{{ bos_token }} {{ messages[-1].content }}{{ ' and more' if '3' in messages[-1].content }}")
    d = draw(chat=chat)
    d.drawn(range(2))

    assert [5 if "3" in text else 3 for text in texts(d.bodies(WITHOUT))] == list(d.prompt_tokens(WITHOUT))
    assert 5 in d.prompt_tokens(WITHOUT)


def test_the_length_depends_on_the_system_prompt() -> None:
    """A load with it and one without are of one draw."""
    d = draw(chat=words())

    assert ((5,) * 5, (8,) * 5) == (d.prompt_tokens(WITHOUT), d.prompt_tokens(WITH))


@pytest.mark.parametrize(
    ("dialect", "chat"), [(Dialect.OPENAI_CHAT, None), (Dialect.OPENAI_COMPLETIONS, words())]
)
def test_the_length_is_unknown_where_no_template_is_followed(
    dialect: Dialect, chat: ChatTemplate | None
) -> None:
    """A model without a template; a text that is sent as it is."""
    assert (None,) * 5 == draw(dialect=dialect, chat=chat).prompt_tokens(WITHOUT)


def conversation(dialect: Dialect, *, system: bool = False, **changes: Any) -> Draw:
    first = (Message("system", "be kind"),) if system else ()
    turns = (*first, Message("user", "hello"), Message("assistant", "hi"), Message("user", "and now?"))
    d = draw(1, dialect, **changes)
    d.prompts = PromptSet(name="talks", digest="0", prompts=(Prompt(turns),))
    return d


def test_earlier_turns_are_sent() -> None:
    """In their order, after the common system prompt."""
    (sent,) = parsed(conversation(Dialect.OPENAI_CHAT).bodies(WITH))

    assert ["system", "user", "assistant", "user"] == [m["role"] for m in sent["messages"]]


def test_earlier_turns_are_rendered() -> None:
    """Where the client renders, the whole conversation is text."""
    d = conversation(Dialect.OPENAI_COMPLETIONS, template=Template.TEXT, chat=words())
    (sent,) = parsed(d.bodies(WITHOUT))

    assert " user hello assistant hi user and now? assistant" == sent["prompt"]


def test_a_request_of_one_turn_holds_no_conversation() -> None:
    """It is refused, not cut to its last turn."""
    with pytest.raises(CellError, match="holds a single turn"):
        conversation(Dialect.RAW_TEXT).bodies(WITHOUT)


def test_a_set_with_system_prompts_of_its_own_takes_no_other() -> None:
    """Two would be rendered differently by every engine."""
    with pytest.raises(CellError, match="system prompts of its own"):
        conversation(Dialect.OPENAI_CHAT, system=True).bodies(WITH)


def test_an_answer_length_of_its_own_replaces_the_workloads() -> None:
    """Of a prompt that has one; a limit for all requests still holds."""
    d = draw()
    d.prompts = PromptSet(name="lengths", digest="0", prompts=(Prompt.of("a", 500),))

    assert 500 == parsed(d.bodies(WITHOUT))[0]["max_tokens"]
    assert 4 == parsed(d.bodies(WITHOUT, max_tokens=4))[0]["max_tokens"]


def sessions(*turns: int, **changes: Any) -> Draw:
    """Each prompt says which turn of which session it is."""
    said = [Prompt.of(f"{s}.{t}") for s, count in enumerate(turns) for t in range(count)]
    return replace(draw(), prompts=PromptSet("talks", "0", tuple(said), turns), **changes)


def test_sessions_are_drawn_whole() -> None:
    """Their turns stay together and in order."""
    d = sessions(2, 3, 1)
    said = texts(d.bodies(WITHOUT))

    assert 6 == len(said)
    assert sorted(["0.0 0.1", "1.0 1.1 1.2", "2.0"]) == sorted(
        " ".join(said[end - count : end]) for end, count in zip(accumulate(d.turns), d.turns, strict=True)
    )


def test_a_session_that_was_begun_is_not_drawn_again() -> None:
    """However many of its turns were sent."""
    d = sessions(2, 2, 2)
    first = texts(d.bodies(WITHOUT))
    d.drawn([0, 1, 2])

    assert [*first[4:], *first[:4]] == texts(d.bodies(WITHOUT))


@pytest.mark.parametrize(
    ("count", "before", "of", "again"),
    [
        (5, 0, 10, 0),
        (10, 0, 10, 0),
        (11, 0, 10, 1),
        (5, 8, 10, 3),
        (5, 10, 10, 5),
        (5, 99, 10, 5),
        (25, 0, 10, 15),
    ],
)
def test_prompts_that_come_again_are_counted(count: int, before: int, of: int, again: int) -> None:
    """Within a load, or because loads before it had them."""
    assert again == Drawn(count, before, of).again


def test_reuse_begins_every_load_anew() -> None:
    """For who wants to measure what a prefix cache is worth."""
    d = replace(draw(), reuse=True)
    first = texts(d.bodies(WITHOUT))
    d.drawn(range(3))

    assert first == texts(d.bodies(WITHOUT))


def test_a_set_may_keep_its_order() -> None:
    """A trace is replayed as it was."""
    d = draw()
    d.prompts = PromptSet("trace", "0", tuple(map(Prompt.of, TEXTS)), times_s=(0.0,) * len(TEXTS))

    assert list(TEXTS) == texts(d.bodies(WITHOUT))
