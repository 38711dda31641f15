"""Traces of requests in mooncake's form: when each came, how long it was, and what it had in common with others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from orchestrator.catalog import lines
from orchestrator.catalog.exact import Words
from orchestrator.domain.prompt import Prompt

BLOCK_TOKENS = 512
HINT = "a line is an object with timestamp (ms), input_length, output_length and perhaps hash_ids"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace. `hash_ids` name its blocks of 512 tokens: equal ids are equal texts."""

    at_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...]


def read(content: bytes, name: str) -> tuple[Arrival, ...]:
    """Every arrival, in the order of the file, which is that of their times."""
    found: list[Arrival] = []
    for place, entry in lines.objects(content, name):
        arrival = _arrival(entry, place)
        if found and arrival.at_s < found[-1].at_s:
            raise lines.fault(place, "timestamp lies before that of the line above", HINT)
        found.append(arrival)
    return tuple(found)


def prompts(arrivals: tuple[Arrival, ...], words: Words, seed: int) -> tuple[Prompt, ...]:
    """A text for each arrival: as long as it says, equal to others where they share blocks from the beginning."""
    return words.prompts(
        [a.input_tokens for a in arrivals],
        [_source(words, a, number, seed) for number, a in enumerate(arrivals)],
        [a.output_tokens for a in arrivals],
    )


def _source(words: Words, arrival: Arrival, number: int, seed: int) -> Iterator[str]:
    for block in arrival.hash_ids:
        yield from islice(words.source(f"{seed} block {block}"), BLOCK_TOKENS)
    yield from words.source(f"{seed} request {number}")


def _arrival(entry: dict[str, object], place: str) -> Arrival:
    ids = entry.get("hash_ids") or []
    if not isinstance(ids, list) or not all(type(i) is int for i in ids):
        raise lines.fault(place, "hash_ids is not a list of numbers", HINT)
    return Arrival(
        at_s=_number(entry, "timestamp", place, least=0) / 1e3,
        input_tokens=_number(entry, "input_length", place, least=1),
        output_tokens=_number(entry, "output_length", place, least=1),
        hash_ids=tuple(ids),
    )


def _number(entry: dict[str, object], name: str, place: str, *, least: int) -> int:
    value = entry.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < least:
        raise lines.fault(place, f"{name} is not a number of at least {least}", HINT)
    return round(value)
