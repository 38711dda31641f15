"""How long a phase may take."""

from __future__ import annotations

from orchestrator.domain.deadlines import deadlines_s, silence_s
from orchestrator.domain.result import Phase
from tests.test_matrix import plan, wish

GROUP = plan(wish()).groups[0]


def test_every_phase_that_can_hang_has_a_deadline() -> None:
    """Steps and readiness have their adapter's; a teardown has none: it ends with proof."""
    usual = deadlines_s(GROUP, {})
    without = {Phase.STEPS, Phase.READY, Phase.DOWN}

    assert set(Phase) - without <= set(usual) | {p for p in Phase if p.value == "gate"}
    assert usual[Phase.MEASURE] > GROUP.group.workload.length_s


def test_the_larger_it_is_the_longer_it_may_take() -> None:
    """An image of 20 GB, weights of 140 GB."""
    build = GROUP.image.build.model_copy(update={"install_bytes": 20 * 10**9})
    image = GROUP.image.model_copy(update={"build": build})
    large = GROUP.model_copy(
        update={"image": image, "model": GROUP.model.model_copy(update={"weights_bytes": 140 * 10**9})}
    )

    for phase, bytes_more in ((Phase.IMAGE, 20 * 10**9), (Phase.WEIGHTS, 140 * 10**9)):
        more_s = deadlines_s(large, {})[phase] - deadlines_s(GROUP, {})[phase]
        assert abs(more_s - bytes_more / 10e6) < 10
    assert 1390 < silence_s(large) - silence_s(GROUP) <= 1400


def test_the_night_has_the_last_word() -> None:
    """In minutes, as people think."""
    asked = deadlines_s(GROUP, {Phase.IMAGE: 1.5, Phase.READY: 20})

    assert (90, 1200) == (asked[Phase.IMAGE], asked[Phase.READY])
    assert deadlines_s(GROUP, {})[Phase.WEIGHTS] == asked[Phase.WEIGHTS]
