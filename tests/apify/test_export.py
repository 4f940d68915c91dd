"""export: plain JSON, as JavaScript makes it of the same thing; what it cannot be is an error."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import random
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import attrs
import numpy as np
import pydantic
import pytest
from hypothesis import given, strategies as st

import autostate
from autostate import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
    UnsupportedTypeError,
    export,
)
from tests.javascript import node

BACK = """
const text = require('fs').readFileSync(0, 'utf8');
process.stdout.write(JSON.stringify(JSON.parse(text)));
"""
"""Reads what was exported with the real JSON.parse, and writes it with the real JSON.stringify."""


def through_javascript(value: Any) -> Any:
    """What is left of JSON when JavaScript has read and written it."""
    return json.loads(node(BACK, stdin=json.dumps(value).encode()))


class Colour(enum.Enum):
    """Text."""

    RED = "red"


class Level(enum.IntEnum):
    """Numbers."""

    HIGH = 3


class Kind(enum.StrEnum):
    """Members are texts."""

    SHOP = "shop"


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int


@dataclass(slots=True)
class Slotted:
    """One with slots."""

    name: str
    tags: set[str] = field(default_factory=set)


@attrs.define
class Cart:
    """An attrs class."""

    owner: str
    items: list[str] = attrs.field(factory=list)


class Model(pydantic.BaseModel):
    """A pydantic model with more than its fields."""

    model_config = pydantic.ConfigDict(extra="allow")
    title: str
    price: decimal.Decimal = decimal.Decimal(1)


class Pair(NamedTuple):
    """A named tuple."""

    one: int
    two: int


PRAGUE = dt.timezone(dt.timedelta(hours=2))
ID = uuid.UUID(int=5)


class TestWhatJsonHolds:
    """Given as it is, plain and new."""

    def test_a_container_of_each_kind_becomes_plain(self) -> None:
        """Dicts and counters are objects, all others arrays."""
        assert export(PersistedDict("a", x=1)) == {"x": 1}
        assert export(PersistedCounter("b", {"x": 1})) == {"x": 1}
        assert export(PersistedList("c", [1, 2])) == [1, 2]
        assert export(PersistedDeque("d", [1, 2])) == [1, 2]
        assert export(PersistedSet("e", [2, 1])) == [1, 2]

    def test_nothing_in_it_is_tracked(self) -> None:
        """It may be changed, kept and given away: no write to it reaches the state."""
        state = PersistedDict("state", deep={"list": [1, {"x": {}}]})
        autostate.flush()
        plain = export(state)
        assert _types(plain) <= {dict, list, str, int}
        plain["deep"]["list"].append(2)
        assert state == {"deep": {"list": [1, {"x": {}}]}}

    def test_what_is_nested_can_be_exported_by_itself(self) -> None:
        """Also a plain value."""
        state = PersistedDict("state", pages=[{"seen": {1}}])
        autostate.flush()
        assert export(state["pages"]) == [{"seen": [1]}]
        assert export((1, None)) == [1, None]

    def test_the_order_of_a_dict_stays(self) -> None:
        """As it stands in the state."""
        assert list(export(PersistedDict("state", {"b": 1, "a": 2, "10": 3}))) == ["b", "a", "10"]

    def test_the_same_object_at_two_places_is_there_twice(self) -> None:
        """JSON has no references."""
        state = PersistedDict("state", a=[1])
        state["b"] = state["a"]
        autostate.flush()
        plain = export(state)
        assert plain == {"a": [1], "b": [1]}
        assert plain["a"] is not plain["b"]

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53) + 1, 2**53 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_json_is_exported_as_it_is(self, value: Any) -> None:
        """Equal, of the same types, in the same order."""
        assert repr(export(value)) == repr(value)

    def test_javascript_reads_it_as_the_same(self, rng: random.Random) -> None:
        """The real JSON.parse loses nothing of what was exported."""
        state = PersistedDict(
            "state",
            ints=[0, -1, 2**53 - 1, -(2**53) + 1],
            floats=[0.1, 1e300, 5e-324, 1.5, *(rng.uniform(-1e9, 1e9) for _ in range(100))],
            texts=["", "žluťoučký 🐎", "\x00\u2028\\\"'", "__proto__"],
            none=None,
            truth=[True, False],
            deep={"__proto__": {"": []}},
            span=(1, (2,)),
            seen={"b", "a"},
        )
        plain = export(state)
        assert through_javascript(plain) == plain


def _types(value: Any) -> set[type]:
    inside = value.values() if isinstance(value, dict) else value
    parts = [_types(part) for part in inside] if isinstance(value, (dict, list)) else []
    return {type(value)}.union(*parts)


class TestWhatJavaScriptHasAFormFor:
    """Arrays for sequences and sets, objects for objects, texts for moments."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ((1, (2,)), [1, [2]]),
            ({"b", "a"}, ["a", "b"]),
            (frozenset({3, 1.5}), [1.5, 3]),
            (range(3), [0, 1, 2]),
            (deque([1], maxlen=2), [1]),
            (Counter("aab"), {"a": 2, "b": 1}),
            (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
            (defaultdict(list, a=[1]), {"a": [1]}),
            ({1: "a", -2: "b"}, {"1": "a", "-2": "b"}),
            ({Colour.RED: 1, Level.HIGH: 2, Kind.SHOP: 3}, {"red": 1, "3": 2, "shop": 3}),
            (Colour.RED, "red"),
            (Level.HIGH, 3),
            (Kind.SHOP, "shop"),
            (Point(1, 2), {"x": 1, "y": 2}),
            (Slotted("a", {"t"}), {"name": "a", "tags": ["t"]}),
            (Cart("anna", ["tea"]), {"owner": "anna", "items": ["tea"]}),
            (Model(title="t", extra=1), {"title": "t", "price": "1", "extra": 1}),  # type: ignore[call-arg]
            (Pair(1, 2), [1, 2]),
            (dt.datetime(2024, 1, 2, 3, 4, 5, 678999, dt.UTC), "2024-01-02T03:04:05.678Z"),
            (dt.datetime(2024, 1, 2, 1, tzinfo=PRAGUE), "2024-01-01T23:00:00.000Z"),
            (dt.datetime(2024, 1, 2, 1), "2024-01-02T01:00:00.000"),  # noqa: DTZ001
            (dt.date(2024, 1, 2), "2024-01-02"),
            (dt.time(3, 4), "03:04:00"),
            (decimal.Decimal("1.10"), "1.10"),
            (ID, str(ID)),
            (pathlib.PurePosixPath("a/b"), "a/b"),
            (np.float64(1.5), 1.5),
        ],
    )
    def test_it_becomes_that(self, value: Any, expected: Any) -> None:
        """And is of plain types all through; at the top as well as inside."""
        assert export(value) == expected
        state = PersistedDict("state", inside=[value])
        autostate.flush()
        assert repr(export(state)) == repr({"inside": [expected]})

    def test_dates_are_written_as_javascript_writes_them(self) -> None:
        """The real Date reads the text and gives the same."""
        moments = [
            dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2024, 2, 29, 23, 59, 59, 999_000, dt.UTC),
            dt.datetime(2024, 7, 1, 12, tzinfo=PRAGUE),
            dt.datetime(1969, 12, 31, 23, 59, 59, 1000, dt.UTC),
        ]
        code = """
            const text = require('fs').readFileSync(0, 'utf8');
            console.log(JSON.stringify(JSON.parse(text).map((each) => new Date(each))));
            console.log(JSON.stringify(JSON.parse(text).map((each) => +new Date(each))));
        """
        exported = export(moments)
        texts, numbers = node(code, stdin=json.dumps(exported).encode()).splitlines()
        assert json.loads(texts) == exported
        assert json.loads(numbers) == [moment.timestamp() * 1000 for moment in moments]

    def test_an_object_of_a_persisted_class_is_an_object(self) -> None:
        """With the fields that are saved, and without what is transient."""

        @autostate.persisted(name="shop-{shop_id}", transient=("browser",))
        class Shop:
            def __init__(self, shop_id: int) -> None:
                self.shop_id = shop_id
                self.browser = object()
                self.carts = {"anna": Point(1, 2)}
                self.seen = {(1, 2)}

            @property
            def twice(self) -> int:
                return self.shop_id * 2

        shop = Shop(7)
        autostate.flush()
        expected = {"shop_id": 7, "carts": {"anna": {"x": 1, "y": 2}}, "seen": [[1, 2]]}
        assert export(shop) == expected
        assert export(PersistedDict("state", shop=shop)) == {"shop": expected}
        shop.carts["bytes"] = b""  # type: ignore[assignment]
        with pytest.raises(UnsupportedTypeError) as raised:
            export(shop)
        assert raised.value.path == 'shop-7.carts["bytes"]'

    def test_a_pydantic_state_object_keeps_what_it_has_beside_its_fields(self) -> None:
        """What was given although the model does not declare it."""
        shop = autostate.persisted(name="model")(Model)(title="t", more=1)  # type: ignore[call-arg]
        assert export(shop) == {"title": "t", "price": "1", "more": 1}

    def test_a_proxy_is_what_it_wraps(self) -> None:
        """Alone and inside."""
        point = autostate.proxy("point", Point(1, 2))
        assert export(point) == {"x": 1, "y": 2}
        assert export([autostate.pickled("text")]) == ["text"]


