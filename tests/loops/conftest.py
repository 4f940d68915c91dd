"""Fixtures of the tests of loops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loops.loops import opened


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the files that a test opened."""
    yield
    while opened:
        opened.pop().close()
