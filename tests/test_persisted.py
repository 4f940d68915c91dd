"""Objects of the program's own classes are state objects."""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
import inspect
import pickle
import random
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import attrs
import pydantic
import pytest

import autostate
from autostate import PersistedDict, PersistedList, StateTypeError, Transient, UnsupportedTypeError
from autostate.containers import PersistedSet
from autostate.objects.decorator import fields_of
from tests.conformance.classes_kit import (
    SORTS,
    URL,
    Attrs,
    Data,
    DataSlots,
    Guarded,
    Model,
    Plain,
    Slotted,
    content,
    life,
)

T = TypeVar("T")


def sorts(function: Callable[..., None]) -> Any:
    """Run a test for each sort of class."""
    return pytest.mark.parametrize("cls", SORTS, ids=lambda cls: cls.__name__)(function)


# -- what is saved ----------------------------------------------------------------------------


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


# -- the class is what it was -----------------------------------------------------------------


@sorts
def test_an_object_is_exactly_of_the_class(cls: Any) -> None:
    """At any time; methods, properties and attributes of the class work."""
    with life():
        one = cls(n=1)
        for _ in range(2):
            assert type(one) is cls
            assert one.__class__ is cls
            one.step()
            one.last = 33
            assert one.last == one.seen[-1] == 33
            autostate.flush()
        cls.made = 0
        assert (one.count(), cls.count(), cls.made) == (1, 2, 2)


@sorts
def test_copies_are_plain(cls: Any) -> None:
    """So is what was pickled, and what `cls.__new__(cls)` gives: only calling the class binds."""
    with life():
        one = cls(n=1)
        autostate.flush()
        others = [copy.copy(one), copy.deepcopy(one), cls.__new__(cls)]
        if cls not in (Slotted, Model):  # `object` cannot be pickled
            one.browser = None
            others.append(pickle.loads(pickle.dumps(one)))
        for other in others:
            assert other is not one
            assert type(other) is cls
            with pytest.raises(TypeError, match="no state object"):
                autostate.info(other)
        assert content(others[0]) == content(others[1]) == content(one)
        others[0].page = 99
        others[1].seen.append(1)
        autostate.flush()
    with life():
        assert content(cls(n=1)) == (1, 1, [], {"a": {"b": 0}})


def test_dataclasses_stay_dataclasses() -> None:
    """`asdict`, `replace`, `fields`, comparison, `repr`, `match`."""
    with life():
        one = Data(1)
        one.step()
        autostate.flush()
        assert dataclasses.asdict(one)["seen"] == [2]
        assert type(dataclasses.asdict(one)["seen"]) is list
        assert [f.name for f in dataclasses.fields(Data)][:2] == ["n", "page"]
        assert one == copy.copy(one)
        assert repr(one).startswith("Data(n=1, page=2, seen=[2], deep=")
        other = dataclasses.replace(one, page=5)
        assert (type(other), other.page, one.page) == (Data, 5, 2)
        with pytest.raises(TypeError, match="no state object"):
            autostate.info(other)
        match one:
            case Data(1, page):
                assert page == 2
            case _:
                pytest.fail("no match")


def test_a_model_stays_a_model() -> None:
    """It validates, dumps, and makes plain copies."""
    with life():
        one = Model(n=1)
        one.step()
        autostate.flush()
        assert one.model_dump(exclude={"browser", "deep"}) == {"n": 1, "page": 2, "seen": [2]}
        assert one.model_dump_json(include={"seen"}) == '{"seen":[2]}'
        other = one.model_copy(update={"page": 9})
        assert other is not one
        assert one.page == 2
        assert Model.model_validate({"n": 1}) is not one
        with pytest.raises(pydantic.ValidationError):
            Model(n="x")  # type: ignore[arg-type]


@sorts
def test_the_signature_is_that_of_the_constructor(cls: Any) -> None:
    """And name, module and documentation are those of the class."""
    assert list(inspect.signature(cls).parameters)[:2] == ["n", "page"]
    assert cls.__name__ == cls.__qualname__
    assert cls.__module__ == "tests.conformance.classes_kit"
    assert cls.__doc__.startswith("A")
    assert inspect.getsource(cls).startswith("@autostate.persisted")


