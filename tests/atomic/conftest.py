"""Fixtures of the tests of `atomic()`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import autostate
from autostate import PersistedDict


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A store in memory that is empty."""
    return f"memory:{request.node.name}"


@pytest.fixture
def state(url: str) -> Iterator[Any]:
    """A dict that is saved only when a test asks for it."""
    with autostate.open(url, debounce=3600, max_delay=3600):
        yield PersistedDict("state", n=0)
