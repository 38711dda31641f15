"""The program: `server.py <personality> <argv as the engine would get it>`. Standard library only.

It takes host, port, name and weights out of the argv as that engine does, loads for a while, serves, and
ends with SIGTERM. A prompt that begins wrongly, a field that it does not know, a model of another name:
each is answered as that engine answers.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fakes.engines.answers import PROMPT_TOKENS, Answer, Json, RefusedError, begins, prompts_of
from tests.fakes.engines.personalities import PERSONALITIES, Personality, Route

LOADING_S = 0.8
PREFILL_S = 0.15
TOKEN_S = 0.005
OK = 200
PLACEHOLDER = re.compile(r"\$\{|\{(model|files|config|bind|port|out|step:[\w-]+)\}")


@dataclass
class Engine:
    """One that runs: what it was told, and what it has done."""

    personality: Personality
    host: str
    port: int
    name: str
    weights: str
    figures_port: int | None
    ready_s: float = 0.0
    running: int = 0
    generated: int = 0
    prompted: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def loads(self) -> bool:
        return time.monotonic() < self.ready_s

    def page(self) -> str:
        """Its figures, in Prometheus' text form."""
        values = {"generat": self.generated, "predicted": self.generated, "prompt": self.prompted}
        lines = []
        for name in self.personality.figures:
            found = next((value for part, value in values.items() if part in name), self.running)
            lines.append(f"# TYPE {name.split('{')[0]} gauge\n{name} {float(found)}\n")
        return "".join(lines)

    def models(self) -> str:
        served = self.name if self.personality.lists == "name" else self.weights
        return json.dumps({"object": "list", "data": [{"id": served, "object": "model"}]})


def told(personality: Personality, argv: list[str]) -> Engine:
    """What the words of a launch say, the engine's own defaults for the rest."""

    def value(spellings: tuple[str, ...], default: str) -> str:
        for i, word in enumerate(argv):
            flag, equals, inline = word.partition("=")
            if flag in spellings:
                return inline if equals else argv[i + 1]
        return default

    words = argv[1:]
    free = [w for i, w in enumerate(words) if not w.startswith("-") and w not in personality.commands]
    first = free[0] if free else ""
    figures = personality.figures_port
    return Engine(
        personality=personality,
        host=value(personality.host, personality.default_host),
        port=int(value(personality.port, str(personality.default_port))),
        name=value(personality.name, ""),
        weights=value((personality.weights,), "") if personality.weights else first,
        figures_port=int(value((figures[0],), str(figures[1]))) if figures else None,
    )


def wanting(engine: Engine) -> str:
    """What is not as the engine needs it, in words; empty where all is."""
    weights = Path(engine.weights)
    if not engine.weights or not weights.exists():
        return f"no weights at {engine.weights!r}"
    for name in engine.personality.needs:
        if not (weights / name).is_file():
            return f"{weights / name} is not there"
        if PLACEHOLDER.search((weights / name).read_text()):
            return f"{weights / name} has a placeholder that nobody filled in"
    return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: Engine

    def do_GET(self) -> None:
        known = self.engine.personality
        if self.engine.loads:
            self._whole(known.loading or 503, '{"error":{"message":"Loading model","code":503}}')
        elif self.path == "/v1/models" and known.lists:
            self._whole(OK, self.engine.models())
        elif self.path == known.health:
            self._whole(OK, "")
        elif self.path == known.figures_path and known.figures and known.figures_port is None:
            self._whole(OK, self.engine.page())
        else:
            found = known.pages.get(self.path)
            self._whole(404 if found is None else OK, found or '{"detail":"Not Found"}')

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
        route = self.engine.personality.routes.get(self.path)
        if route is None:
            self._whole(OK if self.path in self.engine.personality.posts else 404, "{}")
            return
        try:
            answer = self._answer(route, json.loads(raw))
        except RefusedError as refused:
            self._whole(refused.status, json.dumps(refused.body))
            return
        with self.engine.lock:
            self.engine.running += 1
        try:
            self._stream(answer)
        finally:
            with self.engine.lock:
                self.engine.running -= 1
                self.engine.generated += answer.tokens
                self.engine.prompted += PROMPT_TOKENS

    def log_message(self, *arguments: object) -> None:
        """Requests are not worth a line."""

    def _answer(self, route: Route, body: Json) -> Answer:
        known = self.engine.personality
        if self.engine.loads:
            raise RefusedError(503, {"error": {"message": "Loading model", "code": 503}})
        unknown = set(body) - route.known if route.known is not None else set()
        if unknown:
            detail = [{"type": "extra_forbidden", "loc": ["body", name]} for name in sorted(unknown)]
            raise RefusedError(400, {"object": "error", "message": json.dumps(detail), "code": 400})
        if known.stranger and "model" in body and body["model"] != self.engine.name:
            said = {"object": "error", "message": f"The model `{body['model']}` does not exist.", "code": 404}
            raise RefusedError(known.stranger, said)
        for prompt in prompts_of(body) if route.bos is not None else ():
            if begins(prompt) != route.bos:
                raise RefusedError(400, {"error": f"{begins(prompt)} begin-of-text in the prompt"})
        return route.write(body)

    def _stream(self, answer: Answer) -> None:
        self.send_response(OK)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in answer.at_once:
            self._chunk(chunk)
        time.sleep(PREFILL_S)
        for chunk in answer.chunks:
            self._chunk(chunk)
            time.sleep(TOKEN_S)
        for chunk in answer.last:
            self._chunk(chunk)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def _whole(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class FiguresHandler(Handler):
    """The page of figures on a port of its own."""

    def do_GET(self) -> None:
        self._whole(OK, self.engine.page())


def serve(engine: Engine) -> None:
    missing = wanting(engine)
    if missing:
        sys.exit(f"error: {missing}")
    for line in engine.personality.says:
        print(line, flush=True)  # noqa: T201 - its log
    if engine.personality.loading is None:
        time.sleep(LOADING_S)
    else:
        engine.ready_s = time.monotonic() + LOADING_S
    if engine.figures_port is not None:
        threading.Thread(
            target=_listen, args=(engine, engine.figures_port, FiguresHandler), daemon=True
        ).start()
    _listen(engine, engine.port, Handler)


def _listen(engine: Engine, port: int, kind: type[Handler]) -> None:
    handler = type("Bound", (kind,), {"engine": engine})
    ThreadingHTTPServer((engine.host, port), handler).serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(told(PERSONALITIES[sys.argv[1]], sys.argv[2:]))
