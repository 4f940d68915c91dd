"""Objects of all kinds that a program may have, and how the codec is asked about them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import itertools
import random
import sys
import textwrap
import types
import typing
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import attr
import attrs
import msgspec
import numpy as np
import pydantic
import pytest
from crawlee import Request

import autostate
from autostate import Unknown, UnknownTypeError, codec
from autostate.codec import Unsupported, classes, registry
from autostate.errors import CorruptStateError
from tests.codec.test_codec import no_node

T = TypeVar("T")


NUMBERS: Final = itertools.count()


def numbered(_value: Any) -> str:
    """A name for a case of which the value has none."""
    return str(next(NUMBERS))


def strict(kind: str, content: Any) -> Any:
    """Build what `decode` asks for; what is unknown is an error."""
    if kind == "unknown":
        raise UnknownTypeError(content[0])
    if kind in ("ref", "pickled"):
        raise CorruptStateError(f"there is no {kind} here")
    return collections.Counter(content) if kind == "counter" else content


def keeping(kind: str, content: Any) -> Any:
    """Do the same; what is unknown is kept."""
    return Unknown(*content) if kind == "unknown" else strict(kind, content)


def stored(value: Any) -> Any:
    """The JSON of a value."""
    return msgspec.json.decode(codec.dump(codec.jsonable(value, no_node)))


def round_trip(value: Any) -> Any:
    """The value as JSON and back."""
    return codec.decode(stored(value), strict)


def refused(value: Any) -> Unsupported:
    """The error for a value that cannot be saved."""
    with pytest.raises(Unsupported) as caught:
        codec.jsonable(value, no_node)
    return caught.value


@dataclass
class Visit:
    """A dataclass with all that one can have."""

    url: str
    links: list[Any] = field(default_factory=list)
    status: int = field(init=False, repr=False)
    depth: dataclasses.InitVar[int] = 0
    limit: ClassVar[int] = 3

    def __post_init__(self, depth: int) -> None:
        if self.url == "":
            raise AssertionError("nothing of this runs when it is restored")


@dataclass(frozen=True)
class Point:
    """A frozen one, which can be a key."""

    x: Any
    y: Any = 0

    @cached_property
    def norm(self) -> list[Any]:
        return [self.x, self.y]


@dataclass(slots=True)
class Slotted:
    """One without a __dict__."""

    a: Any
    b: Any = field(default_factory=dict)


@dataclass(slots=True)
class MoreSlots(Slotted):
    """Slots of two classes."""

    c: Any = 3


class Plain(Visit):
    """No dataclass itself, but based on one."""


@dataclass
class Box(typing.Generic[T]):
    """A generic one."""

    content: T


@attrs.define
class Shelf:
    """An attrs class with slots."""

    name: str
    boxes: list[Any] = attrs.field(factory=list)
    _secret: int = 3


@attrs.frozen(cache_hash=True)
class Label:
    """A frozen one, which remembers its hash."""

    text: str
    width: int = attrs.field(default=attrs.Factory(lambda self: len(self.text), takes_self=True))


@attr.s(hash=True, cache_hash=True)
class OldLabel:
    """One with a __dict__."""

    text: Any = attr.ib()


class Model(pydantic.BaseModel):
    """A pydantic model that holds others."""

    name: str
    inner: list[Model] = []
    _secret: list[int] = pydantic.PrivateAttr(default_factory=list)


class Open(pydantic.BaseModel):
    """One that takes more than its fields."""

    model_config = pydantic.ConfigDict(extra="allow")
    a: int = 1


class OwnExtra(pydantic.BaseModel):
    """One that says of which type its extra values are, as those of crawlee do."""

    model_config = pydantic.ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any] = pydantic.Field(init=False)


class FrozenModel(pydantic.BaseModel):
    """One that can be a key."""

    model_config = pydantic.ConfigDict(frozen=True)
    a: int


class Page(pydantic.BaseModel, typing.Generic[T]):
    """A generic one."""

    items: list[T]


class Numbers(pydantic.RootModel[list[int]]):
    """One without names."""


Pair = collections.namedtuple("Pair", "left right", defaults=[None])  # noqa: PYI024 - the old kind


class Row(NamedTuple):
    """The new kind."""

    key: Any
    value: Any = "none"


class NotedRow(Row):
    """One with a __dict__."""


class Level(enum.IntEnum):
    """An int, and an enum."""

    LOW = 1


class Mode(enum.StrEnum):
    """A text, and an enum."""

    FAST = "fast"


class Access(enum.IntFlag):
    """Ints that can be combined, also with bits without a name."""

    READ = 1
    WRITE = 2


def visit() -> Visit:
    """One with everything set, and more."""
    made = Visit("https://example.com", [1, (2,)])
    made.status = 200
    made.extra = {1: {2}}  # type: ignore[attr-defined]
    return made


def model() -> Model:
    """One with private attributes."""
    made = Model(name="a", inner=[Model(name="b", inner=[])])
    made._secret.append(7)
    return made


def noted() -> NotedRow:
    """One with an attribute beside its fields."""
    made = NotedRow(1, [2])
    made.note = {"x"}  # type: ignore[attr-defined]
    return made


def labels() -> list[Any]:
    """Some whose hash is known."""
    made = [Label("x"), OldLabel("y")]
    assert all(map(hash, made))
    return made


def gauss() -> random.Random:
    """One with a number in stock."""
    made = random.Random(7)
    made.gauss(0, 1)
    return made


def reordered() -> OrderedDict[str, int]:
    """One whose order is not that in which it was filled."""
    made = OrderedDict(a=1, b=2, c=3)
    made.move_to_end("a")
    return made


def request() -> Request:
    """A model of somebody else's, with models of its own kind inside."""
    return Request.from_url("https://example.com/?a", user_data={"a": [1]}, label="x")


