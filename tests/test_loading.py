"""`levelbench load` against a real server on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from backends.contract import Dialect, RequestField, Template
from orchestrator import loading
from orchestrator.cli import app
from orchestrator.console import Console
from orchestrator.domain.exchange import CountedBy, Outcome
from orchestrator.domain.reasons import Reason
from orchestrator.domain.workload import Arrivals
from orchestrator.errors import BenchError, CellError, RequestError
from orchestrator.invocation import Place
from orchestrator.loading import LoadRequest
from orchestrator.runtime.daemon import Daemon
from orchestrator.store.runs import RunFolder
from orchestrator.store.tables import read_exchanges
from quantize import synthetic
from tests.fakes.engine import Answer, Exchange, FakeEngine, steady
from tests.test_bench import until
from tests.test_end_to_end import UNDER_LOAD, Bench

PROGRAM = "from orchestrator.cli import main; main()"
ROOT = Path(__file__).resolve().parent.parent
SHORT = {"users": (2,), "ramp_s": 0.2, "duration_s": 0.8}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "runs", tmp_path / "cache", Daemon(), environment={})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made model's folder."""
    folder = tmp_path_factory.mktemp("tiny")
    synthetic.make("tiny", folder)
    return folder


def ask(engine: FakeEngine, **changes: Any) -> LoadRequest:
    known: dict[str, Any] = {"url": f"http://127.0.0.1:{engine.port}", "model": "tiny", **SHORT}
    return LoadRequest(**{**known, **changes})


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


def run(place: Place, request: LoadRequest) -> tuple[RunFolder, str]:
    screen = StringIO()
    return loading.execute(place, request, Console(screen)), screen.getvalue()


def cli(tmp_path: Path, *words: str) -> Result:
    settings = ("--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"))
    return CliRunner().invoke(app, [*settings, "load", *words])


def test_an_endpoint_is_measured_like_any_engine(place: Place) -> None:
    """Metrics, verdict, provenance and the raw exchanges lie in a run folder, with a report."""
    with FakeEngine(steady()) as engine:
        folder, screen = run(place, ask(engine))
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.metrics is not None
    assert stored.result.verdict is not None
    assert stored.result.provenance is not None

    assert 8 == stored.result.metrics.output_tokens.mean
    assert ("endpoint", None, None) == (
        stored.result.cell.group.backend,
        stored.result.provenance.image,
        stored.result.provenance.weights_digest,
    )
    assert "client.cpu_cores" in stored.result.telemetry.mean
    assert f"endpoint http://127.0.0.1:{engine.port}" in (folder.path / "report.md").read_text()
    assert "lengths guessed at 4 characters a token" in screen
    assert "lengths guessed" in stored.result.provenance.prompts_name


def test_every_request_can_be_found_in_the_servers_log(place: Place) -> None:
    """Each row of exchanges.parquet has the X-Request-Id that its request carried."""
    with FakeEngine(steady()) as engine:
        folder, _ = run(place, ask(engine, users=(1, 3)))
        ids = [
            [x.id for x in read_exchanges(folder.cell(s.cell_id).path / "exchanges.parquet")]
            for s in folder.results()
        ]

    assert {"u1", "u3"} == {one.split("-")[0] for of in ids for one in of}
    assert sorted(i for of in ids for i in of) == sorted(i for i in engine.request_ids if i.startswith("u"))


def test_what_was_asked_is_sent(place: Place) -> None:
    """Fields, limits and what is refused reach every request; fields are told as deviations."""
    with FakeEngine(steady()) as engine:
        request = ask(
            engine,
            max_tokens=9,
            temperature=0.0,
            ignore_eos=True,
            fields={"top_k": 4},
            refused=(RequestField.USAGE,),
        )
        folder, _ = run(place, request)
    sent = engine.requests[-1]
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.provenance is not None

    assert (9, 0.0, True, 4) == tuple(
        sent[name] for name in ("max_tokens", "temperature", "ignore_eos", "top_k")
    )
    assert "stream_options" not in sent
    assert [("top_k", "4")] == [(d.setting, d.value) for d in stored.result.provenance.deviations]


def test_prompts_come_from_a_persons_file(place: Place, tmp_path: Path) -> None:
    """Every line of it, whatever its length, under its own name."""
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"say {i}"}) for i in range(40)))
    with FakeEngine(steady()) as engine:
        folder, screen = run(place, ask(engine, prompts=str(file)))
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.provenance is not None

    assert {f"say {i}" for i in range(40)} >= {r["messages"][0]["content"] for r in engine.requests}
    assert "40 prompts of mine.jsonl" in screen


