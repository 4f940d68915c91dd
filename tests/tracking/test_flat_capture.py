"""Objects of scalars are captured together, and stored as those that are captured singly."""

from __future__ import annotations

import json
import math
import random
import sys
from typing import Any

import pytest

import autostate
from autostate.errors import StoreError
from autostate.journal import Journal
from autostate.stores import open_store
from autostate.tracking.flat_capture import FlatCapture
from autostate.tracking.mappings import MappingCapture
from autostate.tracking.tracker import Tracker

URL = "sqlite:///state.db"
VALUES = [
    *(0, 1, True, False, None, -1, 1.0, 0.0, -0.0, 1.5, math.inf, -math.inf),
    *("", "a", "ž", "\ud800", "x" * 5000, "y" * (1 << 20), "1", '"', "\n"),
    *(2**63, 2**64, -(2**70), 10**5000, 10**400),
    *(b"bytes", (1, 2), 1 + 2j),
]
NAMES = ["page", "url", "price", "done", "ž", "with space", "$ref", "0"]


@autostate.persisted(name="shop-{n}")
class Shop:
    """A class with any fields."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.page: Any = 1


def opened() -> autostate.StateManager:
    """Open the state; it saves when it is told to."""
    return autostate.open(URL, debounce=3600, max_delay=3600)


def stored() -> dict[str | None, Any]:
    """The stored nodes by name."""
    store = open_store(URL)
    try:
        nodes = Journal(store).recover(timeout=10).nodes.values()
        return {node.name: (node.metadata, node.content, node.defaults) for node in nodes}
    finally:
        store.close()


def changed_at_random(one: Any, rng: random.Random) -> None:
    """Assign or delete a field."""
    name = rng.choice(NAMES)
    if rng.random() < 0.2:
        vars(one).pop(name, None)
    else:
        vars(one)[name] = rng.choice(VALUES) if rng.random() < 0.9 else [rng.choice(VALUES)]


def typed(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields with the types of their values: 1 is not True, and 0.0 is not -0.0."""
    return {
        name: (type(value), repr(value) if type(value) is float else value)
        for name, value in fields.items()
    }


