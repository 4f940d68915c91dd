"""Transient and pickled fields."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import Annotated, Any

import attrs
import pydantic
import pytest

import autostate
from autostate import Transient
from autostate.objects.decorator import fields_of
from tests.conformance.classes_kit import life
from tests.objects.sorts import sorts


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
