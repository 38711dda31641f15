"""Settings: one list for what is run and what is told."""

from __future__ import annotations

from backends.contract import Setting, deviations, entries, fields, words

ENTRY = Setting(entry=("kv.max_tokens", 2048), reason="the same on every engine")
FIELD = Setting(field=("end_id", 128009), reason="the end of a turn")


def test_an_entry_of_a_file_is_told_as_it_stands_there() -> None:
    """It is no word of argv and no field of a request."""
    assert [("kv.max_tokens", "2048")] == [(d.setting, d.value) for d in deviations([ENTRY])]
    assert {"kv.max_tokens": 2048} == entries([ENTRY, FIELD])
    assert {"end_id": 128009} == fields([ENTRY, FIELD])
    assert () == words([ENTRY, FIELD])


def test_what_two_commands_are_told_alike_is_told_once() -> None:
    """A reader is not helped by the same line twice; another value is another line."""
    bits = Setting(words=("--quantization", "q0f16"), reason="no default")
    other = bits.model_copy(update={"words": ("--quantization", "q4f16_1")})

    assert ["q0f16", "q4f16_1"] == [d.value for d in deviations([bits, bits, other])]
