"""Objects are created, come along, are deleted, and come back as the same ones."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import random
import threading
from typing import Any

import attrs
import pytest

import autostate
from autostate import PersistedDict
from tests.conformance.classes_kit import URL, Attrs, Data, Model, content, life
from tests.objects.sorts import numbers_stored, sorts


@sorts
def test_an_object_in_the_state_is_the_same_object_after_a_restart(cls: Any) -> None:
    """Whether it is created before what refers to it or after; cycles included."""
    with life():
        one, other = cls(n=1), cls(n=2)
        shops = PersistedDict("shops", {"one": one, "both": [one, (other,)]})
        one.deep["other"], other.deep["one"], other.deep["me"] = other, one, [other]
    for first in (True, False):
        with life():
            one = cls(n=1) if first else None
            shops = PersistedDict("shops")
            found = shops["one"]
            assert found is shops["both"][0]
            assert found is (one or cls(n=1))
            other = shops["both"][1][0]
            assert type(other) is cls
            assert other is cls(n=2) is found.deep["other"] is other.deep["me"][0]
            assert other.deep["one"] is found
            assert type(other.browser) is object
            other.step()
    with life():
        assert content(cls(n=2))[1:3] == (3, [2, 3])


def test_an_object_that_only_came_along_is_saved_too() -> None:
    """The program need not create what it finds in the state."""
    with life():
        PersistedDict("shops", one=Data(1))
    with life():
        PersistedDict("shops")["one"].step()
    with life():
        found = PersistedDict("shops")["one"]
        assert found.page == 2
        assert type(found.browser) is object  # its class has a default for it


def test_a_constructor_that_fails_leaves_what_is_stored() -> None:
    """Of an object that came along with another."""
    fails = False

    @autostate.persisted(transient=("browser",))
    class Fussy:
        def __init__(self) -> None:
            self.page = 1
            if fails:
                raise OSError("no browser")
            self.browser = object()

    with life():
        PersistedDict("all", fussy=Fussy())
        Fussy().page = 8
    with life():
        fails = True
        found = PersistedDict("all")["fussy"]
        with pytest.raises(OSError, match="no browser"):
            Fussy()
        assert found.page == 8
        found.page = 9
        fails = False
        assert not hasattr(found, "browser")
        assert Fussy() is found
        assert hasattr(found, "browser")
    with life():
        assert Fussy().page == 9


def test_an_object_can_be_deleted() -> None:
    """It goes on as a plain one, and its name begins from the defaults."""
    with life():
        one = Data(1)
        one.step()
        autostate.flush()
        autostate.delete(one)
        one.step()
        with pytest.raises(TypeError, match="this Data is no state object"):
            autostate.info(one)
        other = Data(1)
        assert other is not one
        assert other.page == 1
        PersistedDict("kept", one=one)  # as any other dataclass
    with life():
        assert Data(1).page == 1
        assert PersistedDict("kept")["one"].page == 3


def test_objects_of_a_closed_manager_are_plain() -> None:
    """They can be read and changed; nothing of it is saved."""
    with life():
        one = Model(n=1)
        autostate.flush()
    one.step()
    assert content(one)[:3] == (1, 2, [2])
    with life():
        assert Model(n=1).page == 1


def test_a_pickled_value_refers_to_an_object_by_name() -> None:
    """As to any other state object."""
    with life():
        one = Data(1)
        PersistedDict("jobs")["do"] = autostate.pickled(functools.partial(Data.step, one))
        PersistedDict("jobs")["do"]()
    with life():
        PersistedDict("jobs")["do"]()
        assert Data(1).page == 3


def test_what_a_constructor_makes_of_an_object_that_came_along_is_not_saved() -> None:
    """Not even if something is saved while it runs."""
    during: list[Any] = []

    @autostate.persisted
    class Eager:
        def __init__(self) -> None:
            self.page = 1
            if PersistedDict("all").get("eager") is self:
                autostate.flush()
                during.append(numbers_stored(URL)["Eager"])

    with life():
        PersistedDict("all", eager=Eager())
        Eager().page = 8
    with life():
        found = PersistedDict("all")["eager"]
        assert Eager() is found
        assert found.page == 8
    assert during == [8]


def test_a_changed_copy_is_plain() -> None:
    """The object itself would be given else, and the changes be ignored."""
    with life():
        one, other = Data(1), Attrs(1)
        for copied in (dataclasses.replace(one, page=9), attrs.evolve(other, page=9)):
            assert copied.page == 9
            assert copied not in (one, other)
        assert (one.page, other.page) == (1, 1)


def test_two_threads_that_create_the_same_object_get_the_same() -> None:
    """Whichever is first."""
    found: list[Any] = []
    start = threading.Barrier(4)
    with life() as manager:

        def create() -> None:
            from autostate.runtime.manager import current

            current.set(manager)
            start.wait()
            found.append(Data(1))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(one) for one in found}) == 1


@sorts
def test_random_programs_give_the_same_object_again(cls: Any, rng: random.Random) -> None:
    """Against a plain model, with restarts, rollbacks and aliases in between."""
    model: dict[str, Any] = {"page": 1, "seen": [], "deep": {"a": {"b": 0}}}
    for _ in range(8):
        with life():
            one = cls(n=1)
            for _ in range(25):
                assert {name: getattr(one, name) for name in model} == model
                _write(one, model, rng)
                if rng.random() < 0.2:
                    autostate.flush()


def _write(one: Any, model: dict[str, Any], rng: random.Random) -> None:
    value = rng.choice([rng.random(), [1], {"x": [2]}, {3}, None, (4, [5])])
    match rng.randrange(6):
        case 0:
            one.page = model["page"] = rng.randrange(100)
        case 1:
            one.deep, model["deep"] = {"v": value}, {"v": copy.deepcopy(value)}
        case 2:
            one.deep["w"], model["deep"]["w"] = value, copy.deepcopy(value)
        case 3:
            one.seen.append(value)
            model["seen"].append(copy.deepcopy(value))
        case 4:
            one.seen, model["seen"] = list(one.seen), list(model["seen"])
        case 5:
            with pytest.raises(KeyError), autostate.atomic():
                one.seen.append(1)
                one.page, one.deep = 5, {}
                raise KeyError


def test_a_name_is_made_by_the_present_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signature is looked up once, and again if another one takes its place."""

    @autostate.persisted(name="shop-{number}")
    class Shop:
        def __init__(self, number: int) -> None:
            self.number = number

    looked_up: list[object] = []
    signature = inspect.signature

    def noted(function: Any, **options: Any) -> inspect.Signature:
        looked_up.append(function)
        return signature(function, **options)

    def replaced(self: Any, more: int, number: int) -> None:
        self.number = number + more

    with life():
        monkeypatch.setattr(inspect, "signature", noted)
        shops = [Shop(number) for number in range(5)]
        assert [autostate.info(shop).name for shop in shops] == [f"shop-{n}" for n in range(5)]
        assert looked_up.count(Shop) == 1
        monkeypatch.setattr(Shop, "__init__", replaced)
        other: Any = Shop
        assert autostate.info(other(7, 8)).name == "shop-8"


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((1, 2), {}, "shop-1-2"),
        ((1,), {}, "shop-1-7"),
        ((), {"number": 1}, "shop-1-7"),
        ((1,), {"page": 3}, "shop-1-3"),
        ((), {"page": 3, "number": 1}, "shop-1-3"),
        ((), {}, "missing a required argument"),
        ((), {"page": 3}, "missing a required argument"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"number": 1}, "multiple values"),
        ((1,), {"other": 1}, "unexpected keyword argument"),
    ],
)
def test_a_name_is_made_as_the_constructor_takes_its_arguments(
    args: tuple[int, ...], kwargs: dict[str, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By position, by keyword or by default; `Signature.bind` is asked for errors alone."""

    @autostate.persisted(name="shop-{number}-{page}")
    class Shop:
        def __init__(self, number: int, page: int = 7) -> None:
            self.number, self.page = number, page

    with life():
        if not name.startswith("shop"):
            with pytest.raises(TypeError, match=name):
                Shop(*args, **kwargs)
            return
        monkeypatch.setattr(inspect.Signature, "bind", None)
        assert autostate.info(Shop(*args, **kwargs)).name == name


def test_a_name_is_made_of_keyword_only_and_further_arguments() -> None:
    """They take the general way."""

    @autostate.persisted(name="shop-{number}-{place}")
    class Shop:
        def __init__(self, number: int, *, place: str = "here", **more: int) -> None:
            self.number, self.place, self.more = number, place, more

    with life():
        names = [autostate.info(shop).name for shop in (Shop(1), Shop(2, place="there", a=1))]
    assert names == ["shop-1-here", "shop-2-there"]


def test_objects_of_a_class_keep_one_set_of_names() -> None:
    """The names of the fields that their constructor made, as far as they are the same."""

    @autostate.persisted(name="shop-{number}")
    class Shop:
        def __init__(self, number: int) -> None:
            self.number = number
            if number == 2:
                self.more = 1

    with life() as manager:
        shops = [Shop(number) for number in range(5)]
        assert manager._incarnation is not None
        roots = manager._incarnation.tracker.roots
        offered = [roots[f"shop-{number}"].entries.defaults for number in range(5)]
        assert offered[0] is offered[1]
        assert offered[3] is offered[4]
        assert [{*names} for names in offered[1:3]] == [{"number"}, {"more", "number"}]
        del shops
