"""What a cut sees of the fields of objects, and of the containers in them."""

from __future__ import annotations

import dataclasses
import functools
import random
import sys
import threading
from dataclasses import dataclass
from typing import Any

import attrs
import pytest

import autostate
from autostate import PersistedDict, PersistedList
from tests.conformance.classes_kit import URL, Data, Model, Plain, Slotted, life
from tests.objects.sorts import Box, numbers_stored, sorts


def test_objects_are_looked_at_after_all_containers_were_armed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a thread writes to an object, and then to a container, is saved in that order."""
    from autostate.tracking.written import Written

    with life(debounce=60, max_delay=60):
        one, state = Plain(1), PersistedDict("state", at=0)
        autostate.flush()
        collect = Written.collect

        def collecting(written: Written, most: int | None = None) -> None:
            if most is None:  # in the cut: a thread that is just about to meet the lock
                one.page += 1
                state["at"] += 1
            collect(written, most)

        with monkeypatch.context() as patched:
            patched.setattr(Written, "collect", collecting)
            state["begin"] = 1
            autostate.flush()
        assert (one.page, state["at"]) == (2, 1)
        stored = numbers_stored(URL)
        assert (stored["plain-1"], stored["state"]) == (2, 1)


@pytest.mark.parametrize("cls", [Plain, Slotted], ids=lambda cls: cls.__name__)
def test_a_container_is_not_exchanged_where_the_object_has_another_one(cls: Any) -> None:
    """Nor where the field is gone by then."""
    from autostate.codec import root_of
    from autostate.tracking.swap import compare_and_swap

    with life():
        one = cls(n=1)
        autostate.flush()
        root: Any = root_of(one)
        old, assigned = one.seen, [7]
        one.seen = assigned
        assert compare_and_swap(root, "seen", [], [old], alone=sys.maxsize - 1) == sys.maxsize
        assert one.seen is assigned
        assert root["seen"] is old
        del one.seen
        assert compare_and_swap(root, "seen", [], [old], alone=sys.maxsize - 1) == sys.maxsize
        assert not hasattr(one, "seen")


@sorts
def test_one_container_in_two_fields_is_one_and_is_adopted(cls: Any) -> None:
    """Both fields refer to it after that, and after a restart."""
    with life():
        one = cls(n=1)
        one.seen = one.deep = []
        autostate.flush()
        assert isinstance(one.seen, PersistedList)
        assert one.seen is one.deep
        one.deep.append(1)
    with life():
        one = cls(n=1)
        assert one.seen is one.deep
        assert one.seen == [1]


def test_what_refers_to_an_object_leaves_its_fields_to_it() -> None:
    """They stay inside its entry, and it is no node beside its own."""
    with life():
        one = Data(1)
        one.seen = [1, 2]
        PersistedDict("shops", pair=(one, [one]), again=(one,))
        autostate.flush()
        autostate.flush()
    assert _stored_nodes() == {"data-1": {"seen": [1, 2]}, "shops": {}}


def _stored_nodes() -> dict[str | None, dict[str, Any]]:
    """All that is stored, by name, with the lists in it."""
    from autostate.journal import Journal
    from autostate.stores import open_store

    store = open_store(URL)
    try:
        return {
            state.name: {k: v for k, v in state.content.items() if type(v) is list}
            for state in Journal(store).recover(timeout=10).nodes.values()
        }
    finally:
        store.close()


@sorts
def test_a_new_object_beside_others_is_looked_at(cls: Any) -> None:
    """What is assigned to it before the next look is seen, and no rollback undoes it."""
    with life():
        cls(n=1)
        autostate.flush()
        other = cls(n=2)
        other.page = 5
        with pytest.raises(KeyError), autostate.atomic():
            other.page = 7
            raise KeyError
        assert other.page == 5
    with life():
        assert cls(n=2).page == 5


@sorts
def test_a_container_at_the_address_of_a_former_one_is_seen(cls: Any) -> None:
    """Conversion frees a list, and the next list may come to lie where that was."""
    with life(debounce=60, max_delay=60):
        one = cls(n=1)
        for number in range(300):
            with autostate.atomic():
                one.seen = [number]  # the end of the block looks, and converts the one before
            with autostate.atomic():
                pass
            one.seen = [number, number]
            if number % 10 == 0:
                autostate.flush()
                assert _stored_field("seen") == [number, number]


def _stored_field(name: str) -> Any:
    from autostate.journal import Journal
    from autostate.stores import open_store

    store = open_store(URL)
    try:
        [state] = Journal(store).recover(timeout=10).nodes.values()
        return state.content[name]
    finally:
        store.close()


def test_fields_that_were_declared_and_are_only_made_by_the_constructor_are_kept() -> None:
    """A dataclass, or a class with slots, becomes a plain class."""

    def init(self: Any, page: int = 1) -> None:
        self.page = page

    formers: list[Any] = [
        dataclasses.make_dataclass("Shop", [("page", int, 1)]),
        type("Shop", (), {"__slots__": ("page",), "__init__": init}),
    ]
    later: Any = type("Shop", (), {"__init__": init})
    for former in formers:
        with life():
            shop = autostate.persisted(former)()
            shop.page = 5
        with life():
            shop = autostate.persisted(later)()
            assert shop.page == 5
            autostate.delete(shop)


def test_a_field_under_a_property_of_its_name_is_a_field() -> None:
    """As descriptors that check what is assigned keep it."""

    class Positive:
        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: Any) -> Any:
            return vars(instance)[self.name]

        def __set__(self, instance: Any, value: Any) -> None:
            vars(instance)[self.name] = abs(value)

    @autostate.persisted
    class Shop:
        page = Positive()

        def __init__(self) -> None:
            self.page = 1

    with life():
        Shop().page = -5
    for _ in range(2):
        with life():
            assert Shop().page == 5


def test_a_field_deleted_from_an_object_that_came_along_stays_deleted() -> None:
    """Although the constructor that runs later makes it."""
    with life():
        PersistedDict("all", one=Plain(1))
    with life():
        del PersistedDict("all")["one"].page
        autostate.flush()
        assert not hasattr(Plain(1), "page")
    with life():
        assert not hasattr(Plain(1), "page")


def test_reading_fields_runs_no_code_of_the_class() -> None:
    """Neither `__getattr__` for a slot that is unset, nor a property that hides a slot."""
    asked: list[str] = []

    class Base:
        __slots__ = ("hidden", "unset")

    @autostate.persisted
    class Odd(Base):
        __slots__ = ("page",)

        def __init__(self) -> None:
            self.page = 1
            Base.hidden.__set__(self, 5)  # type: ignore[attr-defined]

        @property
        def hidden(self) -> int:
            asked.append("hidden")
            return 10

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise RuntimeError(name)

    with life():
        one = Odd()
        autostate.flush()
        one.page = 2
    with life():
        one = Odd()
        assert one.page == 2
        assert Base.hidden.__get__(one) == 5  # type: ignore[attr-defined]
    assert asked == []


def test_what_a_cached_property_of_attrs_worked_out_is_not_saved() -> None:
    """It lies in a slot of its own."""

    @autostate.persisted
    @attrs.define
    class Shop:
        page: int = 1

        @functools.cached_property
        def twice(self) -> int:
            return self.page * 2

    with life():
        shop = Shop()
        assert shop.twice == 2
        shop.page = 4
    with life():
        assert Shop().twice == 8


@dataclass
class Point:
    """An object without a barrier, put into the state."""

    x: Any
    y: Any


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_reference_that_was_removed_does_not_come_back(how: str) -> None:
    """It refers to an object that came along with it."""
    with life():
        box, other = Box(0), Box(1)
        other.a = {"s": [], "q": other}
        box.a = other.a
    with life():
        box = Box(0)
        if how == "removed":
            box.a.pop("q")
        else:
            box.a["q"] = 5
    with life():
        assert Box(1).a == ({"s": []} if how == "removed" else {"s": [], "q": 5})


def test_a_container_that_was_put_back_into_what_is_watched_is_rolled_back() -> None:
    """It had been let go of, and lies only in an object without a barrier."""
    with life():
        box = Box(0)
        box.a = Point({}, 1)
        box.b = {"p": {"s": []}}
        with autostate.atomic():
            held = box.b["p"]["s"]
            box.a.x["p"] = [[]]
            box.b["p"]["s"] = 1
            box.a.x["p"][0].append(box.b["p"])
        box.b["p"] = held
        with pytest.raises(KeyError), autostate.atomic():
            box.a.x["p"][0][0].clear()
            raise KeyError
        assert box.a.x["p"][0][0] == {"s": 1}


def test_an_object_that_holds_itself_is_saved_when_only_a_root_to_come_refers_to_it() -> None:
    """It is a node still."""
    with life():
        one, other = Box(0), Box(1)
        one.b = [Point(1, 1)]
        one.b[0].x = one.b[0]
        other.b = one.b[0]
    with life():
        one = Box(0)
        one.b[0] = one.c = 1
        autostate.flush()
    with life():
        found = Box(1).b
        assert found.x is found


def test_what_becomes_a_node_in_a_cut_is_looked_into_in_that_cut() -> None:
    """There may be no other before the end."""
    with life(debounce=60, max_delay=60):
        box = Box(0)
        box.a = ({"s": []},)
        box.b = box.a[0]
        box.a[0]["s"].append({})
        box.c = box.a[0]["s"][0]
    with life():
        box = Box(0)
        assert box.c is box.a[0]["s"][0]
        assert box.b is box.a[0]


@pytest.mark.usefixtures("often_switched")
def test_a_cut_is_one_moment_for_objects_and_containers(rng: random.Random) -> None:
    """A thread writes to objects and containers in turn: what is saved never has a gap."""
    ended = threading.Event()
    with life(debounce=60, max_delay=60):
        state = PersistedDict("state", at=0)
        objects: list[Any] = [Plain(1), Slotted(2), Model(n=3)]
        many = [Plain(n) for n in range(10, 60)]

        def write() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                for one in objects:
                    one.page = number
                state["at"] = number
                for one in many:
                    one.page = number

        thread = threading.Thread(target=write)
        thread.start()
        moments = []
        try:
            for _ in range(30):
                autostate.flush()
                moments.append(numbers_stored(URL))
        finally:
            ended.set()
            thread.join()
    for moment in moments:
        pages = [moment[name] for name in ("plain-1", "slotted-2", "model-3")]
        chain = [*pages, moment["state"], *(moment[f"plain-{n}"] for n in range(10, 60))]
        assert chain == sorted(chain, reverse=True)
        assert chain[0] - chain[-1] <= 1


@pytest.mark.usefixtures("often_switched")
def test_a_field_that_is_assigned_while_its_container_is_adopted_keeps_what_was_assigned() -> None:
    """Conversion puts another container into the object, and nobody locks that."""
    ended = threading.Event()
    with life(debounce=60, max_delay=60):
        for cls in (Plain, Slotted):
            one: Any = cls(n=1)
            wrong: list[Any] = []

            def write(one: Any = one, wrong: list[Any] = wrong) -> None:
                number = 0
                while not ended.is_set():
                    number += 1
                    one.seen = [number]
                    if one.seen != [number]:
                        wrong.append((number, one.seen))

            thread = threading.Thread(target=write)
            thread.start()
            for _ in range(200):
                autostate.flush()
            ended.set()
            thread.join()
            ended.clear()
            assert wrong == []
