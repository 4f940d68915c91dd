"""Memory of large saves goes back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autostate import heap

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def resident() -> int:
    """The bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(heap._find_trim() is None or sys.platform != "linux", reason="glibc's heap")
def test_what_a_large_save_took_is_given_back() -> None:
    """Freed pieces between pieces that stay are held by malloc until it is told to let go."""
    size = 20_000
    pieces = [bytes([1]) * size for _ in range(2_000)]
    kept = pieces[::50]
    del pieces
    before = resident()
    assert heap.give_back(heap.LARGE)
    assert before - resident() > 20_000_000
    assert sum(map(len, kept)) == size * len(kept)


def test_small_saves_ask_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs milliseconds, and small saves fit into what is free."""
    asked: list[int] = []
    monkeypatch.setattr(heap, "_find_trim", lambda: asked.append)
    assert not heap.give_back(heap.LARGE - 1)
    assert asked == []
    assert heap.give_back(heap.LARGE)
    assert asked == [0]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no malloc_trim nothing happens."""
    monkeypatch.setattr(heap, "_find_trim", heap._find_trim.__wrapped__)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not heap.give_back(heap.LARGE)