def test_a_subclass_has_a_name_of_its_own() -> None:
    """Unless the name was given; it may be decorated again, and has the marks of its base."""

    @autostate.persisted(transient=("lock",))
    class Base:
        def __init__(self) -> None:
            self.lock = object()
            self.base = 1

    class Sub(Base):
        def __init__(self, extra: int = 0) -> None:
            super().__init__()
            self.extra = extra
            self.lock = extra

    @autostate.persisted(name="named", version=2)
    class Named(Sub):
        pass

    with life():
        base, sub, named = Base(), Sub(3), Named(4)
        assert [autostate.info(x).name for x in (base, sub, named)] == ["Base", "Sub", "named"]
        sub.base = named.extra = 7
    with life():
        base, sub, named = Base(), Sub(5), Named(6)
        assert (base.base, sub.base, sub.extra, sub.lock) == (1, 7, 3, 5)
        assert (named.extra, named.lock) == (7, 6)


def test_hooks_of_base_classes_run_as_often_as_the_program_has_classes() -> None:
    """`__init_subclass__` does not run for what the decorator makes, and metaclasses neither."""
    seen: list[str] = []

    class Meta(abc.ABCMeta):
        def __init__(cls, name: str, *args: Any, **kwargs: Any) -> None:
            super().__init__(name, *args)
            seen.append(f"meta {name}")

    class Plugin(metaclass=Meta):
        def __init_subclass__(cls, tag: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            seen.append(f"{cls.__name__}{tag}")

    @autostate.persisted
    class One(Plugin, tag="!"):
        pass

    class Two(One, tag="?"):
        pass

    assert seen == ["meta Plugin", "One!", "meta One", "Two?", "meta Two"]


def test_abstract_and_generic_classes_can_be_persisted() -> None:
    """An abstract one still refuses to be called; a persisted one can be mixed with one."""

    @autostate.persisted
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self) -> float: ...

    class Square(Shape):
        def __init__(self, side: float = 1) -> None:
            self.side = side

        def area(self) -> float:
            return self.side**2

    @autostate.persisted
    class Box(Generic[T]):
        def __init__(self, item: T | None = None) -> None:
            self.item = item

    class Sized(abc.ABC):
        @abc.abstractmethod
        def __len__(self) -> int: ...

    class SizedBox(Box[list[int]], Sized):
        def __len__(self) -> int:
            return len(self.item or [])

    with life():
        with pytest.raises(TypeError, match="abstract"):
            Shape()  # type: ignore[abstract]
        square, box, sized = Square(2), Box[int](5), SizedBox([1, 2])
        assert square.area() == 4
        assert box.item == 5
        assert len(sized) == 2
        assert isinstance(square, Shape)
        assert not isinstance(box, Shape)


def test_a_cached_property_is_worked_out_again() -> None:
    """It is no field, but what was made of fields."""
    with life():
        one = Guarded(1)
        assert one.twice == 2
        one.page = 10
        with pytest.raises(ValueError, match="no such page"):
            one.page = -1
    with life():
        assert Guarded(1).twice == 20


def test_post_init_and_init_only_fields_run_before_what_is_stored() -> None:
    """Each time, for the defaults; then the fields are as they are stored."""
    runs: list[int] = []

    @autostate.persisted
    @dataclass
    class Sum:
        start: dataclasses.InitVar[int]
        items: list[int] = field(default_factory=list)
        total: int = field(init=False)
        kinds: ClassVar[int] = 3

        def __post_init__(self, start: int) -> None:
            runs.append(start)
            self.total = start

    with life():
        one = Sum(5)
        one.total += 10
        assert Sum(6) is one
    with life():
        assert Sum(7).total == 15
    assert runs == [5, 7]


# -- transient and pickled fields -------------------------------------------------------------


@sorts
def test_a_transient_field_is_what_the_constructor_made_it(cls: Any) -> None:
    """It is not saved, and needs no type that could be."""
    with life():
        one = cls(n=1)
        browser = one.browser
        autostate.flush()
        assert one.browser is browser
        assert "browser" not in fields_of(one)
        one.browser = threading.Lock()
        autostate.flush()
    with life():
        assert type(cls(n=1).browser) is object


