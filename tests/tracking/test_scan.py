"""A scan examines the objects that differ, and no others; what it costs is counted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

import autostate
from autostate.errors import StoreError
from autostate.journal import Journal
from autostate.tracking.capture import Capture
from autostate.tracking.instances import Contents
from autostate.tracking.mirror import InstanceRoot
from autostate.tracking.node import Node
from autostate.tracking.scan import Scan
from tests.counting import called


@autostate.persisted(name="shop-{n}")
class Shop:
    """A class with atoms in its fields."""

    def __init__(self, n: int) -> None:
        self.n, self.page, self.url = n, 1, f"https://example.com/{n}"


@autostate.persisted(name="slotted-{n}")
class Slotted:
    """The same with slots."""

    __slots__ = ("more", "n", "page", "url")
    more: int

    def __init__(self, n: int) -> None:
        self.n, self.page, self.url = n, 1, f"https://example.com/{n}"


@autostate.persisted
class First:
    """A class with an object that opens the state."""


both = pytest.mark.parametrize("cls", [Shop, Slotted])


@pytest.fixture
def tracker() -> Iterator[Any]:
    """The tracker of a state that saves only when it is told to."""
    with autostate.open("memory:", debounce=3600, max_delay=3600) as manager:
        First()
        incarnation = manager._incarnation
        assert incarnation is not None
        yield incarnation.tracker


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects whose fields are compared one by one."""
    names: list[str] = []
    take = InstanceRoot.take

    def noted(root: InstanceRoot, fields: dict[str, Any]) -> bool:
        names.append(root.state_name())
        return take(root, fields)

    put = InstanceRoot.put

    def noted_field(root: InstanceRoot, name: str, value: Any) -> bool:
        if noted := put(root, name, value):
            names.append(root.state_name())
        return noted

    monkeypatch.setattr(InstanceRoot, "take", noted)
    monkeypatch.setattr(InstanceRoot, "put", noted_field)
    return names


def made(cls: Any, count: int, tracker: Any, examined: list[str]) -> list[Any]:
    """Make objects that are saved."""
    objects = [cls(n) for n in range(count)]
    autostate.flush()
    tracker.look()
    examined.clear()
    return objects


@both
def test_only_objects_that_differ_are_examined(cls: Any, tracker: Any, examined: list[str]) -> None:
    """Whatever is assigned: another value, another type, or a field more or less."""
    objects = made(cls, 20, tracker, examined)
    tracker.look()
    assert examined == []
    objects[3].page = 2
    objects[5].page = True
    objects[7].more = 1
    del objects[9].url
    del objects[11].url
    objects[11].url = "elsewhere"
    tracker.look()
    name = "shop" if cls is Shop else "slotted"
    assert sorted(examined, key=len) == [f"{name}-{n}" for n in (3, 5, 7, 9, 11)]
    examined.clear()
    tracker.look()
    assert examined == []
    del objects[7].more
    objects[19].more = 2
    tracker.look()
    assert examined == [f"{name}-{n}" for n in (7, 19)]


def test_new_objects_are_compared_with_their_mirrors_in_bulk(
    tracker: Any, examined: list[str]
) -> None:
    """Only those are examined that have changed since their constructor was done."""
    tracker.look()
    objects = [Shop(n) for n in range(40)]
    objects[5].page = 2
    objects[39].url = "elsewhere"
    examined.clear()
    tracker.look()
    assert examined == ["shop-5", "shop-39"]
    more = [Shop(n) for n in range(40, 80)]
    examined.clear()
    more[2].more = 1  # type: ignore[attr-defined]
    tracker.look()
    assert "shop-42" in examined
    examined.clear()
    tracker.look()
    assert examined == []
    names = {f"shop-{n}" for n in range(80)}
    assert names <= {change["name"] for change in _changes(tracker) if "name" in change}


def _changes(tracker: Any) -> list[dict[str, Any]]:
    return [json.loads(change) for change in tracker.cut().encode()]


def test_a_field_with_another_name_and_the_same_value_is_seen(
    tracker: Any, examined: list[str]
) -> None:
    """The values are the same, in the same order."""
    shop = made(Shop, 3, tracker, examined)[1]
    fields = vars(shop)
    n, page, url = fields.values()
    fields.clear()
    fields.update(n=n, site=page, url=url)
    tracker.look()
    assert examined == ["shop-1"]


