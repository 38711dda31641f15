"""quantize/check.py: a sound checkpoint passes, and each way to be unsound is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantize import awq
from quantize.check import BadCheckpointError, check
from quantize.layouts import (
    AUTOAWQ_GEMM,
    FLOAT_QUANTIZED,
    GPTQ,
    MODELOPT_INT4_AWQ,
    PACK_QUANTIZED,
    Layout,
)
from quantize.tensors import e4m3, tensors
from tests.quantize import packed
from tests.quantize.packed import Stored

LAYOUTS = (AUTOAWQ_GEMM, GPTQ, PACK_QUANTIZED, FLOAT_QUANTIZED, MODELOPT_INT4_AWQ)
MAIN = {
    "AutoAWQ gemm": "qweight",
    "GPTQ": "qweight",
    "compressed-tensors pack-quantized": "weight_packed",
    "compressed-tensors float-quantized": "weight",
    "modelopt int4_awq": "weight",
}
DOWN = "model.layers.0.mlp.down_proj"
UP = "model.layers.0.mlp.up_proj"


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sound checkpoint in every layout; tests only read them."""
    folder = tmp_path_factory.mktemp("packed")
    found = {layout.name: folder / str(i) for i, layout in enumerate(LAYOUTS)}
    for layout in LAYOUTS:
        packed.make(tiny, found[layout.name], layout)
    return found


@pytest.fixture
def sound(layout: Layout, made: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made[layout.name], tmp_path / "sound"))


def change(folder: Path, name: str, made: Callable[[Stored], Stored]) -> None:
    named = packed.load(folder)
    packed.save(folder, named | {name: made(named[name])})


def refused(folder: Path, tiny: Path, layout: Layout) -> str:
    with pytest.raises(BadCheckpointError) as error:
        check(folder, tiny, layout)
    return str(error.value)


def test_a_sound_checkpoint_passes(sound: Path, tiny: Path, layout: Layout) -> None:
    """Rounding to nearest stays below the bound in every layout, for all 14 linear layers."""
    checked = check(sound, tiny, layout)

    assert 14 == len(checked.errors)
    assert 0.01 < checked.worst < layout.error


def test_our_own_awq_checkpoint_passes(tiny: Path, tiny_awq: Path) -> None:
    """tiny-awq, which is made without any tool, is a sound AutoAWQ checkpoint of tiny."""
    assert 0.1 == pytest.approx(check(tiny_awq, tiny, AUTOAWQ_GEMM).worst, abs=0.02)


def test_a_missing_tensor_is_named(sound: Path, tiny: Path, layout: Layout) -> None:
    """Each part of each linear layer must be there."""
    name = f"{DOWN}.{MAIN[layout.name]}"
    named = packed.load(sound)
    del named[name]
    packed.save(sound, named)

    assert f"{name} is missing" in refused(sound, tiny, layout)


def test_a_tensor_too_many_is_named(sound: Path, tiny: Path, layout: Layout) -> None:
    """What no engine expects is no part of a checkpoint."""
    packed.save(sound, packed.load(sound) | {f"{DOWN}.extra": ("F16", np.zeros(2, np.float16))})

    assert f"{DOWN}.extra is not expected" in refused(sound, tiny, layout)


def test_a_wrong_shape_is_named(sound: Path, tiny: Path, layout: Layout) -> None:
    """A tensor with rows missing is told with both shapes."""
    name = f"{DOWN}.{MAIN[layout.name]}"
    rows, columns = tensors(sound)[name].shape
    change(sound, name, lambda stored: (stored[0], stored[1][1:]))

    assert f"{name} has shape [{rows - 1}, {columns}], not [{rows}, {columns}]" in refused(
        sound, tiny, layout
    )


def test_a_wrong_dtype_is_named(sound: Path, tiny: Path, layout: Layout) -> None:
    """A tensor of another dtype is told with both."""
    name = f"{DOWN}.{MAIN[layout.name]}"
    was = tensors(sound)[name].dtype
    change(sound, name, lambda stored: ("F32", stored[1].astype(np.float32)))

    assert f"{name} is F32, not {was}" in refused(sound, tiny, layout)


def test_a_wrong_method_in_the_config_is_named(sound: Path, tiny: Path, layout: Layout) -> None:
    """An engine goes by config.json: it must say what the tensors are."""
    packed.config(sound, dict(layout.config) | {"quant_method": "other"})

    assert "config.json says quant_method 'other', not" in refused(sound, tiny, layout)


def test_a_config_that_is_gone_is_named(sound: Path, tiny: Path, layout: Layout) -> None:
    """Without config.json nothing reads a checkpoint."""
    (sound / "config.json").unlink()

    assert "config.json cannot be read" in refused(sound, tiny, layout)


@pytest.mark.parametrize("gptq_or_awq", [AUTOAWQ_GEMM, GPTQ], ids=lambda layout: layout.name)
def test_a_wrong_group_size_is_named(tiny: Path, tmp_path: Path, gptq_or_awq: Layout) -> None:
    """Scales by 64 inputs, and a config that says so, are two faults of a checkpoint with groups of 128."""
    folder = tmp_path / "grouped"
    packed.make(tiny, folder, gptq_or_awq)
    packed.config(folder, dict(gptq_or_awq.config) | {"group_size": 64})
    change(folder, f"{DOWN}.scales", lambda stored: (stored[0], np.repeat(stored[1], 2, axis=0)))
    said = refused(folder, tiny, gptq_or_awq)

    assert "config.json says group_size 64, not 128" in said
    assert f"{DOWN}.scales has shape [8, 256], not [4, 256]" in said


