"""Objects with containers in their fields: a full compare encodes those that differ."""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import autostate
from autostate import codec
from autostate.errors import StoreError
from autostate.journal import Journal
from autostate.tracking import resting
from autostate.tracking.node_capture import NodeCapture


@autostate.persisted(name="shop-{n}")
class Shop:
    """A class with containers in its fields."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.queue: Any = [n, n + 1, "page"]
        self.fields: Any = {"url": n, "more": None}
        self.seen: Any = {n, "page"}
        self.latest: Any = deque([n, 0.5])
        self.latest_first: Any = [n + 1000, n + 2000]


def other_type(number: float) -> float:
    """Give an equal number."""
    return float(number) if type(number) is int else int(number)


def node_of(one: Any) -> Any:
    """The node of an object."""
    root = codec.root_of(one)
    assert root is not None
    return root._node_


def tracker_of(one: Any) -> Any:
    """The tracker of an object."""
    return node_of(one).tracker


@contextlib.contextmanager
def opened() -> Iterator[list[Shop]]:
    """Objects that were saved, and compared once."""
    with autostate.open("sqlite:///s.db", debounce=3600, max_delay=3600):
        made = [Shop(n) for n in range(3 * resting.SIZE + 5)]
        autostate.flush()
        autostate.flush()
        yield made


@pytest.fixture
def shops() -> Iterator[list[Shop]]:
    """Such objects during the test."""
    with opened() as made:
        yield made


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The objects whose content is copied to be encoded."""
    found: list[Any] = []
    begin = NodeCapture.__init__

    def noted(self: NodeCapture, capture: Any, node: Any) -> None:
        found.append(node.obj.instance)
        begin(self, capture, node)

    monkeypatch.setattr(NodeCapture, "__init__", noted)
    return found


def test_a_full_compare_encodes_nothing_that_is_the_same(
    shops: list[Shop], captured: list[Any]
) -> None:
    """The containers are compared with what they held."""
    for _ in range(3):
        autostate.flush()
    assert captured == []


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: heapq.heapreplace(shop.latest_first, shop.latest_first[0] - 1),
        lambda shop: list.reverse(shop.queue),
        lambda shop: list.append(shop.queue, 1),
        lambda shop: list.append(shop.queue, {"new": [1]}),
        lambda shop: list.__setitem__(shop.queue, 0, other_type(shop.queue[0])),
        lambda shop: dict.__setitem__(shop.fields, "url", [shop.fields["url"]]),
        lambda shop: dict.__setitem__(shop.fields, "more", []),
        lambda shop: (
            dict.pop(shop.fields, next(iter(shop.fields))),
            dict.update(shop.fields, new=1),
        ),
        lambda shop: set.add(shop.seen, f"new {len(shop.seen)}"),
        lambda shop: deque.rotate(shop.latest),
    ],
    ids=range(10),
)
def test_writes_past_the_barrier_are_found(
    captured: list[Any], change: Callable[[Shop], object]
) -> None:
    """They cost the objects that were noted together with the changed one."""
    with opened() as shops:
        shop = shops[70]
        for _ in range(2):
            captured.clear()
            change(shop)
            autostate.flush()
            assert shop in captured
            assert len(captured) <= resting.SIZE
            autostate.flush()
        content = {**vars(shop)}
    with opened() as again:
        assert vars(again[70]) == content
        assert repr(again[70].queue) == repr(content["queue"])


def test_marked_objects_are_saved_as_before(captured: list[Any]) -> None:
    """By the barrier of their containers, and by the scan of their fields."""
    with opened() as shops:
        shops[3].queue.append(1)
        shops[100].n = -1
        shops[150].fields = {"url": 2}
        for _ in range(2):
            autostate.flush()
        captured.clear()
        autostate.flush()
        assert captured == []
    with opened() as again:
        assert again[3].queue == [3, 4, "page", 1]
        assert again[100].n == -1
        assert again[150].fields == {"url": 2}


def test_a_write_while_others_are_compared_is_not_lost(shops: list[Shop]) -> None:
    """What was noted is as of the cut, whatever is encoded afterwards."""
    tracker: Any = tracker_of(shops[0])
    list.append(shops[9].queue, "one")
    capture = tracker.cut(full_compare=True)
    list.append(shops[9].queue, "two")
    capture.encode()
    capture.saved()
    capture = tracker.cut(full_compare=True)
    assert shops[9] in [one.node.obj.instance for one in capture.node_captures]
    capture.failed()


def test_nothing_is_settled_by_a_save_that_failed(
    shops: list[Shop], captured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it noted is not what the store has."""

    def fail(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    for number in range(2):
        list.append(shops[5].queue, number)
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "commit", fail)
            with pytest.raises(autostate.FlushError, match="the disk is full"):
                autostate.flush()
        captured.clear()
        autostate.flush()
        assert shops[5] in captured


def test_what_a_failed_save_has_noted_is_forgotten(shops: list[Shop]) -> None:
    """Another save, which is no full compare, does not settle anything by it."""
    tracker = tracker_of(shops[0])
    list.append(shops[9].queue, "one")
    capture = tracker.cut(full_compare=True)
    capture.encode()
    capture.failed()
    assert node_of(shops[9]) not in tracker.settled
    capture = tracker.cut()
    capture.encode()
    capture.saved()
    assert node_of(shops[9]) not in tracker.settled


def test_what_lies_deeper_is_compared_as_before(shops: list[Shop], captured: list[Any]) -> None:
    """Nothing is noted of containers in containers."""
    shops[7].queue.append([1])
    for _ in range(3):
        autostate.flush()
    captured.clear()
    list.append(shops[7].queue[-1], 2)
    autostate.flush()
    assert shops[7] in captured


def test_what_was_put_past_the_barrier_is_tracked(shops: list[Shop]) -> None:
    """As soon as a full compare has found it."""
    list.append(shops[7].queue, [1])
    autostate.flush()
    tracker = tracker_of(shops[0])
    assert not tracker.marked
    shops[7].queue[-1].append(2)
    assert tracker.marked
    autostate.flush()


def test_what_was_not_saved_is_not_settled(shops: list[Shop]) -> None:
    """A process that does not own the state takes a part of what differs as saved."""
    tracker, node = tracker_of(shops[9]), node_of(shops[9])
    list.append(shops[9].queue, "one")
    capture = tracker.cut(full_compare=True)
    capture.encode()
    capture.node_captures = [one for one in capture.node_captures if one.node is not node]
    capture.saved()
    assert node not in tracker.settled
