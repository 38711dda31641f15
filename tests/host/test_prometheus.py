"""orchestrator/host/prometheus.py against real sockets on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from backends.contract import Gauge, MetricsMap
from orchestrator.host import prometheus
from orchestrator.host.prometheus import Scraper, parse, scrape
from orchestrator.host.sources import metrics_source
from orchestrator.host.telemetry import ReadingError, Telemetry
from tests.host.engine_page import METRICS, large_page, serving


def metrics_map(**names: str) -> MetricsMap:
    return MetricsMap(path="/metrics", names={Gauge[key]: name for key, name in names.items()})


@contextmanager
def dripping() -> Iterator[str]:
    """A server that begins a page and sends a byte whenever asked to go on, but never ends it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                with suppress(OSError):
                    while not stop.wait(0.01):
                        connection.sendall(b"1\r\n#\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        thread.join()


def test_a_page_becomes_our_gauges() -> None:
    """Each mapped figure of a large page appears under our name for it."""
    with serving(large_page()) as engine:
        figures = scrape(engine.url, METRICS)

    assert figures == {
        "metrics.running": 1,
        "metrics.waiting": 2,
        "metrics.kv_use": 3,
        "metrics.generated_tokens_total": 4,
        "metrics.prompt_tokens_total": 5,
    }


def test_a_name_with_several_meanings_is_told_apart_by_a_label() -> None:
    """As engines do that put all states of a request under one name; other labels may stand beside it."""
    page = (
        'requests{model="m",kind="active"} 9\nrequests{model="m",kind="scheduled"} 4\n'
        'requests{model="n",kind="scheduled"} 3\n'
    )

    assert {"metrics.running": 7} == parse(page, metrics_map(RUNNING='requests{kind="scheduled"}'))
    assert {"metrics.running": 16} == parse(page, metrics_map(RUNNING="requests"))
    with pytest.raises(ReadingError, match="has none of"):
        parse(page, metrics_map(RUNNING='requests{kind="queued"}'))


def test_one_connection_serves_many_readings() -> None:
    """A scraper keeps its connection alive from one reading to the next."""
    with serving(large_page()) as engine:
        scraper = Scraper(engine.url, METRICS)
        for _ in range(3):
            scraper.read()
        scraper.close()

        assert engine.requests == 3
        assert len(engine.connections) == 1


def test_label_sets_are_summed() -> None:
    """Requests of several replicas add up."""
    page = 'run{engine="0"} 3\nrun{engine="1"} 4\n'

    assert parse(page, metrics_map(RUNNING="run")) == {"metrics.running": 7}


def test_shares_are_not_summed() -> None:
    """Two half-full caches are no full cache: the fullest counts."""
    page = 'kv{engine="0"} 0.4\nkv{engine="1"} 0.6\n'

    assert parse(page, metrics_map(KV_USE="kv")) == {"metrics.kv_use": 0.6}


def test_names_are_matched_whole() -> None:
    """A longer name that begins like the wanted one is another figure."""
    page = "run 1\nrun_by_reason 9\nrun_created 1e9\n"

    assert parse(page, metrics_map(RUNNING="run")) == {"metrics.running": 1}


def test_an_absent_figure_is_absent() -> None:
    """A figure that the engine does not show is not reported as 0."""
    assert parse("run 1\n", metrics_map(RUNNING="run", WAITING="wait")) == {"metrics.running": 1}


def test_a_counter_may_carry_its_type() -> None:
    """A counter is found by its full sample name, whatever its TYPE line says."""
    page = '# TYPE tokens counter\ntokens_total{a="b"} 12\ntokens_created{a="b"} 1.7e9\n'

    assert parse(page, metrics_map(GENERATED_TOKENS="tokens_total")) == {"metrics.generated_tokens_total": 12}


def test_tabs_and_missing_types_are_understood() -> None:
    """MLC-LLM writes tab-separated lines without TYPE (backends-current.md 5.5)."""
    page = "prompt_tokens_sum\t75\ncompletion_tokens_sum\t30\n"

    assert parse(page, metrics_map(GENERATED_TOKENS="completion_tokens_sum")) == {
        "metrics.generated_tokens_total": 30
    }


@pytest.mark.parametrize(
    "page",
    ["", "<html>hello</html>", '{"detail": "Not Found"}', "\x00\xff\n", "other 1\n", "run one\n", 'run{a="b'],
)
def test_garbage_is_a_reading_error(page: str) -> None:
    """A page without a single wanted, readable figure is no reading."""
    with pytest.raises(ReadingError):
        parse(page, metrics_map(RUNNING="run"))


@pytest.mark.parametrize("status", [404, 500, 302])
def test_a_refusal_is_a_reading_error(status: int) -> None:
    """Any answer but a success names its page."""
    with serving(large_page()) as engine:
        engine.status = status
        with pytest.raises(ReadingError, match="/metrics"):
            scrape(engine.url, METRICS)


def test_no_server_is_a_reading_error() -> None:
    """A port on which nobody listens is told, not raised as httpx's own error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(ReadingError, match="ConnectError"):
        scrape(f"http://127.0.0.1:{port}", METRICS)


def test_a_page_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that keep coming do not keep the reader."""
    monkeypatch.setattr(prometheus, "DEADLINE_S", 0.05)

    with dripping() as url, pytest.raises(ReadingError, match="did not end"):
        scrape(url, METRICS)


def test_a_page_that_is_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless or wrong page does not fill the memory."""
    monkeypatch.setattr(prometheus, "MAX_PAGE_BYTES", 1000)

    with serving(large_page()) as engine, pytest.raises(ReadingError, match="did not end"):
        scrape(engine.url, METRICS)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would stand between us and the engine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    with serving(large_page()) as engine:
        assert scrape(engine.url, METRICS)["metrics.running"] == 1


def test_a_scraper_survives_the_engines_bad_moments() -> None:
    """After garbage and an error the same scraper reads the next good page."""
    with serving(large_page()) as engine:
        scraper = Scraper(engine.url, METRICS)
        engine.body = b"<html>"
        with pytest.raises(ReadingError):
            scraper.read()
        engine.status = 503
        with pytest.raises(ReadingError):
            scraper.read()
        engine.status, engine.body = 200, large_page().encode()

        assert scraper.read()["metrics.running"] == 1
        scraper.close()


def test_garbage_in_a_run_is_an_empty_reading_and_a_fault() -> None:
    """Telemetry counts the fault and keeps no sample of it."""
    with serving("<html>") as engine:
        telemetry = Telemetry([metrics_source(engine.url, METRICS)], period_s=60).start()
        while not engine.requests or not telemetry.faults():
            threading.Event().wait(0.001)
        samples = telemetry.stop()

    assert samples == []
    assert telemetry.faults()["metrics"].raised == 1


def test_figures_may_be_on_another_port() -> None:
    """Of the same host: Triton answers requests on one, and tells its figures on another."""
    with serving(large_page()) as engine:
        port = int(engine.url.rpartition(":")[2])
        elsewhere = METRICS.model_copy(update={"port": port})

        assert scrape("http://127.0.0.1:9", elsewhere)["metrics.running"] == 1
