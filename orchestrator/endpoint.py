"""An endpoint that is already up, which levelbench did not start: where it is, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from orchestrator.errors import RequestError, unknown

MODELS = "/v1/models"
OPENAI_BASE = "/v1"
ANSWER_S = 10.0
_HINT = "for example http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go. `path` replaces the dialect's own where the URL has one; `facts` are what it tells
    without being measured."""

    host: str
    port: int
    path: str | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    @property
    def own_url(self) -> str:
        return self.url

    def require_alive(self) -> None:
        """Nobody can look into its process: its death shows as failed requests."""

    def last_words(self) -> str:
        """Its log is not ours to read."""
        return ""


def parse(url: str) -> Endpoint:
    """The endpoint of a URL. A path of /v1, which OpenAI clients want, is the same as none."""
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RequestError(f"{url!r} is no URL: {error}", hint=_HINT) from error
    if parts.scheme == "https":
        raise RequestError(
            "https is not measured: encryption stands between the kernel's stamps and the tokens",
            hint="give the engine's own http address, or a tunnel to it on this host "
            "(socat TCP-LISTEN:8000,fork OPENSSL:host:443)",
        )
    if parts.scheme != "http" or not parts.hostname:
        raise RequestError(f"{url!r} is no http URL", hint=_HINT)
    path = parts.path.rstrip("/")
    return Endpoint(
        parts.hostname, 80 if port is None else port, path if path not in ("", OPENAI_BASE) else None
    )


def find(url: str, model: str) -> tuple[Endpoint, str]:
    """The endpoint, once it answers and serves that model; and a word about what could not be checked."""
    endpoint = parse(url)
    try:
        with httpx.Client(base_url=endpoint.url, timeout=ANSWER_S, trust_env=False) as http:
            reply = http.get(MODELS)
    except httpx.HTTPError as error:
        raise RequestError(
            f"nothing answers at {endpoint.url} ({str(error) or type(error).__name__})",
            hint="is the engine up, and is it http? see what `curl` says of the same address",
        ) from error
    entries = _entries(reply)
    names = [str(entry["id"]) for entry in entries]
    if not names:
        return (
            endpoint,
            f"it lists no models at {MODELS}: whether it serves {model} shows in the first request",
        )
    if model not in names:
        raise unknown("model of this endpoint", model, names)
    facts = {"server": reply.headers.get("server"), **entries[names.index(model)]}
    told = {name: str(value) for name, value in facts.items() if name in _TOLD and value is not None}
    return Endpoint(endpoint.host, endpoint.port, endpoint.path, told), ""


_TOLD = ("server", "owned_by", "root", "max_model_len")


def _entries(reply: httpx.Response) -> list[dict[str, object]]:
    """The models that the page lists; none where there is no such page."""
    try:
        data = reply.json()["data"]
        return [entry for entry in data if isinstance(entry, dict) and "id" in entry]
    except (ValueError, KeyError, TypeError):
        return []