def test_transient_in_the_body_of_a_plain_class() -> None:
    """With a default, with a factory, and with neither."""

    @autostate.persisted
    class Crawl:
        browser: Any = autostate.transient(None)
        errors: list[str] = autostate.transient(default_factory=list)
        lock: Any = autostate.transient()
        when: Annotated[Any, Transient]

        def __init__(self) -> None:
            self.page = 1
            self.errors.append("begun")
            self.when = object()

    assert Crawl.browser is None
    with life():
        one = Crawl()
        one.browser = one.lock = threading.Lock()
        one.errors.append("x")
        autostate.flush()
        assert set(fields_of(one)) == {"page"}
    with life():
        one = Crawl()
        assert one.browser is None
        assert one.errors == ["begun"]
        assert not hasattr(one, "lock")


def test_a_mark_in_a_local_or_unreadable_annotation_is_seen() -> None:
    """Names that only type checkers know do not hide it."""
    from autostate import Transient as Gone

    class Odd:
        one: Annotated[Unheard, Gone]  # type: ignore[name-defined] # noqa: F821
        two: Annotated[Unheard[int], autostate.Transient]  # type: ignore[name-defined] # noqa: F821
        three: Unheard  # type: ignore[name-defined] # noqa: F821
        four: Annotated[int, autostate.transient]
        five: Annotated[Any, autostate.pickled]

        def __init__(self) -> None:
            self.one = self.two = object()
            self.four = 4
            self.three = 3
            self.five = lambda: 3

    Odd.__annotations__["one"] = "Annotated[Unheard, Transient]"
    made: Any = autostate.persisted(Odd)
    with life():
        assert set(fields_of(made())) == {"three", "five"}
        autostate.flush()
    with life():
        assert made().five() == 3


def test_pickled_fields_hold_what_only_a_pickle_can() -> None:
    """They stay what they are in the object; changes inside them are saved."""

    @autostate.persisted(pickled=("rule", "odd"))
    class Rules:
        def __init__(self, factor: int = 2) -> None:
            self.rule: Callable[[int], int] = lambda n: n * factor
            self.odd = threading.local

    with life():
        one = Rules(3)
        assert isinstance(one.rule, types.FunctionType)
        assert one.rule(5) == 15
        autostate.flush()
        before = autostate.statistics()
        autostate.flush()
        assert autostate.statistics().flushes == before.flushes
    with life():
        one = Rules(100)
        assert one.rule(5) == 15
        one.rule = lambda n: n + 1
    with life():
        assert Rules().rule(5) == 6


def test_a_field_may_become_pickled_and_be_so_no_more() -> None:
    """What is stored is read as it was saved, and saved as it is to be from then on."""

    def define(pickled: tuple[str, ...]) -> Any:
        @autostate.persisted(pickled=pickled)
        class Rules:
            def __init__(self) -> None:
                self.rule: Any = 1

        return Rules

    with life():
        define(())().rule = [5]
    with life():
        rules = define(("rule",))()
        assert rules.rule == [5]
        rules.rule = functools.partial(max, 3)
    with life():
        assert define(("rule",))().rule(2) == 3
    with life():
        assert define(())().rule(2) == 3


# -- objects among others ---------------------------------------------------------------------


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


# -- atomic -----------------------------------------------------------------------------------


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


# -- errors -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: autostate.persisted("shop"), TypeError, "for classes"),  # type: ignore[call-overload]
        (lambda: autostate.persisted(lambda: 1), TypeError, "for classes"),  # type: ignore[call-overload]
        (lambda: autostate.persisted(type("D", (dict,), {})), TypeError, "PersistedDict"),
        (lambda: autostate.persisted(type("D", (PersistedSet,), {})), TypeError, "itself"),
        (lambda: autostate.persisted(type("I", (int,), {})), TypeError, "field of another"),
        (lambda: autostate.persisted(type("E", (Exception,), {})), TypeError, "field of"),
        (lambda: autostate.persisted(name="a-{b}")(type("C", (), {})), ValueError, "'b'"),
        (lambda: autostate.persisted(name="a-{}")(type("C", (), {})), ValueError, "by name"),
        (lambda: autostate.persisted(name=5)(type("C", (), {})), TypeError, "str"),  # type: ignore[call-overload]
        (lambda: autostate.persisted(version=0)(type("C", (), {})), ValueError, "from 1"),
        (lambda: autostate.persisted(version="2")(type("C", (), {})), ValueError, "from 1"),  # type: ignore[call-overload]
        (lambda: autostate.persisted(upgrade=[print])(type("C", (), {})), ValueError, "needs 0"),
        (lambda: autostate.persisted(upgrade=[5], version=2)(type("C", (), {})), TypeError, "up"),  # type: ignore[list-item]
        (lambda: autostate.persisted(upgrade=print)(type("C", (), {})), ValueError, "version=2"),
        (
            lambda: autostate.persisted(version=2, upgrade=len)(type("C", (), {})),  # type: ignore[arg-type]
            TypeError,
            "from_version",
        ),
        (lambda: autostate.persisted(transient="ab")(type("C", (), {})), TypeError, "names"),
        (
            lambda: autostate.persisted(transient=("a",), pickled=("a",))(type("C", (), {})),
            ValueError,
            r"C\.a",
        ),
    ],
    ids=map(str, range(17)),
)
def test_wrong_use_of_the_decorator_is_refused_at_once(
    make: Callable[[], Any], error: type[Exception], told: str
) -> None:
    """With what to do."""
    with pytest.raises(error, match=told):
        make()


