"""A small HTTP server with pages and event streams. Standard library only: it lives in an image."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], "Iterator[dict[str, Any]] | str"]


def serve(
    address: tuple[str, int], pages: dict[str, str], answers: dict[str, Answer], *, wait: bool = True
) -> None:
    """Pages for GET; for POST an answer's events, or its refusal with 400."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in pages:
                self._reply(200, pages[self.path])
            else:
                self._reply(404, "")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = answers[self.path](asked) if self.path in answers else '{"error":"no such path"}'
            if isinstance(answer, str):
                self._reply(400, answer)
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for event in answer:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            if self.path.startswith("/v1/"):
                self.wfile.write(b"data: [DONE]\n\n")

        def _reply(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(address, Handler)
    if wait:
        server.serve_forever()
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
