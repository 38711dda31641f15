"""Everything that engines are known to do on the wire, from a real server through the real client.

Sources: load-clients.md, sections 1.4, 5 and 8; backends-2024.md and backends-current.md, per engine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from backends.contract import Dialect, RequestSpec
from orchestrator.domain.exchange import CountedBy, Exchange, Outcome
from orchestrator.domain.workload import Sampling
from orchestrator.load.client import LoadClient
from orchestrator.load.dialects import body, path
from orchestrator.load.spec import LoadSpec
from tests.fakes.engine import Answer, FakeEngine
from tests.fakes.engine import Exchange as Served
from tests.load.streams import DONE, ROLE, chat, compact, completion, cut, line, sse, tensor, token, usage

CHAT = Dialect.OPENAI_CHAT
TEXT = Dialect.OPENAI_COMPLETIONS
LAST = {"finish_reason": "eos_token", "generated_tokens": 2, "seed": 1}
STOP = sse(chat("", finish_reason="stop"))
PLAIN = Sampling()
ERROR = {"message": "boom", "type": "server", "code": 500}


@dataclass(frozen=True)
class Trap:
    """What a server writes, one HTTP chunk each, and what the client must make of it. `late`: there is an
    event before the first token."""

    name: str
    chunks: tuple[bytes, ...]
    dialect: Dialect = CHAT
    outcome: Outcome = Outcome.OK
    late: bool = False
    events: int = 1
    tokens: int = 1
    chars: int = 1
    counted_by: CountedBy = CountedBy.NONE
    split: int = 0


def reasoning(name: str) -> bytes:
    return sse({"choices": [{"delta": {name: "hm"}}]})


def call(name: str) -> bytes:
    return sse({"choices": [{"delta": {name: [{"function": {"name": "f"}}]}}]})


U = CountedBy.USAGE
C = CountedBy.CUMULATIVE
E = CountedBy.EVENTS
TRAPS = (
    Trap("role-only chunk with the first token", (sse(ROLE), sse(chat("a")), STOP, DONE), late=True),
    Trap("role chunk of null content", (sse({"choices": [{"delta": {"role": "assistant", "content": None}}]}),
         sse(chat("a")), STOP, DONE), late=True),
    Trap("role chunk without content", (sse({"choices": [{"delta": {"role": "assistant"}}]}), sse(chat("a")),
         STOP, DONE), late=True),
    Trap("role with every token", (sse({"choices": [{"delta": {"role": "assistant", "content": "a"}}]}),
         STOP, DONE)),
    Trap("usage on the last content chunk", (sse(chat("a")), sse(chat("b", finish_reason="stop") | usage(2)),
         DONE), events=2, tokens=2, chars=2, counted_by=U),
    Trap("usage in a chunk of its own", (sse(chat("a")), STOP, sse({"choices": []} | usage(1)), DONE),
         counted_by=U),
    Trap("no usage", (sse(chat("a")), STOP, DONE)),
    Trap("usage null", (sse(chat("a") | {"usage": None}), STOP, sse({"choices": []} | usage(1)), DONE),
         counted_by=U),
    Trap("cumulative usage in every chunk", (sse(ROLE | usage(0)), sse(chat("a b") | usage(2)),
         sse(chat("c", finish_reason="stop") | usage(3)), DONE), late=True, events=2, tokens=3, chars=4,
         counted_by=C),
    Trap("choices empty while a token is held back", (sse({"choices": []} | usage(1)), sse(chat("é") | usage(2)),
         sse(chat("", finish_reason="stop") | usage(2)), DONE), events=2, tokens=2, counted_by=C),
    Trap("finish_reason empty, not null", (sse(completion("a", finish_reason="")),
         sse(completion("b", finish_reason="length") | usage(2))), dialect=TEXT, events=2, tokens=2, chars=2,
         counted_by=U),
    Trap("content null beside a finish reason", (sse(chat("a")), sse(chat(None, finish_reason="stop")), DONE)),
    Trap("empty text is a token", (sse(ROLE), sse(chat("")), sse(chat("é")), STOP, DONE), late=True, events=2,
         tokens=2),
    Trap("empty first text of completions is not", (sse(completion("")), sse(completion("a")),
         sse(completion("", finish_reason="stop")), DONE), dialect=TEXT, late=True),
    Trap("single token", (sse(chat("a", finish_reason="length") | usage(1)), DONE), counted_by=C),
    Trap("several tokens in one chunk", (sse(chat("a b c")), STOP, sse({"choices": []} | usage(3)), DONE),
         tokens=3, chars=5, counted_by=U),
    Trap("reasoning first", (reasoning("reasoning_content"), reasoning("reasoning"), sse(chat("a")), STOP,
         DONE), events=3, tokens=3),
    Trap("reasoning and nothing else", (reasoning("reasoning_content"), STOP, DONE), chars=0),
    Trap("tool call only", (call("tool_calls"), sse(chat(None, finish_reason="tool_calls")), DONE), chars=0),
    Trap("function call of old", (call("function_call"), STOP, DONE), chars=0),
    Trap("finish reason without an end mark", (sse(chat("a")), STOP)),
    Trap("end mark without a finish reason", (sse(chat("a")), DONE)),
    Trap("CRLF", (sse(chat("a")).replace(b"\n", b"\r\n"), STOP.replace(b"\n", b"\r\n"), DONE)),
    Trap("comments", (b": ping\n\n", sse(chat("a")), b":\n\n", STOP, DONE)),
    Trap("event names and ids", (b"event: message\nid: 4\nretry: 10\n" + sse(chat("a")), STOP, DONE)),
    Trap("no space after the colon", (compact(chat("a")), compact(chat("", finish_reason="stop")),
         b"data:[DONE]\n\n")),
    Trap("trailing space", (sse(chat("a")).replace(b"\n\n", b" \n\n"), STOP, b"data: [DONE] \n\n")),
    Trap("separators of Unicode within JSON", (sse(chat("\u2028\u0085\u2029")), STOP, DONE), chars=3),
    Trap("split characters and split HTTP chunks", (sse(chat("né\U0001f600")), STOP, DONE), chars=3, split=3),
    Trap("two events in one chunk", (sse(chat("a")) + sse(chat("b")), STOP + DONE), events=2, tokens=2, chars=2),
    Trap("an event of 200 kB", (sse(chat("w" * 200_000)), STOP, DONE), chars=200_000),
    Trap("error event under 200", (sse(chat("a")), sse({"error": ERROR}), DONE), outcome=Outcome.ENGINE_ERROR),
    Trap("error event of type error", (b"event: error\n" + sse({"error": ERROR}),), events=0,
         tokens=0, chars=0, outcome=Outcome.ENGINE_ERROR),
    Trap("error object within the stream", (sse({"object": "error", "message": "boom", "code": 400}), DONE),
         events=0, tokens=0, chars=0, outcome=Outcome.ENGINE_ERROR),
    Trap("200 with an error object as its body", (b'{"object":"error","message":"boom","code":404}',),
         events=0, tokens=0, chars=0, outcome=Outcome.ENGINE_ERROR),
    Trap("200 with an answer that is not streamed", (b'{"choices":[{"message":{"content":"boom"}}]}',),
         events=0, tokens=0, chars=0, outcome=Outcome.MALFORMED),
    Trap("200 with a page", (b"<html>boom</html>",), events=0, tokens=0, chars=0,
         outcome=Outcome.MALFORMED),
    Trap("200 and then nothing", (b": ping\n\n",), events=0, tokens=0, chars=0,
         outcome=Outcome.DISCONNECT),
    Trap("error event of completions", (sse(completion("a")), sse({"error": ERROR}), DONE), dialect=TEXT,
         outcome=Outcome.ENGINE_ERROR),
    Trap("error line among bare lines", (line("a", 1), b'{"object":"error","message":"boom","code":500}\n'),
         dialect=Dialect.JSON_LINES, outcome=Outcome.ENGINE_ERROR, counted_by=C),
    Trap("finish_reason abort", (sse(chat("a")), sse(chat("", finish_reason="abort")), DONE),
         outcome=Outcome.ABORTED),
    Trap("half an answer", (sse(chat("a")),), outcome=Outcome.DISCONNECT),
    Trap("role and end, no token", (sse(ROLE), DONE), events=0, tokens=0, chars=0,
         outcome=Outcome.EMPTY),
    Trap("token events with ids", (compact(token("a")), compact(token("<|e|>", special=True, details=LAST))),
         dialect=Dialect.GENERATE_STREAM, events=2, tokens=2, counted_by=U),
    Trap("overload within the stream", (compact({"error": "boom", "error_type": "overloaded"}),),
         dialect=Dialect.GENERATE_STREAM, events=0, tokens=0, chars=0,
         outcome=Outcome.ENGINE_ERROR, counted_by=E),
    Trap("tensors, halves of characters", (sse(tensor("a")), sse(tensor("\ufffd")), sse(tensor(""))),
         dialect=Dialect.TENSOR_STREAM, events=3, tokens=3, chars=2, counted_by=E),
    Trap("tensors, error under 200", (sse(tensor("a")), sse({"error": "boom"})),
         dialect=Dialect.TENSOR_STREAM, outcome=Outcome.ENGINE_ERROR, counted_by=E),
    Trap("bare lines", (line("a", 1), line(" b c", 3), line("", 3, "stop")), dialect=Dialect.JSON_LINES,
         events=2, tokens=3, chars=5, counted_by=C),
    Trap("bare lines, separators of Unicode", (line("\u2028", 1), line("", 1, "stop")),
         dialect=Dialect.JSON_LINES, counted_by=C, split=2),
    Trap("bare error object", (b'{"object":"error","message":"boom","code":400}',),
         dialect=Dialect.JSON_LINES, events=0, tokens=0, chars=0, outcome=Outcome.ENGINE_ERROR),
    Trap("raw text", (b"one two", b" three"), dialect=Dialect.RAW_TEXT, events=2, tokens=2, chars=13),
)  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[LoadClient]:
    with LoadClient() as running:
        yield running


def one(
    client: LoadClient,
    answer: Answer,
    dialect: Dialect = CHAT,
    *,
    request: RequestSpec | None = None,
    sampling: Sampling = PLAIN,
) -> Exchange:
    asked = request or RequestSpec(dialect=dialect)
    with FakeEngine(answer) as engine:
        spec = LoadSpec(
            tag="t",
            host="127.0.0.1",
            port=engine.port,
            path=path(asked),
            users=1,
            ramp_s=0.0,
            bodies=(body(asked, "tiny", "hello", None, sampling),),
            requests=1,
            stall_s=5.0,
        )
        (x,) = client.run(spec, dialect, on_live=lambda _: None, watch=lambda: None).exchanges
    return x


def written(trap: Trap) -> Answer:
    async def answer(x: Served) -> None:
        await x.head()
        for chunk in trap.chunks:
            raw = b"%x\r\n%s\r\n" % (len(chunk), chunk)
            for part in cut(raw, range(0, len(raw), trap.split)) if trap.split else [raw]:
                await x.raw(part)
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
        await x.raw(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize("trap", TRAPS, ids=lambda t: t.name)
def test_what_engines_do_on_the_wire_is_understood(client: LoadClient, trap: Trap) -> None:
    """Outcome, first token, events, tokens, text and what the count rests on."""
    x = one(client, written(trap), trap.dialect)

    assert trap.outcome is x.outcome
    assert (trap.events, trap.tokens, trap.chars) == (len(x.event_ns), x.tokens, x.text_chars)
    assert trap.counted_by is x.counted_by
    assert trap.late == (0 < x.first_event_ns < x.first_token_ns)
    if trap.outcome is Outcome.ENGINE_ERROR:
        assert "boom" in x.detail


def test_immediate_role_chunk_is_not_the_first_token(client: LoadClient) -> None:
    """LMDeploy of 2024 announces the role on acceptance, before its engine has run."""

    async def answer(x: Served) -> None:
        await x.head()
        await x.role()
        await asyncio.sleep(0.2)
        await x.token("a", finish="stop")
        await x.done()

    x = one(client, answer)

    assert (x.first_event_ns - x.send_ns) / 1e9 < 0.1
    assert (x.first_token_ns - x.send_ns) / 1e9 >= 0.2


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "503 Busy"])
def test_a_refusal_says_what_the_engine_said(client: LoadClient, status: str) -> None:
    """An unknown field, a full queue, an engine that still loads."""

    async def answer(x: Served) -> None:
        text = json.dumps({"detail": [{"type": "extra_forbidden", "loc": ["stream_options"]}]}).encode()
        await x.head(status, f"Content-Length: {len(text)}\r\n")
        await x.raw(text)

    x = one(client, answer)

    assert (Outcome.HTTP_STATUS, int(status[:3])) == (x.outcome, x.status)
    assert "extra_forbidden" in x.detail


@pytest.mark.parametrize("dialect", Dialect)
def test_disconnect_after_200_is_one_in_every_shape(client: LoadClient, dialect: Dialect) -> None:
    """A body whose framing breaks off is no answer, also where nothing else marks an end."""

    async def answer(x: Served) -> None:
        await x.head()
        await x.chunk(b"a")
        x.close = True

    assert Outcome.DISCONNECT is one(client, answer, dialect).outcome


@pytest.mark.parametrize(
    ("refused", "outcome"),
    [((), Outcome.HTTP_STATUS), (("usage", "seed", "ignore_eos"), Outcome.OK)],
)
def test_a_server_that_refuses_unknown_fields_takes_what_we_send(
    client: LoadClient, refused: tuple[str, ...], outcome: Outcome
) -> None:
    """As vLLM of 2024 does (extra=forbid). Every field that a release refuses can be left out; one that is sent all the
    same is a 400 that says which."""
    known = {"model", "messages", "max_tokens", "stream", "temperature", "top_p"}

    async def answer(x: Served) -> None:
        unknown = sorted(set(x.body) - known)
        if unknown:
            text = json.dumps({"detail": f"extra fields: {unknown}"}).encode()
            await x.head("400 Bad Request", f"Content-Length: {len(text)}\r\n")
            await x.raw(text)
        else:
            await x.head()
            await x.token("a", finish="stop")
            await x.done()

    asked = RequestSpec.model_validate({"dialect": "openai-chat", "refused": refused})
    x = one(client, answer, request=asked, sampling=Sampling(seed=1, ignore_eos=True))

    assert outcome is x.outcome
    assert ("stream_options" in x.detail) == (outcome is Outcome.HTTP_STATUS)
