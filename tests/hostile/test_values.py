"""Values at the edge of what JSON and the interpreter can hold, and stores that lie."""

from __future__ import annotations

import collections
import contextlib
import copy
import decimal
import random
import subprocess
import sys
import textwrap
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from autostate import UnknownTypeError, codec
from autostate.codec import Unsupported
from autostate.errors import CorruptStateError
from tests.codec.test_codec import SCALARS, TAGS, no_node
from tests.conformance.types_kit import (
    OBJECTS,
    Box,
    Model,
    Point,
    Row,
    Slotted,
    Visit,
    field_of,
    keeping,
    numbered,
    refused,
    round_trip,
    stored,
    strict,
)
from tests.conformance.values_kit import exact


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """A value, wrapped so many times."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS: Final[list[Callable[[Any], Any]]] = [
    *(lambda v: [v], lambda v: {"a": v}, lambda v: {1: v}, lambda v: (v,), Row),
    *(Slotted, Visit, lambda v: deque([v]), lambda v: OrderedDict(a=v)),
    *(lambda v: defaultdict(list, a=v), lambda v: {Point(v): 1} if v == 1 else Box(v)),
    *(lambda v: ["\ud800", v], lambda v: Slotted(v, "\ud800"), lambda v: {"\ud800": v}),
    lambda v: Model.model_construct(name=v),
]


@pytest.mark.parametrize("wrap", WRAPS, ids=numbered)
def test_what_is_nested_too_deeply_is_refused(wrap: Callable[[Any], Any]) -> None:
    """There is an error with a short path; and what is saved can be restored."""
    # CPython itself crashes when it frees some kinds that are nested more deeply.
    value = nested(100_000 if type(wrap(1)) in (list, dict, tuple) else 2_000, wrap)
    problem = refused(value)
    assert "nested too deeply" in problem.problem
    assert 0 < len(problem.path) < 400
    deepest = 10
    with contextlib.suppress(Unsupported):
        while True:
            saved = stored(nested(deepest, wrap))
            deepest += 5
    assert deepest > 50

    def deeper(frames: int) -> Any:
        return codec.decode(saved, strict) if not frames else deeper(frames - 1)

    assert deeper(100) is not None


def test_stored_json_that_is_nested_too_deeply_can_be_decoded_again() -> None:
    """Whoever has called it gives it more room: see `autostate/depth.py`."""
    for wrap in (lambda v: [v], lambda v: {"$tuple": [v]}, lambda v: field_of(Slotted, a=v)):
        value = nested(5_000, wrap)
        with pytest.raises(RecursionError):
            codec.decode(value, strict)


HUGE: Final = 10**5000 + 7


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: HUGE, lambda: -HUGE, lambda: [1, HUGE], lambda: {HUGE: {"a": HUGE}}),
        *(lambda: {"a": HUGE, "b": "\ud800"}, lambda: (HUGE,), lambda: {HUGE}),
        *(lambda: Fraction(HUGE, 3), lambda: range(HUGE), lambda: Slotted(HUGE, {"a": HUGE})),
        *(lambda: decimal.Decimal(HUGE), lambda: slice(HUGE), lambda: {"$int": "0x1"}),
        *(lambda: Visit("\ud800", [("\udfff",)]), lambda: {Point("\ud800"): 1}),
        *(lambda: defaultdict(int, {"\ud800": 1}), lambda: OrderedDict({"\ud800": [HUGE]})),
        *(lambda: defaultdict(int, {"$\ud800": 1}), lambda: deque([("\ud800",), "x"], 3)),
        *(lambda: collections.Counter({"\ud800": HUGE}), lambda: np.array(["\ud800"])),
        *(lambda: "x" * 2**20, lambda: {"k" * 2**20: "\ud800" * 2**18}, lambda: b"x" * 2**20),
    ],
    ids=numbered,
)
def test_values_without_a_form_in_json_are_tagged(make: Callable[[], Any]) -> None:
    """Whatever limit the interpreter has, and wherever they are."""
    value = make()
    assert exact(round_trip(value)) == exact(value)
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert exact(round_trip(value)) == exact(value)
    finally:
        sys.set_int_max_str_digits(limit)


def test_attributes_with_odd_names_come_back() -> None:
    """`setattr` and `__dict__` take any name."""
    value = Visit("x")
    for name in ("$set", "\ud800", ""):
        setattr(value, name, 1)
    vars(value)[5] = 6  # type: ignore[index]
    assert exact(round_trip(value)) == exact(value)
    only = object.__new__(Box)
    vars(only)["$set"] = [1]
    assert exact(round_trip(only)) == exact(only)


NOWHERE: Final = [
    "os:system",
    "subprocess:Popen",
    "builtins:eval",
    "xml.sax.saxutils:Anything",
    ":",
    "",
]


PAYLOADS: Final[list[Any]] = [
    *(None, 5, "x", [], [1], [[]], [[1, 2]], {}, {"x": 1}, {"$ref": 1}, {"$set": [[1]]}, True, 1.5),
    *(
        [None, None],
        ["a", "b", "c"],
        [5, {}],
        [{}, {}],
        ["tests.conformance.types_kit:Row", 5],
        [[], 3],
    ),
    *(
        ["tests.conformance.types_kit:Level", 7],
        ["tests.conformance.types_kit:Level", [1]],
        ["tests.conformance.types_kit:Point", []],
    ),
    *(
        ["tests.conformance.types_kit:Visit", {"$dict": 1}],
        ["tests.conformance.types_kit:Visit", {"url": {"$x": 1}}],
    ),
    *(
        ["tests.conformance.types_kit:Bare", {}],
        ["tests.conformance.types_kit:Ends", {"x": 1}],
        [[1], -1],
        [[1], "x"],
    ),
    *(
        ["tests.conformance.types_kit:Row", {"x": {"$ref": 1}}],
        ["builtins:list", 5],
        ["builtins:list", [[1]]],
    ),
    *([name, {}] for name in NOWHERE),
]


@pytest.mark.parametrize("tag", TAGS)
def test_a_wrong_payload_is_an_error_of_the_library(tag: str) -> None:
    """Whatever a store holds: a value of the right type, or one of two errors."""
    for payload in PAYLOADS:
        for saved in ({tag: payload}, [{"a": {tag: payload}}], {"$set": [{tag: payload}]}):
            with contextlib.suppress(CorruptStateError, UnknownTypeError):
                codec.decode(saved, strict)
        with contextlib.suppress(CorruptStateError):
            codec.decode_key({tag: payload})


def test_nothing_from_a_store_is_imported_or_executed() -> None:
    """An audit hook sees no import, no exec, no open and no process, whatever is stored."""
    code = """
    import sys, json
    import numpy, autostate
    from autostate import codec, errors
    import tests.conformance.types_kit as types
    from tests.hostile import test_values as hostile

    values = [{tag: payload} for tag in hostile.TAGS for payload in hostile.PAYLOADS]
    values += [{"$object": [name, {"x": 1}]} for name in hostile.NOWHERE]
    for tag, names in (("$enum", hostile.NOWHERE), ("$defaultdict", hostile.NOWHERE)):
        values += [{tag: [name, {}]} for name in names]
    values += [json.loads(json.dumps(codec.jsonable(make(), lambda _: None)))
               for make in types.OBJECTS[:40]]
    seen = []

    def hook(event, args):
        if event.partition(".")[0] in ("import", "exec", "open", "os", "subprocess", "pickle",
                                       "socket", "ctypes", "shutil", "code", "marshal"):
            seen.append((event, args))

    sys.addaudithook(hook)
    for value in values:
        for place in (value, [value], {"$frozenset": [value]}):
            try:
                codec.decode(place, types.strict)
            except (errors.CorruptStateError, errors.UnknownTypeError):
                pass
    print(len(values), seen)
    sys.exit(bool(seen))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 1000


