"""Values come back as they were: types, order, identity of meaning; and nothing else comes."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import decimal
import enum
import itertools
import json
import math
import re
import sys
import uuid
import warnings
import zoneinfo
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given, strategies as st

from autostate import codec
from autostate.codec import Unsupported
from autostate.errors import CorruptStateError, UnknownTypeError
from tests.conformance.state_kit import Program, shape

NUMBERS: Final = itertools.count()


def numbered(value: Any) -> str:
    """A name for a test: the value where it is short, and a number."""
    return f"{type(value).__name__}-{next(NUMBERS)}"


class Color(enum.Enum):
    """An enum whose values are not what is stored."""

    RED = "r"
    GREEN = (1, 2)
    ALIAS = "r"  # noqa: PIE796 - an alias is meant


class Number(enum.IntEnum):
    """An enum that is an int."""

    ONE = 1


class Bits(enum.Flag):
    """Members can be combined."""

    A = 1
    B = 2


BERLIN: Final = zoneinfo.ZoneInfo("Europe/Berlin")
SCALARS: Final[list[Any]] = [
    *(None, True, False, 0, -1, 2**31, 2**53 + 1, 2**64, -(2**64), 10**100),
    *(0.0, -0.0, 1.5, 1e308, -1e-308, 5e-324, 0.1, 1.0, math.inf, -math.inf, math.nan),
    *("", "text", "ä€😀", "\x00\x1f", '"\\', "\ud800", "a\udfffb", "$ref", "\u2028"),
    *(b"", b"\x00\xff", bytes(range(256))),
    *(dt.datetime(2026, 1, 2, 3, 4, 5, 6), dt.datetime(1, 1, 1), dt.datetime.max),  # noqa: DTZ001, DTZ901
    *(dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)),
    dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=7, microseconds=9))),
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "name")),
    dt.datetime(2026, 1, 1, fold=1),  # noqa: DTZ001 - naive on purpose
    *(dt.date(2026, 1, 2), dt.date.min, dt.time(1, 2, 3, 4), dt.time(1, fold=1)),
    *(dt.time(1, tzinfo=dt.UTC), dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=2)))),
    *(dt.timedelta(0), dt.timedelta(-1, 5, 7), dt.timedelta.min, dt.timedelta.max),
    *(decimal.Decimal("1.10"), decimal.Decimal("NaN"), decimal.Decimal("-0E+5")),
    *(decimal.Decimal("sNaN1"), decimal.Decimal("-Infinity")),
    *(uuid.UUID(int=0), uuid.UUID("12345678-1234-5678-1234-567812345678")),
    *(Color.RED, Color.GREEN, Color.ALIAS, Number.ONE, Bits.A, Bits.A | Bits.B, Bits(0)),
    *(1j, complex(math.nan, -0.0), complex(-0.0, math.inf), Fraction(-1, 3), Fraction(10**30)),
    *(
        range(0),
        range(5, -(10**30), -3),
        slice(None),
        slice(1, (2, "x"), -0.0),
        ...,
        NotImplemented,
    ),
    *(Path("a/../b"), Path("/"), PurePosixPath("."), PurePosixPath("//x"), PureWindowsPath("c:/x")),
    *(
        re.compile("ä.*"),
        re.compile(rb"\xff[^a]", re.IGNORECASE),
        re.compile("(?i)x # y", re.VERBOSE | re.DOTALL),
    ),
    *(
        re.compile("\ud800"),
        re.compile(""),
        re.compile(rb"\w", re.LOCALE),
        re.compile("a", re.ASCII),
    ),
    *(dt.UTC, dt.timezone(dt.timedelta(hours=-3)), dt.timezone(dt.timedelta(0), "X"), BERLIN),
    *(dt.timezone(dt.timedelta(0), "UTC"), dt.timezone(dt.timedelta(hours=1), "UTC+01:00")),
    *((), (1, (2, "x")), frozenset(), frozenset({1, "a", (2, frozenset("b"))})),
]
HASHABLE: Final = [v for v in SCALARS if str(v) != "sNaN1" and type(v) is not slice]
CONTAINERS: Final[list[Any]] = [
    *({}, [], set(), Counter()),
    *({"a": {"b": [1, (2, [3])]}}, [[], [{}], ({},)], {1, "1", (1, 2), None}),
    *(Counter("hello"), Counter({1: -5, (2,): 10**30})),
    *({1: "int", "1": "str", 1.5: "float", None: "none", (1, 2): "tuple"}, {True: 1, 0: 2}),
    {b"bytes": 1, dt.date(2026, 1, 1): 2, Color.RED: 3, frozenset({1}): 4},
    *({"$ref": 17}, {"$set": [1]}, {"$": 1}, {"$dict": [[1, 2]]}, {"$ref": 1, "other": 2}),
    *({"a": {"$ref": 17}}, [{"$tuple": [1]}], {"$a": {"$b": {"$ref": 3}}}, {("$ref",): 1}),
    *({"\ud800": "\udc00"}, {"\ud800": 1, "$set": 2}, {"$\ud800": 1}, [{"$str": "x"}]),
    *([1, 2.0, True, None, "x"], [1.0, math.nan], [2**70, -(2**70)], [1e308, 1e308]),
    *(("plain", {"in": "tuple"}), [{1, 2}, {"x"}], {"z": 1, "a": 2, "m": 3}),
]


def no_node(_container: Any) -> None:
    """No container is a node."""


def encoded(value: Any) -> bytes:
    """The value as JSON."""
    json_value = codec.jsonable(value, no_node)
    return codec.dump(json_value)


def plain(kind: str, content: Any) -> Any:
    """Build a container, as rehydration does."""
    if kind == "unknown":
        raise UnknownTypeError(content[0])
    if kind == "pickled":
        raise CorruptStateError("no pickles here")
    return Counter(content) if kind == "counter" else content


def round_trip(value: Any) -> Any:
    """The value as JSON and back, with every container of its own kind."""
    return codec.decode(msgspec.json.decode(encoded(value)), plain)


@pytest.mark.parametrize("value", [*SCALARS, *CONTAINERS], ids=numbered)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    """The same value, type and order."""
    assert shape(round_trip(value)) == shape(value)


@pytest.mark.parametrize("value", HASHABLE, ids=numbered)
def test_a_key_comes_back_as_it_was(value: Any) -> None:
    """As a key of a dict and of a Counter, and as a member of sets."""
    for container in ({value: 1}, Counter({value: 2}), {value}, frozenset({value})):
        assert shape(round_trip(container)) == shape(container)


@pytest.mark.parametrize("value", [*SCALARS, *CONTAINERS], ids=numbered)
def test_a_value_comes_back_in_the_next_run(value: Any) -> None:
    """In a dict, a list and a large dict, through tracker, journal and rehydration."""
    program = Program()
    one, two, three, four, five = (copy.deepcopy(value) for _ in range(5))
    program.root("d", default={"v": one, "in": {"deep": [two]}})
    program.root("l", "list", [three, [four]])
    program.root("large", default={f"k{i}": i for i in range(300)} | {"v": five})
    program.flush()
    assert not program.errors
    following = program.restart()
    for name, kind in (("d", "dict"), ("l", "list"), ("large", "dict")):
        assert shape(following.root(name, kind)) == shape(program.root(name, kind))
    assert following.flush(full_compare=True) == []


def test_a_set_is_stored_in_an_order_of_its_own() -> None:
    """The order of a set differs between processes; what is stored of equal ones does not."""
    members = [
        *range(0, 64_000, 3200),
        *"abcdefgh",
        (1, "x"),
        None,
        1.5,
        frozenset("xyz"),
        "\ud800",
    ]
    for some in (members, members[:20], members[20:28]):
        for kind in (set, frozenset):
            there: Any = kind(some)
            back: Any = kind()
            for member in reversed(some):
                back = kind([*back, member])
            assert encoded(there) == encoded(back)


def test_plain_json_is_stored_as_it_is() -> None:
    """What a console shows is what the user wrote; only what JSON lacks is tagged."""
    value = {"page": 3, "price": 1.5, "list": [1, None, True], "in": {"x": "y"}}
    assert json.loads(encoded(value)) == value
    assert json.loads(encoded({"s": {1}, "t": (1,)})) == {"s": {"$set": [1]}, "t": {"$tuple": [1]}}


hashable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(exclude_categories=[]) | st.sampled_from("$\ud800"), max_size=5),
        st.sampled_from(["$ref", "$set", "$dict", "$str"]),
        st.binary(max_size=5),
        st.datetimes(timezones=st.none() | st.timezones()),
        st.dates(),
        st.times(),
        st.timedeltas(),
        st.decimals().filter(lambda value: not value.is_snan()),
        st.uuids(),
        st.sampled_from([*Color, *Number, Bits(3), BERLIN, dt.UTC, ..., PurePosixPath("a")]),
        st.complex_numbers(),
        st.fractions(),
        st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner), st.tuples(inner), st.frozensets(inner, max_size=3)
    ),
    max_leaves=5,
)
values = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=4),
        st.dictionaries(st.sampled_from(["$ref", "$set", "a"]), inner, max_size=2),
        st.sets(hashable, max_size=4),
        st.dictionaries(hashable, st.integers(), max_size=3).map(Counter),
        st.tuples(inner, inner),
    ),
    max_leaves=20,
)


@given(values)
def test_any_nested_value_comes_back(value: Any) -> None:
    """Whatever is nested in what."""
    assert shape(round_trip(value)) == shape(value)
    data = encoded(value)
    assert b"\n" not in data


@given(values)
@example(Counter({"$ref": 17}))
@example({"a": [{"$ref": 17}]})
def test_no_data_of_the_user_looks_like_a_reference(value: Any) -> None:
    """The bytes of a reference occur only where there is one."""
    assert not re.search(rb'\{"\$ref":\d+\}', encoded(value))


@given(values)
def test_any_state_comes_back_in_the_next_run(value: Any) -> None:
    """Through tracker, journal and rehydration, and nothing is left to write."""
    program = Program()
    state = program.root("state", default={"value": value})
    program.flush()
    assert not program.errors
    following = program.restart()
    assert shape(following.root("state")) == shape(state)
    assert following.flush(full_compare=True) == []


@pytest.mark.parametrize("kind", ["dict", "counter"])
def test_a_root_may_look_like_a_tag(kind: str) -> None:
    """The content of a node is never taken for a tag or a reference, nor is a nested Counter."""
    for content in ({"$ref": 17}, {"$set": 1}, {"$ref": 1}):
        program = Program()
        state = program.root("state", kind, content)
        other = program.root("other", default={"c": Counter(content), "d": dict(content)})
        program.flush()
        program.tracker.collected(program.journal.compact(pause=lambda: None))
        following = program.restart()
        assert shape(following.root("state", kind)) == shape(state)
        assert shape(following.root("other")) == shape(other)
        state["$ref"] = 18
        program.flush()
        assert shape(program.restart().root("state", kind)) == shape(state)


class Subclassed(dict[str, int]):
    """Holds more than a dict."""


@pytest.mark.parametrize(
    "value",
    [
        *(object(), lambda: None, Subclassed(), defaultdict(lambda: 0), Program),
        *(memoryview(b"x"), iter([]), json, sys.stdout, Exception("x")),
        *({object(): 1}, {1, object}, (1, object()), [[{"a": object()}]], Counter({object(): 1})),
        *(type("Text", (str,), {})("x"), type("Int", (int,), {})(1), type("F", (float,), {})(1)),
    ],
    ids=numbered,
)
def test_an_unsupported_value_is_refused(value: Any) -> None:
    """Nothing changes its type silently; the message names the type, not the value."""
    with pytest.raises(Unsupported):
        codec.jsonable(value, no_node)
    program = Program()
    state = program.root("state", default={"good": 1, "in": {"list": [0, value]}})
    program.flush()
    assert len(program.errors) == 1
    assert program.errors[0].path.startswith('state["in"]["list"][1]')
    later = program.restart().root("state")
    assert (later["good"], later["in"]["list"][0], len(later["in"]["list"])) == (1, 0, 2)
    state["in"] = None
    program.flush()
    assert not program.errors


class Secret:
    """Holds a token."""

    def __repr__(self) -> str:
        return "XXX"


def test_messages_hold_no_values() -> None:
    """State holds cookies and tokens; what is logged holds neither."""
    program = Program()
    program.root("state", default={"a": [Secret()]})
    program.flush()
    assert "XXX" not in str(program.errors[0])
    assert 'state["a"][0]' in str(program.errors[0])


HOSTILE: Final = [
    {"$decimal": 5},
    {"$decimal": True},
    {"$float": 5},
    *(
        {"$unknown": 1},
        {"$enum": ["os:system", "x"]},
        {"$enum": ["tests.codec.test_codec:Color", "NO"]},
    ),
    *({"$enum": ["subprocess:Popen", ["true"]]}, {"$enum": []}, {"$enum": 5}, {"$enum": [1, 2]}),
    *({"$datetime": "x"}, {"$datetime": [1]}, {"$datetime": ["2026-01-01", 0, ["zone", "../x"]]}),
    *({"$bytes": "*"}, {"$bytes": 5}, {"$uuid": "x"}, {"$decimal": "x"}, {"$decimal": [1]}),
    *({"$set": [[1]]}, {"$set": 5}, {"$set": [{"a": 1}]}, {"$tuple": 5}, {"$dict": [[1]]}),
    *({"$dict": [[[1], 2]]}, {"$dict": 5}, {"$float": "x"}, {"$float": []}, {"$str": "*"}),
    *({"$timedelta": ["x", 0, 0]}, {"$date": 5}, {"$time": {}}, {"$frozenset": [{"$ref": 1}]}),
    *({"$unsaved": 1}, {"$unsaved": [1]}, {"$unsaved": {"$str": 5}}),
    *({"$counter": 7}, {"$dict": [[{"$ref": 1}, 2]]}, {"$python": "x"}, {"$pickle": "gA=="}),
]


@pytest.mark.parametrize("stored", HOSTILE, ids=json.dumps)
def test_what_cannot_be_is_refused(stored: Any) -> None:
    """A record that was tampered with is an error of the library, whatever it holds."""
    with pytest.raises((CorruptStateError, UnknownTypeError)):
        codec.decode(stored, plain)
    with pytest.raises((CorruptStateError, UnknownTypeError)):
        codec.decode({"a": [stored]}, plain)


def test_nothing_is_imported_or_run_for_a_stored_value() -> None:
    """The name of an enum is looked up among the classes that are loaded."""
    module = "xml.sax.saxutils"
    sys.modules.pop(module, None)
    with pytest.raises(UnknownTypeError):
        codec.decode({"$enum": [f"{module}:Anything", "x"]}, plain)
    assert module not in sys.modules


def test_a_pattern_that_draws_a_warning_can_be_read(recwarn: pytest.WarningsRecorder) -> None:
    """Also where warnings are errors; and nothing is printed for one that was debugged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = re.compile("[[a]")
    stored = msgspec.json.decode(encoded(odd))
    re.purge()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert codec.decode(stored, plain) == odd
    debugged = codec.decode({"$pattern": ["str", "a", int(re.DEBUG)]}, plain)
    assert msgspec.json.decode(encoded(debugged))["$pattern"][2] == int(re.UNICODE)
    with pytest.raises(CorruptStateError, match=r"a stored .pattern cannot be read"):
        codec.decode({"$pattern": ["str", "(", 0]}, plain)


TAGS: Final = [
    *("$dict", "$set", "$tuple", "$frozenset", "$counter", "$bytes", "$datetime", "$date", "$time"),
    *("$timedelta", "$decimal", "$uuid", "$float", "$str", "$enum", "$ref", "$object", "$deque"),
    *("$ordereddict", "$defaultdict", "$complex", "$timezone", "$constant", "$path", "$int"),
    "$pattern",
    *("$fraction", "$range", "$slice", "$ndarray", "$npscalar", "$bytearray", "$random"),
    *("$pickled", "$unset", "$unknown", "$secret"),
]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(TAGS),
                inner,
                min_size=1,
                max_size=1,
            )
        ),
    )
)
def test_any_json_is_decoded_or_refused(stored: Any) -> None:
    """Nothing but CorruptStateError comes out of what a store may hold."""
    with contextlib.suppress(CorruptStateError, UnknownTypeError):
        codec.decode(stored, plain)
