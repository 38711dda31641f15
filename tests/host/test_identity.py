"""What gives a host away, and what every host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.host import identity


def test_a_folder_that_every_host_has_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported plan names `/tmp` of a container, and must be one that can be carried out."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")  # noqa: S108
    private = identity.private({Path("/srv/cache"): "{cache}"}, {}, None).sparing(())

    assert "/tmp" == private.text("/tmp")  # noqa: S108
    assert "{cache}/models" == private.text("/srv/cache/models")


def test_a_temporary_folder_of_ones_own_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/srv/scratch")

    assert "{tmp}" == identity.private({}, {}, None).sparing(()).text("/srv/scratch")