def test_swapped_nibbles_are_an_error_above_the_bound(tiny: Path, tmp_path: Path) -> None:
    """AutoAWQ's order of columns in a word is not the plain one: read as such, weights are noise."""
    folder = tmp_path / "swapped"
    packed.make(tiny, folder, AUTOAWQ_GEMM)
    change(folder, f"{DOWN}.qweight", lambda stored: (stored[0], packed._words(awq.unpack(stored[1]))))
    said = refused(folder, tiny, AUTOAWQ_GEMM)

    assert f"{DOWN}: error 12." in said
    assert f"{UP}: error" not in said


def test_coarse_rounding_is_an_error_above_the_bound(sound: Path, tiny: Path, layout: Layout) -> None:
    """A layer of which the scales are half as large as they should be is told by name."""
    scale = "scales" if "scales" in {n.rsplit(".", 1)[1] for n in tensors(sound)} else "weight_scale"
    change(sound, f"{DOWN}.{scale}", lambda stored: (stored[0], (stored[1] * 0.5).astype(stored[1].dtype)))

    assert f"{DOWN}: error 0.5" in refused(sound, tiny, layout)


def test_weights_that_are_no_numbers_are_an_error(sound: Path, tiny: Path, layout: Layout) -> None:
    """A scale that overflowed float16 is no small error."""
    scale = "scales" if "scales" in {n.rsplit(".", 1)[1] for n in tensors(sound)} else "weight_scale"
    change(sound, f"{DOWN}.{scale}", lambda stored: (stored[0], np.full_like(stored[1], np.nan)))

    assert f"{DOWN}: error nan" in refused(sound, tiny, layout)


def test_a_factor_moved_into_the_norm_is_no_error(tiny: Path, tmp_path: Path) -> None:
    """AWQ multiplies inputs that matter and divides the norm before them: the function is the same."""
    source = tmp_path / "source"
    source.mkdir()
    named = packed.load(tiny)
    factor = np.linspace(0.5, 2, 256).astype(np.float32)
    for name in ("q_proj", "k_proj", "v_proj"):
        dtype, weight = named[f"model.layers.0.self_attn.{name}.weight"]
        moved = (weight.astype(np.float32) * factor).astype(np.float16)
        named[f"model.layers.0.self_attn.{name}.weight"] = (dtype, moved)
    norm = "model.layers.0.input_layernorm.weight"
    named[norm] = ("F16", (named[norm][1].astype(np.float32) / factor).astype(np.float16))
    packed.save(source, named)
    (source / "config.json").write_bytes((tiny / "config.json").read_bytes())
    packed.make(source, tmp_path / "moved", AUTOAWQ_GEMM)

    assert check(tmp_path / "moved", tiny, AUTOAWQ_GEMM).worst < AUTOAWQ_GEMM.error


def test_a_factor_moved_into_the_layer_before_is_no_error(tiny: Path, tmp_path: Path) -> None:
    """The same between up_proj's outputs and down_proj's inputs."""
    source = tmp_path / "source"
    source.mkdir()
    named = packed.load(tiny)
    factor = np.linspace(0.5, 2, 512).astype(np.float32)
    up, down = named[f"{UP}.weight"][1].astype(np.float32), named[f"{DOWN}.weight"][1].astype(np.float32)
    named[f"{UP}.weight"] = ("F16", (up / factor[:, None]).astype(np.float16))
    named[f"{DOWN}.weight"] = ("F16", (down * factor).astype(np.float16))
    packed.save(source, named)
    (source / "config.json").write_bytes((tiny / "config.json").read_bytes())
    packed.make(source, tmp_path / "moved", AUTOAWQ_GEMM)

    assert check(tmp_path / "moved", tiny, AUTOAWQ_GEMM).worst < AUTOAWQ_GEMM.error


def test_every_fault_is_counted(tiny: Path, tmp_path: Path) -> None:
    """Of many faults the first five are told and the rest counted."""
    folder = tmp_path / "empty"
    packed.make(tiny, folder, GPTQ)
    (folder / "model.safetensors").unlink()

    assert " and 58 more" in refused(folder, tiny, GPTQ)


def test_a_file_that_is_no_safetensors_is_an_error(tmp_path: Path) -> None:
    """A torn download is named before its tensors are looked for."""
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0 not json")

    with pytest.raises(ValueError, match=r"model\.safetensors is no safetensors file"):
        tensors(tmp_path)


def test_e4m3_has_its_known_values() -> None:
    """The largest number is 448, one is 0x38, the smallest 2^-9, and 0x7f is none."""
    values = e4m3()

    assert (448, 1, 2**-9, -448) == (values[0x7E], values[0x38], values[1], values[0xFE])
    assert np.isnan(values[[0x7F, 0xFF]]).all()


def test_bfloat16_is_read(tmp_path: Path) -> None:
    """A bfloat16 number is the upper half of a float32."""
    halves = (np.array([1.0, -2.5], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    packed.save(tmp_path, {"w": ("BF16", halves)})

    assert [1.0, -2.5] == tensors(tmp_path)["w"].floats().tolist()
