"""What stands for a value that cannot be saved, inside one that can."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import csv
import dataclasses
import hashlib
import inspect
import io
import logging
import os
import queue
import re
import selectors
import socket
import sqlite3
import sys
import threading
import weakref
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Final

import msgspec
import pydantic
import pytest

import autostate
from autostate import codec
from autostate.codec import Unsupported
from autostate.errors import UnsupportedTypeError
from tests.codec.test_codec import encoded, no_node, numbered, plain


class Lenient:
    """Refers to no node, and lets what cannot be saved be replaced."""

    def __init__(self) -> None:
        self.replaced = codec.Replaced()

    def __call__(self, _value: Any) -> None:
        return None

    def strict(self) -> Callable[[Any], None]:
        """What a payload meets: there is no saying what its `decode` does with a gap."""
        return no_node


@dataclasses.dataclass
class Holder:
    """Has a place for anything."""

    lock: Any
    name: str = "x"


class Opaque:
    """Registered with a payload that holds whatever it is given."""

    def __init__(self, content: Any) -> None:
        self.content = content


autostate.register(Opaque, "tests.opaque", encode=lambda o: [o.content, 1], decode=lambda s: s[0])

LOCK: Final = threading.Lock()
GAP: Final = {"$unsaved": "_thread.lock"}
LENIENT: Final[list[tuple[Any, Any]]] = [
    ([1, LOCK, [LOCK]], [1, GAP, [GAP]]),
    ({"a": {"x": 1, "lock": LOCK}}, {"a": {"x": 1, "lock": GAP}}),
    ({LOCK: 1, 2: LOCK}, {"$dict": [[2, GAP]]}),
    ({(1, LOCK), (1, 2)}, {"$set": [{"$tuple": [1, 2]}]}),
    (deque([LOCK, 1], 3), {"$deque": [[GAP, 1], 3]}),
    ((LOCK,), {"$tuple": [GAP]}),
    (OrderedDict(a=LOCK), {"$ordereddict": {"a": GAP}}),
    (
        Holder(LOCK),
        {"$object": ["tests.codec.test_unsupported:Holder", {"lock": GAP, "name": "x"}]},
    ),
    (
        Holder([LOCK]),
        {"$object": ["tests.codec.test_unsupported:Holder", {"lock": [GAP], "name": "x"}]},
    ),
    ([Opaque(LOCK), Opaque([LOCK])], [{"$unsaved": "tests.codec.test_unsupported.Opaque"}] * 2),
]


@pytest.mark.parametrize(("value", "stored"), LENIENT, ids=numbered)
def test_what_cannot_be_saved_can_be_replaced(value: Any, stored: Any) -> None:
    """Its neighbours are saved; what stands for it names its class, and stays what it is."""
    with pytest.raises(Unsupported):
        codec.jsonable(value, no_node)
    translated = msgspec.json.decode(codec.dump(codec.jsonable(value, Lenient())))
    assert translated == stored
    decoded = codec.decode(translated, plain)
    assert msgspec.json.decode(encoded(decoded)) == stored


def test_each_value_that_is_replaced_is_named_with_its_way() -> None:
    """Through dicts, tuples and objects; the first few, and how many others there are."""
    lenient = Lenient()
    codec.jsonable({"a": (1, LOCK), "b": [Holder({LOCK: 1}), Opaque([LOCK])]}, lenient)
    assert [problem.path for problem in lenient.replaced.problems] == [
        '["a"][1]',
        '["b"][0].lock (the key <lock>)',
        '["b"][1] (as its encode gave it)[0][0]',
    ]
    lenient.replaced.clear()
    codec.jsonable([[LOCK] * 3, [LOCK] * 30], lenient)
    assert [problem.path for problem in lenient.replaced.problems][3:] == ["[1][0]", "[1][1]"]
    assert lenient.replaced.more == 28


def test_what_stands_for_a_value_names_its_class() -> None:
    """Also where types that are not known are errors."""
    assert codec.unsaved(LOCK) == GAP
    kept = codec.decode([GAP], plain)[0]
    assert type(kept) is codec.Unknown
    assert kept.name == "_thread.lock"
    assert codec.unsaved(kept) == GAP
    odd = type("Odd", (), {"__module__": "m\ud800"})()
    assert round_trip_json(codec.unsaved(odd)).name == "m\ud800.Odd"


def round_trip_json(translated: Any) -> Any:
    """The value that is stored as that."""
    return codec.decode(msgspec.json.decode(codec.dump(translated)), plain)


def generator() -> Iterator[int]:
    """Goes on only in its process."""
    yield 1


def entry() -> os.DirEntry[str]:
    """Says what is in a folder."""
    with os.scandir("/") as entries:
        return next(entries)


class Worker(threading.Thread):
    """One of the program's own."""