@both
def test_objects_that_come_and_go_leave_the_others_unexamined(
    cls: Any, tracker: Any, examined: list[str]
) -> None:
    """The positions of the others change, and what is known of them stays."""
    objects = made(cls, 20, tracker, examined)
    name = "shop" if cls is Shop else "slotted"
    for n in (0, 8, 19):
        autostate.delete(f"{name}-{n}")
    objects[10].page = 2
    tracker.look()
    assert examined == [f"{name}-10"]
    examined.clear()
    cls(30)
    examined.clear()
    tracker.look()
    assert examined == [f"{name}-30"]


@both
def test_a_look_that_was_interrupted_is_made_up_for(
    cls: Any, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values are known by then, and not yet in the mirror."""
    objects = [cls(n) for n in range(5)]
    autostate.flush()
    for one in objects:
        one.page = 2
    with monkeypatch.context() as patch:
        patch.setattr(InstanceRoot, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tracker.look()
    tracker.look()
    assert [dict(tracker.roots[autostate.info(one).name].obj)["page"] for one in objects] == [2] * 5


@both
def test_a_scan_holds_no_container(cls: Any, tracker: Any) -> None:
    """A reference more would look like a holder: nothing would be converted."""
    one = cls(1)
    one.more = held = [1]
    before = sys.getrefcount(held)
    with tracker.lock:
        tracker.part(Scan).collect()
    assert sys.getrefcount(held) == before + 1  # the mirror's


class Session:
    """A class that only a pickle can hold."""

    def __init__(self, cookies: int) -> None:
        self.cookies = cookies


@autostate.persisted(name="logged-in", pickled=("session",))
class LoggedIn:
    """A class with a pickled field."""

    def __init__(self) -> None:
        self.page, self.session = 1, Session(1)


def test_another_value_of_a_pickled_field_is_pickled() -> None:
    """The mirror holds its wrapper."""
    with autostate.open("sqlite:///state.db", key=b"k" * 32, debounce=3600, max_delay=3600):
        one = LoggedIn()
        autostate.flush()
        one.session = Session(2)
        autostate.flush()
    with autostate.open("sqlite:///state.db", key=b"k" * 32):
        assert LoggedIn().session.cookies == 2


class Counted(list[Any]):
    """A list that counts how many items are copied from it."""

    copied = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        if isinstance(at, slice):
            Counted.copied += len(found)
        return found


def test_the_fields_of_an_object_are_copied_alone() -> None:
    """Not with those of all objects after it, which would take quadratic time for many."""
    contents = Contents([2] * 1000, Counted(["a", "b"] * 1000), Counted(range(2000)))
    Counted.copied = 0
    assert contents.of(1, 4) == {"a": 2, "b": 3}
    assert Counted.copied == 4


@both
def test_python_code_runs_for_what_changed_alone(cls: Any, tracker: Any) -> None:
    """A look at ten times as many objects makes as many calls of Python."""

    def calls() -> int:
        objects[2].page += 1
        return len(called(tracker.look))

    objects = [cls(n) for n in range(10)]
    autostate.flush()
    calls()
    few = calls()
    objects += [cls(n) for n in range(10, 100)]
    autostate.flush()
    calls()
    assert calls() == few


@both
def test_a_flush_captures_no_object_that_is_known_to_be_saved(
    cls: Any, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full compare is for what a scan cannot see: what changes inside of values."""
    objects = [cls(n) for n in range(10)]
    objects[4].url = ["a"]
    autostate.flush()
    captured: list[Any] = []
    take = Capture.take

    def noted(self: Capture, nodes: Iterable[Node]) -> None:
        nodes = [*nodes]
        captured.extend(node.obj.instance for node in nodes)
        take(self, nodes)

    monkeypatch.setattr(Capture, "take", noted)
    objects[2].page = 2
    list.append(objects[4].url, "b")  # past the barrier
    autostate.flush()
    assert captured == [objects[2], objects[4]]
    assert autostate.info(objects[4]).dirty is False


def test_a_field_that_cannot_be_saved_is_reported_by_every_flush(tracker: Any) -> None:
    """Its value is an atom, its name is not one."""
    one: Any = Shop(1)
    key: Any = object()
    vars(one)[key] = 1
    for _ in range(3):
        with pytest.raises(autostate.UnsupportedTypeError, match="the key <object>"):
            autostate.flush()
    del vars(one)[key]
    autostate.flush()


@both
def test_a_save_that_failed_leaves_no_object_out(
    cls: Any, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next flush saves what the failed one had captured."""

    def fail(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is full")

    one = cls(1)
    node = tracker.roots[autostate.info(one).name]
    for page in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "commit", fail)
            one.page = page
            with pytest.raises(autostate.FlushError, match="the disk is full"):
                autostate.flush()
        assert node not in tracker.settled
        assert autostate.info(one).dirty
        autostate.flush()
        assert node in tracker.settled
        assert not autostate.info(one).dirty