def test_a_tokenizer_tells_how_long_prompts_should_be(place: Place, tmp_path: Path, tiny: Path) -> None:
    """With it the engine's count of a prompt is held against ours."""
    with FakeEngine(steady()) as engine:
        folder, screen = run(place, ask(engine, tokenizer=tiny))
        (stored,) = folder.results()
        exchanges = read_exchanges(folder.cell(stored.cell_id).path / "exchanges.parquet")

    assert all(x.expected_prompt_tokens for x in exchanges)
    assert "guessed" not in screen


def echo(letters: str, tokens: int = 30) -> Answer:
    """An engine whose greedy answers are one letter, and whose others are another."""

    async def answer(x: Exchange) -> None:
        await x.head()
        for _ in range(min(tokens, x.body["max_tokens"])):
            await x.token(letters[0] if x.body["temperature"] == 0 else letters[1])
            await asyncio.sleep(0.001)
        await x.token("", finish="stop")
        await x.usage(5, tokens)
        await x.done()

    return answer


def test_canaries_are_answered_as_a_single_user_was(place: Place) -> None:
    """About one request in a hundred is greedy; its answer is held against the one from before the load."""
    with FakeEngine(echo("ab")) as engine:
        folder, _ = run(place, ask(engine, users=(4,), duration_s=3.0, think_s=0.0))
        (stored,) = folder.results()
        exchanges = read_exchanges(folder.cell(stored.cell_id).path / "exchanges.parquet")
    greedy = [r for r in engine.requests if r["temperature"] == 0]
    assert stored.result is not None

    assert 3 <= sum(x.canary is not None for x in exchanges)
    assert 6 == sum(i.startswith("canary") for i in engine.request_ids)
    assert {8, 256} == {r["max_tokens"] for r in greedy}
    assert 3 <= (stored.result.evidence.canaries or 0)
    assert 0 == stored.result.evidence.canaries_differing


def test_answers_that_change_under_load_make_a_cell_suspect(place: Place) -> None:
    """An engine that mixes up its users, say."""

    async def mixed_up(x: Exchange) -> None:
        await echo("ab" if x.headers["x-request-id"].startswith("canary") else "cb")(x)

    with FakeEngine(mixed_up) as engine:
        folder, _ = run(place, ask(engine, users=(4,), duration_s=3.0, think_s=0.0))
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.verdict is not None

    assert Reason.CANARIES_DIFFER in {f.reason for f in stored.result.verdict.findings}


def test_a_release_that_cannot_be_greedy_has_no_canaries(place: Place) -> None:
    """The verdict then says that nobody looked."""
    with FakeEngine(steady()) as engine:
        folder, _ = run(place, ask(engine, refused=(RequestField.TEMPERATURE,)))
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.verdict is not None

    assert Reason.CANARIES_DIFFER in stored.result.verdict.not_checked
    assert not [i for i in engine.request_ids if i.startswith("canary")]


def test_the_articles_figures_stand_beside_ours(place: Place, tiny: Path) -> None:
    """Chunks counted in its way, pings subtracted; the parts of the difference add up."""
    article = {"workload": "article", "ramp_s": 0.5, "duration_s": 3.0, "prompts": "own", "tokenizer": tiny}
    with FakeEngine(steady()) as engine:
        folder, _ = run(place, ask(engine, **article))
    first = folder.results()[0].result
    assert first is not None
    assert first.article is not None
    assert first.article.tokens_per_s is not None
    assert first.article.rate_difference is not None
    parts = first.article.rate_difference

    assert first.article.tokens_per_s > 0
    assert -0.005 < first.article.ping_s < 0.5
    assert first.article.tokens_per_s == pytest.approx(
        parts.ours_per_s + parts.ramp_per_s + parts.stripped_per_s + parts.retokenised_per_s
    )
    assert "As the article's client would have printed it" in (folder.path / "report.md").read_text()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://localhost:8000", "https is not measured"),
        ("ftp://localhost", "is no http URL"),
        ("http://localhost:port", "is no URL"),
        ("http://127.0.0.1:9", "nothing answers at http://127.0.0.1:9"),
    ],
)
def test_urls_that_cannot_be_measured(place: Place, url: str, told: str) -> None:
    """Each with what to do instead."""
    with pytest.raises(RequestError, match=told) as caught:
        run(place, LoadRequest(url=url, model="tiny"))

    assert caught.value.hint


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_an_openai_base_url_is_taken(place: Place, suffix: str) -> None:
    """The /v1 that OpenAI clients are given is the same endpoint."""
    with FakeEngine(steady()) as engine:
        folder, _ = run(place, ask(engine, url=f"http://127.0.0.1:{engine.port}{suffix}"))

    assert all(stored.result and stored.result.metrics for stored in folder.results())


