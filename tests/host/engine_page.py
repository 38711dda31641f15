"""A Prometheus page of the size that vLLM serves, and a loopback server that answers what a test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backends.contract import Gauge, MetricsMap

METRICS = MetricsMap(
    path="/metrics",
    names={
        Gauge.RUNNING: "vllm:num_requests_running",
        Gauge.WAITING: "vllm:num_requests_waiting",
        Gauge.KV_USE: "vllm:kv_cache_usage_perc",
        Gauge.GENERATED_TOKENS: "vllm:generation_tokens_total",
        Gauge.PROMPT_TOKENS: "vllm:prompt_tokens_total",
    },
)


def large_page(length_bytes: int = 50_000) -> str:
    """Five gauges and counters of one engine, then histograms until the page is as long as asked."""
    head = "".join(
        f'# HELP {name} text\n# TYPE {name} gauge\n{name}{{engine="0",model_name="m"}} {value}\n'
        for value, name in enumerate(METRICS.names.values(), start=1)
    )
    histograms: list[str] = []
    length = len(head)
    while length < length_bytes:
        histograms.append(_histogram(f"vllm:histogram_{len(histograms)}_seconds"))
        length += len(histograms[-1])
    return head + "".join(histograms)


def _histogram(name: str) -> str:
    buckets = "".join(
        f'{name}_bucket{{engine="0",le="{0.001 * 2**i}",model_name="m"}} {float(i)}\n' for i in range(20)
    )
    labels = '{engine="0",model_name="m"}'
    return f"# HELP {name} text\n# TYPE {name} histogram\n{buckets}{name}_count{labels} 20.0\n{name}_sum{labels} 3.5\n"


@dataclass
class Engine:
    """What the server answers, changeable at any time, and what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    connections: set[tuple[str, int]] = field(default_factory=set)
    requests: int = 0


@contextmanager
def serving(page: str) -> Iterator[Engine]:
    engine = Engine(body=page.encode())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            engine.requests += 1
            engine.connections.add(self.client_address)
            self.send_response(engine.status)
            self.send_header("content-length", str(len(engine.body)))
            self.end_headers()
            self.wfile.write(engine.body)

        def log_message(self, *args: object) -> None:
            """Nothing on the console."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        engine.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield engine
        server.shutdown()
        thread.join()
