"""State is shared exactly on servers, by programs of which one keeps its own state there, too."""

from __future__ import annotations

import pytest

from tests.shared.sharing import share


@pytest.mark.usefixtures("forked_programs")
def test_two_programs(url: str) -> None:
    """They begin at once, and each counts once."""
    share(url)
