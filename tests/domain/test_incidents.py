"""From samples to evidence: what was seen within the span, and None where nobody looked."""

from __future__ import annotations

import pytest

from orchestrator.domain import incidents
from orchestrator.domain.evidence import Xid
from orchestrator.domain.telemetry import Sample

SECOND = 10**9


def samples(*readings: tuple[float, dict[str, float]]) -> list[Sample]:
    return [Sample(t_ns=round(at_s * SECOND), source="gpu", values=values) for at_s, values in readings]


@pytest.mark.parametrize("series", ["xids", "kernel_xids"])
def test_xids_are_those_of_the_span(series: str) -> None:
    """From the driver or from the kernel's log; each once; those before and after the load are not its own."""
    found = samples(
        (1, {f"gpu0.{series}": 1, "gpu0.xid_31": 1}),
        (2, {f"gpu0.{series}": 2, "gpu0.xid_79": 2}),
        (3, {f"gpu1.{series}": 1, "gpu1.xid_43": 1}),
        (4, {f"gpu0.{series}": 1, "gpu0.xid_79": 1}),
        (6, {f"gpu0.{series}": 1, "gpu0.xid_48": 1}),
    )

    expected = (Xid(gpu="gpu0", code=79), Xid(gpu="gpu1", code=43))
    assert expected == incidents.xids(found, 2 * SECOND, 5 * SECOND)


def test_no_xid_is_not_the_same_as_nobody_listening() -> None:
    """None without either series within the span."""
    quiet = samples((2, {"gpu0.xids": 0}))

    assert () == incidents.xids(quiet, SECOND, 3 * SECOND)
    assert None is incidents.xids(quiet, 3 * SECOND, 4 * SECOND)
    assert None is incidents.xids(samples((2, {"gpu0.power_w": 5})), SECOND, 3 * SECOND)


def test_a_gpu_is_lost_once_and_for_all() -> None:
    """One reading within the span is enough."""
    found = samples((1, {"gpu0.lost": 0, "gpu1.lost": 0}), (2, {"gpu1.lost": 1}), (3, {"gpu0.lost": 0}))

    assert ("gpu1",) == incidents.lost(found, SECOND, 3 * SECOND)
    assert () == incidents.lost(found, 3 * SECOND, 4 * SECOND)
    assert None is incidents.lost([], 0, SECOND)


def test_memory_errors_are_what_was_added_over_all_gpus() -> None:
    """Those since the driver was loaded are not this load's."""
    found = samples(
        (0, {"gpu0.ecc_corrected_errors": 5, "gpu1.ecc_corrected_errors": 7}),
        (1, {"gpu0.ecc_corrected_errors": 5, "gpu1.ecc_corrected_errors": 8}),
        (2, {"gpu0.ecc_corrected_errors": 7, "gpu1.ecc_corrected_errors": 8}),
    )

    assert 3.0 == incidents.growth(found, ".ecc_corrected_errors", 0, 2 * SECOND)
    assert None is incidents.growth(found, ".ecc_uncorrected_errors", 0, 2 * SECOND)


def test_what_others_used_is_what_is_left() -> None:
    """Of the CPUs that were busy; None unless all of ours is known."""
    mean = {
        "host.busy_cpus": 6.0,
        "engine.cpu_cores": 4.0,
        "client.cpu_cores": 0.1,
        "orchestrator.cpu_cores": 0.4,
    }

    assert pytest.approx(1.5) == incidents.others_cpus(mean)
    assert 0.0 == incidents.others_cpus({**mean, "engine.cpu_cores": 7.0})
    for name in mean:
        assert None is incidents.others_cpus({n: v for n, v in mean.items() if n != name})


def test_what_befell_gpus_is_told_in_words() -> None:
    """For a failure's message; nothing where nothing was read or nothing befell them."""
    found = samples((1, {"gpu0.lost": 0, "gpu0.xids": 1, "gpu0.xid_79": 1}), (2, {"gpu0.lost": 1}))

    assert "gpu0 fell off the bus, Xid 79 on gpu0" == incidents.words(found)
    assert "" == incidents.words(found[:0])
    assert "" == incidents.words(samples((1, {"gpu0.lost": 0, "gpu0.xids": 0})))
