"""Takes out of texts what belongs to a place or a person: host and user names, folders, secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SECRET = "{secret}"  # noqa: S105 - what stands instead of one
HOST = "{host}"
USER = "{user}"
SHORTEST = 2  # a single letter is nobody's name, and would tear every text apart
# Names that say nothing of anybody.
COMMON = frozenset(
    {"root", "localhost", "localdomain", "user", "users", "admin", "home", "nobody", "levelbench"}
)
SECRET_NAME = re.compile(r"(?i)(?:^|[_-])(?:token|secret|passw(?:or)?d|api[_-]?key|credential)s?$")

_SECRETS = re.compile(
    r"hf_[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|sk-[\w-]{20,}|nvapi-[\w-]{20,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"
    r"|(?<=[Bb]earer )[\w.~+/=-]{8,}"
    r"|(?<=://)[^/@\s]+(?=@)"
)
_NAMED = re.compile(
    r"""(?i)\b((?:\w+_)?(?:token|secret|passw(?:or)?d|api[_-]?key)["']?\s*[=:]\s*["']?)([\w.~+/-]{12,})"""
)
# Folders of a host under which people's own things lie. What a container is made of (/usr, /models) stays.
_PATH = re.compile(
    r"(?<![\w.:/}~-])(?:file://)?/(?:home|root|Users|work|mnt|media|srv|data|scratch|nfs|Volumes|private|tmp|var)"
    r"(?:/[^\s/'\"=:,;()\[\]<>|`]+)*/([^\s/'\"=:,;()\[\]<>|`]+)"
)


@dataclass(frozen=True)
class Private:
    """What must not get out. `folders` are paths and what stands instead, such as `{cache}`."""

    folders: Mapping[str, str]
    hosts: frozenset[str]
    users: frozenset[str]
    secrets: frozenset[str]

    def sparing(self, words: Iterable[str]) -> Private:
        """Without names that are words of the run itself: a host called like an engine gives nobody away."""
        kept = COMMON | {part.lower() for word in words for part in (word, *re.split(r"[^\w.]+|_", word))}

        def telling(names: frozenset[str]) -> frozenset[str]:
            return frozenset(n for n in names if len(n) >= SHORTEST and n.lower() not in kept)

        return Private(self.folders, telling(self.hosts), telling(self.users), self.secrets)

    def text(self, text: str) -> str:
        """Secrets first: they may contain anything."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, SECRET)
        text = _SECRETS.sub(SECRET, text)
        text = _NAMED.sub(rf"\g<1>{SECRET}", text)
        for folder in sorted(self.folders, key=len, reverse=True):
            text = re.sub(re.escape(folder) + r"(?![\w-])", self.folders[folder], text)
        text = _PATH.sub(r"{path}/\1", text)
        for names, instead in ((self._hosts, HOST), (self._users, USER)):
            text = names.sub(instead, text) if names is not None else text
        return text

    def value(self, value: Any) -> Any:
        """Every string of a JSON value, and of its names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            return {self.text(k): self._field(k, v) for k, v in value.items()}
        return value

    def _field(self, name: str, value: Any) -> Any:
        return SECRET if isinstance(value, str) and value and SECRET_NAME.search(name) else self.value(value)

    @cached_property
    def _hosts(self) -> re.Pattern[str] | None:
        return _words(self.hosts)

    @cached_property
    def _users(self) -> re.Pattern[str] | None:
        return _words(self.users)


def _words(names: frozenset[str]) -> re.Pattern[str] | None:
    """Any of them as a whole word, the longest first."""
    if not names:
        return None
    every = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?i)(?<![\w.-])(?:{every})(?![\w-])")
