"""The hub's signals keep the library's handlers first and receivers apart."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from autostate import hub
from autostate.hub import HubSignal


def recorder(calls: list[Any], value: Any) -> Callable[..., None]:
    """A receiver that notes that it was called."""

    def receive(sender: object, **rest: Any) -> None:
        calls.append(value)

    return receive


@pytest.fixture
def signal() -> HubSignal:
    """A signal that no other test has touched."""
    return HubSignal("sample", "For tests.")


def test_own_handlers_come_first(signal: HubSignal) -> None:
    """Whenever it was connected, the library's handler is called before users' receivers."""
    calls: list[str] = []
    signal.connect(recorder(calls, "user"))
    signal.connect_own(recorder(calls, "own"))
    signal.send(None)
    assert calls == ["own", "user"]


def test_one_receiver_that_raises_does_not_stop_the_others(
    signal: HubSignal, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception is logged with the signal's and the receiver's name."""
    calls: list[int] = []

    def bad(sender: object, **rest: Any) -> None:
        raise ValueError("no")

    for number in range(8):
        signal.connect(recorder(calls, number))
        if number == 3:
            signal.connect(bad)
    with caplog.at_level(logging.ERROR, logger="autostate"):
        signal.send(None)
    assert sorted(calls) == list(range(8))
    assert "hub.sample" in caplog.text
    assert "bad" in caplog.text


def test_a_receiver_may_exit_in_the_main_thread_alone(
    signal: HubSignal, caplog: pytest.LogCaptureFixture
) -> None:
    """There `sys.exit()` is the end of the program; elsewhere it is an error of the receiver."""
    signal.connect(lambda _, **__: sys.exit(3))
    with pytest.raises(SystemExit):
        signal.send(None)
    assert not caplog.text
    thread = threading.Thread(target=signal.send, args=(None,))
    thread.start()
    thread.join()
    assert "raised; the others go on" in caplog.text


def test_an_own_handler_that_raises_does_not_stop_the_others(signal: HubSignal) -> None:
    """One manager's failure is not the next one's."""
    calls: list[str] = []

    def bad(sender: object, **rest: Any) -> None:
        raise ValueError("no")

    signal.connect_own(bad)
    signal.connect_own(recorder(calls, "second"))
    signal.send(None)
    assert calls == ["second"]


def test_a_bound_method_is_not_silently_lost(signal: HubSignal) -> None:
    """A method of an object that nobody else holds is called, unlike with blinker's default."""
    calls: list[object] = []

    class Observer:
        def note(self, sender: object, **rest: Any) -> None:
            calls.append(sender)

    signal.connect(Observer().note)
    gc.collect()
    signal.send("here")
    assert calls == ["here"]


def test_weak_is_there_for_who_asks(signal: HubSignal) -> None:
    """`weak=True` is blinker's own behaviour."""
    calls: list[object] = []

    class Observer:
        def note(self, sender: object, **rest: Any) -> None:
            calls.append(sender)

    signal.connect(Observer().note, weak=True)
    gc.collect()
    signal.send("here")
    assert calls == []


def test_a_coroutine_function_is_refused_when_it_is_connected(signal: HubSignal) -> None:
    """An error at once instead of a receiver that is never awaited."""

    async def late(sender: object, **rest: Any) -> None: ...

    with pytest.raises(TypeError, match="late is a coroutine function"):
        signal.connect(late)


def test_muting_does_not_switch_off_the_library(signal: HubSignal) -> None:
    """Own handlers are not receivers: `muted()` leaves saving alone."""
    calls: list[str] = []
    signal.connect(recorder(calls, "user"))
    signal.connect_own(recorder(calls, "own"))
    with signal.muted():
        signal.send(None)
    assert calls == ["own"]


def test_disconnected_handlers_are_not_called(signal: HubSignal) -> None:
    """Both kinds can be taken off again, twice without an error."""
    calls: list[str] = []

    def own(sender: object, **rest: Any) -> None:
        calls.append("own")

    signal.connect_own(own)
    user = signal.connect(recorder(calls, "user"))
    for _ in range(2):
        signal.disconnect_own(own)
        signal.disconnect(user)
    signal.send(None)
    assert calls == []


def test_a_receiver_may_ask_for_one_sender(signal: HubSignal) -> None:
    """Blinker's filter by sender goes on working."""
    calls: list[object] = []
    one, other = object(), object()
    signal.connect(recorder(calls, "one"), sender=one)
    signal.send(one)
    signal.send(other)
    assert calls == ["one"]


def test_the_signals_of_the_design_are_there() -> None:
    """All eight, documented."""
    names = {"migrating", "aborting", "persist_state", "shutdown"}
    names |= {"rehydrated", "flushed", "flush_failed", "fenced"}
    for name in names:
        one = getattr(hub, name)
        assert isinstance(one, HubSignal)
        assert one.name == name
        assert "bound:" in (one.__doc__ or "")
