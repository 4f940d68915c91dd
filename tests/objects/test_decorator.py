"""A class stays what it was when it is persisted, and wrong use is refused at once."""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import pydantic
import pytest

import autostate
from autostate import PersistedDict, StateTypeError
from autostate.containers import PersistedSet
from tests.conformance.classes_kit import Data, Guarded, Model, Plain, Slotted, content, life
from tests.objects.sorts import sorts

T = TypeVar("T")


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


def test_a_field_in_the_place_of_a_cached_property_is_saved() -> None:
    """The class says last what the name means."""

    class Base:
        @functools.cached_property
        def size(self) -> int:
            raise NotImplementedError

    @autostate.persisted
    @dataclass
    class Sized(Base):
        size: int = 3

    with life():
        Sized().size = 5
    with life():
        assert Sized().size == 5


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
