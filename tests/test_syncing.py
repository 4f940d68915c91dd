"""Data is on the drive, on macOS too, where `fsync` does not say so."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from autostate.files import sync
from autostate.stores.sqlite import SqliteStore


@pytest.mark.parametrize("refused", [False, True])
def test_macos_is_asked_for_more_than_fsync(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `fsync` is called where a drive does not know that."""
    calls: list[Any] = []

    def control(_handle: int, command: int) -> int:
        calls.append(command)
        if refused:
            raise OSError
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _handle: calls.append("fsync"))
    with (tmp_path / "file").open("wb") as file:
        sync(file.fileno())
    assert calls == ([51, "fsync"] if refused else [51])


def test_elsewhere_it_is_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `fsync` means it."""
    calls: list[int] = []
    monkeypatch.delattr(fcntl, "F_FULLFSYNC", raising=False)
    monkeypatch.setattr(os, "fsync", calls.append)
    sync(5)
    assert calls == [5]


def test_sqlite_asks_for_it_too(tmp_path: Path) -> None:
    """The setting is there on every system, and means something on macOS."""
    store = SqliteStore(str(tmp_path / "state.db"))
    assert store._connection is not None
    assert store._connection.execute("PRAGMA fullfsync").fetchone() == (1,)
    store.close()
