"""Objects of the program's own classes come back as they were, and nothing else comes."""

from __future__ import annotations

import dataclasses
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
import pydantic
import pytest
from hypothesis import given, strategies as st

from autostate import codec
from autostate.errors import CorruptStateError
from tests.codec.test_codec import SCALARS, hashable
from tests.conformance.types_kit import (
    OBJECTS,
    RECORD,
    UNKNOWN,
    Access,
    Bare,
    Box,
    Ends,
    FrozenModel,
    Label,
    Level,
    Mode,
    Model,
    NotedRow,
    OldLabel,
    Open,
    Pair,
    Point,
    Row,
    Shelf,
    Slotted,
    Visit,
    field_of,
    first_field,
    gauss,
    keeping,
    labels,
    model,
    noted,
    numbered,
    read_only,
    refused,
    round_trip,
    stored,
    strict,
    visit,
)
from tests.conformance.values_kit import exact


@pytest.mark.parametrize("make", OBJECTS, ids=numbered)
def test_an_object_comes_back_as_it_was(make: Callable[[], Any]) -> None:
    """The same class, fields, attributes beside them, and all that is inside."""
    value = make()
    assert exact(round_trip(value)) == exact(value)
    if isinstance(value, pydantic.BaseModel):
        assert repr(round_trip(value)) == repr(value)
        assert round_trip(value) == value
    nested = {"a": [value], 1: (value, deque([value]))}
    assert exact(round_trip(nested)) == exact(nested)


def test_what_comes_back_is_whole() -> None:
    """It works as the original does: equal, changeable, with hash and validation."""
    assert round_trip(visit()) == visit()
    back = round_trip(model())
    assert back == model()
    assert back.model_fields_set == {"name", "inner"}
    assert back.model_dump() == model().model_dump()
    back.inner.append(Model(name="c"))
    assert [hash(label) for label in round_trip(labels())] == [hash(label) for label in labels()]
    assert round_trip(gauss()).gauss(0, 1) == gauss().gauss(0, 1)
    assert round_trip({Label("x"): 1})[Label("x")] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        round_trip(Point(1)).x = 2


def test_fields_are_readable_json() -> None:
    """What a console shows of an object is its class and its fields."""
    assert stored(Point(1, "b")) == {
        "$object": ["tests.conformance.types_kit:Point", {"x": 1, "y": "b"}]
    }
    assert stored(Row(1)) == {
        "$object": ["tests.conformance.types_kit:Row", {"key": 1, "value": "none"}]
    }
    assert stored(Level.LOW) == {"$enum": ["tests.conformance.types_kit:Level", "LOW"]}


def test_type_arguments_are_left_out() -> None:
    """`Box[int](1)` notes its argument in the object: that is no part of its state."""
    assert vars(round_trip(Box[int](1))) == {"content": 1}


@dataclass
class Loud:
    """Every method that could run when it is restored would show."""

    ran: ClassVar[list[str]] = []
    x: int = 1

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        cls.ran.append("new")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.ran.append("post_init")

    def __setattr__(self, name: str, value: Any) -> None:
        self.ran.append("setattr")
        super().__setattr__(name, value)

    def __setstate__(self, state: Any) -> None:
        self.ran.append("setstate")

    def __reduce__(self) -> Any:
        self.ran.append("reduce")
        return super().__reduce__()


def test_no_code_of_a_class_runs_when_it_is_restored() -> None:
    """Neither its constructor nor its setters: a store could choose which, and with what."""
    saved = stored(Loud(2))
    Loud.ran.clear()
    back = codec.decode(saved, strict)
    assert (type(back), back.x, Loud.ran) == (Loud, 2, [])


def test_a_new_field_takes_its_default() -> None:
    """An object that was saved before the class had the field gets the default of today."""
    assert codec.decode(field_of(Visit, url="x", status=1), strict).links == []
    assert codec.decode(field_of(Slotted, a=1), strict) == Slotted(1)
    assert codec.decode(field_of(Label, text="abc"), strict) == Label("abc")
    assert codec.decode(field_of(Shelf, name="x", _secret=1), strict) == Shelf("x", secret=1)
    assert codec.decode(field_of(Model, name="x"), strict).inner == []
    assert codec.decode(field_of(Pair, left=1), strict) == Pair(1)
    assert codec.decode(field_of(Row, key=1), strict) == Row(1)
    one, two = (codec.decode(field_of(Slotted, a=1), strict) for _ in range(2))
    assert one.b is not two.b


@pytest.mark.parametrize("cls", [Visit, Slotted, Shelf, Label, OldLabel, Model, Pair, Row])
def test_a_new_field_without_default_is_an_error(cls: type) -> None:
    """It names class and field, and says what to do."""
    first = first_field(cls)
    with pytest.raises(CorruptStateError, match=f"{cls.__name__} has no field '{first}'.*default"):
        codec.decode(field_of(cls), strict)


