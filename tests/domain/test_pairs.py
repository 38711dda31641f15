"""Runs held against each other: who is paired with whom, effects, and what is refused."""

from __future__ import annotations

import pytest

from backends.contract import Profile
from orchestrator.domain.equivalence import Basis
from orchestrator.domain.pairs import Comparison, Contrast, Side, compare
from orchestrator.domain.reading import Figure
from orchestrator.domain.reasons import Level
from orchestrator.domain.result import Result
from orchestrator.errors import RequestError
from tests.domain import results
from tests.report import made

result = results.result


def side(name: str, *cells: Result) -> Side:
    return Side(name, (cells,))


def against(first: Side, second: Side) -> Comparison:
    (found,) = compare([first, second])
    return found


def rate(found: Comparison, users: int = 1) -> Contrast:
    (one,) = (c for c in found.contrasts if c.figure is Figure.TOKEN_RATE and c.cell.endswith(f"-u{users}"))
    return one


def test_the_same_cells_are_paired_whatever_their_order() -> None:
    """Ratios are of the second run to the first."""
    first = side("a", result(1000, users=1), result(2000, users=4))
    second = side("b", result(2600, users=4), result(1100, users=1))
    found = against(first, second)

    assert "the same cell" == found.paired_by
    assert (1.1, 1.3) == pytest.approx((rate(found).ratio, rate(found, 4).ratio))
    assert rate(found).significant


def test_an_effect_has_its_interval() -> None:
    """1 % to both sides in each run, so that 95 % of the ratio is some 1.4 % to both sides."""
    found = rate(against(side("a", result(1000)), side("b", result(1000))))

    assert found.low is not None
    assert found.high is not None
    assert 1.014 == pytest.approx(found.high, abs=0.001)
    assert 1.0 == pytest.approx(found.low * found.high)
    assert not found.significant


def test_engines_are_paired_by_their_work() -> None:
    """Where there is no cell in common, the same model, workload and load are the same work."""
    found = against(side("a", result(backend="vllm")), side("b", result(2000)))

    assert "the same model, workload and load" == found.paired_by
    assert 2.0 == pytest.approx(rate(found).ratio)
    assert "backend: vllm -> llama-cpp" in [d.text for d in found.differences]


def test_profiles_of_an_engine_are_paired() -> None:
    """With the profile among the differences."""
    found = against(side("a", result()), side("b", result(profile=Profile.MATCHED)))

    assert "the same backend" == found.paired_by
    assert "profile: defaults -> matched" in [d.text for d in found.differences]


def test_cells_without_a_partner_are_named() -> None:
    """On both sides."""
    found = against(side("a", result(users=1), result(users=4)), side("b", result(users=1), result(users=16)))

    assert (
        "llama-cpp-current-small-defaults-u4: only in a",
        "llama-cpp-current-small-defaults-u16: only in b",
    ) == found.left_out


def test_nothing_in_common_is_an_error() -> None:
    """Another model, other users: there is no effect."""
    with pytest.raises(RequestError, match="a and b have no cell in common"):
        compare([side("a", result(users=1)), side("b", result(users=4))])


def test_methods_are_never_mixed() -> None:
    """Not even where the cells would not be paired."""
    old = result(users=4).model_copy(update={"method": 2})
    with pytest.raises(RequestError, match="METHODs 2 and 3") as caught:
        compare([side("a", result()), side("b", result(), old)])

    assert 2 == caught.value.exit_code


def test_what_failed_or_is_invalid_has_no_effect() -> None:
    """It is left out, with the reason; what is suspect is marked."""
    failed = made.failed(result(users=4).cell)
    second = side("b", result(users=1, level=Level.SUSPECT), failed, result(users=16, level=Level.INVALID))
    found = against(side("a", *(result(users=n) for n in (1, 4, 16))), second)

    assert {"llama-cpp-current-small-defaults-u1"} == {c.cell for c in found.contrasts}
    assert all(c.suspect for c in found.contrasts)
    assert 2 == len(found.left_out)
    assert "it failed (memory-kv-cache)" in found.left_out[0]


def test_a_run_too_short_for_an_interval_has_a_ratio_and_no_p() -> None:
    """And takes no part in the correction."""
    found = rate(against(side("a", result(share=None)), side("b", result(2000))))

    assert 2.0 == found.ratio
    assert (None, None, None, None) == (found.low, found.high, found.p, found.p_corrected)
    assert not found.significant


def test_all_of_a_comparison_is_corrected_together() -> None:
    """A difference that alone is significant is not among many; every other run counts too."""
    small = 1.018
    alone = against(side("a", result(1000)), side("b", result(1000 * small)))
    p = rate(alone).p
    users = range(1, 41)
    many = side("b", *(result(1000 * (small if n == 1 else 1.0), users=n) for n in users))
    crowd = against(side("a", *(result(1000, users=n) for n in users)), many)

    assert p is not None
    assert p < 0.05
    assert 5 * p == pytest.approx(rate(alone).p_corrected)  # five figures
    assert not rate(crowd).significant
    third = compare([side("a", result(1000)), side("b", result(1000 * small)), side("c", result(1000))])[0]
    assert 10 * p == pytest.approx(rate(third).p_corrected)


def test_repetitions_count_as_runs() -> None:
    """Runs that differ among themselves by 10 % do not show a difference of 5 %; a single pair seemed to."""
    first = Side("a", tuple((result(v),) for v in (900.0, 1000.0, 1100.0)))
    second = Side("b", tuple((result(v),) for v in (945.0, 1050.0, 1155.0)))
    found = rate(against(first, second))

    assert (Basis.BETWEEN, (3, 3)) == (found.basis, found.runs)
    assert 1.05 == pytest.approx(found.ratio)
    assert not found.significant
    assert rate(against(Side("a", first.runs[1:2]), Side("b", second.runs[1:2]))).significant


def test_a_key_that_stands_twice_in_a_run_pairs_nothing() -> None:
    """Two profiles of an engine are not told apart by their work: which of them is meant is not guessed."""
    first = side("a", result(), result(profile=Profile.MATCHED))
    with pytest.raises(RequestError, match="no cell in common"):
        compare([first, side("b", result(backend="vllm"))])

    assert "the same cell" == against(first, side("b", result(profile=Profile.MATCHED))).paired_by
