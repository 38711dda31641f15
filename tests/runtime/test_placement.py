"""orchestrator/runtime/placement.py"""

from __future__ import annotations

from orchestrator.runtime.placement import Placement
from tests.runtime import made

HERE = Placement(model="/models/{port}", files="/files", bind="0.0.0.0", port=81)  # noqa: S104 - never bound


def test_every_placeholder_is_filled_wherever_it_stands() -> None:
    """Also twice in a word, and inside one."""
    serve = made.serve(argv=("run", "{files}/a.py", "--at={bind}:{port}"), env={"PORTS": "{port},{port}"})

    assert ("run", "/files/a.py", "--at=0.0.0.0:81") == HERE.argv(serve)
    assert {"PORTS": "81,81"} == HERE.env(serve)


def test_other_braces_stay() -> None:
    """An engine's own JSON argument is not a placeholder."""
    assert ('{"a": {}}',) == HERE.argv(made.serve(argv=('{"a": {}}',)))


def test_a_value_is_not_filled_again() -> None:
    """A folder's own name may hold braces."""
    assert ("/models/{port}",) == HERE.argv(made.serve(argv=("{model}",)))
