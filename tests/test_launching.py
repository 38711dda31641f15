"""A user's own words for an engine: whose they are, what they replace, how they are refused and disclosed."""

from __future__ import annotations

import pytest

from backends.contract import Deviation, OptionsRef, ServeSpec, WeightsFormat
from orchestrator.errors import RequestError
from orchestrator.launching import AS_ASKED, Amended, amend, check, words_for

SERVE = ServeSpec(
    argv=("vllm", "serve", "{model}", "--max-num-seqs", "256", "--enforce-eager"),
    options=OptionsRef(name="vllm-0.33.0", start=2),
    port=1,
    weights=WeightsFormat.SAFETENSORS,
)
SEQUENCES = Deviation(setting="--max-num-seqs", value="256", reason="matched")
EAGER = Deviation(setting="--enforce-eager", value="on", reason="no compiler")


def amended(*extra: str) -> Amended:
    return amend(SERVE, (SEQUENCES, EAGER), extra)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("--a 1", "--b='x y'"), ("--a", "1", "--b=x y")),
        (("first: --a 1",), ("--a", "1")),
        ((), ()),
    ],
)
def test_words_of_the_only_backend_need_no_name(texts: tuple[str, ...], words: tuple[str, ...]) -> None:
    """They are split as a shell would."""
    assert words == words_for("first", texts, ("first",))


def test_words_are_those_of_the_backend_that_is_named() -> None:
    """The others do not get them."""
    texts = ("first: --a", "second: --b 1", "first: --c")

    assert ("--a", "--c") == words_for("first", texts, ("first", "second"))
    assert ("--b", "1") == words_for("second", texts, ("first", "second"))


@pytest.mark.parametrize(
    ("text", "told"), [("--a 1", "does not say which engine"), ("first: 'a", "No closing quotation")]
)
def test_words_that_cannot_be_given_to_anybody_are_refused(text: str, told: str) -> None:
    """With what to write instead."""
    with pytest.raises(RequestError, match=told) as caught:
        words_for("first", (text,), ("first", "second"))

    assert caught.value.hint


def test_users_words_win_and_are_disclosed() -> None:
    """What gave way is no longer stated; the prefix of the command stays."""
    made = amended("--max-num-seqs", "64", "--seed", "1")

    assert ("vllm", "serve", "{model}", "--max-num-seqs", "64", "--enforce-eager", "--seed", "1") == (
        made.serve.argv
    )
    asked = Deviation(setting="--extra-arg", value="--max-num-seqs 64 --seed 1", reason=AS_ASKED)
    assert (EAGER, asked) == made.deviations


def test_without_words_nothing_changes() -> None:
    """Not even a copy."""
    assert Amended(SERVE, (SEQUENCES, EAGER)) == amended()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-num-seq", "1"), "did you mean --max-num-seqs"),
        (("--max-num-seqs", "many"), "not of its type"),
        (("--served-model-name", "x"), "levelbench sets this itself"),
        (("--swap-space", "4"), "was in 0.4.2; gone since"),
    ],
)
def test_words_that_the_release_does_not_take_are_refused(words: tuple[str, ...], told: str) -> None:
    """Before a GPU minute is spent."""
    with pytest.raises(RequestError, match=told):
        amended(*words)


def test_an_engine_without_a_list_takes_no_words() -> None:
    """What cannot be checked is not passed on."""
    with pytest.raises(RequestError, match="has no option list"):
        amend(SERVE.model_copy(update={"options": None}), (), ("--a",))


def test_an_adapters_own_slip_is_found_before_the_start() -> None:
    """Every launch goes through its list."""
    slip = SERVE.model_copy(update={"argv": (*SERVE.argv, "--no-such-thing")})

    check((SERVE,))
    with pytest.raises(RequestError, match="--no-such-thing: unknown option"):
        check((SERVE, slip))
