from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from quantize import awq, weights
from quantize.awq import Packed


def test_words_are_interleaved_as_autoawq_does() -> None:
    """Column 0 lies in the lowest four bits, then 2, 4, 6, 1, 3, 5, 7."""
    columns = np.array([[0, 1, 2, 3, 4, 5, 6, 7]], dtype=np.uint32)

    assert 0x75316420 == awq.pack(columns)[0, 0]


def test_highest_nibble_wraps_into_the_sign() -> None:
    """A word whose last column is above 7 is a negative int32, bit for bit."""
    assert -1 == awq.pack(np.full((1, 8), 15, dtype=np.uint32))[0, 0]


def test_unpack_inverts_pack() -> None:
    """Any nibbles survive packing."""
    nibbles = np.random.default_rng(1).integers(0, 16, (256, 64)).astype(np.uint32)

    assert np.array_equal(nibbles, awq.unpack(awq.pack(nibbles)))


def test_shapes_are_those_of_the_gemm_version() -> None:
    """qweight is [inputs, outputs / 8], zeros and scales have one row per group of 128 inputs."""
    packed = awq.quantise(weights.normal("w", (64, 384), 0.1))

    assert ((384, 8), (3, 8), (3, 64)) == (packed.qweight.shape, packed.qzeros.shape, packed.scales.shape)
    assert ("int32", "int32", "float16") == tuple(
        str(part.dtype) for part in (packed.qweight, packed.qzeros, packed.scales)
    )


def test_error_is_at_most_about_half_a_step() -> None:
    """Each weight comes back within its group's step: half of it from rounding, the rest at the ends."""
    weight = weights.normal("w", (64, 256), 0.1)
    packed = awq.quantise(weight)
    step = np.repeat(packed.scales.astype(np.float32), awq.GROUP, axis=0).T
    error = np.abs(awq.dequantise(packed) - weight.astype(np.float32))

    assert (error <= 1.01 * step).all()
    assert 0.25 == pytest.approx((error / step).mean(), abs=0.02)


def test_quantising_again_changes_nothing() -> None:
    """A matrix that was rounded once is kept as it is (up to float16)."""
    once = awq.dequantise(awq.quantise(weights.normal("w", (32, 128), 0.1))).astype(np.float16)
    twice = awq.dequantise(awq.quantise(once))

    assert np.allclose(once.astype(np.float32), twice, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.5, -0.5])
def test_constant_group_is_kept(value: float) -> None:
    """A group of equal weights, zero among them, comes back as it was: no bias leaks in."""
    weight = np.full((8, 128), value, dtype=np.float16)

    assert value == pytest.approx(awq.dequantise(awq.quantise(weight)), abs=2e-4)
    assert 0 == np.count_nonzero(awq.dequantise(awq.quantise(np.zeros((8, 128), np.float16))))


def test_file_holds_tiny_in_four_bits(tiny: Path, tiny_awq: Path) -> None:
    """What lies in the file dequantises to tiny's weights, as near as four bits allow."""
    plain, packed = load_file(tiny / "model.safetensors"), load_file(tiny_awq / "model.safetensors")
    linear = [name.removesuffix("weight") for name in plain if name.endswith("_proj.weight")]

    assert 14 == len(linear)
    for stem in linear:
        parts = Packed(packed[f"{stem}qweight"], packed[f"{stem}qzeros"], packed[f"{stem}scales"])
        wanted = plain[f"{stem}weight"].astype(np.float32)

        assert 0.99 < np.corrcoef(awq.dequantise(parts).ravel(), wanted.ravel())[0, 1]


def test_ends_stay_in_float16(tiny: Path, tiny_awq: Path) -> None:
    """Embedding, norms and lm_head are not quantised."""
    plain, packed = load_file(tiny / "model.safetensors"), load_file(tiny_awq / "model.safetensors")
    kept = {name for name in plain if not name.endswith("_proj.weight")}

    assert kept == {name for name in packed if name.endswith("weight") and "qweight" not in name}
    assert all(np.array_equal(plain[name], packed[name]) for name in kept)
