"""Fixtures of the tests of growth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autostate import hub
from tests.growth.growing import Runs, Saves


@pytest.fixture
def saves() -> Iterator[Saves]:
    """The entries and bytes of every save."""
    counted: Saves = []

    def count(_: object, **counts: Any) -> None:
        counted.append((counts["entries"], counts["bytes"]))

    with hub.flushed.connected_to(count):
        yield counted


@pytest.fixture(autouse=True)
def runs(isolated: Path) -> Iterator[Runs]:
    """The first run of a program."""
    made = Runs()
    yield made
    made.end()
