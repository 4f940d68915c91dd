"""What a write to a SQLite store and a flush through it cost, in counts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import autostate
from autostate.saving import thread
from autostate.stores.sqlite import SqliteStore
from benchmarks.measure import CALM
from tests.counting import called
from tests.crash.calls import Calls

T = TypeVar("T")

WRITE = [
    "BEGIN IMMEDIATE",
    "SELECT CASE",
    "INSERT INTO",
    "INSERT INTO",
    "DELETE FROM",
    "SELECT count(*)",
    "PRAGMA user_version",
    "COMMIT",
]
"""The statements of a write that replaces one head by another."""


def _names(operation: Callable[[], object]) -> list[str]:
    """The names of all functions in Python that are called, those of Python's own, too."""
    return [code.co_qualname for code in called(operation)]


def test_a_write_takes_few_statements_and_calls(tmp_path: Path) -> None:
    """Three files beside the database are looked at each time, without any `Path` made for it."""
    store = SqliteStore(tmp_path / "s.db")
    owner, head, segments = b"1", 0, {f"seg{number}": b"x" for number in range(5)}
    store.write({"owner": owner, "head0": b"0", **segments})

    def write() -> None:
        nonlocal owner, head
        before, owner, head = owner, owner + b"1", head + 1
        puts = {"owner": owner, f"head{head}": owner}
        store.write(puts, [f"head{head - 1}"], expect={"owner": before})

    write()
    assert store._connection is not None
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    write()
    store._connection.set_trace_callback(None)
    assert [s[: len(w)] for s, w in zip(statements, WRITE, strict=True)] == WRITE
    calls = _names(write)
    assert len(calls) < 10, calls
    store.close()


class _Syncs:
    """Counts what waits for the disk."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def call(self, name: str, do: Callable[[], T], _path: Path, *_rest: Any) -> T:
        if "sync" in name:
            self.found[name] += 1
        return do()

    def taken(self) -> dict[str, int]:
        found, self.found = dict(self.found), Counter()
        return found


def test_a_store_waits_for_the_disk_as_seldom_as_it_can(tmp_path: Path) -> None:
    """A new file is synced before it gets its name; who resumes a state waits for nothing."""
    syncs = _Syncs()
    with Calls(tmp_path, syncs).watched():
        store = SqliteStore(tmp_path / "s.db")
        assert syncs.taken() == {"sync": 1, "sync_folder": 1}
        store.write({"head": b"1"})
        # The journal twice, its name, the database, and that the journal is not needed any more.
        assert syncs.taken() == {"sync": 4, "sync_folder": 1}
        store.close()
        store = SqliteStore(tmp_path / "s.db")
        assert store.read("head") == b"1"
        store.close()
        assert syncs.taken() == {}


def test_the_caller_of_a_flush_looks_for_no_name_of_a_signal(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`signal.getsignal` raises an error inside for each handler that is a function."""
    monkeypatch.setattr(thread, "ALIVE_CHECK", 600.0)  # a slow disk costs no calls
    autostate.configure(f"sqlite:///{isolated / 's.db'}", **CALM)
    hits = autostate.PersistedDict("hits", page=1)
    autostate.flush()
    hits["page"] = 2
    calls = _names(autostate.flush)
    assert threading.current_thread() is threading.main_thread()
    assert "getsignal" not in calls
    assert len(calls) < 32, " ".join(calls)
