"""Managers: which of them an object belongs to, what they save, and how they are closed."""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, hub
from autostate.runtime.api import current_manager
from autostate.stores.memory import MemoryStore
from tests.runtime.unsteady import WAIT, Full


class Slow(MemoryStore):
    """A store that writes nothing before it may."""

    def __init__(self, name: str, go_on: threading.Event) -> None:
        super().__init__(name)
        self.go_on = go_on

    def write(self, *args: Any, **kwargs: Any) -> None:
        self.go_on.wait(WAIT)
        super().write(*args, **kwargs)


# -- which manager ----------------------------------------------------------------------------


def test_leaving_the_body_saves_and_detaches(isolated: Path) -> None:
    """Afterwards the objects are plain ones, and their changes go nowhere."""
    with autostate.open("sqlite:///s.db", debounce=3600):
        made = PersistedDict("a", x=1)
    made["late"] = True
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}


def test_leaving_by_an_exception_saves_too(isolated: Path) -> None:
    """What was true when it was raised."""
    with pytest.raises(ZeroDivisionError), autostate.open("sqlite:///s.db"):
        PersistedDict("a", x=1)
        raise ZeroDivisionError
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}


async def test_a_failing_save_does_not_hide_the_bodys_exception(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are told: the one is raised, the other is loud."""
    store = Full("s.db")
    store.full = True
    with pytest.raises(ZeroDivisionError), autostate.open(store, flush_timeout=0.2):
        PersistedDict("a", x=1)
        raise ZeroDivisionError
    assert "the disk is full" in capsys.readouterr().err
    store = Full("t.db")
    store.full = True
    with pytest.raises(ZeroDivisionError):
        async with autostate.open(store, flush_timeout=0.2):
            PersistedDict("b", x=1)
            raise ZeroDivisionError
    assert "the disk is full" in capsys.readouterr().err


async def test_tasks_of_the_body_use_its_manager() -> None:
    """And so do threads of `asyncio.to_thread`; other tasks do not."""
    async with autostate.open("memory:") as manager:

        async def which() -> object:
            return current_manager()

        assert await asyncio.create_task(which()) is manager
        assert await asyncio.to_thread(current_manager) is manager
    assert current_manager() is not manager


def test_a_thread_uses_the_default_manager_unless_its_context_is_copied() -> None:
    """As documented at the top of runtime/api.py."""
    found: queue.SimpleQueue[object] = queue.SimpleQueue()
    with autostate.open("memory:") as manager:
        run = contextvars.copy_context().run
        threads = [
            threading.Thread(target=run, args=(lambda: found.put(current_manager()),)),
        ]
        for thread in threads:
            thread.start()
            thread.join(WAIT)
        assert found.get(timeout=WAIT) is manager


def test_a_closed_manager_says_so() -> None:
    """Nothing is redirected silently to another store."""
    manager = autostate.open("memory:")
    with manager:
        context = contextvars.copy_context()
    uses: list[Callable[[], object]] = [
        lambda: context.run(PersistedDict[str, int], "a"),
        manager.flush,
        manager.__enter__,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="closed"):
            use()
    manager.close()


async def test_an_async_body_ends_with_everything_saved(isolated: Path) -> None:
    """Without blocking the loop while the store works."""
    async with autostate.open("sqlite:///s.db", debounce=3600):
        PersistedDict("a", x=1)
    async with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}


async def test_a_cancelled_async_body_is_closed(isolated: Path) -> None:
    """The task ends as a cancelled one, what the body wrote is saved, nothing stays open."""
    managers = []
    written = asyncio.Event()

    async def body() -> None:
        async with autostate.open("sqlite:///s.db", debounce=3600) as manager:
            managers.append(manager)
            PersistedDict("a", x=1)
            written.set()

    task = asyncio.create_task(body())
    await written.wait()  # the task waits for its last save now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RuntimeError, match="closed"):
        managers[0].flush()
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}


async def test_a_cancelled_durable_does_not_wait_for_other_stores() -> None:
    """Neither does it become their error: the task ends at once, as a cancelled one."""
    go_on = threading.Event()
    async with autostate.open(Slow("a.db", go_on), debounce=3600):
        PersistedDict("outer", x=1)
        async with autostate.open(Slow("b.db", go_on), debounce=3600):
            PersistedDict("inner", x=1)
            task = asyncio.create_task(autostate.durable(WAIT))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=WAIT / 4)
            go_on.set()
            assert task.cancelled()


def test_the_default_store_is_a_file_under_the_working_directory(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the program's name, private, and ignored by git."""
    monkeypatch.setattr(sys, "argv", ["crawl.py", "--all"])
    PersistedDict("a", x=1)
    autostate.flush()
    assert (isolated / ".autostate" / "crawl.db").is_file()
    assert (isolated / ".autostate").stat().st_mode & 0o777 == 0o700
    assert (isolated / ".autostate" / ".gitignore").read_text().strip() == "*"


def test_configure_sets_up_the_default_manager() -> None:
    """Its settings can be changed while objects live."""
    manager = autostate.configure("memory:", debounce=5)
    assert current_manager() is manager
    PersistedDict("a")
    assert autostate.configure(debounce=0.5) is manager
    assert manager.settings.debounce == 0.5
    assert manager._incarnation is not None
    assert manager._incarnation.flush_thread.settings.debounce == 0.5


def test_configure_can_change_the_store_until_the_first_object(isolated: Path) -> None:
    """Afterwards it says what to do instead."""
    autostate.configure("sqlite:///never.db")
    autostate.configure("memory:")
    PersistedDict("a")
    autostate.configure("memory:")
    with pytest.raises(RuntimeError, match=r"autostate\.open"):
        autostate.configure("sqlite:///late.db")
    assert list(isolated.iterdir()) == []


@pytest.mark.parametrize("use", [autostate.configure, autostate.open])
def test_wrong_settings_are_found_at_once(use: Callable[..., Any]) -> None:
    """Not when the first object is created."""
    with pytest.raises(TypeError, match="did you mean debounce"):
        use("memory:", debouce=1)
    with pytest.raises(ValueError, match="flush_timeout must be"):
        use("memory:", flush_timeout=-1)


def test_an_unknown_store_is_an_error_that_names_the_known_ones() -> None:
    """At the first object."""
    with pytest.raises(ValueError, match="sqlite:///"), autostate.open("mongodb://x"):
        PersistedDict("a")


# -- saving -----------------------------------------------------------------------------------


def test_flush_inside_atomic_is_refused() -> None:
    """It would save half of the block, or wait for itself."""
    with autostate.open("memory:"):
        made: PersistedDict[str, int] = PersistedDict("a")
        with autostate.atomic():
            made["x"] = 1
            with pytest.raises(RuntimeError, match="atomic"):
                autostate.flush()
        autostate.flush()


async def test_durable_inside_atomic_is_refused() -> None:
    """As flush()."""
    async with autostate.open("memory:"):
        PersistedDict("a")
        with autostate.atomic(), pytest.raises(RuntimeError, match="atomic"):
            await autostate.durable()


@pytest.mark.parametrize(
    "signal", [hub.migrating, hub.aborting, hub.persist_state], ids=lambda signal: signal.name
)
def test_inbound_signals_save(signal: hub.HubSignal) -> None:
    """At once, without blocking whoever sends."""
    flushed: queue.SimpleQueue[object] = queue.SimpleQueue()

    def receive(sender: object, **details: Any) -> None:
        flushed.put(details)

    with hub.flushed.connected_to(receive), autostate.open("memory:", debounce=3600):
        PersistedDict("a", x=1)
        signal.send(None)
        assert flushed.get(timeout=WAIT)


def test_a_manager_that_was_closed_hears_no_signals() -> None:
    """Its handlers are gone with it."""
    with autostate.open("memory:"):
        PersistedDict("a")
        assert hub.migrating._own
    assert not hub.migrating._own


def test_shutdown_has_saved_when_its_receivers_are_called(isolated: Path) -> None:
    """The library comes first."""
    dirty: list[bool] = []

    def receive(sender: object, **details: Any) -> None:
        dirty.append(autostate.info(made).dirty)

    with autostate.open("memory:", debounce=3600), hub.shutdown.connected_to(receive):
        made = PersistedDict("a", x=1)
        hub.shutdown.send(None)
    assert dirty == [False]


def test_a_store_that_hangs_is_closed_when_it_answers(isolated: Path) -> None:
    """The end of a manager waits for it no longer than it is told, and gives all back later."""
    answers, closed = threading.Event(), threading.Event()

    class Hanging(MemoryStore):
        def write(self, *args: Any, **kwargs: Any) -> None:
            asked.set()
            assert answers.wait(60)
            super().write(*args, **kwargs)

        def close(self) -> None:
            assert answers.is_set()
            super().close()
            closed.set()

    asked = threading.Event()
    manager = autostate.open(Hanging(), debounce=3600)
    with manager:
        PersistedDict("d", a=1)
        manager._begin().flush_thread.flush_soon()
        assert asked.wait(60)
        manager.finish(0.01)
    assert not closed.is_set()
    answers.set()
    assert closed.wait(60)


def test_a_store_that_another_thread_closes_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told what became of its own; who saves all that there is has nothing to do with it."""
    manager = autostate.configure("memory:")
    state = PersistedDict("d")
    other = autostate.open("memory:other")
    with other:
        PersistedDict("e", a=1)
    monkeypatch.setattr("autostate.runtime.api.live", lambda: [other, manager])
    with autostate.atomic():
        state["a"] = 1
    autostate.flush()
    asyncio.run(autostate.durable())


def test_a_store_in_memory_needs_no_working_directory(tmp_path: Path) -> None:
    """It may have been removed."""
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with autostate.open("memory:"):
        PersistedDict("d", a=1)


def test_settings_about_opening_come_too_late(isolated: Path) -> None:
    """They would have no effect."""
    autostate.configure("memory:", wait_for_owner=1.0)
    autostate.PersistedDict("a")
    for name, value in (("readonly", True), ("takeover", True), ("wait_for_owner", 5.0)):
        settings: Any = {name: value, "debounce": 7.0}
        with pytest.raises(RuntimeError, match=f"{name} says how a state is opened"):
            autostate.configure(**settings)
    autostate.configure(wait_for_owner=1.0, max_delay=9.0)
    assert autostate.configure().settings.debounce != 7.0


def test_a_manager_that_was_never_entered_is_told_of(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who forgets the `with` saves in another store."""
    autostate.configure("memory:")
    closed = autostate.open("memory:closed")
    closed.close()
    with autostate.open("memory:used"):
        autostate.PersistedDict("a")
    autostate.PersistedDict("a")
    assert caplog.text == ""
    forgotten = autostate.open("memory:forgotten")
    for _ in range(2):
        autostate.PersistedDict("b")
    assert caplog.text.count("has no effect so far") == 1
    assert "with autostate.open" in caplog.text
    forgotten.close()


@pytest.mark.parametrize("how", ["flush", "durable"])
def test_a_flush_in_the_midst_of_a_change_is_refused_at_once(how: str) -> None:
    """A handler of a signal may come up there: the flush would wait for its own thread."""
    with autostate.open("memory:", debounce=3600) as manager:
        state = autostate.PersistedDict("a", n=0)
        state["n"] += 1
        with manager._begin().tracker.lock, pytest.raises(RuntimeError, match=r"sys.exit\(\)"):
            if how == "flush":
                autostate.flush()
            else:
                asyncio.run(autostate.durable())
        autostate.flush()
