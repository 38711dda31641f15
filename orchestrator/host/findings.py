"""What a check of the host found, as values; the CLI renders them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from orchestrator.errors import HostError


class Check(str, Enum):
    """What is looked at, in the order in which it is reported."""

    DOCKER = "Docker"
    TOOLKIT = "container toolkit"
    GPU = "GPU"
    PYTHON = "Python"
    CPUS = "CPUs"
    GOVERNOR = "CPU governor"
    MEMORY = "memory"
    SWAP = "swap"
    DISK = "disk"
    PORT = "port"
    MODELS = "model cache"
    TOKEN = "hub token"  # noqa: S105 - a title


class Level(str, Enum):
    """OK, worth knowing, or in the way."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; `next_step` says what to do about it and is empty when all is well."""

    check: Check
    level: Level
    text: str
    next_step: str = ""


def require(findings: Iterable[Finding]) -> None:
    """HostError that lists every failure with its next step, if there is one."""
    failures = [finding for finding in findings if finding.level is Level.FAIL]
    if not failures:
        return
    count = "one thing stands" if len(failures) == 1 else f"{len(failures)} things stand"
    listed = "".join(f"\n- {_text(finding)}" for finding in failures)
    raise HostError(f"{count} in the way on this host:{listed}", hint="`make doctor` shows every check")


def lines(findings: Iterable[Finding]) -> tuple[str, ...]:
    """One plain line per finding, for places where nothing renders."""
    return tuple(f"{finding.level.value:4} {_text(finding)}" for finding in findings)


def _text(finding: Finding) -> str:
    step = f" -> {finding.next_step}" if finding.next_step else ""
    return f"{finding.check.value}: {finding.text}{step}"
