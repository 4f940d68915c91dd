"""States move to a server, between two states there, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

import autostate
from autostate.errors import StoreError
from tests.servers.base import Server
from tests.servers.conftest import new_state

ROWS = {str(number): "x" * 1000 for number in range(3000)}


def test_there_and_back(
    isolated: Path, server: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Records of every size; the next process need not wait for the end of a lease."""
    name = f"memory:{isolated}"
    with autostate.open(name):
        autostate.PersistedDict[str, str]("rows").update(ROWS)
        autostate.PersistedDict("progress", page=1)
    autostate.copy(name, url)
    with autostate.open(url, lease=1000):
        progress = autostate.PersistedDict("progress")
        progress["page"] = 2
        other = autostate.copy(url, server.url(new_state()))
        progress["page"] = 3
    assert "no sign of life" not in caplog.text
    with pytest.raises(StoreError, match="holds a state"):
        autostate.copy(name, url)
    with autostate.open(autostate.copy(other, "sqlite:///back.db"), readonly=True):
        assert autostate.PersistedDict("rows") == ROWS
        assert autostate.PersistedDict("progress") == {"page": 2}
