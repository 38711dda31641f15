"""Where things stand in a TOML text, for every form that TOML has."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog.positions import Place, lines, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = '''title = "a = [b] # no"  # yes
seed = 1.5
[axes]
backend = ["one",
  "two", # with a comment, and [brackets]
  'three']
extra_args.one = ["a"]
"quo ted" = 2024-01-02
nest = [[1, 2], [3]]
text = """
[no.table]
"""
after = 1
[[exclude]]
backend = "a\\"]"
[[exclude]]
sub = { a = 1, b = [ 2 ] }
[subset.small]
users = 10
[[a]]
[[a.b]]
x = 1
[[a.b]]
x = 2
[a.c]
y = 1
'''


def test_every_value_has_its_line() -> None:
    """Tables, dotted and quoted keys, arrays over several lines and in each other, arrays of tables, inline tables,
    strings that look like all of these."""
    found = lines(TEXT)

    assert {
        ("title",): 1,
        ("seed",): 2,
        ("axes",): 3,
        ("axes", "backend", 1): 5,
        ("axes", "backend", 2): 6,
        ("axes", "extra_args", "one", 0): 7,
        ("axes", "quo ted"): 8,
        ("axes", "nest", 1, 0): 9,
        ("axes", "text"): 10,
        ("axes", "after"): 13,
        ("exclude", 0, "backend"): 15,
        ("exclude", 1): 16,
        ("exclude", 1, "sub", "b", 0): 17,
        ("subset", "small", "users"): 19,
        ("a", 0, "b", 1, "x"): 24,
        ("a", 0, "c", "y"): 26,
    }.items() <= found.items()
    assert ("no", "table") not in found


def test_what_is_missing_is_told_by_what_encloses_it() -> None:
    """A field that is not there has no line; its table has. The whole file has none."""
    found = lines(TEXT)

    assert 16 == nearest(found, ("exclude", 1, "reason"))
    assert 3 == nearest(found, ("axes", "model"))
    assert nearest(found, ("control",)) is None


@given(
    st.lists(
        st.sampled_from(
            [
                "x = [1, [2, {a = 3}], 'b']",
                'y = "x = 1 # [["',
                "[t.u]",
                "[[v]]",
                "# [c] = {",
                "'k.l'.m = {n = [], o = {p = 1}}",
                "z = [\n1,\n# no\n2,\n]",
            ]
        ),
        max_size=8,
    )
)
def test_all_that_the_parser_finds_has_a_place(parts: list[str]) -> None:
    """For any file that is TOML: every path of the parsed value is one of the places, on a line that exists."""
    text = "\n".join(parts) + "\n"
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = lines(text)

    assert set(paths(parsed)) <= set(found)
    assert all(1 <= line <= text.count("\n") for line in found.values())


def paths(value: Any, at: Place = ()) -> list[Place]:
    """Of everything in a parsed file."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, part in pairs for path in ((*at, key), *paths(part, (*at, key)))]
