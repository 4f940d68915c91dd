"""Memory of large saves goes back."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Iterator
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


@pytest.fixture
def frozen_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The collector at work, with nothing frozen, as in a program."""
    assert gc.isenabled()
    monkeypatch.setattr(memory, "_has_frozen", False)
    gc.unfreeze()
    gc.collect()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_nothing")
def test_what_was_made_without_collections_is_old() -> None:
    """No collection of young objects goes through it; a full one still finds garbage in it."""
    generations: list[int] = []

    def note(_phase: str, details: dict[str, int]) -> None:
        generations.append(details["generation"])

    gc.callbacks.append(note)
    try:
        with memory.no_collections():
            made = [[] for _ in range(memory.YOUNG * 2)]  # type: ignore[var-annotated]
            last = weakref.ref(_Cycle())
        assert [[] for _ in range(10)]
        assert generations == []
    finally:
        gc.callbacks.remove(note)
    assert gc.get_freeze_count() == 0
    assert made
    assert last() is not None
    assert gc.collect() > 0
    assert last() is None


class _Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.usefixtures("frozen_nothing")
def test_what_the_program_has_frozen_stays_frozen() -> None:
    """It is the program's decision, which lasts."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    with memory.no_collections():
        made = [[] for _ in range(memory.YOUNG * 2)]  # type: ignore[var-annotated]
    assert gc.get_freeze_count() >= frozen > 0
    assert made


@pytest.mark.usefixtures("frozen_nothing")
def test_a_collector_that_the_program_has_stopped_is_left_alone() -> None:
    """Neither started, nor told what is old."""
    gc.disable()
    try:
        with memory.no_collections():
            made = [[] for _ in range(memory.YOUNG * 2)]  # type: ignore[var-annotated]
        assert not gc.isenabled()
        assert gc.get_count()[0] > memory.YOUNG
    finally:
        gc.enable()
    assert made
