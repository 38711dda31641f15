"""The article's protocol around a load: pings before it, and its way of counting chunks after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import httpx
import numpy as np

from orchestrator.domain.article import PINGS, literal_tokens
from orchestrator.domain.exchange import Exchange
from orchestrator.recount import Encode

PING_S = 5.0


def pings_s(url: str, path: str | None) -> tuple[float, ...]:
    """How long each of five GETs of the health page took, one after the other; none where there is no such page
    or it fails."""
    if path is None:
        return ()
    try:
        with httpx.Client(base_url=url, timeout=PING_S, trust_env=False) as http:
            return tuple(_ping_s(http, path) for _ in range(PINGS))
    except httpx.HTTPError:
        return ()


def counted(exchanges: Sequence[Exchange], encode: Encode) -> list[Exchange]:
    """With every event's text stripped and tokenised again. Most texts come often: each is tokenised once."""
    known: dict[str, int] = {}

    def count(text: str) -> int:
        if text not in known:
            known[text] = literal_tokens(text, encode)
        return known[text]

    return [
        replace(x, literal_tokens=np.array([count(text) for text in x.event_texts], np.int32))
        for x in exchanges
    ]


def _ping_s(http: httpx.Client, path: str) -> float:
    began_s = perf_counter()
    http.get(path).raise_for_status()
    return perf_counter() - began_s
