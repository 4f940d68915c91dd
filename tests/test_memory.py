"""Memory of large saves goes back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import memory
from autostate.tracking import Capture

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def resident() -> int:
    """The bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(memory._find_trim() is None or sys.platform != "linux", reason="glibc's heap")
def test_what_a_large_save_took_is_given_back() -> None:
    """Freed pieces between pieces that stay are held by malloc until it is told to let go."""
    size = 20_000
    pieces = [bytes([1]) * size for _ in range(2_000)]
    kept = pieces[::50]
    del pieces
    before = resident()
    assert memory.trim_heap(memory.LARGE)
    assert before - resident() > 20_000_000
    assert sum(map(len, kept)) == size * len(kept)


def test_small_saves_ask_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs milliseconds, and small saves fit into what is free."""
    asked: list[int] = []
    monkeypatch.setattr(memory, "_find_trim", lambda: asked.append)
    assert not memory.trim_heap(memory.LARGE - 1)
    assert asked == []
    assert memory.trim_heap(memory.LARGE)
    assert asked == [0]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no malloc_trim nothing happens."""
    monkeypatch.setattr(memory, "_find_trim", memory._find_trim.__wrapped__)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not memory.trim_heap(memory.LARGE)


def test_large_saves_and_compactions_give_their_memory_back(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first save does; so does a compaction, which reads all records; a small save does not."""
    given: list[int] = []
    monkeypatch.setattr(memory, "trim_heap", given.append)
    with autostate.open("sqlite:///s.db", debounce=3600.0, max_delay=3600.0) as manager:
        pages = autostate.PersistedDict[str, Any]("pages", {f"k{i}": "x" * 90 for i in range(3000)})
        autostate.flush()
        assert given[0] > 3000 * 90
        pages["k1"] = "y"
        autostate.flush()
        assert given[1] < 16_384
        for letter in "zyx":
            pages.update({f"k{i}": letter * 90 for i in range(3000)})
            autostate.flush()
        assert manager._incarnation is not None
        flush_thread = manager._incarnation.flush_thread
    done = flush_thread.job.statistics()  # its thread has ended
    assert done.compactions
    assert sum(size > 3000 * 90 for size in given) == done.flushes - 1 + done.compactions


def test_what_was_encoded_is_freed_at_once(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the collector: captures are cycles."""
    kept: list[list[bytes]] = []
    encode = Capture.encode

    def keep(self: Capture, *arguments: Any) -> list[bytes]:
        kept.append(encode(self, *arguments))
        return kept[-1]

    monkeypatch.setattr(Capture, "encode", keep)
    with autostate.open("sqlite:///s.db"):
        autostate.PersistedDict("pages", page=1)
        autostate.flush()
        assert kept
    assert not any(kept)
