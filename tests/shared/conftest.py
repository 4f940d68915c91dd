"""Fixtures of the shared containers.

The home of shared objects puts itself into the seam of `handle` when it is first imported: that is
here, and not while a test has put something else there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autostate.shared.home import homes
from tests.shared.fake_handle import attached


@pytest.fixture
def live() -> Iterator[dict[str, Any]]:
    """The live shared objects by name, which a handle in memory keeps."""
    with attached() as objects:
        yield objects


@pytest.fixture
def ended_homes() -> Iterator[None]:
    """End the shared states of this process after the test."""
    yield
    for each in [*homes.values()]:
        each.finish(10.0)


@pytest.fixture
def shared_here(monkeypatch: pytest.MonkeyPatch, isolated: Path, ended_homes: None) -> None:
    """Let this process share a file in the working directory of the test, `s.db`."""
    monkeypatch.setenv("AUTOSTATE_SHARED_URL", f"sqlite:///{isolated}/s.db")
