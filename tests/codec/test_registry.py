"""Classes and functions under a name that the program gives them."""

from __future__ import annotations

import collections
import decimal
import textwrap
from collections import defaultdict, deque
from typing import Any

import pytest

import autostate
from autostate import UnknownTypeError, codec
from autostate.codec import registry
from autostate.errors import CorruptStateError
from tests.conformance.types_kit import (
    SOURCE,
    Level,
    Model,
    Money,
    Pair,
    Point,
    Row,
    Shelf,
    Visit,
    first_field,
    join,
    module,
    numbered,
    refused,
    registered,
    round_trip,
    split,
    stored,
    strict,
)
from tests.conformance.values_kit import exact


def test_a_registered_class_is_saved_under_its_tag() -> None:
    """In whatever form its encode gives, containers and other objects included."""
    value = Money([decimal.Decimal("1.10"), Point(1)], "CZK")
    assert "autostate.register" in refused(value).problem
    with registered(Money, "shop.money", encode=split, decode=join):
        assert exact(round_trip({"a": [value]})) == exact({"a": [value]})
        assert stored(Money(1, "EUR"))["$object"] == [
            "shop.money",
            {"$tuple": [1, {"currency": "EUR"}]},
        ]
        assert not codec.is_atom(Money)
        assert list(codec.parts_of(value)) == [value.amount, "CZK"]
    refused(value)
    with pytest.raises(UnknownTypeError) as caught:
        codec.decode({"$object": ["shop.money", 1]}, strict)
    assert caught.value.name == "shop.money"
    assert 'register(…, "shop.money", …)' in str(caught.value)


def test_a_registered_class_that_never_changes_is_an_atom() -> None:
    """It is not looked at again; and it can be a key if it has an __eq__ and a __hash__."""
    with registered(Money, "money", encode=split, decode=join, mutable=False):
        assert codec.is_atom(Money)
        assert codec.parts_of(Money(1, "x")) == ()
        assert "identity" in refused({Money(1, "x"): 1}).problem
    assert not codec.is_atom(Money)


@pytest.mark.parametrize("cls", [Visit, Shelf, Model, Pair, Row])
def test_a_tag_is_all_that_a_known_class_needs(cls: Any) -> None:
    """It may then be renamed; what was saved before it had the tag is still read."""
    value = cls(**{first_field(cls): "x"})
    before = stored(value)
    with registered(cls, "shop.thing"):
        assert stored(value)["$object"][0] == "shop.thing"
        assert exact(round_trip(value)) == exact(value)
        assert exact(codec.decode(before, strict)) == exact(value)


def test_a_class_may_be_registered_after_it_was_met() -> None:
    """From then on it is saved as it is registered: this one as if it never changed."""
    value = Visit("x")
    before = stored(value)
    asked: list[Any] = []
    with registered(Visit, "visit", mutable=False):
        codec.jsonable(value, asked.append)
        assert asked == [value.links]
    with registered(Visit, "visit", encode=lambda visit: visit.url, decode=Visit):
        assert stored(value) == {"$object": ["visit", "x"]}
    assert stored(value) == before


def test_an_enum_may_have_a_tag() -> None:
    """Its members are stored under it."""
    before = stored(Level.LOW)
    with registered(Level, "level"):
        assert stored({Level.LOW: 1}) == {"$dict": [[{"$enum": ["level", "LOW"]}, 1]]}
        assert round_trip(Level.LOW) is codec.decode(before, strict) is Level.LOW
        assert codec.is_atom(Level)


class Celsius(float):
    """More than a float."""


def test_a_subclass_is_never_saved_as_its_base() -> None:
    """Neither of a builtin type nor of a registered class; but each can be registered."""
    sub = type("Sub", (Money,), {})
    with registered(Money, "money", encode=split, decode=join):
        assert "cannot be saved" in refused(sub(1, "x")).problem
    for value in (Celsius(1), type("Name", (str,), {})("x"), type("Bag", (dict,), {})()):
        assert "may hold more" in refused(value).problem
        assert "may hold more" in refused({"a": {1: value}}).problem
    with registered(Celsius, "celsius", encode=float, decode=Celsius, mutable=False):
        back = round_trip({Celsius(1.5): [Celsius("nan")]})
        assert [type(key) for key in back] == [Celsius]