def test_a_field_that_was_never_set_stays_so() -> None:
    """Not to have a field is a state as well: no default takes its place."""
    value = Visit("x")
    assert not hasattr(round_trip(value), "status")
    del value.links
    assert not hasattr(round_trip(value), "links")
    slotted = Slotted(1)
    del slotted.b
    assert not hasattr(round_trip(slotted), "b")


def test_a_field_that_the_class_has_no_more_is_kept() -> None:
    """It is an attribute beside the fields, and is saved again; without a place it is an error."""
    cases: list[tuple[Any, dict[str, Any]]]
    cases = [(Visit, {"url": "x", "status": 1}), (Model, {"name": "x"})]
    for cls, fields in cases:
        back = codec.decode(field_of(cls, **fields, former=[1]), strict)
        assert back.former == [1]
        assert round_trip(back).former == [1]
    back = codec.decode(field_of(NotedRow, key=1, former=2), strict)
    assert (back, back.former) == ((1, "none"), 2)
    cases = [(Slotted, {"a": 1}), (Shelf, {"name": "x"}), (Row, {"key": 1})]
    for cls, fields in cases:
        with pytest.raises(CorruptStateError, match=f"{cls.__name__} has a field 'former'"):
            codec.decode(field_of(cls, **fields, former=1), strict)


class Guarded(Slotted):
    """One with a property in front of a slot, and an attribute of the class in front of another."""

    __slots__ = ()
    b = 5

    @property
    def a(self) -> Any:
        raise AssertionError("nothing of this runs")

    @a.setter
    def a(self, value: Any) -> None:
        raise AssertionError("nothing of this runs")


def test_slots_are_read_and_written_behind_properties() -> None:
    """A slot that a property guards is saved; one that cannot be reached any more is not."""
    value = object.__new__(Guarded)
    slot = vars(Slotted)["a"]
    slot.__set__(value, [1])
    assert stored(value) == field_of(Guarded, a=[1], b={"$unset": None})
    assert slot.__get__(round_trip(value)) == [1]


def test_cached_properties_are_saved_but_no_part_of_a_key() -> None:
    """What is cached in an object may be changed there; of a key only its fields count."""
    point = Point(1)
    assert point.norm == [1, 0]
    assert exact(round_trip(point)) == exact(point)
    assert round_trip({point: 1}) == {Point(1): 1}


@dataclass
class Bag(dict[str, int]):
    """One whose base holds something."""

    x: int = 1


@dataclass(eq=False)
class Itself:
    """One that is found by its identity."""

    x: int = 1


@dataclass(frozen=True)
class Noted:
    """A key, of which not everything counts."""

    x: int
    notes: list[Any] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Hidden:
    """One that does something of its own with its attributes."""

    x: int = 1

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise LookupError("secret")


class Seen(Exception):  # noqa: N818 - an exception is meant that holds something
    """An exception."""


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (Visit("x", [{"a": Bare()}]), '.links[0]["a"]', "register"),
        ([Slotted(1, (Bare(),))], "[0].b[0]", "register"),
        (Row(1, Bare()), ".value", "register"),
        ({"q": deque([1, Bare()])}, '["q"][1]', "pickled"),
        (model().model_copy(update={"inner": Bare()}), ".inner", "dataclass"),
        (Ends(), "", "cannot be saved"),
        ([Hidden()], "[0]", "the fields of the object cannot be read (LookupError)"),
        (Bag(), "", "may hold more than the dict"),
        (Seen("x"), "", "register"),
        ({Bare(): 1}, " (the key <Bare>)", "register"),
        ({(1, Noted(2, ["secret"])): 1}, " (the key (1, <Noted>))[1].notes", "cannot hold a list"),
        ({Itself()}, " (the key <Itself>)", "identity"),
        ([{1: frozenset([Itself()])}], "[0][1] (the key <Itself>)", "identity"),
        (defaultdict(None, {1: Bare()}), "[1]", "register"),
        (np.array([object()]), "", "dtype object"),
        (np.ma.array([1]), "", "may hold more than the ndarray"),
        (np.array([1], np.dtype("i4", metadata={"a": 1})), "", "dtype int32"),
        (np.longlong(1), "", "fixed number of bits"),
        (np.str_("x\0"), "", "come back as another value"),
        (random.SystemRandom(), "", "may hold more than the Random"),
    ],
    ids=numbered,
)
def test_what_cannot_be_saved_is_named(value: Any, path: str, problem: str) -> None:
    """With the way to it, and what to do; no value of the user is shown."""
    error = refused(value)
    assert error.path == path
    assert problem in error.problem
    assert "secret" not in error.path + error.problem


