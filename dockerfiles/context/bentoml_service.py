"""The published benchmark's interface before an engine's own server: `POST /generate` with `prompt`,
`system_prompt` and `max_tokens` is answered with plain text, one chunk of the body for each event of the engine.

Runs under `bentoml serve` (1.2.16 and 1.4). What a request to the engine looks like, and where its text stands
in an event, is told by the JSON file that LEVELBENCH_SERVICE names (backends/serving/bentoml.py writes it):
`url`; `bodies`, with and without a system prompt, in which `words` stand for what a request brings;
`text`, the path to an event's text, and `special`, to what says that the text is none; `lines`, whether an event
is a line rather than a server-sent one; `template`, where the model's chat template must be rendered here.
Python 3.8 and newer: it runs on the interpreter of whatever image the engine has.
"""
# ruff: noqa: UP006, UP035, UP045 - Python 3.8

import json
import os
from pathlib import Path
from typing import Any, AsyncGenerator, Dict, List, Optional

import aiohttp
import bentoml
from annotated_types import Ge
from bentoml.exceptions import BentoMLException
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typing_extensions import Annotated

SETTINGS: Dict[str, Any] = json.loads(Path(os.environ["LEVELBENCH_SERVICE"]).read_text(encoding="utf-8"))
WORDS: Dict[str, Any] = SETTINGS["words"]
DATA = b"data:"
DONE = b"[DONE]"
# The engine's silence is the load client's to judge: nothing is given up here
PATIENT = aiohttp.ClientTimeout(total=None, sock_connect=30)


class EngineError(BentoMLException):
    """The engine did not answer as it should: a 500, or a stream that breaks off."""


@bentoml.service(name="llm", workers=1, traffic={"timeout": SETTINGS["timeout_s"]})
class Llm:
    """Holds one session, made on first use, within the running loop.

    Each request has a connection of its own: an engine may close a kept one at any time (seen with llama.cpp),
    which would lose a request that no retry may hide.
    """

    def __init__(self) -> None:
        self._session: Optional[aiohttp.ClientSession] = None
        self._rendered = _Rendered(**SETTINGS["template"]) if SETTINGS["template"] else None

    @bentoml.api
    async def generate(
        self, prompt: str, system_prompt: str = "", max_tokens: Annotated[int, Ge(1)] = 512
    ) -> AsyncGenerator[str, None]:
        body = self._body(prompt, system_prompt, max_tokens)
        async with self._engine().post(SETTINGS["url"], data=body) as reply:
            if reply.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise EngineError(f"the engine says {reply.status}: {(await reply.text())[:300]}")
            async for line in reply.content:
                text = _text(line)
                if text:
                    yield text

    def _engine(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=PATIENT,
                headers={"Content-Type": "application/json"},
                read_bufsize=2**20,
            )
        return self._session

    def _body(self, prompt: str, system: str, max_tokens: int) -> bytes:
        """As levelbench's own client would have written it for this engine."""
        if self._rendered is not None:
            prompt, system = self._rendered.text(prompt, system), ""
        values = {WORDS["prompt"]: prompt, WORDS["system"]: system, WORDS["max_tokens"]: max_tokens}
        body = SETTINGS["bodies"]["with" if system else "without"]
        return json.dumps(_filled(body, values), ensure_ascii=False).encode()


class _Rendered:
    """The model's own chat template. `bos`: whether begin-of-text stays in the text."""

    def __init__(self, folder: str, bos: bool) -> None:
        config = json.loads(Path(folder, "tokenizer_config.json").read_text(encoding="utf-8"))
        written = Path(folder, "chat_template.jinja")
        source = written.read_text(encoding="utf-8") if written.is_file() else config["chat_template"]
        names = ("bos_token", "eos_token")
        self._tokens = {name: _content(config.get(name)) for name in names}
        self._template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
            source
        )
        self._begin = "" if bos else self._tokens["bos_token"]

    def text(self, prompt: str, system: str) -> str:
        roles = (("system", system), ("user", prompt))
        messages = [{"role": role, "content": content} for role, content in roles if content]
        text = self._template.render(messages=messages, add_generation_prompt=True, **self._tokens)
        return text[len(self._begin) :] if self._begin and text.startswith(self._begin) else text


def _content(token: Any) -> str:
    """A special token is a string, or an object that has one."""
    return str(token["content"] if isinstance(token, dict) else token or "")


def _filled(value: Any, values: Dict[Any, Any]) -> Any:
    """The body with each word replaced; the words are whole values of it."""
    if isinstance(value, dict):
        return {name: _filled(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return values.get(value, value)
    return value


def _text(line: bytes) -> str:
    """The text of one line of the engine's stream; empty where it has none."""
    data = line.strip()
    if not SETTINGS["lines"]:
        if not data.startswith(DATA):
            return ""
        data = data[len(DATA) :].strip()
    if not data or data == DONE:
        return ""
    event = json.loads(data)
    if event.get("error"):
        raise EngineError(f"the engine says: {str(event['error'])[:300]}")
    if SETTINGS["special"] and _at(event, SETTINGS["special"]):
        return ""
    return str(_at(event, SETTINGS["text"]) or "")


def _at(event: Any, path: List[Any]) -> Any:
    """What stands at the end of a path of names and positions; None where it breaks off."""
    try:
        for step in path:
            event = event[step]
    except (KeyError, IndexError, TypeError):
        return None
    return event
