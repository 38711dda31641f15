"""Every reason why a cell is not simply valid, with its words. Pure."""

from __future__ import annotations

from enum import Enum

from backends.contract import Value


class Level(str, Enum):
    """How far figures may be believed. INVALID ones are kept, but take part in no comparison."""

    VALID = "valid"
    SUSPECT = "suspect"
    INVALID = "invalid"


class Reason(str, Enum):
    """Why a cell is not simply valid."""

    NO_TOKENS = "no-tokens"
    ERRORS = "errors"
    ERRORS_IN_RAMP = "errors-in-ramp"
    FEW_REQUESTS = "few-requests"
    USERS_DIED = "users-died"
    LOAD_NOT_REACHED = "load-not-reached"
    SENT_LATE = "sent-late"
    FALLS_BEHIND = "falls-behind"
    STILL_WAITING = "still-waiting"
    ENGINE_SILENT = "engine-silent"
    NOT_STATIONARY = "not-stationary"
    COUNTS_DISAGREE = "counts-disagree"
    PROMPT_COUNTS_DISAGREE = "prompt-counts-disagree"
    OUTPUTS_CUT = "outputs-cut"
    LENGTHS_NOT_KEPT = "lengths-not-kept"
    CANARIES_DIFFER = "canaries-differ"
    PREFIX_CACHE_KEPT = "prefix-cache-kept"
    THROTTLED = "throttled"
    FOREIGN_PROCESS = "foreign-process"
    XID = "xid"
    GPU_LOST = "gpu-lost"
    ECC_ERRORS = "ecc-errors"
    HOST_BUSY = "host-busy"
    CLIENT_NOT_APART = "client-not-apart"
    CLIENT_SATURATED = "client-saturated"
    CLIENT_LATE = "client-late"
    CLIENT_LAG = "client-lag"


TEXTS = {
    Reason.NO_TOKENS: "no token arrived in the measured window",
    Reason.ERRORS: "{share:.1%} of requests failed: {kinds}",
    Reason.ERRORS_IN_RAMP: "{failed} of {of} requests failed in the ramp or the drain, outside of the measured window",
    Reason.FEW_REQUESTS: "only {n} of the {needed} requests that are needed were completed in the measured window",
    Reason.USERS_DIED: "{n} of {of} users stopped before the end of measuring",
    Reason.LOAD_NOT_REACHED: "{got:.1f} of {asked:g} {what}",
    Reason.SENT_LATE: "requests were sent {late_ms:.0f} ms ({of}) after they were due",
    Reason.FALLS_BEHIND: (
        "of {due:.0f} requests that were due {ended} ended: the engine falls behind, and latencies grow with the length "
        "of the load"
    ),
    Reason.STILL_WAITING: (
        "{n} requests had no token when measuring ended, one after {wait_s:.1f} s, longer than any time to first "
        "token in the figures: those are too low"
    ),
    Reason.ENGINE_SILENT: "no token came to any user for {silence_s:.1f} s: the engine hung or paused",
    Reason.NOT_STATIONARY: "{drifts}",
    Reason.COUNTS_DISAGREE: "token counts disagree: {counts}",
    Reason.PROMPT_COUNTS_DISAGREE: "the engine's prompts are not the ones that we rendered: {offsets}",
    Reason.OUTPUTS_CUT: "{share:.0%} of the answers ended at their limit, not by themselves",
    Reason.LENGTHS_NOT_KEPT: "{n} of {of} answers ended by themselves, although each was to have a fixed length",
    Reason.CANARIES_DIFFER: "{differing} of {n} greedy answers under load were not those of a single user",
    Reason.PREFIX_CACHE_KEPT: "the prefix cache could not be emptied before the load: prompts may hit earlier ones",
    Reason.THROTTLED: "a GPU was slowed down for heat or power during {share:.1%} of the window{by}",
    Reason.FOREIGN_PROCESS: "{n} processes of others were seen on the GPUs{who}",
    Reason.XID: "the driver reported Xid {xids}",
    Reason.GPU_LOST: "{gpus} fell off the bus",
    Reason.ECC_ERRORS: "memory errors on the GPUs: {uncorrected:.0f} uncorrected, {corrected:.0f} corrected",
    Reason.HOST_BUSY: "others used {others:.1f} of this host's {cpus} CPUs while the load ran",
    Reason.CLIENT_NOT_APART: "the load client and the engine take from each other: {how}",
    Reason.CLIENT_SATURATED: "the load client used {share:.0%} of a core: it may be what was measured",
    Reason.CLIENT_LATE: (
        "the load client woke up to {late_ms:.0f} ms late: the host was too busy, and times are too long by as much"
    ),
    Reason.CLIENT_LAG: (
        "the load client saw arrivals up to {lag_ms:.1f} ms after the kernel, {share:.0%} of the time to first token"
    ),
}


class Finding(Value):
    """One reason, how bad it is, and what was seen."""

    reason: Reason
    level: Level
    text: str


def finding(reason: Reason, level: Level = Level.SUSPECT, **seen: object) -> Finding:
    """A reason in its own words, with what was seen."""
    return Finding(reason=reason, level=level, text=TEXTS[reason].format(**seen))
