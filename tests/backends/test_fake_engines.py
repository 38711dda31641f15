"""The fake engines refuse what their engines refuse: otherwise an adapter that is wrong would pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backends.contract import Dialect, RequestSpec, Template
from orchestrator.domain.exchange import Exchange, Outcome
from orchestrator.domain.workload import Sampling
from orchestrator.load.client import LoadClient
from orchestrator.load.dialects import body, path
from orchestrator.load.spec import LoadSpec
from tests.fakes.engines.answers import BOS
from tests.fakes.engines.image import programs
from tests.fakes.engines.personalities import PERSONALITIES
from tests.fakes.engines.server import Engine, Handler, told, wanting

CHAT = Dialect.OPENAI_CHAT
COMPLETIONS = Dialect.OPENAI_COMPLETIONS
TRITON = "tensorrt-llm 2024-06"
LONG = Sampling(max_tokens=400, top_p=0.9)
NAMED = ["x", "--served-model-name", "tiny", "--model-name", "tiny"]


@pytest.fixture(scope="module")
def client() -> Iterator[LoadClient]:
    with LoadClient() as running:
        yield running


@contextmanager
def serving(name: str) -> Iterator[int]:
    engine = told(PERSONALITIES[name], NAMED)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"engine": engine}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(
    client: LoadClient, name: str, asked: RequestSpec, prompt: str = "hi", sampling: Sampling | None = None
) -> Exchange:
    given = sampling or Sampling(max_tokens=4)
    with serving(name) as port:
        spec = LoadSpec(
            tag="t",
            host="127.0.0.1",
            port=port,
            path=path(asked),
            users=1,
            ramp_s=0.0,
            bodies=(body(asked, "tiny", prompt, None, given),),
            requests=1,
            stall_s=5.0,
        )
        (x,) = client.run(spec, asked.dialect, on_live=lambda _: None, watch=lambda: None).exchanges
    return x


def spec(dialect: Dialect, **more: Any) -> RequestSpec:
    return RequestSpec(dialect=dialect, **more)


@pytest.mark.parametrize(
    ("name", "asked", "outcome", "said"),
    [
        ("vllm 2024-06", spec(CHAT), Outcome.HTTP_STATUS, "stream_options"),
        ("tensorrt-llm current", spec(CHAT, fields={"guided_json": 1}), Outcome.HTTP_STATUS, "guided_json"),
        ("vllm current", spec(CHAT, fields={"model": "other"}), Outcome.HTTP_STATUS, "does not exist"),
        (
            "lmdeploy 2024-06",
            spec(CHAT, fields={"model": "other"}),
            Outcome.ENGINE_ERROR,
            "does not exist",
        ),
        (
            "tgi 2024-06",
            spec(Dialect.GENERATE_STREAM, fields={"parameters": {"top_p": 1.0}}),
            Outcome.ENGINE_ERROR,
            "validation",
        ),
        ("tgi current", spec(CHAT), Outcome.HTTP_STATUS, "top_p"),
        (TRITON, spec(Dialect.TENSOR_STREAM, fields={"stream_options": {}}), Outcome.HTTP_STATUS, "object"),
        (TRITON, spec(Dialect.TENSOR_STREAM, fields={"temperature": 0}), Outcome.HTTP_STATUS, "positive"),
        (TRITON, spec(CHAT), Outcome.HTTP_STATUS, "404"),
    ],
)
def test_a_request_that_the_engine_refuses_is_refused(
    client: LoadClient, name: str, asked: RequestSpec, outcome: Outcome, said: str
) -> None:
    """With the status, or the error under 200, that the engine would give."""
    prompt = BOS if asked.dialect is Dialect.TENSOR_STREAM else "hi"
    x = ask(client, name, asked, prompt)

    assert outcome is x.outcome
    assert said in x.detail


@pytest.mark.parametrize(
    ("name", "dialect", "template"),
    [
        ("vllm current", COMPLETIONS, Template.TEXT),
        ("tgi 2024-06", Dialect.GENERATE_STREAM, Template.TEXT),
        (TRITON, Dialect.TENSOR_STREAM, Template.TEXT_WITH_BOS),
        ("mlc-llm 2024-06", COMPLETIONS, Template.TEXT_WITH_BOS),
    ],
)
def test_begin_of_text_is_wanted_once(
    client: LoadClient, name: str, dialect: Dialect, template: Template
) -> None:
    """From the client or from the engine's tokenizer, not from both and not from neither."""
    asked = spec(dialect, template=template, refused=("usage",))
    right, wrong = (BOS, "") if template is Template.TEXT_WITH_BOS else ("", BOS)

    assert Outcome.OK is ask(client, name, asked, f"{right}hi").outcome
    assert "begin-of-text in the prompt" in ask(client, name, asked, f"{wrong}hi").detail


@pytest.mark.parametrize(("name", "tokens"), [("vllm current", 60), ("mlc-llm current", 40)])
def test_an_end_is_ignored_where_the_engine_can_be_told_to(
    client: LoadClient, name: str, tokens: int
) -> None:
    """An engine that does not hear it ends where it would have."""
    assert tokens == ask(client, name, spec(CHAT), sampling=Sampling(max_tokens=60, ignore_eos=True)).tokens


@pytest.mark.parametrize("name", PERSONALITIES)
def test_an_answer_ends_by_itself_or_at_its_limit(client: LoadClient, name: str) -> None:
    """Every route that streams does so in a shape that is understood, long and short."""
    for route in PERSONALITIES[name].routes:
        dialect = next(d for d in Dialect if path(spec(d)) == route)
        once = PERSONALITIES[name].routes[route].bos
        asked = spec(dialect, refused=() if name.startswith("lmdeploy") else ("usage",))
        x = ask(client, name, asked, f"{BOS * (once or 0)}hi", LONG)

        assert (Outcome.OK, "") == (x.outcome, x.detail)
        assert x.finish_reason in {"stop", "eos_token", ""}


def test_flags_are_read_as_the_engine_reads_them() -> None:
    """Both spellings of a value, the first free word as weights, the engine's own defaults."""
    mlc = told(PERSONALITIES["mlc-llm current"], ["mlc_llm", "serve", "/m", "--port=9"])
    tgi = told(PERSONALITIES["tgi 2024-06"], ["x", "--model-id", "/m", "--hostname", "::"])

    assert ("/m", 9, "127.0.0.1") == (mlc.weights, mlc.port, mlc.host)
    assert ("/m", 3000, "::") == (tgi.weights, tgi.port, tgi.host)


def test_weights_must_be_there_and_whole(tmp_path: Path) -> None:
    """A folder that is missing, a file that is not in it, a placeholder that nobody filled in."""

    def engine(weights: Path | str) -> Engine:
        return told(PERSONALITIES["vllm current"], ["vllm", "serve", str(weights)])

    assert "no weights at ''" in wanting(engine(""))
    assert "is not there" in wanting(engine(tmp_path))
    (tmp_path / "config.json").write_text("{step:build}")
    assert "placeholder" in wanting(engine(tmp_path))
    (tmp_path / "config.json").write_text('{"a": {"port": 1}}')
    assert not wanting(engine(tmp_path))


def test_a_program_that_python_starts_is_caught_by_its_name() -> None:
    """Everything else that is given to Python goes on to the real one."""
    scripts = programs("sglang current", "/usr/bin/python3", "/fake")

    assert {"python3", "sglang"} == set(scripts)
    assert '"-m sglang.launch_server") shift 2;' in scripts["python3"]
    assert '*) exec /usr/bin/python3 "$@"' in scripts["python3"]
