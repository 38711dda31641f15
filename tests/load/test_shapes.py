"""The wire shapes beside OpenAI's: what is sent, which event is the first token, what is counted, how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends.contract import Dialect, RequestField, RequestSpec, Template
from orchestrator.domain.exchange import CountedBy, Outcome
from orchestrator.domain.workload import Sampling
from orchestrator.load.dialects import SHAPES, body, carries, path, templates
from tests.load.streams import DONE, ROLE, chat, compact, completion, line, read, sse, tensor, token, usage

TOKENS = Dialect.GENERATE_STREAM
TENSORS = Dialect.TENSOR_STREAM
LINES = Dialect.JSON_LINES
RAW = Dialect.RAW_TEXT
GREEDY = Sampling(max_tokens=9, temperature=0.0)
SAMPLED = Sampling(max_tokens=9, temperature=0.7, top_p=0.9, seed=3, ignore_eos=True)
LAST = {"finish_reason": "length", "generated_tokens": 2, "seed": None}


def sent(dialect: Dialect, sampling: Sampling, system: str | None = None, **spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        body(RequestSpec(dialect=dialect, **spec), "m", "hi", system, sampling)
    )
    return found


# What is sent.


def test_every_dialect_of_the_contract_is_implemented() -> None:
    """An adapter may name any of them."""
    assert set(Dialect) == set(SHAPES)


def test_generate_stream_has_an_object_of_parameters() -> None:
    """There max_tokens is max_new_tokens, and `details` asks for the count; an end cannot be ignored."""
    assert {
        "inputs": "hi",
        "parameters": {
            "max_new_tokens": 9,
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 3,
            "details": True,
        },
    } == sent(TOKENS, SAMPLED)


def test_generate_stream_leaves_out_what_it_would_refuse() -> None:
    """A temperature of 0 and a top_p of 1 are validation errors there."""
    assert {"max_new_tokens": 9, "do_sample": False, "details": True} == sent(TOKENS, GREEDY)["parameters"]


def test_fields_reach_into_objects() -> None:
    """One parameter can be set without losing the others."""
    fields = {"parameters": {"stop": ["<|eot_id|>"], "seed": 1}}
    found = sent(TOKENS, SAMPLED, fields=fields)["parameters"]

    assert (["<|eot_id|>"], 1, 9) == (found["stop"], found["seed"], found["max_new_tokens"])


def test_tensor_stream_names_tensors() -> None:
    """The seed is random_seed; an end that cannot be ignored is put off with min_length."""
    assert {
        "text_input": "hi",
        "max_tokens": 9,
        "stream": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "random_seed": 3,
        "min_length": 9,
    } == sent(TENSORS, SAMPLED)


def test_tensor_stream_is_greedy_without_temperature() -> None:
    """A temperature of 0 is no number to divide by."""
    assert {"text_input": "hi", "max_tokens": 9, "stream": True} == sent(TENSORS, GREEDY)


def test_json_lines_take_messages_as_the_prompt() -> None:
    """The engine renders them; there is no seed, and counts come unasked."""
    assert {
        "prompt": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "request_output_len": 9,
        "stream": True,
        "interactive_mode": False,
        "temperature": 0.7,
        "top_p": 0.9,
        "ignore_eos": True,
    } == sent(LINES, SAMPLED, system="be kind")


def test_raw_text_carries_no_sampling_and_always_a_system_prompt() -> None:
    """Null would make the service take its own."""
    assert {"prompt": "hi", "system_prompt": "", "max_tokens": 9} == sent(RAW, SAMPLED)
    assert "be kind" == sent(RAW, SAMPLED, system="be kind")["system_prompt"]


def test_a_refused_field_is_not_sent_in_any_shape() -> None:
    """What a release refuses is left out whatever it is called there."""
    assert "random_seed" not in sent(TENSORS, SAMPLED, refused=(RequestField.SEED,))
    assert "details" not in sent(TOKENS, SAMPLED, refused=(RequestField.USAGE,))["parameters"]


def test_token_ids_are_sent_as_they_are() -> None:
    """Completions take a rendered prompt as ids."""
    asked = RequestSpec(dialect=Dialect.OPENAI_COMPLETIONS, template=Template.TOKENS)

    assert [1, 2, 3] == json.loads(body(asked, "m", (1, 2, 3), None, GREEDY))["prompt"]


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (Dialect.OPENAI_CHAT, {"usage", "seed", "ignore_eos", "top_p", "temperature"}),
        (Dialect.OPENAI_COMPLETIONS, {"usage", "seed", "ignore_eos", "top_p", "temperature"}),
        (TOKENS, {"usage", "seed", "top_p", "temperature"}),
        (TENSORS, {"seed", "ignore_eos", "top_p", "temperature"}),
        (LINES, {"usage", "ignore_eos", "top_p", "temperature"}),
        (RAW, set()),
    ],
)
def test_each_shape_states_what_it_can_carry(dialect: Dialect, expected: set[str]) -> None:
    """So that a workload which depends on a field is refused before anything is started."""
    plain = RequestSpec(dialect=dialect)
    strict = RequestSpec(dialect=dialect, refused=(RequestField.TEMPERATURE,))

    assert expected == {field.value for field in RequestField if carries(plain, field)}
    assert not carries(strict, RequestField.TEMPERATURE)


def test_each_shape_states_what_a_prompt_can_be() -> None:
    """Only completions take token ids; chat shapes leave the template to the engine."""
    assert {Dialect.OPENAI_COMPLETIONS} == {d for d in Dialect if Template.TOKENS in templates(d)}
    assert {Dialect.OPENAI_CHAT, LINES, RAW} == {d for d in Dialect if templates(d) == {Template.MESSAGES}}


def test_a_release_may_have_a_path_of_its_own() -> None:
    """A model of another name is served under another path."""
    asked = RequestSpec(dialect=TENSORS, path="/v2/models/other/generate_stream")

    assert "/v2/models/other/generate_stream" == path(asked)
    assert "/v2/models/ensemble/generate_stream" == path(RequestSpec(dialect=TENSORS))


# generate-stream: an event per token, no [DONE].


def test_every_event_with_a_token_is_one_token() -> None:
    """The end-of-turn token is an event like any other, though not a visible one."""
    x = read([compact(token("a")), compact(token("<|eot_id|>", special=True, details=LAST))], TOKENS)

    assert (Outcome.OK, [10, 20], 2, 1) == (x.outcome, x.event_ns.tolist(), x.completion_tokens, x.text_chars)
    assert ("length", CountedBy.USAGE) == (x.finish_reason, x.counted_by)


def test_a_first_token_that_is_special_is_not_visible() -> None:
    """It is the first token all the same."""
    x = read([compact(token("<|x|>", special=True)), compact(token("a", details=LAST))], TOKENS)

    assert (10, 20) == (x.first_token_ns, x.first_visible_ns)


def test_without_details_its_events_are_its_tokens() -> None:
    """A stream that is cut has told no total, but one event is one token."""
    x = read([compact(token("a")), compact(token("b"))], TOKENS, outcome=Outcome.CUT)

    assert (CountedBy.EVENTS, None, 2) == (x.counted_by, x.completion_tokens, x.tokens)


def test_the_generated_text_is_an_end_too() -> None:
    """A release that refuses `details` still says when it has ended."""
    last = token("b") | {"generated_text": "ab"}

    assert Outcome.OK is read([compact(token("a")), compact(last)], TOKENS).outcome
    assert Outcome.DISCONNECT is read([compact(token("a"))], TOKENS).outcome


def test_keep_alive_comments_are_no_events() -> None:
    """They come after 15 s of silence."""
    x = read([b":\n\n", compact(token("a", details=LAST))], TOKENS)

    assert (20, 20) == (x.first_event_ns, x.first_token_ns)


def test_an_error_in_the_stream_is_a_failure() -> None:
    """Overload is told under HTTP 200 there."""
    overloaded = {"error": "Model is overloaded", "error_type": "overloaded"}
    x = read([compact(overloaded)], TOKENS)

    assert (Outcome.ENGINE_ERROR, True) == (x.outcome, "overloaded" in x.detail)


# tensor-stream: an event per token, nothing else.


def test_every_tensor_event_is_a_token() -> None:
    """Half a character comes as U+FFFD and an end as empty text: both are tokens."""
    x = read([sse(tensor(t)) for t in ("a", "\ufffd", "\ufffd", "")], TENSORS)

    assert (Outcome.OK, 4, 4, CountedBy.EVENTS) == (x.outcome, len(x.event_ns), x.tokens, x.counted_by)


def test_the_end_of_the_body_is_the_end() -> None:
    """There is neither a finish reason nor an end mark; a body without any token is a failure."""
    assert Outcome.OK is read([sse(tensor("a"))], TENSORS).outcome
    assert Outcome.EMPTY is read([], TENSORS).outcome


def test_a_tensor_error_is_a_failure() -> None:
    """The status was set by the first response."""
    x = read([sse(tensor("a")), sse({"error": "in ensemble: cancelled"})], TENSORS)

    assert (Outcome.ENGINE_ERROR, 1) == (x.outcome, len(x.event_ns))


def test_an_event_without_text_is_malformed() -> None:
    """Another model's tensors are not ours."""
    assert Outcome.MALFORMED is read([sse({"model_name": "other"})], TENSORS).outcome