class Plain:
    """Nothing is known of it."""


def test_what_belongs_to_the_process_is_no_pickle_either() -> None:
    """So no message sends the user there."""
    with socket.socket() as connection, Path(__file__).open() as file:
        for value in (LOCK, threading.RLock(), generator(), Worker(), connection, file):
            with pytest.raises(Unsupported, match="keep it outside of the state") as caught:
                codec.jsonable(value, no_node)
            assert "pickled" not in caught.value.problem
    for other in (Plain(), io.StringIO("x"), io.BytesIO(b"x")):
        with pytest.raises(Unsupported, match=r"or store autostate.pickled\(value\)"):
            codec.jsonable(other, no_node)
        autostate.pickled(other)


LIVE: Final[dict[str, Callable[[], Any]]] = {
    "match": lambda: re.match("a", "a"),
    "scanner": lambda: re.finditer("a", "a"),
    "generator": generator,
    "csv": lambda: csv.reader([]),
    "module": lambda: sys,
    "frame": inspect.currentframe,
    "lock": threading.Lock,
    "local": threading.local,
    "condition": threading.Condition,
    "thread": threading.Thread,
    "queue": queue.SimpleQueue,
    "task lock": asyncio.Lock,
    "future": concurrent.futures.Future,
    "loop": asyncio.new_event_loop,
    "context": contextvars.copy_context,
    "context variable": lambda: contextvars.ContextVar("x"),
    "database": lambda: sqlite3.connect(":memory:"),
    "folder": lambda: os.scandir("/"),
    "folder's entry": entry,
    "hash": hashlib.sha256,
    "compressor": zlib.compressobj,
    "selector": selectors.DefaultSelector,
    "logging": logging.StreamHandler,
    "weak": lambda: weakref.ref(Plain),
    "weak values": weakref.WeakValueDictionary,
}


@pytest.mark.parametrize("what", LIVE)
def test_nobody_is_sent_to_a_pickle_that_cannot_be_made(what: str) -> None:
    """Whether Python or C made the class, and whatever else is advised."""
    value = LIVE[what]()
    with contextlib.ExitStack() as stack:
        if hasattr(value, "close"):
            stack.callback(value.close)
        with pytest.raises(Unsupported, match="keep it outside of the state") as caught:
            codec.jsonable(value, no_node)
        assert "pickled(" not in caught.value.problem


async def test_nobody_is_sent_to_a_pickle_of_a_task() -> None:
    """Nor of a future."""
    task = asyncio.ensure_future(asyncio.sleep(0))
    with pytest.raises(Unsupported, match="not even as a pickle"):
        codec.jsonable(task, no_node)
    await task


@pytest.mark.parametrize("value", [{}.keys(), lambda: 1, iter([1]), Plain()], ids=numbered)
def test_what_can_be_pickled_is_said_to_be(value: Any) -> None:
    """So the advice is not left out where it would help."""
    with pytest.raises(Unsupported, match=r"or store autostate.pickled\(value\)"):
        codec.jsonable(value, no_node)
    autostate.pickled(value)