def read_only() -> Any:
    """An array that cannot be written."""
    array = np.arange(3)
    array.flags.writeable = False
    return array


RECORD: Final = np.dtype([("a", "<i4"), ("b", "<f8", (2,))])


OBJECTS: Final[list[Callable[[], Any]]] = [
    *(visit, lambda: Visit("x"), lambda: Plain("x"), lambda: [Visit("x", [Visit("y")])]),
    *(lambda: Point(1), lambda: Point(Point(1), {2: [3]}), lambda: {Point(1): 2}),
    *(lambda: {Point(1, (2, Point(3)))}, lambda: Box([1]), lambda: Box(Box({"$set": 1}))),
    *(lambda: Slotted(1), lambda: MoreSlots([1], {"$ref": 2}, (3,)), lambda: Slotted(Visit("x"))),
    *(lambda: Shelf("s", [Shelf("t")]), labels, lambda: {Label("x"): OldLabel("z")}),
    *(model, lambda: Open(a=1, more=[1]), lambda: {FrozenModel(a=1): 2}, lambda: Numbers([1])),  # type: ignore[call-arg]
    *(lambda: OwnExtra.model_validate({"more": [1]}), request),
    *(lambda: Page[int](items=[1]), lambda: Page[Any](items=[Page[str](items=["x"])])),
    *(lambda: Model.model_construct(inner=[]), lambda: Pair(1), lambda: Pair([1], {Pair(2)})),
    *(lambda: Row(1), noted, lambda: {Row(1, 2): Row([3])}, lambda: (Row(1), [Pair(2)])),
    *(lambda: Level.LOW, lambda: Mode.FAST, lambda: Access.READ | Access.WRITE),
    *(lambda: Access(8), lambda: ~Access.READ, lambda: {Level.LOW: 1, Mode.FAST: 2}),
    *(deque, lambda: deque([1, [2]], maxlen=5), lambda: deque(maxlen=0)),
    *(reordered, OrderedDict, lambda: OrderedDict([(2, "b"), (1, "a")])),
    *(lambda: OrderedDict({"$set": 1}), lambda: defaultdict(None), lambda: defaultdict(int, a=1)),
    *(lambda: defaultdict(list, {"$ref": [1]}), lambda: defaultdict(deque, {1: deque([2])})),
    *(lambda: bytearray(b"\x00\xff"), bytearray, gauss, lambda: [random.Random(1)]),
    *(lambda: np.arange(6).reshape(2, 3), lambda: np.asfortranarray(np.ones((2, 3))), read_only),
    *(lambda: np.array(5), lambda: np.array([]), lambda: np.zeros((2, 0)), lambda: np.array(["a"])),
    *(lambda: np.zeros(2, RECORD), lambda: np.array(["2026-01-01", "NaT"], "M8[D]")),
    *(lambda: np.array([1, 2], ">i4"), lambda: np.array([b"x"]), lambda: np.arange(9)[::2]),
    *(lambda: np.float64(1.5), lambda: np.float32("nan"), lambda: np.int8(-1), lambda: np.True_),
    *(
        lambda: np.str_("x"),
        lambda: np.bytes_(b"x"),
        lambda: np.complex64(1j),
        lambda: np.void(b"x"),
    ),
    *(lambda: np.datetime64("2026-01-01"), lambda: np.timedelta64(5, "ms"), lambda: np.half(1)),
    *(lambda: np.zeros(2, RECORD)[0], lambda: {np.int64(1): 1, np.str_("x"): 2}),
]


