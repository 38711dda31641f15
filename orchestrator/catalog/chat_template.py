"""The model's own chat template, rendered by the client: for routes that take text or token ids.

It is rendered as the library does that templates are written for (transformers): the same sandbox, white
space, helpers and special tokens. A template is a program of the model's authors, so what goes wrong in it
is this cell's fault and nobody else's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from backends.contract import FailureCause
from orchestrator.domain.prompt import Prompt
from orchestrator.errors import CellError

CONFIG = "tokenizer_config.json"
FILE = "chat_template.jinja"
DEFAULT = "default"
_HINT = "take a release that renders the template itself, or a model whose folder has one"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt in the forms that engines take it in. `text` has no begin-of-text; the others have it once,
    where the model has it at all."""

    text: str
    text_with_bos: str
    tokens: tuple[int, ...]


class ChatTemplate:
    """A model's template and tokenizer. `specials` are its named tokens, such as `bos_token`."""

    def __init__(self, source: str, specials: dict[str, str], tokenizer: Tokenizer) -> None:
        self._template = _compiled(source)
        self._specials = specials
        self._tokenizer = tokenizer
        self._bos = specials.get("bos_token", "")

    def render(self, prompts: Sequence[Prompt], system: str | None) -> tuple[Rendered, ...]:
        """Each conversation, which the model is to go on with."""
        texts = [self._text(prompt, system) for prompt in prompts]
        bare = [self._without_bos(text) for text in texts]
        begun = [self._begins(text) + short for text, short in zip(texts, bare, strict=True)]
        encoded = self._tokenizer.encode_batch(begun, add_special_tokens=False)
        return tuple(Rendered(a, b, tuple(e.ids)) for a, b, e in zip(bare, begun, encoded, strict=True))

    def _text(self, prompt: Prompt, system: str | None) -> str:
        first = [{"role": "system", "content": system}] if system else []
        messages = [*first, *({"role": m.role, "content": m.content} for m in prompt.messages)]
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._specials,
            )
        except Exception as error:  # whatever a program of somebody else's raises
            roles = " and ".join(dict.fromkeys(m["role"] for m in messages))
            raise CellError(
                f"the model's chat template cannot render {roles}: {error}",
                hint="some templates know no system prompt: measure without one, or with another model",
                cause=FailureCause.MODEL_FILES,
            ) from error

    def _without_bos(self, text: str) -> str:
        while self._bos and text.startswith(self._bos):
            text = text.removeprefix(self._bos)
        return text

    def _begins(self, text: str) -> str:
        """Begin-of-text, where the template writes it or the tokenizer would put it first."""
        if not self._bos:
            return ""
        first = self._tokenizer.encode("").ids[:1]
        by_tokenizer = first == [self._tokenizer.token_to_id(self._bos)]
        return self._bos if by_tokenizer or text.startswith(self._bos) else ""


def load(folder: Path, tokenizer: Tokenizer) -> ChatTemplate:
    """The template of a model's folder. CellError where there is none, or none that can be used."""
    config = _config(folder / CONFIG)
    path = folder / FILE
    source = path.read_text("utf-8") if path.is_file() else _default(config.get("chat_template"), folder)
    return ChatTemplate(source, _specials(config), tokenizer)


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _no_template(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise _no_template(f"{path} holds no object")
    return found


def _default(stated: Any, folder: Path) -> str:
    """A template is one text, or a list of named ones."""
    if isinstance(stated, str):
        return stated
    if stated is None:
        raise _no_template(f"{folder.name} has no chat template: neither {FILE} nor one in {CONFIG}")
    try:
        named = {entry["name"]: entry["template"] for entry in stated}
    except (KeyError, TypeError) as error:
        raise _no_template(f"{CONFIG} has a chat template that is neither text nor named ones") from error
    if not isinstance(named.get(DEFAULT), str):
        raise _no_template(f"{CONFIG} has no chat template named {DEFAULT}, but {', '.join(map(str, named))}")
    return str(named[DEFAULT])


def _specials(config: dict[str, Any]) -> dict[str, str]:
    """Every named token: a text, or an object with the text as its content."""
    stated = {name: value for name, value in config.items() if name.endswith("_token")}
    texts = {n: v.get("content") if isinstance(v, dict) else v for n, v in stated.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _compiled(source: str) -> Template:
    try:
        return _environment().from_string(source)
    except TemplateError as error:
        raise _no_template(f"the model's chat template is broken: {error}") from error


def _environment() -> Environment:
    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    found.filters["tojson"] = _to_json
    found.globals["raise_exception"] = _raise
    found.globals["strftime_now"] = _now
    return found


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own filter escapes for HTML, which no model was trained on."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def _no_template(message: str) -> CellError:
    return CellError(message, hint=_HINT, cause=FailureCause.MODEL_FILES)
