"""A hub on loopback, as far as fetching a model needs it: a listing of one repository, and its files with
ranges, redirects, refusals and cuts on order."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "somebody/model"


@dataclass
class Asked:
    """One request: where, for what, from which byte on, and with which credentials."""

    host: str
    path: str
    offset: int
    authorization: str


@dataclass
class FakeHub:
    """`files` of `repository` by name; those in `large` are LFS files, with a sha256. `fail` maps a path's end to a status
    and an error code, `cut` a file to the bytes after which a connection is cut, `stall` one to those after
    which nothing more comes, `lie` to the bytes that are sent instead. Large files lie on a host of their
    own."""

    files: dict[str, bytes]
    large: tuple[str, ...] = ()
    fail: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    stall: dict[str, int] = field(default_factory=dict)
    lie: dict[str, bytes] = field(default_factory=dict)
    repository: str = REPOSITORY
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._released = threading.Event()
        self._servers = [self._serve("127.0.0.1"), self._serve("127.0.0.2")]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return self._address(0)

    @property
    def storage(self) -> str:
        """Where large files are: another host."""
        return self._address(1)

    @property
    def listed_as(self) -> str:
        """A data set's name says what it is."""
        name = self.repository
        return name if name.startswith("datasets/") else f"models/{name}"

    def release(self) -> None:
        """Let stalled answers end."""
        self._released.set()

    def offsets(self, name: str) -> list[int]:
        """From which bytes on a file's content was asked for, one after the other."""
        return [a.offset for a in self.asked if a.path == f"/storage/{name}"]

    def listing(self) -> dict[str, Any]:
        return {
            "id": self.repository,
            "sha": COMMIT,
            "siblings": [self._sibling(name, data) for name, data in self.files.items()],
        }

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()
        found: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
        if name in self.large:
            sha256 = hashlib.sha256(data).hexdigest()
            found["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 1}
        return found

    def _address(self, number: int) -> str:
        host, port = self._servers[number].server_address[:2]
        return f"http://{host!s}:{port}"

    def _serve(self, host: str) -> ThreadingHTTPServer:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer((host, 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        offset = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        credentials = self.headers.get("Authorization", "")
        self.hub.asked.append(Asked(self.headers["Host"].partition(":")[0], path, offset, credentials))
        status, code = next((v for end, v in self.hub.fail.items() if path.endswith(end)), (0, ""))
        if status:
            self._answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused by the fake"})
        elif path.startswith(f"/api/{self.hub.listed_as}"):
            self._answer(200, json.dumps(self.hub.listing()).encode(), {"Content-Type": "application/json"})
        else:
            self._file(path, offset)

    def _file(self, path: str, offset: int) -> None:
        name = path.removeprefix("/storage/").removeprefix(f"/{self.hub.repository}/resolve/{COMMIT}/")
        if name not in self.hub.files:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif name in self.hub.large and not path.startswith("/storage/"):
            self._answer(302, b"", {"Location": f"{self.hub.storage}/storage/{name}"})
        else:
            self._send(name, self.hub.lie.get(name, self.hub.files[name]), offset)

    def _send(self, name: str, data: bytes, offset: int) -> None:
        part = data[offset:]
        self.send_response(206 if offset else 200)
        self.send_header("Content-Length", str(len(part)))
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        until = self.hub.cut.pop(name, None)
        stalled = self.hub.stall.pop(name, None)
        self.wfile.write(part if until is None and stalled is None else part[: until or stalled])
        self.wfile.flush()
        if stalled is not None:
            self.hub._released.wait(60)
        if until is not None or stalled is not None:
            self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Requests are kept in `asked`."""
