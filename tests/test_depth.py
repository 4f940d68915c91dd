"""What is nested deeply: saved under one recursion limit, and read under another."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import autostate
from autostate import depth
from autostate.journal import recovery
from autostate.journal.head import HEADS, OWNER, parse_key
from autostate.journal.record import DamagedRecordError, open_record, seal
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore
from tests import programs

SAVING = """
import os, sys, threading, traceback, autostate

def main():
    try:
        autostate.configure("sqlite:///deep.db")
        value = 1
        for _ in range({levels}):
            value = {nested}
        state = {state}
        autostate.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc(limit=-5)
        os._exit(1)

sys.setrecursionlimit(1_000_000)
threading.stack_size(1 << 29)
threading.Thread(target=main).start()
"""
LEVELS = {"mixed": 300}
"""Each of mixed ones is four of JSON, and C code of Python 3.12 cannot recurse 1,500 times."""

IN_A_DICT = 'autostate.PersistedDict("state"); state["value"] = value'
STATES = {
    "list": ("[value]", IN_A_DICT),
    "dict": ('{"a": value}', IN_A_DICT),
    "tuple": ("(value,)", IN_A_DICT),
    "mixed": ('[({"a": value},)]', IN_A_DICT),
    "text": ("""[value, '[[[{"']""", IN_A_DICT),
    "item": ("[value]", 'autostate.PersistedList("state"); state.append(value)'),
    "key": ("(value,)", 'autostate.PersistedDict("state"); state[value] = "key"'),
    "member": ("(value,)", 'autostate.PersistedSet("state"); state.add(value)'),
}

READING = """
import autostate

autostate.configure("sqlite:///deep.db"{settings})
state = autostate.{cls}("state")
value = {value}
levels = 0
while not isinstance(value, int):
    value = next(iter(value.values() if isinstance(value, dict) else value))
    levels += 1
print(levels, flush=True)
for number in range(10):
    autostate.PersistedDict("other")["number"] = number
    autostate.flush()
"""


def save(kind: str, levels: int) -> None:
    """Save a state of so many levels."""
    nested, state = STATES[kind]
    done = programs.run(SAVING.format(levels=levels, nested=nested, state=state))
    assert done.returncode == 0, done.stderr


def read(kind: str, settings: str = "") -> tuple[int, str, str]:
    """Read it, and save something else; the exit code, what is printed, and what is told."""
    cls = {"item": "PersistedList", "member": "PersistedSet"}.get(kind, "PersistedDict")
    value = {"item": "state[0]", "member": "next(iter(state))", "key": "next(iter(state))"}
    code = READING.format(cls=cls, value=value.get(kind, 'state["value"]'), settings=settings)
    done = programs.run(code)
    return done.returncode, done.stdout.strip(), done.stderr


@pytest.mark.parametrize("kind", STATES)
def test_what_was_saved_under_a_higher_limit(kind: str, isolated: Path) -> None:
    """It is read under the usual one, compared at each save, and read again."""
    levels = LEVELS.get(kind, 700)
    save(kind, levels)
    expected = levels * (3 if kind == "mixed" else 1)
    for _ in range(2):
        assert read(kind) == (0, str(expected), "")


def _nest(old: str, new: str) -> None:
    """Put one text in the place of another in the newest head, as a process could have done."""
    with contextlib.closing(SqliteStore("deep.db")) as store:
        [key] = [key for key in store.list(HEADS) if parse_key(key)]
        data = store.read(key)
        assert data is not None
        record = open_record(key, data, "head")
        assert old.encode() in record.body
        body = record.body.replace(old.encode(), new.encode())
        previous = json.loads(data)["previous"]
        changed, digest = seal(key, "head", (record.epoch, record.sequence), previous, body)
        named = msgspec.json.encode({"head": key, "digest": digest})
        store.write({key: changed, OWNER: seal(OWNER, "owner", (record.epoch, 0), "", named)[0]})


@pytest.mark.parametrize("settings", ["", ', on_corrupt="previous"'])
def test_more_levels_than_can_be_read(settings: str, isolated: Path) -> None:
    """The error names the record and says what to do; nobody goes back to an older state."""
    save("list", 10)
    _nest("[" * 10 + "1" + "]" * 10, "[" * 30_000 + "1" + "]" * 30_000)
    before = Path("deep.db").read_bytes()
    code, out, err = read("list", settings)
    assert (code, out) == (1, "")
    assert "autostate-head-" in err
    assert "sys.setrecursionlimit" in err
    assert "Nothing was touched" in err
    assert Path("deep.db").read_bytes() == before


@pytest.mark.parametrize(
    "command", ["ls", "show state", "show state --json", "get state value", "verify"]
)
def test_commands(command: str, isolated: Path) -> None:
    """They show as much."""
    save("mixed", 350)
    name, *rest = command.split()
    done = programs.run_python("-m", "autostate", name, *rest, "--url", "sqlite:///deep.db")
    assert (done.returncode, done.stderr) == (0, "")


def recursing() -> None:
    """Never end."""
    recursing()


def test_code_of_the_program_that_recurses_for_ever(isolated: Path) -> None:
    """It ends as it would anywhere, and the state is not taken for damaged."""
    program = """
