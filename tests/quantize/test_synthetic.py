from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from quantize import recipe, synthetic, vocabulary

GOLDEN: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "golden.json").read_text())


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_tiny_is_the_same_everywhere(tiny: Path) -> None:
    """Every file of tiny has the bytes that it had on the machine of its author."""
    assert GOLDEN["tiny"] == sums(tiny)


def test_tiny_awq_is_the_same_everywhere(tiny_awq: Path) -> None:
    """Every file of tiny-awq has the bytes that it had on the machine of its author."""
    assert GOLDEN["tiny-awq"] == sums(tiny_awq)


@pytest.mark.engine
def test_small_is_the_same_everywhere(tmp_path: Path) -> None:
    """Every file of small has the bytes that it had on the machine of its author."""
    synthetic.make("small", tmp_path)

    assert GOLDEN["small"] == sums(tmp_path)


def test_folder_holds_what_engines_read(tiny: Path, tiny_awq: Path) -> None:
    """A folder has weights, configuration and tokenizer; the 4-bit one has no GGUF file."""
    common = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }

    assert common | {"model.gguf"} == {path.name for path in tiny.iterdir()}
    assert common == {path.name for path in tiny_awq.iterdir()}


def test_folder_may_be_new(tmp_path: Path) -> None:
    """A folder that does not exist is made, with its parents."""
    synthetic.make("tiny-awq", tmp_path / "a" / "b")

    assert GOLDEN["tiny-awq"] == sums(tmp_path / "a" / "b")


def test_full_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with something in it is refused, and nothing is written into it."""
    (tmp_path / "precious.txt").touch()

    with pytest.raises(FileExistsError, match="is not empty"):
        synthetic.make("tiny", tmp_path)

    assert ["precious.txt"] == [path.name for path in tmp_path.iterdir()]


def test_unknown_recipe_is_refused(tmp_path: Path) -> None:
    """Neither making nor fingerprinting accepts a name that is no recipe."""
    with pytest.raises(ValueError, match="known: small, tiny, tiny-awq"):
        synthetic.make("huge", tmp_path)
    with pytest.raises(ValueError, match="known: small, tiny, tiny-awq"):
        synthetic.fingerprint("huge")


def test_fingerprint_is_stable_and_tells_recipes_apart() -> None:
    """The same recipe has the same fingerprint each time, two recipes have two."""
    assert 3 == len({synthetic.fingerprint(name) for name in [*synthetic.RECIPES, *synthetic.RECIPES]})


def test_fingerprint_follows_what_the_bytes_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another recipe, another maker or another corpus gives another fingerprint."""
    seen = {synthetic.fingerprint("tiny")}
    with monkeypatch.context() as patch:
        patch.setitem(recipe.RECIPES, "tiny", replace(recipe.TINY, eot_logit=1.0))
        seen.add(synthetic.fingerprint("tiny"))
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "MAKER", synthetic.MAKER + 1)
        seen.add(synthetic.fingerprint("tiny"))
    monkeypatch.setattr(vocabulary, "corpus", lambda: "another text")
    seen.add(synthetic.fingerprint("tiny"))

    assert 4 == len(seen)
