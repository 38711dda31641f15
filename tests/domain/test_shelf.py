"""Which images may go, and in which order."""

from __future__ import annotations

from orchestrator.domain.shelf import Shelved, missing_bytes, removable
from tests.runtime import made


def one(name: str, label: str, used_s: float) -> Shelved:
    return Shelved(name=name, label=label, size_bytes=10, used_s=used_s)


OLD, NEW = one("vllm:old", "vllm-current", 1), one("vllm:new", "vllm-current", 3)
OTHER = one("tgi:1", "tgi-current", 2)
VLLM = made.image_spec(made.build(install_bytes=7)).model_copy(update={"name": "vllm"})
SGLANG = VLLM.model_copy(update={"name": "sglang"})


def test_what_is_needed_stays_and_the_oldest_goes_first() -> None:
    """Of an engine that is still to come, the build that was used last; its earlier builds are in nobody's way."""
    assert (OLD, OTHER) == removable((NEW, OTHER, OLD), [VLLM])
    assert (OLD, OTHER, NEW) == removable((NEW, OTHER, OLD), [])
    assert (OLD, OTHER, NEW) == removable((NEW, OTHER, OLD), [SGLANG])
    assert () == removable((), [VLLM])


def test_room_is_needed_for_what_is_not_here() -> None:
    """As much as it is stated to take."""
    assert 0 == missing_bytes((NEW,), [VLLM])
    assert 7 == missing_bytes((OTHER,), [VLLM])
    assert 14 == missing_bytes((), [VLLM, SGLANG])
