"""Fixtures of the tests of the journal."""

from __future__ import annotations

import pytest

from tests.faulty import STORES, Promises


@pytest.fixture(params=list(STORES))
def promises(request: pytest.FixtureRequest) -> Promises:
    """What a store promises."""
    return STORES[request.param]
