"""Exit state and log -> the cause of an engine's death. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from backends.contract import FailureCause, FailureSignature

SIGKILL_EXIT = 137
SIGTERM_EXIT = 143


def classify(
    *,
    exit_code: int | None,
    oom_killed: bool,
    log: str,
    signatures: Sequence[FailureSignature],
) -> tuple[FailureCause, str]:
    """The cause and what to do next. The kernel's word first, then the log's most specific signature.

    137 alone is no proof of an out-of-memory kill: a stop that ran into its deadline ends so too
    (reference/cpu-engine.md, section 5).
    """
    if oom_killed:
        return (
            FailureCause.KILLED_BY_KERNEL,
            "the kernel killed it for memory: free memory or raise the limit",
        )
    for signature in signatures:
        if re.search(signature.pattern, log):
            return signature.cause, signature.hint
    if exit_code == 0:
        return FailureCause.KILLED, "it ended as if asked to: somebody may have stopped it"
    if exit_code in (SIGKILL_EXIT, SIGTERM_EXIT):
        return FailureCause.KILLED, "somebody or something killed it; `dmesg` shows a kill by the kernel"
    return FailureCause.UNKNOWN, "see the log's last lines; the whole log lies in the run folder"