def test_a_wrong_model_name_is_told_with_what_is_served(place: Place) -> None:
    """Before anything is sent."""
    with FakeEngine(steady()) as engine:
        with pytest.raises(RequestError, match=r"unknown model of this endpoint 'tinny'.*'tiny'"):
            run(place, ask(engine, model="tinny"))

    assert [] == engine.requests


def test_an_endpoint_that_lists_no_models_is_measured(place: Place) -> None:
    """Not every dialect has such a page; that the name was not checked is told."""
    with FakeEngine(steady(), gets={"/v1/models": (404, "no such page")}) as engine:
        _, screen = run(place, ask(engine))

    assert "it lists no models at /v1/models" in screen


def test_an_endpoint_that_refuses_is_not_measured(place: Place) -> None:
    """What it answered is told, and no folder is left behind."""

    async def refuse(x: Any) -> None:
        body = b'{"error": "unknown field stream_options"}'
        await x.head("400 Bad Request", extra=f"Content-Length: {len(body)}\r\n")
        await x.raw(body)

    with FakeEngine(refuse) as engine, pytest.raises(CellError, match="unknown field stream_options"):
        run(place, ask(engine))

    assert not place.runs_dir.exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"users": (0,)}, "users must be 1 or more"),
        ({"ramp_s": 0.0}, "ramp_s: Input should be greater than 0"),
        ({"workload": "article", "ramp_s": None, "duration_s": 10.0}, "is within the duration"),
        ({"template": Template.TEXT, "dialect": Dialect.OPENAI_CHAT}, "takes no prompts as text"),
        ({"template": Template.TEXT, "dialect": Dialect.OPENAI_COMPLETIONS}, "rendered here"),
        ({"dialect": Dialect.GENERATE_STREAM, "ignore_eos": True}, "cannot be told to ignore"),
        ({"users": (1,), "rates": (5.0,)}, "users are a closed loop, a rate is an open one"),
        ({"users": (), "rates": (5.0,), "think_s": 1.0}, "nobody thinks in an open loop"),
        ({"users": (), "arrivals": Arrivals.POISSON}, "^poisson arrivals need rates"),
        ({"users": (), "arrivals": Arrivals.TRACE}, "need its prompts"),
        ({"users": (), "rates": (-1.0,)}, "greater than 0"),
        ({"prompts": "hf:owner/name"}, "names no file of a data set"),
        ({"tokenizer": Path("nowhere")}, "cannot read a tokenizer from nowhere"),
        ({"prompts": "nowhere.jsonl"}, "cannot read prompts from nowhere.jsonl"),
    ],
)
def test_what_cannot_be_asked(place: Place, changes: dict[str, Any], told: str) -> None:
    """Each fault in words, before a request is sent."""
    with FakeEngine(steady()) as engine, pytest.raises(RequestError, match=told):
        run(place, ask(engine, **changes))

    assert [] == engine.requests


def test_records_go_where_a_person_wants_them(place: Place, tmp_path: Path) -> None:
    """Into a new or an empty folder, never over something else."""
    with FakeEngine(steady()) as engine:
        folder, _ = run(place, ask(engine, out=tmp_path / "mine"))
        with pytest.raises(RequestError, match="exists and is not empty"):
            run(place, ask(engine, out=tmp_path / "mine"))

    assert tmp_path / "mine" == folder.path
    assert (tmp_path / "mine" / "report.md").is_file()
    assert not place.runs_dir.exists()


def test_the_command_prints_results(tmp_path: Path) -> None:
    """As a table, or as JSON."""
    with FakeEngine(steady()) as engine:
        words = ("--url", f"127.0.0.1:{engine.port}", "--model", "tiny", "--users", "1,2")
        quick = ("--ramp", "0.1", "--duration", "0.5", "--field", "top_k=4", "--refuse", "usage")
        table = cli(tmp_path, *words, *quick)
        as_json = cli(tmp_path, *words, *quick, "--json")

    assert (0, 0) == (table.exit_code, as_json.exit_code)
    assert "report: " in table.stdout
    assert [1, 2] == [r["cell"]["load"]["users"] for r in json.loads(as_json.stdout)]


