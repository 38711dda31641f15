"""What the events of each wire shape mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends.contract import Dialect, RequestField, RequestSpec
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects import body, exchange
from orchestrator.load.spec import Reply

CHAT = Dialect.OPENAI_CHAT
ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def token(text: str, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **choice}]}


def read(
    *stream: dict[str, Any] | bytes, dialect: Dialect = CHAT, status: int = 200, done: bool = True
) -> Exchange:
    """The stream's events, the k-th arriving at 10 * (k + 1) ns."""
    pieces = [
        event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in stream
    ]
    if done:
        pieces.append(b"data: [DONE]\n\n")
    times = [10 * (k + 1) for k in range(len(pieces))]
    reply = Reply(
        id="x", user=0, prompt=0, send_ns=1, end_ns=999, status=status, times_ns=times, pieces=pieces
    )
    return exchange(dialect, reply)


def test_role_chunk_is_an_event_but_no_token() -> None:
    """TTFT is taken from the first content, not from the chunk that announces the role."""
    x = read(ROLE, token("a"), token("b"))

    assert (x.first_event_ns, x.first_token_ns, x.event_ns.tolist()) == (10, 20, [20, 30])


def test_null_content_in_the_role_chunk_is_no_token() -> None:
    """llama.cpp announces the role with content null."""
    x = read({"choices": [{"delta": {"role": "assistant", "content": None}}]}, token("a"))

    assert x.first_token_ns == 20


def test_role_on_every_chunk_still_counts_content() -> None:
    """LMDeploy and TGI repeat the role with each token."""
    first = {"choices": [{"delta": {"role": "assistant", "content": "a"}}]}

    assert read(first, token("b")).first_token_ns == 10


def test_empty_text_without_role_is_a_token() -> None:
    """A token whose bytes are not yet a character has arrived all the same."""
    assert len(read(ROLE, token(""), token("é")).event_ns) == 2


def test_finish_chunk_without_text_is_no_token() -> None:
    """The chunk that only tells the finish reason carries no token."""
    x = read(token("a"), token("", finish_reason="stop"))

    assert (len(x.event_ns), x.finish_reason) == (1, "stop")


