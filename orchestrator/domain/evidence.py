"""What a verdict looks at besides the exchanges. Collected by others; here only its meaning."""

from __future__ import annotations

from enum import Enum

from backends.contract import Value


class Apart(str, Enum):
    """How far the load client is kept from the engine's CPUs: on cores of its own, on threads of cores that both
    share, or not at all."""

    CORES = "cores"
    THREADS = "threads"
    NOT = "not"


class Xid(Value):
    """An error that the GPU's driver reported."""

    gpu: str
    code: int


class Evidence(Value):
    """What is known of a cell from elsewhere. None means that nobody looked, which a verdict then says.

    `engine_tokens`: growth of the engine's own counter of generated tokens over the measured time.
    `gpus`: how many the cell has.
    `throttled_share`: of the steady window in which a GPU was slowed down for heat or power supply, most of it
    for the reasons `throttled_by`.
    `foreign_processes`: processes of others seen on the cell's GPUs, `foreign` who they are, `foreign_computing`
    how many of them do not only draw.
    `xids`, `gpus_lost`: errors that the driver reported, and GPUs that fell off the bus.
    `ecc_corrected`, `ecc_uncorrected`: memory errors meanwhile.
    `others_cpus`: CPUs' worth of time, of the host's `host_cpus`, that neither engine nor levelbench used.
    `client_apart`: how far the load client was kept from the engine's CPUs.
    `natural_ends`: whether answers are expected to end by themselves, not at their limit.
    `fixed_lengths`: whether engines were told to ignore the end of answers, so that each has its limit's length.
    `canaries`, `canaries_differing`: greedy requests within the load, and those whose answer was not the one that
    a single user got before it; `canary_prompts_differing`: how many different prompts the latter had.
    `prefix_reset`: whether the engine's prefix cache was emptied before the load.
    `asked_per_s`: requests per second that an open loop was to send in the steady window, by its schedule.
    """

    engine_tokens: float | None = None
    gpus: int | None = None
    throttled_share: float | None = None
    throttled_by: str = ""
    foreign_processes: int | None = None
    foreign_computing: int = 0
    foreign: tuple[str, ...] = ()
    xids: tuple[Xid, ...] | None = None
    gpus_lost: tuple[str, ...] | None = None
    ecc_corrected: float | None = None
    ecc_uncorrected: float | None = None
    others_cpus: float | None = None
    host_cpus: int = 0
    client_apart: Apart | None = None
    natural_ends: bool | None = None
    fixed_lengths: bool = False
    canaries: int | None = None
    canaries_differing: int = 0
    canary_prompts_differing: int = 0
    prefix_reset: bool | None = None
    asked_per_s: float | None = None


NOBODY_LOOKED = Evidence()
