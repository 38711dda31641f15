"""What gives this host and its user away, so that it can be kept out of what is handed on."""

from __future__ import annotations

import getpass
import platform
import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from orchestrator.store.scrub import SECRET_NAME, Private

SHORTEST_SECRET = 6
# Every host has these, containers too: a plan that names one stays a plan
EVERYBODYS = frozenset({Path("/"), Path("/tmp"), Path("/var/tmp")})  # noqa: S108 - names, not used as places
_URL = re.compile(r"https?://\S+")


def private(folders: Mapping[Path, str], environment: Mapping[str, str], token: str | None) -> Private:
    """Names, addresses, folders and secrets. `folders` are those of this place and what stands instead."""
    home = Path.home()
    known = {**folders, home: "{home}", Path(tempfile.gettempdir()): "{tmp}"}
    return Private(
        folders={
            str(form): word
            for path, word in known.items()
            for form in (path, path.resolve())
            if form not in EVERYBODYS
        },
        hosts=frozenset({*_names(), *_addresses(), *_servers(environment)}),
        users=frozenset({_user(), home.name, environment.get("USER", ""), environment.get("LOGNAME", "")}),
        secrets=frozenset({*_secrets(environment), *([token] if token else [])}),
    )


def _names() -> set[str]:
    full = {socket.gethostname(), platform.node(), socket.getfqdn()}
    return full | {name.partition(".")[0] for name in full}


def _addresses() -> set[str]:
    every = (a.address.partition("%")[0] for of in psutil.net_if_addrs().values() for a in of)
    return {a for a in every if not a.startswith("127.") and a not in ("::1", "00:00:00:00:00:00")}


def _servers(environment: Mapping[str, str]) -> set[str]:
    """Proxies and package indexes: they stand in the logs of what was fetched through them."""
    urls = (url for value in environment.values() for url in _URL.findall(value))
    return {host for url in urls if (host := _host(url)) is not None}


def _host(url: str) -> str | None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return None if host in (None, "localhost", "127.0.0.1", "pypi.org", "huggingface.co") else host


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""  # a user id without a name


def _secrets(environment: Mapping[str, str]) -> set[str]:
    return {
        value
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET
    }
