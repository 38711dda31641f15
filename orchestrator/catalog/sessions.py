"""Sessions of several turns from a JSONL file: each turn carries the recorded turns before it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from orchestrator.catalog import lines
from orchestrator.domain.prompt import Message, Prompt

HINT = "a line is an object with `messages`: a conversation of users and assistants in turn"


@dataclass(frozen=True, slots=True)
class Sessions:
    """All turns of all sessions, one session after the other, and how many turns each has."""

    prompts: tuple[Prompt, ...]
    turns: tuple[int, ...]


def read(content: bytes, name: str) -> Sessions:
    """Every user's turn is a prompt whose history is what was recorded before it: no answer of the engine's is
    kept or sent. So every engine gets the same prompts, whatever it answers."""
    found = [_session(entry, place) for place, entry in lines.objects(content, name)]
    return Sessions(tuple(p for session in found for p in session), tuple(map(len, found)))


def _session(entry: dict[str, object], place: str) -> list[Prompt]:
    if "messages" not in entry:
        raise lines.fault(place, "no messages", HINT)
    messages = lines.messages(entry["messages"], place)
    asked = [i for i, message in enumerate(messages) if message.role == "user"]
    if not asked:
        raise lines.fault(place, "no turn of a user's", HINT)
    _require_in_turn(messages, place)
    return [Prompt(messages[: i + 1]) for i in asked]


def _require_in_turn(messages: tuple[Message, ...], place: str) -> None:
    """Chat templates refuse two turns of one role."""
    roles = [m.role for m in messages if m.role != "system"]
    if any(a == b for a, b in pairwise(roles)) or roles[0] != "user":
        raise lines.fault(place, "users and assistants do not take turns", HINT)
    if any(m.role == "system" for m in messages[1:]):
        raise lines.fault(place, "a system prompt that is not the first turn", HINT)
