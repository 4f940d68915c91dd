"""What cannot be read: each message says what helps, and `delete` keeps a copy."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict
from autostate.errors import CorruptStateError, SignatureError
from autostate.journal.salvage import names_in
from autostate.runtime.stored_state import read_state

URL = "sqlite:///state.db"


def fill(**states: dict[str, Any]) -> None:
    """Save some state objects, in one process."""
    with autostate.open(URL):
        for name, content in states.items():
            PersistedDict[str, Any](name).update(content)


def records(prefix: str) -> dict[str, bytes]:
    """The records of the database."""
    connection = sqlite3.connect("state.db")
    query = "SELECT key, value FROM records WHERE key GLOB ? ORDER BY key"
    found = dict(connection.execute(query, (f"{prefix}*",)).fetchall())
    connection.close()
    return found


def damage(prefix: str, which: int = -1) -> bytes:
    """Change one byte in the newest record of a kind; give what it is now."""
    key, value = list(records(prefix).items())[which]
    changed = value[:-9] + bytes([value[-9] ^ 1]) + value[-8:]
    connection = sqlite3.connect("state.db")
    connection.execute("UPDATE records SET value = ? WHERE key = ?", (changed, key))
    connection.commit()
    connection.close()
    return changed


def problem(name: str, **settings: Any) -> str:
    """Why a state object cannot be created."""
    with autostate.open(URL, **settings), pytest.raises(CorruptStateError) as caught:
        PersistedDict(name)
    return str(caught.value)


class Own:
    """A class of the program."""


LARGE = {str(number): "x" * 100 for number in range(500)}


def test_each_message_names_what_helps(isolated: Path) -> None:
    """Without an earlier state nobody is sent back to one; with one its time is told."""
    fill(a={"n": 1})
    damage("autostate-head")
    for settings in ({}, {"on_corrupt": "previous"}):
        told = problem("a", **settings)
        assert "no earlier state" in told
        assert "autostate.delete(name)" in told
        assert "on_corrupt" not in told


def test_where_there_is_an_earlier_state_the_message_says_so(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And then that helps: it is read."""
    fill(a={"n": 1})
    with autostate.open(URL) as manager:
        state = PersistedDict[str, Any]("a")
        for number in range(300):
            state[str(number)] = "x" * 1000
            if number % 4 == 0:
                manager.flush()
    assert len(records("autostate-head")) > 1
    damage("autostate-head")
    told = problem("a")
    assert 'UTC with on_corrupt="previous"' in told
    assert "delete" not in told
    went_back = told.partition("go back to ")[2].partition(" with ")[0]
    monkeypatch.setenv("AUTOSTATE_ON_CORRUPT", "previous")
    read_state(URL)
    assert f"went back to {went_back}" in caplog.text
    monkeypatch.delenv("AUTOSTATE_ON_CORRUPT")
    with autostate.open(URL, on_corrupt="previous"):
        state = PersistedDict[str, Any]("a")
        assert state["n"] == 1
        state["n"] = 2
    with autostate.open(URL):
        assert PersistedDict[str, Any]("a")["n"] == 2


