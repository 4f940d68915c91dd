"""The local variables in the traceback of an error of autostate hold nothing that is saved."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import FlushError, PersistedDict, Secret, SharedDict, hub
from autostate.delivery import HttpEndpoint, OutboxItem, SqlTable
from autostate.errors import forget_locals
from tests.faulty import FaultyStore, Step

WORD = "hunter2"


def told(error: BaseException | None) -> Iterator[str]:
    """What the local variables of all frames but those of this file show, along all causes."""
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                yield f"{frame.f_code.co_qualname}, line {line}: {frame.f_locals}"
        error = error.__cause__ or error.__context__


def shows(error: BaseException) -> list[str]:
    """The frames that show the word."""
    frames = list(told(error))
    assert frames, "this error has no frames of the library"
    return [frame for frame in frames if WORD in frame]


def _refuse(step: Step) -> None:
    if step.writes:
        raise autostate.StoreUnavailableError
    step.apply()


def _break(step: Step) -> None:
    if step.writes:
        raise MemoryError
    step.apply()


@pytest.mark.parametrize("refuse", [_refuse, _break])
def test_a_save_that_fails_shows_nothing(
    isolated: Path, caplog: pytest.LogCaptureFixture, refuse: Any
) -> None:
    """To the caller, to receivers of signals, and in the log."""
    found: list[list[str]] = []

    def note(_sender: Any, *, error: Exception, **_rest: Any) -> None:
        found.append(shows(error))

    hub.flush_failed.connect(note)
    try:
        with (
            pytest.raises(FlushError) as ended,
            autostate.open(FaultyStore({}, refuse), flush_timeout=0.3),
        ):
            state = PersistedDict("d", token=Secret(WORD))
            state["list"] = [Secret(WORD), WORD]
            with pytest.raises(FlushError) as raised:
                autostate.flush()
            assert not shows(raised.value)
    finally:
        hub.flush_failed.disconnect(note)
    assert not shows(ended.value)
    assert found
    assert not any(found)
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert (refuse is _break) == bool(errors)
    assert not any(shows(error) for error in errors if error)


def test_a_takeover_shows_nothing(isolated: Path) -> None:
    """To receivers, and to whoever writes or waits from then on."""
    errors: list[type[Exception]] = []
    found: list[list[str]] = []

    def refuse(step: Step) -> None:
        if step.writes and errors:
            raise errors.pop()
        step.apply()

    def note(_sender: Any, *, error: Exception, **_rest: Any) -> None:
        found.append(shows(error))

    hub.fenced.connect(note)
    try:
        with pytest.raises(autostate.AutostateError), autostate.open(FaultyStore({}, refuse)):
            state = PersistedDict("d", a=1)
            autostate.flush()
            errors.append(autostate.FencedError)
            state["token"] = Secret(WORD)
            with pytest.raises(autostate.FencedError) as raised:
                autostate.flush()
            assert not shows(raised.value)
    finally:
        hub.fenced.disconnect(note)
    assert found == [[]]


FIRST = f"""
import dataclasses, autostate
@dataclasses.dataclass
class Gone:
    token: autostate.Secret
with autostate.open("sqlite:///s.db"):
    autostate.PersistedDict("d", a=Gone(autostate.Secret("{WORD}")), b=autostate.Secret("{WORD}"))
"""


def test_a_state_that_cannot_be_restored_shows_nothing(isolated: Path) -> None:
    """Neither what is stored, nor what was decoded already."""
    subprocess.run([sys.executable, "-c", FIRST], check=True)
    with autostate.open("sqlite:///s.db"), pytest.raises(autostate.UnknownTypeError) as raised:
        PersistedDict("d")
    assert not shows(raised.value)


def test_changes_that_cannot_be_published_show_nothing(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of shared objects."""
    monkeypatch.setenv("AUTOSTATE_URL", "memory:")
    monkeypatch.setenv("AUTOSTATE_SHARED_URL", f"sqlite:///{isolated}/shared.db")
    from autostate.shared.home import home

    state = SharedDict[str, Any]("d", merge={"token": max})
    autostate.flush()
    other = sqlite3.connect("shared.db")
    other.execute("BEGIN EXCLUSIVE")
    state["a"] = WORD
    with pytest.raises(FlushError) as raised:
        home().flush(0.2)
    other.rollback()
    other.close()
    home().finish(10.0)
    assert not shows(raised.value)


def test_a_delivery_that_fails_shows_nothing(isolated: Path) -> None:
    """Neither the headers of an endpoint nor, to receivers, what is under way."""
    found: list[list[str]] = []

    def note(_sender: Any, *, error: Exception, **_rest: Any) -> None:
        found.append(shows(error))

    hub.delivery_failed.connect(note)
    try:
        with autostate.open("memory:"):
            endpoint = HttpEndpoint(f"http://127.0.0.1:1/?{WORD}", {"Authorization": WORD})
            box = autostate.outbox("box", endpoint)
            box.put({"token": WORD})
            with contextlib.suppress(FlushError):
                box.drain(0.2)
            assert box.error is not None
            found.append(shows(box.error))
            autostate.delete("box")
    finally:
        hub.delivery_failed.disconnect(note)
    assert len(found) > 1
    assert not any(found)


def _hang_up(server: socket.socket) -> None:
    """Reset a connection in the midst of a request."""
    connection, _ = server.accept()
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_server_that_hangs_up_shows_nothing() -> None:
    """The module of the standard library that sends has the headers, too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        endpoint = HttpEndpoint(url, {"Authorization": WORD}, body=lambda _: "x" * 10**7)
        hanging_up = threading.Thread(target=_hang_up, args=(server,))
        hanging_up.start()
        with pytest.raises(ConnectionError) as raised:
            endpoint.deliver([OutboxItem("id-0", 0, 1)], None)
        hanging_up.join()
    endpoint.close()
    forget_locals(raised.value, own=True)
    assert not shows(raised.value)


def test_a_driver_that_is_not_reached_shows_nothing(isolated: Path) -> None:
    """Neither a password nor the rows."""
    table = SqlTable(f"postgresql://me:{WORD}@127.0.0.1:1/db", "t")
    with pytest.raises(ConnectionError) as raised:
        table.deliver([OutboxItem("id-0", 0, {"a": WORD})], None)
    forget_locals(raised.value, own=True)  # as the outbox does for each error
    assert not shows(raised.value)


def test_a_store_that_is_not_reached_shows_nothing(isolated: Path) -> None:
    """Its URL may have a password."""
    url = f"postgresql://me:{WORD}@127.0.0.1:1/db?state=s"
    with autostate.open(url, flush_timeout=0.1), pytest.raises(autostate.StoreError) as raised:
        PersistedDict("d")
    assert not shows(raised.value)


def test_what_still_runs_and_what_is_of_the_program_is_left(isolated: Path) -> None:
    """A debugger sees it; errors that are chained in a circle are no trouble."""
    word = WORD

    def fail() -> None:
        mine = word
        raise ValueError(mine)

    with pytest.raises(ValueError, match=WORD) as raised:
        fail()
    error = raised.value
    error.__cause__ = other = KeyError()
    other.__cause__ = error
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    forget_locals(error, own=True)
    assert frames[1].f_locals["mine"] == WORD
    forget_locals(error)
    assert frames[0].f_locals["word"] == WORD
    assert "mine" not in frames[1].f_locals
