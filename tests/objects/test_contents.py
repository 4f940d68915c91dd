"""What is saved of the fields of an object, and what it costs."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pydantic
import pytest

import autostate
from autostate import PersistedDict, PersistedList, UnsupportedTypeError
from tests.conformance.classes_kit import (
    Attrs,
    DataSlots,
    Guarded,
    Model,
    Plain,
    Slotted,
    content,
    life,
)
from tests.objects.sorts import sorts


@sorts
def test_creating_an_object_rehydrates_it(cls: Any) -> None:
    """Its fields are what they were; the arguments are defaults."""
    with life():
        one = cls(n=1, page=5)
        assert content(one) == (1, 5, [], {"a": {"b": 0}})
        one.step()
    with life():
        one = cls(n=1, page=70)
        assert content(one) == (1, 6, [6], {"a": {"b": {6}}})
        assert autostate.info(one).resumed
        one.step()
    with life():
        assert content(cls(n=1)) == (1, 7, [6, 7], {"a": {"b": {7}}})


@sorts
def test_the_same_name_gives_the_same_live_object(cls: Any) -> None:
    """Whatever the other arguments are; another name gives another object."""
    with life():
        one = cls(n=1, page=5)
        assert cls(n=1) is cls(n=1, page=9) is one
        assert one.page == 5
        other = cls(n=2)
        assert other is not one
        assert other.page == 1


@sorts
def test_every_way_to_write_a_field_is_saved(cls: Any) -> None:
    """Assignments, `setattr`, the object's `__dict__`, and what goes past a `__setattr__`."""
    with life():
        one = cls(n=1)
        object.__setattr__(one, "page", 11)
        if hasattr(one, "__dict__"):
            vars(one)["seen"] = [1, 2]
        else:
            setattr(one, "seen", [1, 2])  # noqa: B010 - the subject
        autostate.flush()
        one.seen.append(3)
        one.deep["a"]["c"] = one.deep
    with life():
        one = cls(n=1)
        assert (one.page, one.seen) == (11, [1, 2, 3])
        assert one.deep["a"]["c"] is one.deep


@sorts
def test_containers_in_fields_are_tracked_at_any_depth(cls: Any) -> None:
    """They are persisted ones when they have been saved; the object has them too."""
    with life():
        one = cls(n=1)
        autostate.flush()
        assert type(one.seen) is not list
        assert isinstance(one.seen, PersistedList)
        assert isinstance(one.deep["a"], PersistedDict)
        one.deep["a"]["list"] = [[1]]
        autostate.flush()
        one.deep["a"]["list"][0].append(2)
    with life():
        assert cls(n=1).deep["a"]["list"] == [[1, 2]]


@sorts
def test_a_container_that_the_program_also_holds_stays_that_one(cls: Any) -> None:
    """Until nobody else does; what is written to it is saved."""
    with life():
        one = cls(n=1)
        queue: list[int] = []
        one.seen = queue
        autostate.flush()
        assert one.seen is queue
        queue.append(1)
    with life():
        assert cls(n=1).seen == [1]


@sorts
def test_a_change_costs_itself_and_no_change_nothing(cls: Any) -> None:
    """A scalar beside a large list is saved without the list."""
    with life():
        one = cls(n=1)
        one.seen = [str(n) * 10 for n in range(5_000)]
        autostate.flush()
        before = autostate.statistics()
        autostate.flush()
        assert autostate.statistics().flushes == before.flushes
        one.page += 1
        autostate.flush()
        assert 0 < autostate.statistics().bytes - before.bytes < 5_000
    with life():
        before = autostate.statistics()
        cls(n=1)
        autostate.flush()
        assert autostate.statistics().flushes == before.flushes


def test_an_assignment_is_saved_without_being_asked_for(tmp_path: Any) -> None:
    """The flush thread looks at objects by itself."""
    saved = threading.Event()
    with life(debounce=0.05, max_delay=0.05):
        one = Plain(1)
        autostate.flush()
        with autostate.hub.flushed.connected_to(lambda *_, **__: saved.set()):
            assert not autostate.info(one).dirty
            one.page = 2
            assert autostate.info(one).dirty
            assert saved.wait(30)


