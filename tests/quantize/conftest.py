from __future__ import annotations

from pathlib import Path

import pytest

from quantize import synthetic, vocabulary
from quantize.recipe import TINY
from quantize.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def words() -> Vocabulary:
    """The vocabulary that all made models share."""
    return vocabulary.train(vocabulary.corpus(), TINY.vocabulary)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model; tests only read it."""
    folder = tmp_path_factory.mktemp("tiny")
    synthetic.make("tiny", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_awq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model in 4 bits; tests only read it."""
    folder = tmp_path_factory.mktemp("tiny-awq")
    synthetic.make("tiny-awq", folder)
    return folder