def test_transient_is_refused_where_it_would_be_a_value() -> None:
    """An attrs class takes it for the default; a model understands it."""

    @attrs.define
    class At:
        x: Any = autostate.transient(None)  # noqa: RUF009 - the subject

    @autostate.persisted
    class Mod(pydantic.BaseModel):
        x: Any = autostate.transient(None)
        y: list[Any] = autostate.transient(default_factory=list)

    with pytest.raises(TypeError, match=r"x: Annotated\["):
        autostate.persisted(At)
    with life():
        one = Mod()
        one.x = threading.Lock()
        one.y.append(one.x)
    with life():
        assert (Mod().x, Mod().y) == (None, [])
    for wrong in ({"default": 1, "default_factory": list}, {"default_factory": 5}):
        with pytest.raises(TypeError, match="transient"):
            autostate.transient(**wrong)


def test_a_name_belongs_to_one_class_and_one_kind() -> None:
    """Whichever comes second is refused, and nothing is lost."""

    @autostate.persisted(name="data-{n}")
    class Other:
        def __init__(self, n: int) -> None:
            self.n = n

    with life():
        one = Data(1)
        with pytest.raises(StateTypeError, match=r"live as a .*Data already"):
            Other(1)
        with pytest.raises(StateTypeError, match="'object'"):
            PersistedDict("data-1")
        PersistedDict("data-2", x=1)
        with pytest.raises(StateTypeError, match="'dict'"):
            Data(2)
        one.step()
    with life():
        with pytest.raises(StateTypeError, match="'dict'"):
            Data(2)
        with pytest.raises(StateTypeError, match="'object'"):
            PersistedDict("data-1")
        assert Data(1).page == 2
        assert PersistedDict("data-2") == {"x": 1}


def test_missing_arguments_are_errors_as_without_the_decorator() -> None:
    """Also when the name needs them."""
    with life(), pytest.raises(TypeError, match="n"):
        Data()  # type: ignore[call-arg]


def test_a_class_that_is_defined_again_is_the_same_class() -> None:
    """In a notebook; the live object is of the newer one."""

    def define(step: int) -> Any:
        @autostate.persisted
        class Cell:
            def __init__(self) -> None:
                self.page = 1

            def go(self) -> None:
                self.page += step

        return Cell

    old, new = define(1), define(10)
    with life():
        one = old()
        one.go()
        assert new() is one
        one.go()
        assert type(one) is new
        assert one.page == 12


# -- what the parts of it do ------------------------------------------------------------------


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
        stored = _stored(URL)
        assert (stored["plain-1"], stored["state"]) == (2, 1)


@pytest.mark.parametrize("cls", [Plain, Slotted], ids=lambda cls: cls.__name__)
def test_a_container_is_not_exchanged_where_the_object_has_another_one(cls: Any) -> None:
    """Nor where the field is gone by then."""
    from autostate.codec import root_of
    from autostate.tracking.mirror import compare_and_swap

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


def test_an_assignment_counts_as_activity() -> None:
    """A process that waits for its program to write hears of it."""
    with life(debounce=60, max_delay=60) as manager:
        one = Plain(1)
        assert manager._incarnation is not None
        tracker = manager._incarnation.tracker
        before = tracker.activity
        one.page = 2
        assert tracker.activity > before