def test_reasoning_and_tool_calls_are_tokens() -> None:
    """Generated content counts, whether it is to be shown or not; visible text is told apart."""
    reasoning = {"choices": [{"delta": {"reasoning_content": "hm"}}]}
    call = {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f"}}]}}]}
    x = read(reasoning, call, token("a"))

    assert (x.first_token_ns, x.first_visible_ns, len(x.event_ns)) == (10, 30, 3)


def test_usage_in_a_chunk_of_its_own() -> None:
    """`choices: []` with usage is the modern form."""
    x = read(token("a"), USAGE)

    assert (x.prompt_tokens, x.completion_tokens, x.tokens) == (7, 3, 3)


def test_usage_on_the_last_content_chunk() -> None:
    """vLLM 0.4.2 sends usage unasked with the finish chunk."""
    x = read(token("a", finish_reason="stop") | {"usage": USAGE["usage"]})

    assert (x.completion_tokens, x.outcome) == (3, Outcome.OK)


def test_without_usage_events_are_counted() -> None:
    """An engine that tells no count is counted by its events."""
    x = read(token("a"), token("b"))

    assert (x.completion_tokens, x.tokens) == (None, 2)


def test_null_usage_on_other_chunks_changes_nothing() -> None:
    """LMDeploy sends `usage: null` with every other chunk."""
    assert read(USAGE, token("a") | {"usage": None}).completion_tokens == 3


@pytest.mark.parametrize(
    "error", [{"error": {"message": "dead", "code": 500}}, {"object": "error", "message": "dead"}]
)
def test_error_event_under_200_is_a_failure(error: dict[str, Any]) -> None:
    """HTTP 200 was sent before the engine failed."""
    x = read(token("a"), error)

    assert (x.outcome, "dead" in x.detail) == (Outcome.ENGINE_ERROR, True)


def test_finish_reason_abort_is_a_failure() -> None:
    """vLLM ends streams so when it is stopped."""
    assert Outcome.ABORTED is read(token("a"), token("", finish_reason="abort")).outcome


def test_stream_without_any_end_is_a_disconnect() -> None:
    """A well-framed body that stops in the middle of an answer is no answer."""
    assert Outcome.DISCONNECT is read(token("a"), done=False).outcome


def test_finish_reason_is_end_enough() -> None:
    """TGI sends no [DONE]."""
    assert Outcome.OK is read(token("a", finish_reason="length"), done=False).outcome


def test_garbage_in_the_stream_is_malformed() -> None:
    """An event that is no JSON object makes the answer useless."""
    assert Outcome.MALFORMED is read(token("a"), b"data: {oops\n\n").outcome
    assert Outcome.MALFORMED is read(token("a"), b"data: [1]\n\n").outcome


@pytest.mark.parametrize(
    "event",
    [
        {"choices": "abc"},
        {"choices": [1]},
        {"choices": [{"delta": "a"}]},
        {"choices": 5},
        {"choices": [None]},
    ],
)
def test_event_of_another_shape_is_malformed(event: dict[str, Any]) -> None:
    """An engine's nonsense is its failure and never ours."""
    assert Outcome.MALFORMED is read(token("a"), event).outcome


def test_usage_without_a_number_counts_nothing() -> None:
    """What is no count, or comes without one later, leaves the count as it was."""
    x = read(token("a", finish_reason="stop"), USAGE, {"choices": [], "usage": {"completion_tokens": "many"}})

    assert (Outcome.OK, 7, 3) == (x.outcome, x.prompt_tokens, x.completion_tokens)


def test_refusal_has_no_tokens() -> None:
    """Whatever the body of a bad status looks like, nothing was generated."""
    x = read(token("a", finish_reason="stop"), status=503)

    assert (Outcome.HTTP_STATUS, 0) == (x.outcome, len(x.event_ns))


def test_seed_zero_is_a_seed() -> None:
    """It is sent like any other."""
    assert 0 == json.loads(body(RequestSpec(dialect=CHAT), "tiny", "hello", None, Sampling(seed=0)))["seed"]


def test_no_token_at_all_is_empty() -> None:
    """[DONE] without content is a failure that averages would hide."""
    assert Outcome.EMPTY is read(ROLE).outcome


def test_an_answer_of_no_words_is_still_an_answer() -> None:
    """A model may end at once; the engine then says `stop`."""
    assert Outcome.OK is read(ROLE, token("", finish_reason="stop")).outcome


def test_bad_status_keeps_the_body() -> None:
    """What the engine said with its 400 is the detail."""
    x = read(b'{"detail": "extra fields"}', status=400, done=False)

    assert (x.outcome, "extra fields" in x.detail) == (Outcome.HTTP_STATUS, True)


def test_completions_count_text() -> None:
    """The completions route has `text` where chat has a delta."""
    x = read({"choices": [{"text": "a"}]}, {"choices": [{"text": ""}]}, dialect=Dialect.OPENAI_COMPLETIONS)

    assert x.event_ns.tolist() == [10, 20]


def test_chat_body_says_everything() -> None:
    """No default of the engine or the model decides a sampling field."""
    sent = json.loads(
        body(RequestSpec(dialect=CHAT), "m", "hi", "be kind", Sampling(max_tokens=5, temperature=0.5, seed=3))
    )

    assert sent == {
        "model": "m",
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_system_prompt_there_is_no_system_message() -> None:
    """An empty system message would be rendered by some templates."""
    assert [
        m["role"]
        for m in json.loads(body(RequestSpec(dialect=CHAT), "m", "hi", None, Sampling()))["messages"]
    ] == ["user"]


def test_completions_body_puts_the_system_prompt_first() -> None:
    """The completions route knows no roles."""
    sent = json.loads(
        body(RequestSpec(dialect=Dialect.OPENAI_COMPLETIONS), "m", "hi", "be kind", Sampling(ignore_eos=True))
    )

    assert (sent["prompt"], sent["ignore_eos"]) == ("be kind\n\nhi", True)


def test_a_field_that_a_release_refuses_is_not_sent() -> None:
    """One unknown field is a 400 for every request (vLLM 0.4.2); what a release adds wins."""
    request = RequestSpec(
        dialect=CHAT, refused=(RequestField.USAGE, RequestField.SEED), fields={"top_k": 1, "top_p": 0.5}
    )
    sent = json.loads(body(request, "m", "hi", None, Sampling(seed=3)))

    assert {"stream_options", "seed"}.isdisjoint(sent)
    assert (1, 0.5) == (sent["top_k"], sent["top_p"])


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (b'{"choices": [{"delta": {"content": "\\ud83d"}}]}', Outcome.OK),
        (b'\xef\xbb\xbf{"choices": [{"delta": {"content": "a"}}]}', Outcome.OK),
        (b'{"choices": [{"delta": {"content": "a"}, "logprobs": {"top": -Infinity}}]}', Outcome.OK),
        (b'{"choices": [{"delta": {"content": "a"}}], "big": 123456789012345678901234567890}', Outcome.OK),
        (b'{"choices": [{"delta": {"content": "a"}}]} x', Outcome.MALFORMED),
        (b"[" * 100_000, Outcome.MALFORMED),
        (b'["a"]', Outcome.MALFORMED),
    ],
)
def test_what_one_json_parser_refuses_another_judges(event: bytes, outcome: Outcome) -> None:
    """Half a pair of surrogates, a byte order mark and the like are read as the standard library reads them."""
    x = read(b"data: " + event + b"\n\n", {"choices": [{"delta": {}, "finish_reason": "stop"}]})

    assert (outcome, outcome is Outcome.OK) == (x.outcome, len(x.event_ns) == 1)
