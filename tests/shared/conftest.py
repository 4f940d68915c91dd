"""Fixtures of the shared containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.shared.fake_handle import attached


@pytest.fixture
def live() -> Iterator[dict[str, Any]]:
    """The live shared objects by name, which a handle in memory keeps."""
    with attached() as objects:
        yield objects
