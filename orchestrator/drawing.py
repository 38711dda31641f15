"""From a workload and a model's tokenizer to what the requests of a deployment carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from backends.contract import RequestSpec
from orchestrator.catalog import prompts
from orchestrator.catalog.chat_template import ChatTemplate
from orchestrator.catalog.exact import Words
from orchestrator.catalog.prompts import HubFile
from orchestrator.domain.workload import Workload
from orchestrator.load.draw import Draw

CHARS_PER_TOKEN = 4
GUESSED = f"lengths guessed at {CHARS_PER_TOKEN} characters a token"


def draw(
    workload: Workload,
    request: RequestSpec,
    served_name: str,
    *,
    tokenizer: Tokenizer | None,
    chat: ChatTemplate | None,
    dolly_path: Path,
    fetched: HubFile | None = None,
) -> Draw:
    """The prompts that fit the workload, counted by the model's own tokenizer; without one lengths are guessed."""
    spec = workload.prompts
    words = {} if tokenizer is None else {"words": lambda: Words(tokenizer, chat)}
    return Draw(
        prompts=prompts.load(
            spec, dolly_path=dolly_path, count_tokens=_counter(tokenizer), fetched=fetched, **words
        ),
        system=prompts.system_prompt(),
        request=request,
        served_name=served_name,
        sampling=workload.sampling,
        seed=spec.seed,
        chat=chat,
        reuse=spec.reuse,
        encode=None if tokenizer is None else _encoder(tokenizer),
    )


def _counter(tokenizer: Tokenizer | None) -> Callable[[str], int]:
    """With begin-of-text, as the article's client counted prompts."""
    if tokenizer is None:
        return lambda text: round(len(text) / CHARS_PER_TOKEN)
    return lambda text: len(tokenizer.encode(text).ids)


def _encoder(tokenizer: Tokenizer) -> Callable[[str], Sequence[int]]:
    """Without begin-of-text, as it counted what came."""
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids
