"""Which of a host's GPUs a deployment gets: so many, or those that are named. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.provenance import Gpu
from orchestrator.errors import RequestError, unknown


def chosen(asked: str, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """A number takes the first ones; UUIDs or their beginnings, with commas, take those, in that order.

    RequestError for more than there are, and for a name that is none's, or several ones'.
    """
    if not asked.strip().isdigit():
        return tuple(dict.fromkeys(_named(word.strip(), gpus) for word in asked.split(",") if word.strip()))
    number = int(asked)
    if number < 1:
        raise RequestError("no GPU was asked for", hint="GPUS=1, or ACCELERATOR=cpu")
    if number > len(gpus):
        there = ", ".join(gpu.uuid for gpu in gpus) or "none"
        raise RequestError(f"{number} GPUs were asked for, {len(gpus)} are here", hint=f"there are: {there}")
    return tuple(gpus[:number])


def _named(word: str, gpus: Sequence[Gpu]) -> Gpu:
    found = [gpu for gpu in gpus if gpu.uuid == word] or [gpu for gpu in gpus if gpu.uuid.startswith(word)]
    if len(found) > 1:
        raise RequestError(
            f"{word!r} is the beginning of {len(found)} GPUs", hint="name it in full: nvidia-smi -L"
        )
    if not found:
        raise unknown("GPU", word, [gpu.uuid for gpu in gpus])
    return found[0]