def test_a_time_zone_that_is_not_known_here_is_told() -> None:
    """Small containers have no database of time zones: the message says what to install."""
    for saved in ({"$timezone": ["zone", "Mars/Base"]}, {"$time": ["01:00", 0, ["zone", "Mars"]]}):
        with pytest.raises(CorruptStateError, match="Mars"):
            codec.decode(saved, strict)
    for key in ("../../etc/passwd", "/etc/passwd", "os.path", "", "a//b", 5, None):
        with pytest.raises(CorruptStateError, match=r"\$timezone cannot be read"):
            codec.decode({"$timezone": ["zone", key]}, strict)


def test_a_path_of_another_platform_is_told() -> None:
    """A pure path can be made everywhere."""
    with pytest.raises(CorruptStateError, match="PureWindowsPath"):
        codec.decode({"$path": ["WindowsPath", "c:/x"]}, strict)
    assert codec.decode({"$path": ["PureWindowsPath", "c:/x"]}, strict).drive == "c:"


def places(json: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """All places in a JSON value, and what is there."""
    yield at, json
    if not isinstance(json, dict | list):
        return
    for key, item in json.items() if isinstance(json, dict) else enumerate(json):
        yield from places(item, (*at, key))


def replaced(json: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else at one place."""
    if not at:
        return new
    made = copy.copy(json)
    made[at[0]] = replaced(made[at[0]], at[1:], new)
    return made


def test_a_mixed_up_store_is_an_error_of_the_library(rng: random.Random) -> None:
    """Parts of stored values in wrong places give a value that can be saved, or an error."""
    saved = [stored(make()) for make in OBJECTS] + [stored(value) for value in SCALARS]
    parts = [part for value in saved for _, part in places(value)]
    decoded = 0
    for _ in range(4_000):
        value = rng.choice(saved)
        at, _ = rng.choice(list(places(value)))
        mixed = replaced(value, at, rng.choice(parts))
        with contextlib.suppress(CorruptStateError):
            codec.decode_key(mixed)
        try:
            back = codec.decode(mixed, keeping)
        except CorruptStateError:
            continue
        decoded += 1
        with contextlib.suppress(Unsupported):  # a class that cannot be a key, as a key
            codec.dump(codec.jsonable(back, no_node))
    assert decoded > 500