def test_a_field_needs_a_name_and_a_value(tmp_path: Path) -> None:
    """Anything else is told with an example."""
    found = cli(tmp_path, "--url", "x", "--model", "y", "--field", "top_k")

    assert isinstance(found.exception, BenchError)
    assert "'top_k' is no field" in str(found.exception)


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    """The cell is saved with its figures and says how long it lasted; later cells are not begun."""
    with FakeEngine(steady()) as engine:
        url = f"http://127.0.0.1:{engine.port}"
        settings = ("--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"))
        words = (
            "load",
            "--url",
            url,
            "--model",
            "tiny",
            "--users",
            "2,4",
            "--ramp",
            "0.2",
            "--duration",
            "60",
        )
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *settings, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until_s = time.monotonic() + 30
            while not [i for i in engine.request_ids if i.startswith("u2")] and time.monotonic() < until_s:
                time.sleep(0.1)
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=30)[1]
    folder = RunFolder.find(tmp_path / "runs")
    done, other = folder.results()
    assert done.result is not None
    assert done.result.metrics is not None

    assert 130 == process.returncode
    assert done.result.metrics.completed > 0
    assert "of 60.2 s" in done.result.notes[0]
    assert "unfinished" == other.state.value
    assert "what was measured is kept" in said
    assert (folder.path / "report.md").is_file()


def test_the_clients_process_is_small_under_the_console_script(tmp_path: Path) -> None:
    """What the command imports for itself is not imported again beside the load: with it the client's process takes
    three times the memory."""
    script = Path(sysconfig.get_path("scripts"), "levelbench")
    settings = (
        "--runs",
        str(tmp_path / "runs"),
        "--cache",
        str(tmp_path / "cache"),
        "--lock",
        str(tmp_path / "l"),
    )
    with FakeEngine(steady()) as engine:
        address = ("--url", f"http://127.0.0.1:{engine.port}", "--model", "tiny")
        words = ("load", *address, "--users", "2", "--ramp", "0.2", "--duration", "60")
        with subprocess.Popen(
            [script, *settings, *words], cwd=tmp_path, stderr=subprocess.DEVNULL
        ) as process:
            until_s = time.monotonic() + 60
            while not [i for i in engine.request_ids if i.startswith("u2")] and time.monotonic() < until_s:
                time.sleep(0.1)
            children = psutil.Process(process.pid).children()
            sizes = [c.memory_info().rss for c in children if "spawn_main" in " ".join(c.cmdline())]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)

    (client_bytes,) = sizes
    assert client_bytes < 80 * 2**20


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_a_real_engine_that_somebody_else_started(tmp_path: Path, cache: Path, tiny: Path) -> None:
    """llama.cpp's server, up under a load of its own: figures, counts by usage, prompts as long as expected."""
    port = free_port()
    other = Bench(tmp_path / "others", cache, "process")
    words = ("bench", "--runtime", "process", "--model", "tiny", "--users", "1", "--duration", "60")
    with subprocess.Popen(
        [*other.argv(), "--port", str(port), *words],
        cwd=ROOT,
        env={**os.environ, "LEVELBENCH_LOCK": str(tmp_path / "others.lock")},  # as on a host of its own
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            until(process, UNDER_LOAD)
            place = Place(tmp_path / "runs", tmp_path / "cache", Daemon(), environment={})
            request = LoadRequest(url=f"http://127.0.0.1:{port}", model="tiny", tokenizer=tiny)
            folder, _ = run(
                place, request.model_copy(update={"users": (2,), "ramp_s": 0.5, "duration_s": 3.0})
            )
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)
    (stored,) = folder.results()
    assert stored.result is not None
    assert stored.result.metrics is not None
    exchanges = read_exchanges(folder.cell(stored.cell_id).path / "exchanges.parquet")
    done = [x for x in exchanges if x.outcome is Outcome.OK and x.canary is None]

    assert 0 == stored.result.metrics.error_share
    assert len(done) > 2
    assert {CountedBy.USAGE} == {x.counted_by for x in done}
    assert [x.expected_prompt_tokens for x in done] == [x.prompt_tokens for x in done]
