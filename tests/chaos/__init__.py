"""Things happen to real nights in real containers; see docs/nightly.md, "Chaos"."""

import pytest

pytest.register_assert_rewrite("tests.chaos.night")