def made(name: str, module: str) -> type:
    """A class of a package that is not installed here."""
    return type(name, (), {"__module__": module})


ADVICE: Final[dict[str, tuple[Any, str]]] = {
    "HttpUrl": (lambda: pydantic.HttpUrl("https://x.y"), "str(url)"),
    "AnyUrl": (lambda: pydantic.AnyUrl("x://y"), "register(AnyUrl"),
    "dsn": (lambda: pydantic.PostgresDsn("postgresql://a:b@c/d"), "str(url)"),
    "secret": (lambda: type("Odd", (pydantic.SecretStr,), {})("x"), "get_secret_value()"),
    "function": (lambda: generator, "a name that the program looks up"),
    "lambda": (lambda: lambda: 1, "a name that the program looks up"),
    "builtin": (lambda: len, "a name that the program looks up"),
    "method": (lambda: [].append, "a name that the program looks up"),
    "class": (lambda: Plain, "a name that the program looks up"),
    "module": (lambda: sys, "value.__name__"),
    "generator": (generator, "autostate.resume"),
    "iterator": (lambda: iter([1]), "autostate.resume"),
    "map": (lambda: map(str, [1]), "autostate.resume"),
    "file": (Path(__file__).open, "file.tell()"),
    "view": ({}.keys, "list(value)"),
    "match": (lambda: re.match("a", "a"), "match.group()"),
    "logger": (lambda: logging.getLogger("x"), "logger.name"),
    "lock": (threading.Lock, "belongs to this process"),
    "thread": (threading.Thread, "belongs to this process"),
    "frame": (made("DataFrame", "pandas.core.frame"), 'to_dict("records")'),
    "newer frame": (made("DataFrame", "pandas"), 'to_dict("records")'),
    "polars": (made("DataFrame", "polars.dataframe.frame"), "to_dicts()"),
    "session": (made("Session", "requests.sessions"), "anew in each process"),
    "shared": (made("SharedContainer", "autostate.shared.container"), "by its name"),
    "client": (type("Client", (made("BaseClient", "httpx._client"),), {}), "anew"),
}


@pytest.mark.parametrize("what", ADVICE)
def test_advice_fits_the_type(what: str) -> None:
    """Nobody can make a dataclass of a class of somebody else's."""
    make, advice = ADVICE[what]
    value = make()
    for key in (False, True) if isinstance(value, Hashable) else (False,):
        with pytest.raises(Unsupported, match="cannot be saved") as caught:
            codec.jsonable({value: 1} if key else value, no_node)
        assert advice in caught.value.problem
        assert "dataclass" not in caught.value.problem
        assert "keep it outside of the state" in caught.value.problem
    if hasattr(value, "close"):
        value.close()


def test_what_cannot_be_pickled_says_why_and_what_to_do(tmp_path: Path) -> None:
    """The reason, where it is about types; then the way out."""
    with pytest.raises(UnsupportedTypeError, match=r"RLock.*register its class") as caught:
        autostate.pickled(CookieJar())
    opened = (tmp_path / "file").open("w")
    with (
        opened,
        pytest.raises(UnsupportedTypeError, match="cannot pickle a TextIOWrapper") as caught,
    ):
        autostate.pickled(opened)
    assert "keep it outside of the state" in str(caught.value)
    assert "register" not in str(caught.value)


@pytest.mark.parametrize("value", [{Plain(): 1}, {Plain()}, {(1, Plain()): 1}], ids=numbered)
def test_what_cannot_be_a_key_is_told_what_can(value: Any) -> None:
    """Neither a plain dataclass nor what is pickled can."""
    with pytest.raises(Unsupported, match="a frozen dataclass") as caught:
        codec.jsonable(value, no_node)
    assert "pickled" not in caught.value.problem


def test_nothing_inside_stands_for_what_is_nested_too_deeply() -> None:
    """It would be as deep, and could be written but not read."""
    deep: Any = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(Unsupported, match="nested too deeply"):
        codec.jsonable([deep], Lenient())