@pytest.mark.parametrize("on_corrupt", ["raise", "previous"])
@pytest.mark.parametrize("record", ["autostate-head", "autostate-seg", "autostate-owner"])
def test_delete_works_on_damaged_records_and_keeps_them(
    isolated: Path, record: str, on_corrupt: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The name begins anew, now and in later processes; the log says where the old records are."""
    fill(a=LARGE)
    before = records("autostate-head") | records("autostate-seg")
    bad = damage(record)
    if record == "autostate-owner" and on_corrupt == "previous":
        return  # nothing of the state is missing: it is read
    with caplog.at_level(logging.ERROR, "autostate"):
        with autostate.open(URL, on_corrupt=on_corrupt) as manager:
            manager.delete("a")
            assert PersistedDict("a", begun=1) == {"begun": 1}
        assert "autostate-corrupt-" in caplog.text
    fill(a={"n": 2})
    with autostate.open(URL):
        assert PersistedDict("a") == {"begun": 1, "n": 2}
    kept = records("autostate-corrupt-")
    assert bad in kept.values()
    assert len(kept) >= len(before)
    with autostate.open(URL), pytest.raises(KeyError, match="no state object is called 'a b'"):
        autostate.delete("a b")


def test_delete_does_not_empty_what_was_stored_with_it(isolated: Path) -> None:
    """Each of the others stays an error, over restarts and compactions, until it is deleted."""
    fill(a=LARGE, b={"n": 1}, c={"n": 1})
    damage("autostate-seg", 0)
    with autostate.open(URL) as manager:
        manager.delete("a")
        a = PersistedDict[str, Any]("a")
        for name in ("b", "c"):
            with pytest.raises(CorruptStateError, match="is kept in records"):
                PersistedDict(name)
        for number in range(200):
            a[str(number)] = "y" * 2000
            manager.flush()
        a["n"] = 1
    assert "is kept in records" in problem("b")
    with autostate.open(URL) as manager:
        manager.delete("b")
        assert PersistedDict("b", n=2) == {"n": 2}
    assert "is kept in records" in problem("c")
    with autostate.open(URL):
        assert PersistedDict("b") == {"n": 2}
        assert len(PersistedDict("a")) == 201


@pytest.mark.parametrize("damaged", [b"", b"cut", b"zeros"])
def test_delete_works_on_a_damaged_file_and_keeps_it(
    isolated: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty file, one that was cut short, one with pages overwritten: it is renamed."""
    fill(a=LARGE, b={"n": 1})
    whole = Path("state.db").read_bytes()
    content = {
        b"": b"",
        b"cut": whole[: len(whole) // 2],
        b"zeros": whole[:4096] + bytes(4096 * 2) + whole[4096 * 3 :],
    }[damaged]
    Path("state.db").write_bytes(content)
    assert "delete(name)" in problem("a")
    with caplog.at_level(logging.ERROR, "autostate"), autostate.open(URL) as manager:
        manager.delete("a")
        assert PersistedDict("a", n=3) == {"n": 3}
    [kept] = Path().glob("state.db.corrupt-*")
    assert kept.read_bytes() == content
    assert str(kept) in caplog.text
    with autostate.open(URL):
        assert PersistedDict("a") == {"n": 3}
    if names_in(content) - {"a"}:
        assert "is kept in records" in problem("b")


def test_delete_keeps_aside_a_state_object_that_was_not_restored(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its records are whole, and its values cannot be decoded: these are copied."""
    with autostate.open(URL) as manager:
        state = PersistedDict[str, Any]("a", secret="s3", large=dict(LARGE))
        state["own"] = autostate.pickled(Own())
        PersistedDict("b", n=1)
        manager.flush()
    next(isolated.glob("*.key")).unlink()
    with autostate.open(URL) as manager:
        with pytest.raises(SignatureError):
            PersistedDict("a")
        with caplog.at_level(logging.WARNING, "autostate"):
            manager.delete("a")
        assert PersistedDict("a", n=2) == {"n": 2}
        assert PersistedDict("b") == {"n": 1}
    [(key, value)] = records("autostate-corrupt-root").items()
    assert b'"s3"' in value
    assert key in caplog.text


def test_names_are_found_where_they_begin(isolated: Path) -> None:
    """A user's value that looks alike is none; a line in pieces counts."""
    line = b'{"id":1,"kind":"dict","name":"a \\"b\\"","assign":{}}'
    assert names_in(b"[\n" + line + b"\n]") == {'a "b"'}
    assert names_in(b'{"id":1,"put":{"x":{"kind":"dict","name":"no"}}}') == set()
    assert names_in(b'{"id":1,"kind":"shoe","name":"no"}') == set()
    assert names_in(b'{"piece":"{\\"id\\":1,\\"kind\\":\\"set\\",\\"name\\":\\"long\\"') == {"long"}