import autostate

class Money:
    pass

def decode(_):
    return {result}

autostate.register(Money, "money", encode=lambda _: [[1]], decode=decode)
for _ in range(2):
    try:
        print(*autostate.PersistedDict("state", money=Money()))
    except RecursionError:
        print("recursion")
    autostate.flush()
"""
    for result, expected in (
        ("Money()", "money"),
        ("decode(_)", "recursion"),
        ("Money()", "money"),
    ):
        done = programs.run(program.format(result=result))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == [expected] * 2


class TestTheLimit:
    """How it is raised, and comes back."""

    def test_it_is_as_before(self) -> None:
        """After one that is within another."""
        before = sys.getrecursionlimit()
        with depth.room_for(100), depth.room_for(200):
            assert sys.getrecursionlimit() > before + 300
        assert sys.getrecursionlimit() == before

    def test_threads_that_need_room_at_once(self) -> None:
        """Whoever leaves first takes nothing away from the other."""
        before, inside, leave = sys.getrecursionlimit(), threading.Event(), threading.Event()

        def other() -> None:
            with depth.room_for(1_000):
                inside.set()
                leave.wait()

        thread = threading.Thread(target=other)
        with depth.room_for(100):
            thread.start()
            inside.wait()
        assert sys.getrecursionlimit() >= before + 1_000
        leave.set()
        thread.join()
        assert sys.getrecursionlimit() == before

    @pytest.mark.parametrize("fails", [RecursionError, ValueError])
    def test_it_comes_back_after_an_error(self, fails: type[Exception]) -> None:
        """Of whatever kind."""
        before = sys.getrecursionlimit()
        with pytest.raises((depth.TooDeepError, ValueError)), depth.room_for(100):
            raise fails
        assert sys.getrecursionlimit() == before

    @pytest.mark.parametrize("json", [b"[]", b'{"a":"[[[["}', [[1]], b"1"])
    def test_what_recurses_for_another_reason(self, json: object) -> None:
        """It is not called again with more room."""
        calls = []

        def decode(json: object) -> None:
            calls.append(json)
            recursing()

        with pytest.raises(RecursionError):
            depth.reads_deep(decode)(json)
        assert len(calls) == 1


@pytest.mark.parametrize(
    ("levels", "make"),
    [(3, lambda value: [value]), (2, lambda value: {"]": value}), (0, lambda _: '"]}[{')],
)
def test_levels_are_counted(levels: int, make: Callable[[object], object]) -> None:
    """In a text, what is in quotes does not count."""
    value: object = 1
    for _ in range(levels):
        value = make(value)
    assert depth.levels_of([value]) == levels + 1
    assert depth._levels_of_text(autostate.codec.dumps(value)) == levels


def test_an_intact_record_is_no_damage() -> None:
    """So `on_corrupt` says nothing about it, and a copy with advice stays one."""
    error = DamagedRecordError("key", "is of tomorrow", b"", intact=True)
    assert recovery.Recovery(MemoryStore(), "raise", None)._advised(error).intact


def test_a_value_that_holds_itself() -> None:
    """Its levels come to an end."""
    value: list[object] = []
    value.append((value, value))
    assert autostate.codec.levels_of(value) == 2