class TestWhatHasNoForm:
    """An error that names the path, or what `default` gives."""

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (math.nan, "nan is no number in JSON"),
            (-math.inf, "-inf is no number"),
            (2**53, "JavaScript would round an integer"),
            (-(2**53), "JavaScript would round"),
            ("\ud800", "lone surrogate"),
            (b"x", "bytes has no form"),
            (bytearray(b"x"), "bytearray has no form"),
            (dt.timedelta(1), "timedelta has no form"),
            (1j, "complex has no form"),
            (Fraction(1, 3), "Fraction has no form"),
            (autostate.Secret("x"), "Secret has no form"),
            (np.array([1]), "ndarray has no form"),
            (random.Random(1), "Random has no form"),
            (..., "ellipsis has no form"),
            (dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1))), "out of range"),
        ],
    )
    def test_it_is_an_error_that_names_the_path(self, value: Any, problem: str) -> None:
        """And says what to do; with `default` it is what that gives."""
        state = PersistedDict("shop", carts=[{"anna": value}])
        autostate.flush()
        with pytest.raises(
            UnsupportedTypeError, match=f"{problem}.*: give export.. a function"
        ) as e:
            export(state)
        assert e.value.path == 'shop["carts"][0]["anna"]'
        given_to = []

        def default(value: Any) -> list[str]:
            given_to.append(value)
            return ["instead"]

        assert export(state, default=default) == {"carts": [{"anna": ["instead"]}]}
        assert repr(given_to) == repr([value])

    def test_javascript_would_indeed_have_read_another_number(self) -> None:
        """The limit is where it is because of this."""
        assert through_javascript(2**53 - 1) == 2**53 - 1
        assert through_javascript(2**53 + 1) != 2**53 + 1

    def test_a_registered_class_is_for_default_to_say(self) -> None:
        """What `encode` gives says nothing to JavaScript; attributes are in the path."""

        class Money:
            def __init__(self, amount: int) -> None:
                self.amount = amount

        autostate.register(
            Money, "test.money", encode=lambda money: money.amount, decode=Money, mutable=False
        )
        state = PersistedDict("shop", cart=Cart("anna", [Money(5)]))  # type: ignore[list-item]
        with pytest.raises(UnsupportedTypeError) as raised:
            export(state)
        assert raised.value.path == 'shop["cart"].items[0]'
        exported = export(state, default=lambda money: {"amount": money.amount})
        assert exported == {"cart": {"owner": "anna", "items": [{"amount": 5}]}}

    def test_what_default_gives_is_exported_too(self) -> None:
        """But it is not asked about its own answer."""
        assert export([b"x"], default=lambda value: (value.decode(), {1})) == [["x", [1]]]
        for default in (lambda value: value, lambda value: [value], lambda _: b"y"):
            with pytest.raises(UnsupportedTypeError, match="has no form in JSON, and default= has"):
                export([b"x"], default=default)
        assert export([math.nan, 1, 2**60], default=lambda _: None) == [None, 1, None]

    def test_an_error_of_default_comes_through(self) -> None:
        """As from json.dumps."""
        with pytest.raises(ZeroDivisionError):
            export([b"x"], default=lambda _: 1 / 0)

    @pytest.mark.parametrize("key", [None, True, 1.5, (1, 2), b"x", ID])
    def test_a_key_that_is_no_text_is_an_error(self, key: Any) -> None:
        """JavaScript makes something else of it, or nothing."""
        with pytest.raises(UnsupportedTypeError, match="cannot be a key") as raised:
            export(PersistedDict("state", x={key: 1}))
        assert raised.value.path == f'state["x"][{key!r}]'

    def test_two_keys_that_are_the_same_text_are_an_error(self) -> None:
        """One would take the place of the other."""
        with pytest.raises(UnsupportedTypeError, match="two keys of this dict"):
            export({1: "a", "1": "b"})
        with pytest.raises(UnsupportedTypeError, match="lone surrogate"):
            export({"\ud800": 1})

    def test_what_holds_itself_is_an_error(self) -> None:
        """JSON.stringify refuses it, too; the same object beside itself is none."""
        state = PersistedDict("state", a={"b": []})
        state["a"]["b"].append(state)
        with pytest.raises(UnsupportedTypeError, match="a container holds itself") as raised:
            export(state)
        assert raised.value.path == 'state["a"]["b"][0]'

    def test_what_is_nested_too_deeply_is_an_error(self) -> None:
        """Not the end of the process."""
        deep: list[Any] = []
        for _ in range(10_000):
            deep = [deep]
        with pytest.raises(UnsupportedTypeError, match="nested too deeply"):
            export(deep)

    def test_an_error_holds_no_values(self) -> None:
        """State may hold cookies."""
        with pytest.raises(UnsupportedTypeError) as raised:
            export([b"secret"])
        assert "secret" not in str(raised.value)

    def test_a_class_of_the_program_without_fields_is_an_error(self) -> None:
        """Nothing says what of it is meant to be seen."""

        class Plain:
            pass

        with pytest.raises(UnsupportedTypeError, match="Plain has no form"):
            export(Plain())
