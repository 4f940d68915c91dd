"""How much one step of tracking handles, for which other threads wait, in large states."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from autostate import collector
from autostate.tracking import mappings, nan_keys, parts, search, tally
from autostate.tracking.written import SLICE
from tests.conformance.state_kit import Program
from tests.tracking.test_live_conversion import python_calls
from tests.tracking.written import recovered


def pages(count: int) -> dict[str, Any]:
    """Dicts that hold no others."""
    return {f"k{number}": {"n": number} for number in range(count)}


def is_young(container: object) -> bool:
    """Tell whether the next collection of the garbage collector would traverse a container."""
    return any(one is container for one in gc.get_objects(generation=0))


@pytest.fixture
def nothing_frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The collector at work, as in a program."""
    monkeypatch.setattr(collector, "_has_frozen", False)
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()  # as before


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the parts in which keys are listed, with small parts."""
    found: list[int] = []

    def noted(items: Iterable[Any]) -> Iterator[list[Any]]:
        for part in parts.parts_of(items):
            found.append(len(part))
            yield part

    monkeypatch.setattr(parts, "PART", 100)
    monkeypatch.setattr(nan_keys, "PART", 100)
    for module in mappings, nan_keys, search:
        monkeypatch.setattr(module, "parts_of", noted)
    return found


def test_a_program_that_writes_meanwhile_leaves_little_to_the_cut() -> None:
    """`prepare` begins again until few containers are left, for which all threads then wait."""
    program = Program()
    root = program.root("state", "dict", pages(20 * SLICE))
    program.flush()
    keys = [*root]
    for key in keys:
        root[key]["n"] += 1
    again = iter(keys[::-1])  # those that were collected first

    def write() -> None:
        for key in islice(again, SLICE // 3):
            root[key]["n"] += 1

    program.tracker.prepare(write)
    assert len(program.tracker.written.containers) <= SLICE
    assert not program.tracker.written.held
    assert not program.tracker.needs_polling
    program.flush()
    assert recovered(program) == root


def test_what_is_written_twice_before_a_cut_is_held_by_nobody() -> None:
    """The mark of the first write does not count: no late call can reach the container."""
    program, count = Program(), 1_000
    root = program.root("state", "dict", pages(count))
    program.flush()
    tracker = program.tracker

    def write() -> None:
        for key in root:
            root[key]["n"] += 1

    write()
    tracker.prepare(lambda: None)
    write()
    assert python_calls(lambda: tracker.prepare(lambda: None)) < count / 10
    held = root["k0"]
    write()
    tracker.prepare(lambda: None)
    assert tracker.written.held == [held]
    held["n"] += 1
    program.flush()
    assert recovered(program) == root


class _Slices(list[Any]):
    """A list that notes the sizes of the slices that are read."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.sizes: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.sizes.append(len(found))
        return found

    def __iter__(self) -> Iterator[Any]:
        self.sizes.append(len(self))
        return super().__iter__()


def test_an_estimate_reads_each_written_container_once() -> None:
    """In slices, however often the flush thread asks."""
    program, count = Program(), 2 * tally.SLICE
    tracker = program.tracker
    root = program.root("state", "dict", pages(count))
    program.flush()
    for value in root.values():
        value["n"] += 1
    listed = _Slices(tracker.written.containers)
    tracker.written.containers = listed
    before = tracker.estimate()
    for _ in range(3):
        assert tracker.estimate() == before
        assert tracker.activity
    assert max(listed.sizes) <= tally.SLICE
    assert sum(listed.sizes) == count
    root["new"] = 1
    assert tracker.estimate() > before > count
    assert sum(listed.sizes) == count + 1


def test_an_estimate_forgets_what_was_collected() -> None:
    """It counts what is listed, and keeps no node in memory."""
    program = Program()
    root = program.root("state", "dict", pages(100))
    program.flush()
    for value in root.values():
        value["n"] += 1
    all_of_them = program.tracker.estimate()
    with program.tracker.lock:
        program.tracker.written.collect(50)
    assert program.tracker.written.count().size == all_of_them // 2
    program.flush()
    assert not program.tracker.written.count().size
    assert not program.tracker.written.tally.nodes


def test_keys_are_listed_in_parts(sizes: list[int]) -> None:
    """No call of C lists all keys of a large mapping, or looks at all of them."""
    program = Program()
    content: dict[Any, Any] = {**dict.fromkeys(range(search._MANY)), **pages(1_000)}
    root = program.root("state", "dict", content)
    program.tracker.prepare(lambda: None)
    listed = len(sizes)
    assert listed >= len(root) / 100
    program.flush()
    assert len(sizes) >= listed + len(root) / 100
    copied = len(sizes)
    assert not nan_keys.has_nan(root)
    assert len(sizes) >= copied + len(root) / 100
    assert max(sizes) == 100
    assert recovered(program) == content


def test_a_cut_does_not_copy_marks(sizes: list[int]) -> None:
    """All threads wait for the cut. The marks are taken apart later, and come back if it fails."""
    program, count = Program(), 1_000
    root = program.root("state", "dict", pages(count))
    program.flush()
    for key in root:
        root[key]["n"] += 1
    program.tracker.prepare(lambda: None)
    touched = program.tracker.roots["state"].entries.touched
    sizes.clear()
    capture = program.tracker.cut()
    assert sizes == []
    assert capture is not None
    [part] = capture.node_captures
    assert isinstance(part, mappings.KeyedCapture)
    assert part.items is touched
    assert len(touched) == count
    capture.encode()
    assert not touched
    capture.failed()
    program.flush(outcome="lost")
    assert program.flush()
    assert recovered(program) == root


def test_parts_are_freed_one_by_one() -> None:
    """What was handed over is kept by nobody else."""
    found = [[number] for number in range(3)]
    handed = parts.handed_over(found)
    assert [next(handed), len(found)] == [[0], 2]
    assert [*handed] == [[1], [2]]
    items = [*range(parts.PART + 1)]
    parts.free(items)
    assert items == []


@pytest.mark.usefixtures("nothing_frozen")
def test_copies_of_a_large_state_are_old() -> None:
    """No collection of young objects traverses what they refer to."""
    program = Program()
    root = program.root("state", "dict", {str(n): n for n in range(collector.YOUNG + 1)})
    assert not is_young(search.slots_of(root))
    capture = program.tracker.cut()
    assert capture is not None
    [part] = capture.node_captures
    assert isinstance(part, mappings.KeyedCapture)
    assert not is_young(part.items)
    made = [program]
    assert is_young(made)
    capture.failed()