def test_objects_are_restored_as_they_were(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is assigned and deleted, and whichever saves fail."""

    def fail(*_: Any, **__: Any) -> None:
        raise StoreError("no")

    expected: dict[int, dict[str, Any]] = {}
    for _ in range(6):
        with opened():
            objects = [Shop(n) for n in range(8)]
            for n, one in enumerate(objects):
                assert n not in expected or typed(vars(one)) == expected[n]
            for _ in range(6):
                for _ in range(6):
                    changed_at_random(rng.choice(objects), rng)
                if rng.random() < 0.3:
                    with monkeypatch.context() as patch:
                        patch.setattr(Journal, "commit", fail)
                        with pytest.raises(autostate.FlushError):
                            autostate.flush()
                else:
                    autostate.flush()
            expected = {n: typed(vars(one)) for n, one in enumerate(objects)}


def test_what_is_stored_is_the_same_as_of_each_object_by_itself(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same metadata, fields and defaults."""
    seed = rng.random()
    found = []
    for together in (True, False):
        with monkeypatch.context() as patch:
            if not together:
                patch.setattr(FlatCapture, "take", lambda *_, **__: False)
            changes = random.Random(seed)
            with opened():
                objects = [Shop(n) for n in range(4)]
                autostate.flush()
                del objects[0].page
                autostate.flush()
                objects[0].page = 2  # a default that is there again
                autostate.flush()
                for _ in range(20):
                    for _ in range(3):
                        changed_at_random(changes.choice(objects), changes)
                    autostate.flush()
            found.append(stored())
            with opened():
                for n in range(4):
                    autostate.delete(f"shop-{n}")
    assert found[0] == found[1]


def test_each_value_is_restored() -> None:
    """Beside another one, of an object that is new and of one that is saved."""
    for value in VALUES:
        with opened():
            one, other = Shop(1), Shop(2)
            other.page = value
            autostate.flush()
            one.page = value
            autostate.flush()
        with opened():
            for n in (1, 2):
                assert typed({"page": Shop(n).page}) == typed({"page": value})
                autostate.delete(f"shop-{n}")


def test_a_field_is_deleted_while_another_one_changes() -> None:
    """In one save; and a default that is there again is not stored as deleted any more."""
    with opened():
        one: Any = Shop(1)
        one.more = 1
        autostate.flush()
        del one.more
        one.n = 2
        del one.page
        autostate.flush()
        assert stored()["shop-1"][1:] == ({"n": 2}, ["page"])
        one.page = 3
        autostate.flush()
        assert stored()["shop-1"][1:] == ({"n": 2, "page": 3}, [])


def test_an_object_that_is_marked_as_a_whole_is_compared_as_a_whole() -> None:
    """After a cut that failed, for example; and another description of its class is stored."""
    with opened() as manager:
        one = Shop(1)
        autostate.flush()
        assert manager._incarnation is not None
        tracker = manager._incarnation.tracker
        node = tracker.roots["shop-1"]
        dict.__setitem__(node.obj, "page", 5)  # without a mark
        tracker.touch_all(node)
        one.n = 7
        capture = tracker.cut()
        assert capture is not None
        [change] = map(json.loads, capture.encode(None))
        assert change == {"id": node.id, "put": {"n": 7, "page": 5}}
        capture.saved()
        node.entries.metadata = {}
        one.n = 8
        capture = tracker.cut()
        assert capture is not None
        [change] = map(json.loads, capture.encode(None))
        assert change.keys() == {"id", "metadata", "put"}
        capture.saved()
        one.n = 9
        capture = tracker.cut()
        assert capture is not None
        assert not node.entries.keys
        capture.failed()


def test_only_fields_that_differ_are_written() -> None:
    """An equal value is not, and one of another type is; nor is one that another save has."""
    with opened() as manager:
        objects = [Shop(n) for n in range(10)]
        for one in objects:
            one.page = 1000
        autostate.flush()
        before = manager.statistics().entries
        for one in objects:
            one.page = int("1000")
        objects[3].page = 1000.0
        autostate.flush()
        objects[4].n = 5
        autostate.flush()
        assert manager.statistics().entries - before == 2
    with opened():
        assert type(Shop(3).page) is float


def test_a_value_that_comes_back_is_saved() -> None:
    """It is compared with the value that was saved last."""
    with opened():
        one = Shop(1)
        for page in (1, 2, 1):
            one.page = page
            autostate.flush()
    with opened():
        assert Shop(1).page == 1


def test_a_scalar_beside_a_container_is_captured_with_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The list is not encoded, and what is appended to it later is saved."""
    with opened() as manager:
        one: Any = Shop(1)
        one.seen = [1]
        autostate.flush()
        one.page = 2
        with monkeypatch.context() as patch:
            patch.setattr(MappingCapture, "changes", lambda _: 1 / 0)
            assert manager._incarnation is not None
            tracker = manager._incarnation.tracker
            capture = tracker.cut()
            assert capture is not None
            assert capture.encode(None)
            capture.failed()
        one.seen.append(2)
        autostate.flush()
    with opened():
        again: Any = Shop(1)
        assert (again.page, again.seen) == (2, [1, 2])


def test_a_field_whose_name_is_no_utf_8_is_saved() -> None:
    """JSON cannot hold the name."""
    with opened():
        one = Shop(1)
        autostate.flush()
        vars(one)["\ud800"] = 5
        autostate.flush()
    with opened():
        assert vars(Shop(1))["\ud800"] == 5


def test_an_int_of_many_digits_is_saved_whatever_the_limit() -> None:
    """Another process may have a lower limit."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with opened():
            Shop(1).page = 10**5000
    finally:
        sys.set_int_max_str_digits(limit)
    with opened():
        assert Shop(1).page == 10**5000


class Refusing(list[Any]):
    """A list for which there is no memory, once."""

    refused = False

    def append(self, item: Any) -> None:
        if not self.refused:
            self.refused = True
            raise MemoryError
        super().append(item)


@pytest.mark.parametrize("name", ["_counts", "_descriptions", "_nodes"])
def test_an_object_for_which_memory_runs_out_is_captured_as_a_whole_or_not(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """All are saved by the next save."""
    made = FlatCapture.__init__

    def make(self: FlatCapture) -> None:
        made(self)
        setattr(self, name, Refusing())

    with opened():
        objects = [Shop(n) for n in range(4)]
        autostate.flush()
        for one in objects:
            one.page = 2
        with monkeypatch.context() as patch:
            patch.setattr(FlatCapture, "__init__", make)
            with pytest.raises(autostate.FlushError, match="MemoryError"):
                autostate.flush()
        assert all(autostate.info(one).dirty for one in objects)
        autostate.flush()
    with opened():
        assert [Shop(n).page for n in range(4)] == [2] * 4


def test_long_texts_are_not_encoded_in_batches() -> None:
    """Copies of all of them would be in memory at once."""
    with opened() as manager:
        one, other = Shop(1), Shop(2)
        one.page, other.page = "x" * 20_000, "x"
        assert manager._incarnation is not None
        capture = manager._incarnation.tracker.cut()
        assert capture is not None
        assert [part.node.name for part in capture.node_captures] == ["shop-1"]
        capture.failed()


def calls(action: Any) -> int:
    """Count the calls of Python functions."""
    count = 0

    def note(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(("new", "most"), [(True, 12), (False, 17)])
def test_few_functions_are_called_for_an_object(new: bool, most: int) -> None:
    """Those of a cut, of the encoding, and of the end of a save."""
    found = []
    for number in (100, 300):
        with opened() as manager:
            objects = [Shop(n) for n in range(number)]
            assert manager._incarnation is not None
            tracker = manager._incarnation.tracker

            def save(tracker: Tracker = tracker) -> None:
                tracker.prepare(lambda: None)
                capture = tracker.cut()
                assert capture is not None
                assert len(capture.encode(None)) == number  # noqa: B023
                assert not capture.node_captures
                capture.saved()

            if not new:
                save()
                for one in objects:
                    one.page += 1
            found.append(calls(save))
            for n in range(number):
                autostate.delete(f"shop-{n}")
    assert found[1] - found[0] <= most * 200