# json-lines: cumulative counts.


def test_a_line_brings_as_many_tokens_as_the_count_rose() -> None:
    """Lines are coalesced; the count tells by how much."""
    x = read([line("a", 1), line("b c d", 4), line("", 4, "stop")], LINES)

    assert ([10, 20], [1, 3]) == (x.event_ns.tolist(), x.event_tokens.tolist())
    assert (Outcome.OK, 4, 7, CountedBy.CUMULATIVE) == (
        x.outcome,
        x.completion_tokens,
        x.prompt_tokens,
        x.counted_by,
    )


def test_a_line_without_text_is_a_token_if_the_count_rose() -> None:
    """Its bytes are not yet a character."""
    assert [1, 1] == read([line("", 1), line("é", 2), line("", 2, "stop")], LINES).event_tokens.tolist()


def test_a_line_without_text_or_count_is_no_token() -> None:
    """A prompt that is too long is answered so."""
    assert Outcome.EMPTY is read([line("", 0, "length")], LINES).outcome
    assert 20 == read([line("", 0), line("a", 1), line("", 1, "stop")], LINES).first_token_ns


def test_lines_without_a_finish_reason_are_half_an_answer() -> None:
    """There is no other end."""
    assert Outcome.DISCONNECT is read([line("a", 1)], LINES).outcome