@pytest.mark.parametrize(
    ("error", "args", "how"),
    [
        (TypeError, ("Money", "money"), {}),
        (TypeError, (Money(1, "x"), "money"), {}),
        (TypeError, (Money, "money"), {}),
        (TypeError, (Money, "money"), {"encode": split}),
        (TypeError, (Money, "money"), {"encode": split, "decode": "join"}),
        (TypeError, (Money, 5), {"encode": split, "decode": join}),
        *(
            (ValueError, (Money, tag), {"encode": split, "decode": join})
            for tag in ("", "1", "a b")
        ),
        *(
            (ValueError, (Money, tag), {"encode": split, "decode": join})
            for tag in ("a:b", "$x", "ä")
        ),
        (ValueError, (Money, "x" * 101), {"encode": split, "decode": join}),
        (ValueError, (Money, "taken"), {"encode": split, "decode": join}),
        (ValueError, (Visit, "again"), {}),
        *((ValueError, (cls, "x"), {"encode": list, "decode": dict}) for cls in (dict, str, deque)),
        (ValueError, (autostate.PersistedDict, "x"), {"encode": list, "decode": dict}),
        (TypeError, (Level, "level"), {"encode": int, "decode": Level}),
        (TypeError, (split, "split"), {"encode": split}),
    ],
    ids=numbered,
)
def test_a_wrong_registration_is_refused_at_once(
    error: type[Exception], args: tuple[Any, ...], how: dict[str, Any]
) -> None:
    """Not when something is saved, and nothing of it stays."""
    with registered(Visit, "taken"):
        before = dict(registry._by_tag)
        with pytest.raises(error):
            autostate.register(*args, **how)
        assert registry._by_tag == before


def test_a_reloaded_module_may_register_again() -> None:
    """The class of the same name takes the place of the former one."""
    source = (
        SOURCE
        + """
    import autostate
    autostate.register(Thing, "reloaded.thing", encode=vars, decode=lambda saved: Thing())
    autostate.register(lambda: 5, "reloaded.five")
    """
    )
    with registered(Money, "money", encode=split, decode=join), module("shop_g", source) as g:
        old = g.Thing()
        exec(textwrap.dedent(source), g.__dict__)
        assert type(old) is not g.Thing
        assert type(round_trip(old)) is type(round_trip(g.Thing())) is g.Thing
        newer = source.replace("encode=vars", "encode=lambda _: 'newer'")
        exec(textwrap.dedent(newer), g.__dict__)
        assert stored(old) == stored(g.Thing()) == {"$object": ["reloaded.thing", "newer"]}
        with pytest.raises(ValueError, match="registered for"):
            autostate.register(Money, "reloaded.thing", encode=split, decode=join)
        with pytest.raises(ValueError, match="registered for"):
            autostate.register(lambda: 6, "reloaded.five")
        del registry._by_tag["reloaded.thing"], registry._by_tag["reloaded.five"]


def test_what_a_registered_function_raises_is_told() -> None:
    """As an error of the library: at saving with the path, at loading with the tag."""

    def fails(_: Any) -> Any:
        raise ZeroDivisionError("secret")

    with registered(Money, "money", encode=fails, decode=join):
        problem = refused({"a": [Money(1, "secret")]})
        assert problem.problem == "the encode that is registered for money raised ZeroDivisionError"
        assert problem.path == '["a"][0]'
    with (
        registered(Money, "money", encode=split, decode=fails),
        pytest.raises(CorruptStateError, match="decode that is registered for money raised ZeroD"),
    ):
        round_trip(Money(1, "x"))
    with registered(Money, "money", encode=lambda money: money, decode=join):
        assert "gave the object itself" in refused(Money(1, "x")).problem


def five() -> int:
    """A factory."""
    return 5


def test_a_factory_is_stored_by_name() -> None:
    """Builtin types, known classes and registered functions; nothing else."""
    for factory in (None, list, dict, int, set, collections.Counter, Visit, Row):
        assert codec.decode_factory(codec.encode_factory(factory)) is factory
    assert "autostate.register(function, 'name')" in refused(defaultdict(five)).problem
    assert "<lambda>" in refused(defaultdict(lambda: 0)).problem
    with registered(five, "five"), registered(Money, "money", encode=split, decode=join):
        assert stored(defaultdict(five, a=1)) == {"$defaultdict": ["five", {"a": 1}]}
        assert round_trip(defaultdict(five))["x"] == 5
        assert codec.decode_factory(codec.encode_factory(Money)) is Money
    for name in ("five", "os:system", "builtins:eval", "tests.conformance.types_kit:five"):
        with pytest.raises(UnknownTypeError):
            codec.decode_factory(name)
