"""Each obstacle has a case on either side of its limit; what is learnt can only fall."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import cleanroom
from orchestrator.domain.cleanroom import Idle, Known, Moment, Obstacle, Wanted
from orchestrator.domain.looks import GpuProcess, GpuState, HostState, Snapshot

GB = 10**9
CARD = 80 * GB
TOLERATED = 200_000_000  # a quarter of a percent of the card
STRANGER = GpuProcess(pid=123, name="python", memory_bytes=GB)
DISPLAY = GpuProcess(pid=77, name="Xorg", memory_bytes=2 * GB, graphics=True)
WANTED = Wanted(gpus=("A",))


def gpu(**changes: Any) -> GpuState:
    values: dict[str, Any] = {
        "uuid": "A",
        "index": 0,
        "name": "Stub A100",
        "driver": "535",
        "memory_bytes": CARD,
        "memory_used_bytes": GB // 2,
        "processes": (),
        "temperature_c": 31.0,
        "power_limit_w": 400.0,
        "power_limit_default_w": 400.0,
        "throttle": ("gpu_idle",),
        "rows_pending": False,
        "rows_failed": False,
        "mig": False,
        "persistence": True,
    }
    return GpuState(**{**values, **changes})


def host(**changes: Any) -> HostState:
    return HostState(**{"memory_available_bytes": 64 * GB, "cpus": 16, "others_cpus": 0.1, **changes})


def looks(*gpus: GpuState, every_s: float = 0.5, **of_host: Any) -> list[Snapshot]:
    """One look at each state in turn, three at least."""
    states = gpus if len(gpus) > 2 else (gpus[-1],) * 3
    return [
        Snapshot(elapsed_s=every_s * i, gpus=(state,), host=host(**of_host)) for i, state in enumerate(states)
    ]


def known(**changes: Any) -> Known:
    idle = {"memory_bytes": GB // 2, "temperatures_c": (30.0,)}
    return Known(gpus={gpu().configuration: Idle.model_validate({**idle, **changes})}, others_cpus=(0.1,))


def obstacles(found: Any) -> list[Obstacle]:
    return [thing.obstacle for thing in found]


def seen(
    *states: GpuState, moment: Moment = Moment.BEFORE, knowing: Known | None = None, **of_host: Any
) -> list[Obstacle]:
    knowing = known() if knowing is None else knowing
    return obstacles(cleanroom.in_the_way(moment, looks(*states, **of_host), knowing, WANTED))


def test_an_idle_gpu_is_clean() -> None:
    """Nothing in the way, nothing to remark, before and after."""
    for moment in Moment:
        assert [] == seen(gpu(), moment=moment)
    assert () == cleanroom.remarks(looks(gpu()), known(), WANTED)


@pytest.mark.parametrize(
    ("changes", "obstacle", "moments"),
    [
        ({"memory_used_bytes": GB // 2 + TOLERATED + 1}, Obstacle.MEMORY, 2),
        ({"processes": (STRANGER,)}, Obstacle.FOREIGN_PROCESS, 2),
        ({"fault": "GPU is lost"}, Obstacle.GPU_LOST, 2),
        ({"mig": True}, Obstacle.MIG, 1),
        ({"rows_pending": True}, Obstacle.ROWS_PENDING, 1),
        ({"rows_failed": True}, Obstacle.ROWS_FAILED, 1),
        ({"throttle": ("hw_thermal",)}, Obstacle.THROTTLED, 1),
        ({"throttle": ("hw_power_brake",)}, Obstacle.THROTTLED, 1),
        ({"temperature_c": 41.0}, Obstacle.COOLING, 1),
    ],
)
def test_each_obstacle_is_found(changes: dict[str, Any], obstacle: Obstacle, moments: int) -> None:
    """One fault alone gives its obstacle; a teardown is not judged by what only a load minds."""
    idle = {gpu(**changes).configuration: Idle(memory_bytes=GB // 2, temperatures_c=(30.0,))}

    assert [obstacle] == seen(gpu(**changes), knowing=Known(gpus=idle))
    assert [obstacle][: moments - 1] == seen(gpu(**changes), knowing=Known(gpus=idle), moment=Moment.AFTER)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_used_bytes": GB // 2 + TOLERATED},
        {"memory_used_bytes": None},
        {"memory_used_bytes": GB // 2 + 2 * GB, "processes": (DISPLAY,)},
        {"temperature_c": 40.0},
        {"temperature_c": None},
        {"throttle": ("gpu_idle", "sw_power_cap", "applications_clocks")},
        {"throttle": None, "mig": None, "rows_pending": None, "rows_failed": None, "processes": None},
    ],
)
def test_what_lies_within_the_limits_is_clean(changes: dict[str, Any]) -> None:
    """The limits themselves are allowed; what a driver does not tell, and a display, stand in no way."""
    idle = {gpu(**changes).configuration: Idle(memory_bytes=GB // 2, temperatures_c=(30.0,))}

    assert [] == seen(gpu(**changes), knowing=Known(gpus=idle))


def test_a_gpu_that_is_not_there_is_not_waited_for() -> None:
    """Its UUID is named, and the fault of one that did not say who it is."""
    (found,) = cleanroom.in_the_way(
        Moment.BEFORE,
        [Snapshot(elapsed_s=0, silent=("gpu1: GPU is lost",), gpus=(gpu(),), host=host())],
        known(),
        Wanted(gpus=("B",)),
    )

    assert (Obstacle.GPU_MISSING, False) == (found.obstacle, found.passes)
    assert "B is not among the GPUs that answer here (gpu1: GPU is lost)" == found.text


def test_the_words_tell_who_holds_how_much() -> None:
    """As a person reads it while the gate waits."""
    dirty = gpu(memory_used_bytes=3_600_000_000, processes=(STRANGER,))
    found = cleanroom.in_the_way(Moment.BEFORE, looks(dirty), known(), WANTED)

    assert ["gpu0: process 123 python holds 1.0 GB", "gpu0: 3.1 GB above its idle 0.5 GB"] == [
        thing.text for thing in found
    ]
    assert all(thing.next_step for thing in found)


def test_noise_that_was_seen_widens_the_limit() -> None:
    """Twice what steady readings differed by, where that is more than a card's smallest share."""
    noisy = known(memory_noise_bytes=TOLERATED)

    assert [] == seen(gpu(memory_used_bytes=GB // 2 + 2 * TOLERATED), knowing=noisy)
    assert [Obstacle.MEMORY] == seen(gpu(memory_used_bytes=GB // 2 + 2 * TOLERATED + 1), knowing=noisy)


def test_another_driver_or_mode_is_another_idle() -> None:
    """An idle of another driver, or with another mode, says nothing."""
    used = {"memory_used_bytes": GB}

    assert [Obstacle.MEMORY] == seen(gpu(**used))
    assert [Obstacle.COOLING] == seen(gpu(**used, driver="550")), "nothing is known of it yet"
    assert [] == seen(gpu(**used, driver="550"), knowing=_cool("550"))
    assert [Obstacle.COOLING] == seen(gpu(**used, persistence=False)), "nothing is known of it yet"


def _cool(driver: str) -> Known:
    idle = Idle(temperatures_c=(30.0,))
    return Known(gpus={gpu(driver=driver).configuration: idle})


def test_a_gpu_that_was_never_seen_is_watched_until_it_is_steady() -> None:
    """Memory that still falls is no idle; what it falls to is."""
    falling = [gpu(memory_used_bytes=m * GB) for m in (4, 3, 2)]
    never = _cool("535")

    assert [Obstacle.UNSETTLED] == seen(*falling, knowing=never)
    assert [] == seen(*falling, *[gpu(memory_used_bytes=GB)] * 3, knowing=never)


def test_a_gpu_that_was_never_seen_is_compared_with_its_kind() -> None:
    """A leak at first sight shows where a card of the same make, driver and modes idles lower."""
    sibling = {gpu(uuid="B").configuration: Idle(memory_bytes=GB // 2)}
    mine = {gpu().configuration: Idle(temperatures_c=(30.0,))}
    both = Known(gpus={**mine, **sibling})
    limit = GB // 2 + 4 * TOLERATED

    assert [] == seen(gpu(memory_used_bytes=limit), knowing=both)
    assert [Obstacle.MEMORY] == seen(gpu(memory_used_bytes=limit + 1), knowing=both)
    other = Known(gpus={**mine, gpu(uuid="B", name="Stub L4").configuration: Idle(memory_bytes=1)})
    assert [] == seen(gpu(memory_used_bytes=limit + 1), knowing=other)


def test_one_look_is_not_enough() -> None:
    """Three at a GPU, two on a CPU, one after a CPU's teardown."""
    one = looks(gpu())[:1]

    assert [Obstacle.UNSETTLED] == obstacles(cleanroom.in_the_way(Moment.AFTER, one, known(), WANTED))
    assert [Obstacle.UNSETTLED] == obstacles(cleanroom.in_the_way(Moment.BEFORE, one, known(), Wanted()))
    assert () == cleanroom.in_the_way(Moment.AFTER, one, known(), Wanted())


def test_a_warm_gpu_is_waited_for_only_while_it_cools() -> None:
    """Ten seconds without a fall of a degree: this is as cool as it gets, which is then remarked."""
    falling = [gpu(temperature_c=90.0 - i) for i in range(25)]
    settled = [gpu(temperature_c=55.0)] * 21

    assert [Obstacle.COOLING] == seen(*falling)
    assert [Obstacle.COOLING] == seen(*settled[:20]), "not watched for long enough"
    assert [] == seen(*settled)
    assert ("gpu0: 55 degrees C before the load, it idled at 30",) == cleanroom.remarks(
        looks(*settled), known(), WANTED
    )


def test_a_gpu_hotter_than_its_kind_is_remarked() -> None:
    """A sick card idles far above the others; one that computes for others is no measure."""
    kin = [gpu(uuid="B", index=1, temperature_c=c) for c in (24.0, 25.0)]
    hot = gpu(temperature_c=40.0)

    def remarks(*others: GpuState) -> tuple[str, ...]:
        snapshot = Snapshot(elapsed_s=0, gpus=(hot, *others), host=host())
        return cleanroom.remarks([snapshot], known(), WANTED)

    assert ("gpu0: 40 degrees C, the coolest of its kind is at 24",) == remarks(kin[0])
    assert () == remarks(kin[1])
    assert () == remarks(kin[0].model_copy(update={"processes": (STRANGER,)}))


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"power_limit_w": 250.0}, "gpu0: power limit 250 W, by default 400 W"),
        (
            {"application_clock_mhz": 1095.0, "application_clock_default_mhz": 1275.0},
            "gpu0: application clock 1095 MHz, by default 1275 MHz",
        ),
        (
            {"persistence": False},
            "gpu0: persistence mode is off: the driver may be loaded anew with each engine",
        ),
        ({"ecc_uncorrected": 2}, "gpu0: 2 uncorrected memory errors since the driver was loaded"),
        ({"processes": (DISPLAY,)}, "gpu0: a display runs on it (process 77 Xorg)"),
    ],
)
def test_settings_that_move_figures_are_remarked(changes: dict[str, Any], remark: str) -> None:
    """They are a person's choice: no obstacle, but a reader must know."""
    state = gpu(**changes)
    idle = {state.configuration: Idle(memory_bytes=0, temperatures_c=(30.0,))}
    state = state.model_copy(
        update={"memory_used_bytes": sum(p.memory_bytes or 0 for p in state.processes or ())}
    )

    assert (remark,) == cleanroom.remarks(looks(state), Known(gpus=idle), WANTED)


def test_a_first_sight_is_remarked() -> None:
    """What is taken for an idle may be a leak."""
    assert ("gpu0: seen for the first time: 0.5 GB in use are taken for its idle",) == cleanroom.remarks(
        looks(gpu()), Known(), WANTED
    )


def test_an_idle_that_turns_out_lower_accuses_earlier_runs() -> None:
    """They began on a GPU that held something."""
    before = known(memory_bytes=4 * GB)

    assert any(
        "not at 4.0 GB as was thought" in text for text in cleanroom.remarks(looks(gpu()), before, WANTED)
    )
    assert GB // 2 == cleanroom.learnt(before, looks(gpu()), WANTED).idle(gpu()).memory_bytes


def test_leftovers_and_missing_memory_are_in_the_way_on_a_cpu() -> None:
    """A dead run's engine; less memory than the model takes."""

    def found(needed_bytes: int, **of_host: Any) -> list[Obstacle]:
        wanted = Wanted(memory_bytes=needed_bytes)
        snapshots = [Snapshot(elapsed_s=i, host=host(**of_host)) for i in range(2)]
        return obstacles(cleanroom.in_the_way(Moment.BEFORE, snapshots, Known(), wanted))

    assert [Obstacle.LEFTOVER] == found(0, leftovers=("run-1-one",))
    assert [Obstacle.HOST_MEMORY] == found(64 * GB + 1)
    assert [] == found(64 * GB)


def test_busy_cpus_are_remarked_against_what_was_least_here() -> None:
    """A twentieth of the host's CPUs more than others usually take; never an obstacle."""
    usual = Known(others_cpus=(0.6, 0.3, 2.0))
    first = cleanroom.remarks([Snapshot(elapsed_s=0, host=host(others_cpus=9.0))], Known(), Wanted())

    def remarks(others_cpus: float | None) -> tuple[str, ...]:
        return cleanroom.remarks([Snapshot(elapsed_s=0, host=host(others_cpus=others_cpus))], usual, Wanted())

    assert () == remarks(1.1)
    assert () == remarks(None)
    assert ("others use 1.2 of 16 CPUs before the load, the least that was seen here is 0.3",) == remarks(1.2)
    assert ("others use 9.0 of 16 CPUs before the load, at first sight",) == first


@given(st.lists(st.integers(0, CARD), min_size=1, max_size=30))
def test_an_idle_never_rises_and_its_limit_never_creeps(levels: list[int]) -> None:
    """Whatever clean looks show, a later limit is at most a half percent of the card above the lowest level."""
    now, accepted = Known(), []
    for level in levels:
        state = gpu(memory_used_bytes=level, temperature_c=None)
        if Obstacle.MEMORY in seen(state, knowing=now):
            continue
        before = now.idle(state).memory_bytes
        now = cleanroom.learnt(now, looks(state), WANTED)
        accepted.append(level)
        assert now.idle(state).memory_bytes == min(accepted)
        assert before is None or before >= min(accepted)

    idle = now.idle(gpu())
    assert cleanroom.tolerance_bytes(gpu(), idle) <= 2 * TOLERATED


def test_only_the_latest_temperatures_and_loads_are_kept() -> None:
    """Last winter's idle says nothing of a summer's night."""
    now = Known()
    for i in range(30):
        now = cleanroom.learnt(now, looks(gpu(temperature_c=float(i)), others_cpus=float(i)), WANTED)

    assert 10.0 == now.idle(gpu()).temperature_c
    assert (20, 10.0) == (len(now.others_cpus), min(now.others_cpus))