def test_a_field_that_was_deleted_stays_deleted() -> None:
    """Although the constructor makes it."""
    for cls in (Plain, Slotted, Guarded):
        with life():
            one = cls(n=1)
            autostate.flush()
            del one.page
        with life():
            assert not hasattr(cls(n=1), "page")
            cls(n=1).page = 4
        with life():
            assert cls(n=1).page == 4


def test_fields_may_come_later_and_be_many() -> None:
    """Attributes that no constructor made, and more than are compared one by one."""
    with life():
        one: Any = Plain(1)
        for number in range(600):
            setattr(one, f"field_{number}", number)
        autostate.flush()
        one.field_3 = [1]
        del one.field_4
        autostate.flush()
        one.field_3.append(2)
    with life():
        one = Plain(1)
        assert one.field_3 == [1, 2]
        assert not hasattr(one, "field_4")
        assert one.field_599 == 599
        assert len(vars(one)) == 604


def test_all_that_a_model_holds_is_saved() -> None:
    """Extra fields, private attributes, and which fields were set."""

    @autostate.persisted
    class Rich(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow", validate_assignment=True)
        page: int = 1
        other: int = 2
        _seen: list[int] = pydantic.PrivateAttr(default_factory=list)

    with life():
        rich: Any = Rich()
        rich.page = "7"
        rich.note = ["x"]
        rich._seen.append(3)
        with pytest.raises(pydantic.ValidationError):
            rich.page = "seven"
    with life():
        rich = Rich()
        assert rich.model_dump() == {"page": 7, "other": 2, "note": ["x"]}
        assert rich.model_fields_set == {"page", "note"}
        assert rich._seen == [3]
        rich._seen.append(4)
        rich.note.append("y")
        del rich.note
    with life():
        rich = Rich()
        assert rich._seen == [3, 4]
        assert rich.model_extra == {}


@sorts
def test_atomic_rolls_objects_back(cls: Any) -> None:
    """Fields that were assigned, added and deleted, and what is in them."""
    with life():
        one = cls(n=1)
        one.step()
        autostate.flush()
        seen, before = one.seen, copy.deepcopy(content(one))
        with pytest.raises(KeyError), autostate.atomic():
            one.step()
            one.page = 50
            one.deep["a"]["x"] = [1]
            with autostate.atomic():
                one.seen = []
            if cls not in (Model, Attrs, DataSlots):
                one.extra = 1
            del one.deep
            raise KeyError
        assert content(one) == before
        assert one.seen is seen
        assert not hasattr(one, "extra")
        one.page += 1
        with pytest.raises(KeyError), autostate.atomic():
            one.page = 9
            with pytest.raises(ValueError), autostate.atomic():
                one.page = 10
                raise ValueError
            assert one.page == 9
            raise KeyError
        assert one.page == before[1] + 1
    with life():
        assert content(cls(n=1)) == (1, before[1] + 1, *before[2:])


@sorts
def test_a_field_that_cannot_be_saved_is_refused_at_once(cls: Any) -> None:
    """When the constructor made it; what is assigned later is told by flush(), with its path."""
    base: Any = cls

    @autostate.persisted(name="x-{n}", transient=("browser",))
    class Locked(base):  # type: ignore[misc]
        if cls is Model:
            model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        if cls in (Model, Slotted):
            pass
        else:

            def __init__(self, n: int) -> None:
                super().__init__(n)
                self.seen = threading.Lock()

    with life():
        if cls not in (Model, Slotted):
            with pytest.raises(UnsupportedTypeError, match=r"Locked\.seen: .*transient"):
                Locked(n=1)
        one = cls(n=1)
        one.page = 2
        object.__setattr__(one, "seen", threading.Lock())
        with pytest.raises(UnsupportedTypeError, match=rf"{autostate.info(one).name}\.seen: "):
            autostate.flush()
        object.__setattr__(one, "seen", [1])
        autostate.flush()
    with life():
        assert content(cls(n=1))[:3] == (1, 2, [1])


def test_a_look_marks_an_assignment() -> None:
    """The flush thread finds it between two cuts, and only then takes the next one."""
    with life(debounce=60, max_delay=60) as manager:
        one = Plain(1)
        assert manager._incarnation is not None
        tracker = manager._incarnation.tracker
        autostate.flush()
        assert not tracker.look()
        assert not tracker.marked
        one.page = 2
        assert tracker.look()
        assert tracker.marked