def test_atoms_never_change() -> None:
    """Of everything else it has to be looked at what is inside."""
    for value in (*SCALARS, Level.LOW, np.float64(1), np.datetime64("2026-01-01")):
        if type(value) not in (tuple, frozenset, slice):
            assert codec.is_atom(type(value)), type(value)
    for make in (visit, model, noted, gauss, read_only, bytearray, deque, dict, list, set):
        assert not codec.is_atom(type(make()))
    assert not codec.is_atom(type(np.zeros(1, RECORD)[0]))
    assert not codec.is_atom(Point)  # it may hold a list
    assert not codec.entry_for(Point).mutable  # type: ignore[union-attr]
    assert codec.entry_for(Visit).mutable  # type: ignore[union-attr]
    assert not codec.entry_for(Label).mutable  # type: ignore[union-attr]
    assert not codec.entry_for(Row).mutable  # type: ignore[union-attr]
    assert codec.entry_for(NotedRow).mutable  # type: ignore[union-attr]
    assert not codec.entry_for(FrozenModel).mutable  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ((1, [2]), [1, [2]]),
        (slice(1, [2]), [1, [2], None]),
        (Row(1, [2]), [1, [2]]),
        (Visit("x", [1]), ["x", [1]]),
        (Slotted([1], {}), [[1], {}]),
        (noted(), [1, [2], {"x"}]),
        ("text", []),
        (Level.LOW, []),
        (np.arange(2), []),
        ([1], []),
        (Bare(), []),
        (Hidden(), []),
    ],
    ids=numbered,
)
def test_parts_are_what_is_inside(value: Any, parts: list[Any]) -> None:
    """Of containers tracking knows by itself."""
    assert list(codec.parts_of(value)) == parts


def test_mutable_objects_are_asked_for_a_node_first() -> None:
    """So that one at two places comes back as one; those that never change are not asked for."""
    asked: list[Any] = []
    mutable = [visit(), bytearray(b"x"), gauss(), np.arange(2), noted(), model()]
    fixed = [Point(1), Row(1), Level.LOW, np.int8(1), Label("x"), FrozenModel(a=1)]
    for value in (*mutable, *fixed):
        codec.jsonable(value, asked.append)
    ids = {id(value) for value in asked}
    assert all(id(value) in ids for value in mutable)
    assert not any(id(value) in ids for value in fixed)
    assert codec.jsonable(mutable, lambda value: None if type(value) is list else {"$ref": 1}) == [
        {"$ref": 1}
    ] * len(mutable)


def to(cls: Any) -> Callable[[Any], Any]:
    """Call a class with the items of a tuple."""
    return lambda items: cls(*items)


keys = st.recursive(
    hashable | st.sampled_from([Level.LOW, Mode.FAST, Access(3), Fraction(1, 3), 1j, np.int16(3)]),
    lambda inner: (
        st.tuples(inner, inner).map(to(Point)) | inner.map(Row) | st.text(max_size=3).map(Label)
    ),
    max_leaves=3,
)


objects = st.recursive(
    keys | st.builds(bytearray, st.binary(max_size=4)) | st.builds(range, st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(st.sampled_from(["$ref", "$set", "$object"]), inner, max_size=1),
        st.sets(keys, max_size=3),
        st.tuples(inner, inner),
        st.tuples(st.lists(inner, max_size=3), st.none() | st.integers(3, 5)).map(to(deque)),
        st.dictionaries(keys, inner, max_size=2).map(OrderedDict),
        st.tuples(
            st.sampled_from([None, list, Visit]), st.dictionaries(keys, inner, max_size=2)
        ).map(to(defaultdict)),
        st.tuples(st.text(min_size=1, max_size=3), st.lists(inner, max_size=2)).map(to(Visit)),
        st.tuples(inner, inner).map(to(Slotted)),
        inner.map(Point),
        st.tuples(st.text(max_size=2), st.lists(inner, max_size=2)).map(to(Shelf)),
        st.tuples(inner, inner).map(to(Pair)),
        st.tuples(inner, inner).map(lambda two: Open.model_construct(a=two[0], more=two[1])),
        inner.map(Box),
        st.lists(st.integers(-5, 5), max_size=3).map(np.array),
        st.just(UNKNOWN[0]).map(lambda saved: codec.decode(saved, keeping)),
    ),
    max_leaves=12,
)


@given(objects)
def test_any_nested_objects_come_back(value: Any) -> None:
    """Value, exact type and order; and nothing that was two objects becomes one."""
    back = codec.decode(stored(value), keeping)
    assert exact(back) == exact(value)
    assert len(set(_mutable(back))) == len(_mutable(back))


def _mutable(value: Any) -> list[int]:
    """The ids of all containers and mutable objects in a value, as often as they are met."""
    inner = [*value, *value.values()] if isinstance(value, dict) else codec.parts_of(value)
    if isinstance(value, list | deque | set):
        inner = list(value)
    own = (
        []
        if codec.is_atom(type(value)) or type(value) in (tuple, frozenset, Point, Row)
        else [value]
    )
    if type(value) in (Label, Pair):
        own = []
    return [*map(id, own), *(found for part in inner for found in _mutable(part))]
