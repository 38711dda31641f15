"""What a verdict looks at besides the exchanges. Collected by others; here only its meaning."""

from __future__ import annotations

from backends.contract import Value


class Evidence(Value):
    """What is known of a cell from elsewhere. None means that nobody looked, which a verdict then says.

    `engine_tokens`: growth of the engine's own counter of generated tokens over the measured time.
    `throttled_share`: of the steady window in which a GPU was slowed down for heat or power supply.
    `foreign_processes`: most processes of others seen on the cell's GPUs.
    `natural_ends`: whether answers are expected to end by themselves, not at their limit.
    `fixed_lengths`: whether engines were told to ignore the end of answers, so that each has its limit's length.
    `canaries`, `canaries_differing`: greedy requests within the load, and those whose answer was not the one that
    a single user got before it; `canary_prompts_differing`: how many different prompts the latter had.
    `prefix_reset`: whether the engine's prefix cache was emptied before the load.
    `asked_per_s`: requests per second that an open loop was to send in the steady window, by its schedule.
    """

    engine_tokens: float | None = None
    throttled_share: float | None = None
    foreign_processes: int | None = None
    natural_ends: bool | None = None
    fixed_lengths: bool = False
    canaries: int | None = None
    canaries_differing: int = 0
    canary_prompts_differing: int = 0
    prefix_reset: bool | None = None
    asked_per_s: float | None = None


NOBODY_LOOKED = Evidence()
