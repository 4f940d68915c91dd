"""One class of each sort that can be `@persisted`, all with the same fields and methods."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final

import attrs
import pydantic

import autostate
from autostate import Transient


class Methods:
    """What all of them have beside their fields."""

    __slots__ = ()
    made: ClassVar[int] = 0

    def step(self) -> None:
        """Do a page."""
        this: Any = self
        this.page += 1
        this.seen.append(this.page)
        this.deep["a"]["b"] = {this.page}

    @property
    def last(self) -> Any:
        """The last page that was seen."""
        this: Any = self
        return this.seen[-1] if this.seen else None

    @last.setter
    def last(self, page: int) -> None:
        this: Any = self
        this.seen[-1] = page

    @classmethod
    def count(cls) -> int:
        """Count something on the class."""
        cls.made += 1
        return cls.made


@autostate.persisted(name="plain-{n}", transient=("browser",))
class Plain(Methods):
    """A plain class."""

    def __init__(self, n: int, page: int = 1) -> None:
        self.n, self.page = n, page
        self.seen: list[int] = []
        self.deep: dict[str, Any] = {"a": {"b": 0}}
        self.browser = object()


@autostate.persisted(name="slotted-{n}", transient=["browser"])
class Slotted(Methods):
    """A class with slots alone."""

    __slots__ = ("browser", "deep", "extra", "n", "page", "seen")

    def __init__(self, n: int, page: int = 1) -> None:
        self.n, self.page = n, page
        self.seen: list[int] = []
        self.deep: dict[str, Any] = {"a": {"b": 0}}
        self.browser = object()


def _deep() -> dict[str, Any]:
    return {"a": {"b": 0}}


@autostate.persisted(name="data-{n}")
@dataclass
class Data(Methods):
    """A dataclass."""

    n: int
    page: int = 1
    seen: list[int] = field(default_factory=list)
    deep: dict[str, Any] = field(default_factory=_deep)
    browser: object = autostate.transient(default_factory=object)


@autostate.persisted(name="data-slots-{n}")
@dataclass(slots=True)
class DataSlots(Methods):
    """A dataclass with slots."""

    n: int
    page: int = 1
    seen: list[int] = field(default_factory=list)
    deep: dict[str, Any] = field(default_factory=_deep)
    browser: object = autostate.transient(default_factory=object)


@autostate.persisted(name="attrs-{n}")
@attrs.define
class Attrs(Methods):
    """A class of attrs, which has slots."""

    n: int
    page: int = 1
    seen: list[int] = attrs.Factory(list)
    deep: dict[str, Any] = attrs.Factory(_deep)
    browser: Annotated[object, Transient] = attrs.Factory(object)


@autostate.persisted(name="attrs-dict-{n}")
@attrs.define(slots=False)
class AttrsDict(Methods):
    """A class of attrs without slots."""

    n: int
    page: int = 1
    seen: list[int] = attrs.Factory(list)
    deep: dict[str, Any] = attrs.Factory(_deep)
    browser: Annotated[object, Transient] = attrs.Factory(object)


@autostate.persisted(name="model-{n}")
class Model(Methods, pydantic.BaseModel):
    """A pydantic model."""

    n: int
    page: int = 1
    seen: list[int] = pydantic.Field(default_factory=list)
    deep: dict[str, Any] = pydantic.Field(default_factory=_deep)
    browser: Annotated[object, Transient] = pydantic.Field(default_factory=object)


@autostate.persisted(name="guarded-{n}", transient=("browser",))
class Guarded(Methods):
    """A class that looks at every assignment."""

    def __init__(self, n: int, page: int = 1) -> None:
        self.n, self.page = n, page
        self.seen: list[int] = []
        self.deep: dict[str, Any] = {"a": {"b": 0}}
        self.browser = object()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "page" and value < 0:
            raise ValueError("no such page")
        super().__setattr__(name, value)

    @functools.cached_property
    def twice(self) -> int:
        """Something that is worked out once."""
        return self.page * 2


SORTS: Final[list[Any]] = [
    Plain,
    Slotted,
    Data,
    DataSlots,
    Attrs,
    AttrsDict,
    Model,
    Guarded,
]

URL: Final = "sqlite:///state.db"


@contextlib.contextmanager
def life(url: str = URL, **settings: Any) -> Iterator[autostate.StateManager]:
    """One life of a program: what it leaves is there for the next."""
    with autostate.open(url, **settings) as manager:
        yield manager


def content(instance: Any) -> tuple[Any, ...]:
    """What can be compared of an object of these classes."""
    return instance.n, instance.page, list(instance.seen), instance.deep
