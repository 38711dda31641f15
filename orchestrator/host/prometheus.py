"""An engine's own figures: its Prometheus page, as our gauges."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from backends.contract import Gauge, MetricsMap
from orchestrator.host.telemetry import ReadingError

MAX_PAGE_BYTES = 8 * 2**20
TIMEOUT = httpx.Timeout(1.0, connect=0.5)
DEADLINE_S = 2.0

# Shares of several replicas cannot be added up: the fullest one is what requests wait for.
SHARES = frozenset({Gauge.KV_USE})


class Scraper:
    """One page, read again and again over one connection. Raises ReadingError, nothing else."""

    def __init__(self, url: str, metrics: MetricsMap) -> None:
        self._url = str(httpx.URL(url).copy_with(port=metrics.port or httpx.URL(url).port, path=metrics.path))
        self._metrics = metrics
        # trust_env: a proxy from the environment must not come between us and the engine.
        self._client = httpx.Client(timeout=TIMEOUT, trust_env=False, headers={"accept": "text/plain"})

    def read(self) -> dict[str, float]:
        return parse(self._page(), self._metrics)

    def close(self) -> None:
        self._client.close()

    def _page(self) -> str:
        try:
            with self._client.stream("GET", self._url) as reply:
                reply.raise_for_status()
                return _body(reply.iter_bytes()).decode(errors="replace")
        except httpx.HTTPError as error:
            raise ReadingError(f"{self._url}: {type(error).__name__}: {error}") from error


def scrape(url: str, metrics: MetricsMap) -> dict[str, float]:
    """One reading of an engine's page over a connection of its own. ReadingError where there is none."""
    scraper = Scraper(url, metrics)
    try:
        return scraper.read()
    finally:
        scraper.close()


def parse(page: str, metrics: MetricsMap) -> dict[str, float]:
    """The mapped figures of a page, summed over their label sets. ReadingError when it has none."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, labels, value in _samples(page, tuple(n.partition("{")[0] for n in metrics.names.values())):
        for key in (name, *(f'{name}{{{label}="{text}"}}' for label, text in labels.items())):
            found[key].append(value)
    figures = {
        f"metrics.{gauge.value}": max(found[name]) if gauge in SHARES else sum(found[name])
        for gauge, name in metrics.names.items()
        if name in found
    }
    if not figures:
        raise ReadingError(f"{metrics.path} has none of {', '.join(sorted(metrics.names.values()))}")
    return figures


def _samples(page: str, names: tuple[str, ...]) -> list[tuple[str, dict[str, str], float]]:
    """The samples of these names alone: parsing a whole page costs 8 ms (docs/telemetry.md), for nothing."""
    lines = "".join(f"{line}\n" for line in page.splitlines() if line.startswith(names))
    try:
        return [(s.name, s.labels, s.value) for f in text_string_to_metric_families(lines) for s in f.samples]
    except ValueError as error:
        raise ReadingError(f"not a Prometheus page: {error}") from error


def _body(chunks: Iterable[bytes]) -> bytes:
    """A page in full, unless it is too long or drips too slowly to be one."""
    until_s = time.monotonic() + DEADLINE_S
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_PAGE_BYTES or time.monotonic() > until_s:
            raise ReadingError(f"a page of more than {len(body)} bytes did not end in {DEADLINE_S:.0f} s")
    return bytes(body)