def first_field(cls: type) -> str:
    """The first field of a class: it has no default."""
    known = classes.fields_of(cls)
    assert known is not None
    return next(iter(known.defaults))


def field_of(cls: type, **fields: Any) -> Any:
    """The JSON of an object with these fields."""
    return {"$object": [f"{cls.__module__}:{cls.__qualname__}", fields]}


@contextlib.contextmanager
def module(name: str, source: str) -> Iterator[types.ModuleType]:
    """A module of that source."""
    made = types.ModuleType(name)
    sys.modules[name] = made
    exec(textwrap.dedent(source), made.__dict__)
    try:
        yield made
    finally:
        del sys.modules[name]


SOURCE: Final = """
    from dataclasses import dataclass
    import enum, typing
    @dataclass
    class Moved:
        x: int
    class Tint(enum.Enum):
        RED = 1
    class Thing: pass
    class Outer:
        class Inner(typing.NamedTuple):
            x: int
"""


def field_of_name(name: str, **fields: Any) -> Any:
    """The JSON of an object of a class of that name."""
    return {"$object": [name, fields]}


@contextlib.contextmanager
def registrations_kept() -> Iterator[None]:
    """Give the registry back as it was, whatever is registered meanwhile."""
    tables: tuple[dict[Any, Any], ...] = (registry._by_tag, registry._by_class)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for cls in registry._by_class.keys() - before[1].keys():
            codec.ENCODERS.pop(cls, None)
            codec.ATOMS.discard(cls)
        for table, old in zip(tables, before, strict=True):
            if table != old:
                table.clear()
                table.update(old)


@contextlib.contextmanager
def registered(cls: Any, tag: str, **how: Any) -> Iterator[None]:
    """Register for the time of a test."""
    with registrations_kept():
        autostate.register(cls, tag, **how)
        yield


class Money:
    """A class of which nothing is known."""

    def __init__(self, amount: Any, currency: str) -> None:
        self.amount = amount
        self.currency = currency


def split(money: Money) -> Any:
    """What has to be saved of it."""
    return money.amount, {"currency": money.currency}


def join(saved: Any) -> Money:
    """The opposite."""
    return Money(saved[0], saved[1]["currency"])


class Bare:
    """A class of which nothing is known."""


@dataclass
class Ends:
    """One that does something when it ends."""

    x: int = 1

    def __del__(self) -> None:
        """Would run for an object that a store has made."""


UNKNOWN: Final[list[Any]] = [
    {"$object": ["gone", {"a": [1, {"$tuple": [2]}]}]},
    {"$object": ["gone.module:Vanished", {"x": {"$float": "nan"}, "y": {"$unset": None}}]},
    {"$enum": ["gone.module:Faded", "RED"]},
    {"$object": ["gone", {"$dict": [[1, 2]]}]},
]