def test_a_last_line_needs_no_line_feed() -> None:
    """The end of the body ends it."""
    assert Outcome.OK is read([line("a", 1), line("", 1, "stop").strip()], LINES).outcome


# raw-text: nothing but text.


def test_every_piece_of_text_is_an_event() -> None:
    """How many tokens it holds is not told."""
    x = read([b"one two", b" three"], RAW)

    assert (Outcome.OK, [10, 20], 13, CountedBy.NONE) == (
        x.outcome,
        x.event_ns.tolist(),
        x.text_chars,
        x.counted_by,
    )


def test_a_character_that_is_cut_counts_once() -> None:
    """Raw text is decoded across its pieces."""
    x = read(["né".encode()[:2], "né".encode()[2:]], RAW)

    assert (2, 10) == (x.text_chars, x.first_visible_ns)


def test_raw_text_may_look_like_anything() -> None:
    """Braces and colons are the model's own."""
    assert Outcome.OK is read([b'{"error": "is what the model wrote"}'], RAW).outcome


def test_no_text_is_empty() -> None:
    """A body of nothing is no answer."""
    assert Outcome.EMPTY is read([], RAW).outcome


# Tokens per event in OpenAI's shapes.


def test_continuous_usage_tells_the_tokens_of_each_event() -> None:
    """vLLM with continuous_usage_stats: the role chunk has counted nothing yet."""
    stream = [ROLE | usage(0), chat("a") | usage(1), chat("b c") | usage(3), {"choices": []} | usage(3)]
    x = read([*map(sse, stream), DONE])

    assert ([20, 30], [1, 2]) == (x.event_ns.tolist(), x.event_tokens.tolist())
    assert CountedBy.CUMULATIVE is x.counted_by


def test_a_rising_count_is_an_arrival_without_choices() -> None:
    """MLC counts a token whose text it still holds back, in a chunk of no choices."""
    stream = [{"choices": []} | usage(1), chat("é") | usage(2), chat("", finish_reason="stop") | usage(2)]
    x = read([*map(sse, stream), DONE])

    assert (10, [10, 20], [1, 1]) == (x.first_token_ns, x.event_ns.tolist(), x.event_tokens.tolist())


def test_a_report_after_the_finish_is_no_arrival() -> None:
    """A total that comes in a chunk of its own at the end brings no token."""
    stream = [chat("a") | usage(1), chat("", finish_reason="stop") | usage(1), {"choices": []} | usage(2)]

    assert [1] == read([*map(sse, stream), DONE]).event_tokens.tolist()


def test_a_single_total_does_not_tell_the_tokens_of_each_event() -> None:
    """Usage on the last content chunk alone is a total."""
    x = read([sse(chat("a")), sse(chat("b", finish_reason="stop") | usage(5)), DONE])

    assert ([1, 1], 5, CountedBy.USAGE) == (x.event_tokens.tolist(), x.tokens, x.counted_by)


def test_without_any_count_nothing_is_known_of_tokens() -> None:
    """LMDeploy of 2024 tells none in these shapes, and its chunks hold several."""
    x = read([sse(chat("a b c")), sse(chat("", finish_reason="stop")), DONE])

    assert (CountedBy.NONE, 1) == (x.counted_by, x.tokens)


def test_a_count_that_falls_brings_nothing() -> None:
    """An engine's nonsense is no negative token."""
    x = read([sse(chat("a") | usage(3)), sse(chat("b") | usage(2)), DONE])

    assert [3, 0] == x.event_tokens.tolist()


def test_an_empty_first_text_of_completions_is_no_token() -> None:
    """LMDeploy of 2024 sends one at once, before its engine has run; its chat does so with a role."""
    x = read(
        [sse(completion("")), sse(completion("")), sse(completion("a", finish_reason="stop")), DONE],
        Dialect.OPENAI_COMPLETIONS,
    )

    assert (10, 20) == (x.first_event_ns, x.first_token_ns)