def test_what_a_constructor_makes_of_an_object_that_came_along_is_not_saved() -> None:
    """Not even if something is saved while it runs."""
    during: list[Any] = []

    @autostate.persisted
    class Eager:
        def __init__(self) -> None:
            self.page = 1
            if PersistedDict("all").get("eager") is self:
                autostate.flush()
                during.append(_stored(URL)["Eager"])

    with life():
        PersistedDict("all", eager=Eager())
        Eager().page = 8
    with life():
        found = PersistedDict("all")["eager"]
        assert Eager() is found
        assert found.page == 8
    assert during == [8]


# -- what was lost once -----------------------------------------------------------------------


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


def test_a_class_defined_anew_with_other_transient_fields() -> None:
    """What is a field by now is saved."""

    def define(*names: str) -> Any:
        @autostate.persisted(transient=names)
        class Cell:
            def __init__(self) -> None:
                self.page = self.rest = 1

        return Cell

    with life():
        one = define("rest")()
        one.rest = 5
        autostate.flush()
        assert define()() is one
    with life():
        assert define()().rest == 5


def test_the_wrong_order_of_decorators_is_refused() -> None:
    """What the other one would have made of the fields is not there."""

    class Raw:
        items: list[int] = field(default_factory=list)

    class RawAttrs:
        items: list[int] = attrs.Factory(list)
        other: int = attrs.field(default=1)

    for cls in (Raw, RawAttrs):
        with pytest.raises(TypeError, match="put @persisted above"):
            autostate.persisted(cls)


def test_a_name_that_cannot_be_made_is_an_error_that_shows_it() -> None:
    """Of arguments that the template does not fit; and of what is no object of the class."""

    @autostate.persisted(name="shop-{shop.id}")
    class Shop:
        def __init__(self, shop: Any) -> None:
            self.shop = 1

    @autostate.persisted
    class Number:
        def __new__(cls) -> Any:
            return 5

    with life():
        with pytest.raises(TypeError, match=r"'shop-{shop.id}' of .*Shop cannot be made of"):
            Shop(None)
        with pytest.raises(TypeError, match="address"):
            Plain(object())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="__new__ gave a int"):
            Number()


def test_a_changed_copy_is_plain() -> None:
    """The object itself would be given else, and the changes be ignored."""
    with life():
        one, other = Data(1), Attrs(1)
        for copied in (dataclasses.replace(one, page=9), attrs.evolve(other, page=9)):
            assert copied.page == 9
            assert copied not in (one, other)
        assert (one.page, other.page) == (1, 1)


def test_a_class_with_one_object_that_is_called_for_several_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once; not for arguments that have defaults."""

    @autostate.persisted
    class Shop:
        def __init__(self, shop_id: int, page: int = 1) -> None:
            self.shop_id, self.page = shop_id, page

    with life():
        shop = Shop(1)
        assert Shop(1, page=5) is shop
        assert not caplog.messages
        assert Shop(2) is Shop(3) is shop
        [told] = caplog.messages
        assert '@persisted(name="Shop-{shop_id}")' in told


@autostate.persisted(name="box-{n}")
class Box:
    """An object of which little is known."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.a: Any = None
        self.b: Any = None
        self.c: Any = None


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


# -- threads ----------------------------------------------------------------------------------


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
                moments.append(_stored(URL))
        finally:
            ended.set()
            thread.join()
    for moment in moments:
        pages = [moment[name] for name in ("plain-1", "slotted-2", "model-3")]
        chain = [*pages, moment["state"], *(moment[f"plain-{n}"] for n in range(10, 60))]
        assert chain == sorted(chain, reverse=True)
        assert chain[0] - chain[-1] <= 1


def _stored(url: str) -> dict[str, int]:
    """The numbers that are stored now, by name."""
    from autostate.journal import Journal
    from autostate.stores import open_store
    from autostate.tracking import convert

    store = open_store(url)
    try:
        recovered = Journal(store, convert=convert).recover(timeout=10)
        return {
            str(state.name): state.content.get("page", state.content.get("at"))
            for state in recovered.nodes.values()
            if state.name is not None
        }
    finally:
        store.close()


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


# -- at random --------------------------------------------------------------------------------


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
