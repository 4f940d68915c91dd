"""Managers: one store each, live objects by name, and which of them a new object belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import queue
import random
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
    hub,
)
from autostate.errors import FlushError, StateTypeError, StoreUnavailableError
from autostate.journal import Journal
from autostate.runtime.api import current_manager
from autostate.saving import spill
from autostate.saving.thread import FlushThread
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore

WAIT = 120.0


class Unsteady(MemoryStore):
    """A store that is not reached so often, first when reading and then when writing."""

    def __init__(self, name: str, *, reads: int = 0, writes: int = 0) -> None:
        super().__init__(name)
        self.reads = reads
        self.writes = writes

    def list(self, prefix: str, *, timeout: float | None = None) -> list[str]:
        self.reads -= 1
        if self.reads >= 0:
            raise StoreUnavailableError("not reached")
        return super().list(prefix, timeout=timeout)

    def write(self, *args: Any, **kwargs: Any) -> None:
        self.writes -= 1
        if self.writes >= 0:
            raise StoreUnavailableError("not reached")
        super().write(*args, **kwargs)


class Full(SqliteStore):
    """A SQLite file on a disk that is full from some moment on."""

    full = False

    def write(self, *args: Any, **kwargs: Any) -> None:
        if self.full:
            raise StoreUnavailableError("the disk is full")
        super().write(*args, **kwargs)


class Slow(MemoryStore):
    """A store that writes nothing before it may."""

    def __init__(self, name: str, go_on: threading.Event) -> None:
        super().__init__(name)
        self.go_on = go_on

    def write(self, *args: Any, **kwargs: Any) -> None:
        self.go_on.wait(WAIT)
        super().write(*args, **kwargs)


# -- creation ---------------------------------------------------------------------------------


def test_what_was_saved_is_resumed(isolated: Path) -> None:
    """By a next manager of the same store; all four kinds."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict[str, object]("d", a=1)["b"] = [1, {2}]
        PersistedSet("s", [1]).add(2)
        counter: PersistedCounter[str] = PersistedCounter("c", "aab")
        counter["z"] += 1
        PersistedList("l", [1]).append(2)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("d") == {"a": 1, "b": [1, {2}]}
        assert PersistedSet("s") == {1, 2}
        assert PersistedCounter("c") == {"a": 2, "b": 1, "z": 1}
        assert PersistedList("l") == [1, 2]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "x" * 201, "\x7f"])
def test_a_name_that_cannot_be_used_is_refused(name: str) -> None:
    """With ValueError, before anything is opened."""
    with autostate.open("memory:") as manager:
        with pytest.raises(ValueError, match="name"):
            PersistedDict(name)
        assert manager._incarnation is None


OWN = "autostate.adopt"

NAMING: Final[dict[str, Callable[[], Any]]] = {
    "dict": lambda: PersistedDict(OWN, page=1),
    "counter": lambda: PersistedCounter("autostate."),
    "set": lambda: PersistedSet(OWN),
    "list": lambda: PersistedList("autostate.anything"),
    "deque": lambda: PersistedDeque(OWN),
    "subclass": lambda: type("Cart", (PersistedDict,), {"__init__": _init_with_own_name})("bob"),
    "proxy": lambda: autostate.proxy(OWN, random.Random(1)),
    "class": lambda: autostate.persisted(name=OWN)(type("Shop", (), {})),
    "template": lambda: autostate.persisted(name="autostate.{shop}")(_shop()),
    "argument": lambda: autostate.persisted(name="{shop}")(_shop())(OWN),
    "loop": lambda: autostate.resume(OWN, [1]),
    "record": lambda: autostate.adopt(OWN),
    "record under a name": lambda: autostate.adopt("record", name=OWN),
    "record into": lambda: autostate.adopt("record", into=lambda: PersistedDict(OWN)),
    "delete": lambda: autostate.delete(OWN),
    "info": lambda: autostate.info(OWN),
}
"""Every way in which a name comes in."""


def _init_with_own_name(self: Any, _customer: str) -> None:
    PersistedDict.__init__(self, OWN)


def _shop() -> Any:
    class Shop:
        def __init__(self, shop: str) -> None:
            self.shop = shop

    return Shop


@pytest.mark.parametrize("way", NAMING)
def test_a_name_of_the_librarys_own_is_refused(way: str) -> None:
    """What it notes about adopted records, for example, is nobody else's."""
    with autostate.open("memory:") as manager:
        with pytest.raises(ValueError, match="choose another one, 'my-autostate"):
            NAMING[way]()
        assert manager.live(OWN) is None


def test_a_name_may_be_any_readable_text() -> None:
    """Words, dots, other alphabets."""
    with autostate.open("memory:"):
        for name in (
            "a b",
            "crawl.pages",
            "příšera",
            "日本",
            "x" * 200,
            "autostate",
            "my-autostate.x",
        ):
            assert PersistedDict(name) == {}


def test_the_same_name_is_the_same_object() -> None:
    """In one manager; in another it is another one."""
    with autostate.open("memory:"):
        first: PersistedDict[str, int] = PersistedDict("a")
        assert PersistedDict("a") is first
        with autostate.open("memory:"):
            assert PersistedDict("a") is not first


def test_the_same_name_is_the_same_object_for_all_threads() -> None:
    """Eight threads that create it at once get one."""
    with autostate.open("memory:"):
        context = contextvars.copy_context()
        start = threading.Barrier(8)
        made: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def create() -> None:
            start.wait(WAIT)
            made.put(PersistedDict("a"))

        threads = [threading.Thread(target=context.copy().run, args=(create,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert len({id(made.get(timeout=WAIT)) for _ in range(8)}) == 1


def test_the_same_name_as_another_kind_is_refused(isolated: Path) -> None:
    """Live or only stored."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a")
        with pytest.raises(StateTypeError, match="'a' is a state object of the kind 'dict'"):
            PersistedSet("a")
    with autostate.open("sqlite:///s.db"), pytest.raises(StateTypeError):
        PersistedList("a")


async def test_creation_works_in_a_running_loop() -> None:
    """Synchronously, nothing to await."""
    async with autostate.open("memory:"):
        assert PersistedDict("a", x=1) == {"x": 1}


def test_nothing_is_opened_before_the_first_object(isolated: Path) -> None:
    """`configure`, `open`, `flush` and `statistics` leave no trace on the disk."""
    autostate.configure(debounce=1)
    autostate.flush()
    assert autostate.statistics().flushes == 0
    with autostate.open("sqlite:///other.db"):
        pass
    assert list(isolated.iterdir()) == []


def test_an_unreached_store_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """A hiccup at the start of a program is not its end."""
    with autostate.open(Unsteady("hiccup", reads=2)):
        assert PersistedDict("a") == {}
    assert "autostate tries again" in caplog.text


def test_a_store_that_stays_away_is_an_error_at_creation() -> None:
    """It is not known what there is to resume; beginning from nothing would overwrite it."""
    with (
        autostate.open(Unsteady("away", reads=1000), flush_timeout=0.5),
        pytest.raises(StoreUnavailableError),
    ):
        PersistedDict("a")


def test_creation_is_told(isolated: Path) -> None:
    """`hub.rehydrated`: once an object, with what was resumed."""
    told: list[tuple[str, str, bool, float | None]] = []

    def receive(sender: object, **details: Any) -> None:
        told.append(tuple(details[key] for key in ("name", "kind", "resumed", "downtime")))

    with hub.rehydrated.connected_to(receive):
        for _ in range(2):
            with autostate.open("sqlite:///s.db"):
                PersistedDict("a", x=1)
                PersistedDict("a")
    assert told[0] == ("a", "dict", False, None)
    assert told[1][:3] == ("a", "dict", True)
    assert told[1][3] is not None
    assert len(told) == 2


# -- info, delete, wiped ----------------------------------------------------------------------


def test_info_tells_about_an_object(isolated: Path) -> None:
    """By the object or by its name."""
    with autostate.open("sqlite:///s.db", debounce=3600):
        made = PersistedDict("a", x=1)
        info = autostate.info(made)
        assert info == autostate.info("a")
        assert (info.name, info.kind, info.resumed) == ("a", "dict", False)
        assert (info.downtime, info.last_saved, info.dirty) == (None, None, True)
        autostate.flush()
        assert not autostate.info("a").dirty
        assert autostate.info("a").last_saved is not None
    with autostate.open("sqlite:///s.db"):
        info = autostate.info(PersistedDict("a"))
        assert info.resumed
        assert info.downtime is not None
        assert info.downtime >= 0
        assert info.last_saved is not None


def test_info_finds_the_manager_of_an_object() -> None:
    """Also outside of the body in which it was made."""
    with autostate.open("memory:"):
        outer: PersistedDict[str, int] = PersistedDict("outer")
        with autostate.open("memory:"):
            assert autostate.info(outer).name == "outer"
            with pytest.raises(LookupError):
                autostate.info("outer")


def test_info_and_delete_refuse_what_is_no_state_object() -> None:
    """Plain objects, nested ones, unknown names."""
    with autostate.open("memory:"):
        made = PersistedDict("a", inner={"x": 1})
        autostate.flush()
        for function in (autostate.info, autostate.delete):
            with pytest.raises(TypeError):
                function({})
            with pytest.raises(TypeError, match="nested"):
                function(made["inner"])
            with pytest.raises(LookupError):
                function("unknown")


def test_what_is_deleted_begins_anew(isolated: Path) -> None:
    """At once here, and in the next process after the save; the object goes on as a plain one."""
    with autostate.open("sqlite:///s.db"):
        old = PersistedDict("a", x=1)
        old["y"] = 2
        autostate.delete(old)
        old["z"] = 3
        new = PersistedDict("a", x=1)
        assert new is not old
        assert new == {"x": 1}
        assert old == {"x": 1, "y": 2, "z": 3}
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}
        autostate.delete("a")
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {}


def test_what_is_only_stored_can_be_deleted(isolated: Path) -> None:
    """By its name, without creating it."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", x=1)
        PersistedDict("b", x=1)
    with autostate.open("sqlite:///s.db"):
        autostate.delete("a")
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {}
        assert PersistedDict("b") == {"x": 1}


def test_a_wiped_store_gets_everything_again() -> None:
    """As after Apify's purge of the local default store."""
    store = MemoryStore("emptied")
    with autostate.open(store) as manager:
        made = PersistedDict("a", x=1)
        autostate.flush()
        store._records.clear()
        manager.store_wiped()
        made["y"] = 2
        autostate.flush()
        nodes = Journal(MemoryStore("emptied")).recover().nodes
        assert [node.content for node in nodes.values()] == [{"x": 1, "y": 2}]


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
        dirty.append(autostate.info("a").dirty)

    with autostate.open("memory:", debounce=3600), hub.shutdown.connected_to(receive):
        PersistedDict("a", x=1)
        hub.shutdown.send(None)
    assert dirty == [False]


# -- the last save, and its failure -----------------------------------------------------------


def _leave_a_spill(**settings: Any) -> None:
    store = Full("s.db")
    with pytest.raises(FlushError, match="the next start picks them up"):  # noqa: SIM117
        with autostate.open(store, flush_timeout=0.3, **settings):
            made = PersistedDict("a", x=1)
            autostate.flush()
            store.full = True
            made["y"] = 2


def test_a_last_save_that_fails_is_picked_up_by_the_next_start(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From a private file beside the database, which is gone after that."""
    _leave_a_spill()
    [path] = isolated.glob("s.db.spill-*.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1, "y": 2}
    assert "picked up" in caplog.text
    assert not list(isolated.glob("*.jsonl"))
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1, "y": 2}


def test_a_spill_is_not_applied_over_later_work(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another incarnation has saved since: the file is kept aside and named in an error."""
    _leave_a_spill()
    journal = Journal(SqliteStore("s.db"))
    journal.recover()
    journal.commit([b'{"id":1,"put":{"z":3}}'])
    journal._store.close()
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1, "z": 3}
    assert not list(isolated.glob("*.jsonl"))
    [aside] = isolated.glob("*.conflict")
    assert aside.name in caplog.text
    assert b'"y":2' in aside.read_bytes()


def test_a_damaged_spill_is_set_aside(
    isolated: Path, caplog: pytest.LogCaptureFixture, rng: random.Random
) -> None:
    """Half a file, or one with another byte, is logged and kept; the state is resumed without."""
    _leave_a_spill()
    [path] = isolated.glob("*.jsonl")
    whole = path.read_bytes()
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a")["y"] = 3  # from here on no spill goes on from the state
    for _ in range(30):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(rng.choice([bytes(content), whole[: rng.randrange(len(whole))]]))
        path.chmod(0o600)
        caplog.clear()
        with autostate.open("sqlite:///s.db"):
            assert PersistedDict("a") == {"x": 1, "y": 3}
        assert not path.exists()
        if content != whole:
            assert "set aside" in caplog.text or "not applied" in caplog.text


def test_a_spill_of_a_program_with_a_key_is_signed(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the signature, or with that of another key or store, it is set aside."""
    key, other = "a secret of at least sixteen bytes", "another secret of sixteen"
    forged: dict[str, bytes] = {}
    for sort, settings in {"unsigned": {}, "other": {"key": other}}.items():
        _leave_a_spill(**settings)
        [path] = isolated.glob("s.db.spill-*.jsonl")
        forged[sort] = path.read_bytes()
        for left in isolated.glob("s.db*"):
            left.unlink()
    for encrypt in (False, True):
        _leave_a_spill(key=key, encrypt=encrypt)
        [path] = isolated.glob("s.db.spill-*.jsonl")
        mine = path.read_bytes()
        assert (b'"y":2' in mine) != encrypt
        for content in (*forged.values(), mine[:-2] + b"!!", mine):
            path.write_bytes(content)
            caplog.clear()
            with autostate.open("sqlite:///s.db", key=(other + "!", key)):
                assert PersistedDict("a") == {"x": 1, **({"y": 2} if content == mine else {})}
            assert ("is not to be believed" in caplog.text) == (content != mine)
        assert len([*isolated.glob("*.bad")]) == 1  # all had one name
        for left in isolated.glob("s.db*"):
            left.unlink()


class Silent(SqliteStore):
    """The first write arrives, but no answer comes back; the later ones do not even arrive."""

    arrived = False

    def write(self, *args: Any, **kwargs: Any) -> None:
        """Write, and fail."""
        if not self.arrived:
            super().write(*args, **kwargs)
            self.arrived = True
        raise StoreUnavailableError("no answer")


@pytest.mark.parametrize("before", [False, True])
def test_a_spill_goes_on_from_a_commit_of_which_nobody_knew(
    isolated: Path, caplog: pytest.LogCaptureFixture, *, before: bool
) -> None:
    """The first of a process, on top of the state of another one or of none."""
    if before:
        with autostate.open("sqlite:///s.db"):
            PersistedDict("a", x=0)
    store = Silent("s.db")
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        PersistedDict("a")["x"] = 1
    assert store.arrived
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}
    assert "were picked up" in caplog.text
    assert not list(isolated.glob("*.conflict"))


def test_a_spill_goes_on_from_the_very_state(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not from one of another process that has the same epoch and number."""
    _leave_a_spill()
    [path] = isolated.glob("*.jsonl")
    kept = path.read_bytes()
    for left in isolated.glob("s.db*"):
        left.unlink()
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", x=7)
    path.write_bytes(kept)
    path.chmod(0o600)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 7}
    assert "The changes were not applied" in caplog.text


def _owned_by_another(path: Path) -> None:
    try:
        os.chown(path, 65534, 65534)
    except PermissionError:
        pytest.skip("only root can give a file away")


def _become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


NOT_OWN: dict[str, Callable[[Path], object]] = {
    "another user's": _owned_by_another,
    "a link": lambda path: path.symlink_to(path.rename("elsewhere")),
    "another name of a file": lambda path: Path("elsewhere").hardlink_to(path),
    "writable for others": lambda path: path.chmod(0o622),
    "a pipe": _become_a_pipe,
    "nested without an end": lambda path: path.write_text("[" * 100_000),
}


@pytest.mark.parametrize("how", NOT_OWN)
def test_a_spill_that_somebody_else_may_have_written_is_not_believed(
    isolated: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """It would become state; and whatever it is, the program starts."""
    _leave_a_spill()
    [path] = isolated.glob("s.db.spill-*.jsonl")
    NOT_OWN[how](path)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}
    assert not os.path.lexists(path)
    assert os.path.lexists(path.with_suffix(".bad"))
    assert path.name in caplog.text


def test_a_spill_is_found_whatever_the_name_of_the_database(tmp_path: Path) -> None:
    """One with characters that stand for others in patterns."""
    url = f"sqlite:///{tmp_path}/jobs[1]?.db"
    written = spill.write(url, spill.Base((None,)), [b"{}"])
    assert [one.path for one in spill.find(url)] == [written]


def test_a_spill_of_another_store_is_not_taken(isolated: Path) -> None:
    """The file's name says for which database it is."""
    spill.write("apify:one", spill.Base((None,)), [b"{}"])
    assert spill.find("apify:other") == []
    assert len(spill.find("apify:one")) == 1


def test_changes_that_a_first_incarnation_never_saved_are_picked_up(isolated: Path) -> None:
    """Also when not even its first commit went through."""
    store = Full("s.db")
    store.full = True
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        PersistedDict("a", x=1)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}


def test_nothing_is_spilled_for_a_store_in_memory(isolated: Path) -> None:
    """It would never be asked for."""
    with pytest.raises(FlushError), autostate.open(Unsteady("m", writes=1000), flush_timeout=0.3):
        PersistedDict("a", x=1)
    assert list(isolated.iterdir()) == []


def test_what_was_written_is_not_called_lost(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last save went through; the store only did not say who owns the state."""
    stop = FlushThread.stop

    def stop_in_doubt(flush_thread: FlushThread, timeout: float) -> None:
        stop(flush_thread, timeout)
        raise FlushError("nobody knows")

    monkeypatch.setattr(FlushThread, "stop", stop_in_doubt)
    with (
        pytest.raises(FlushError, match=r"nobody knows$") as raised,
        autostate.open("sqlite:///s.db"),
    ):
        PersistedDict("a", x=1)
    assert type(raised.value) is FlushError
    assert not list(isolated.glob("*.jsonl"))


def test_a_failed_end_of_the_default_manager_is_loud(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log and on standard error, with the place of the file."""
    store = Full("s.db")
    store.full = True
    manager = autostate.open(store, flush_timeout=0.3)
    manager.create("a", "dict", lambda: PersistedDict.__new__(PersistedDict))
    with caplog.at_level(logging.CRITICAL, logger="autostate"):
        manager.finish(0.3)
    assert "the disk is full" in capsys.readouterr().err
    assert ".jsonl" in caplog.text


class Platform(MemoryStore):
    """A store as Apify's: no conditional writes, each write paid for."""

    atomic = False
    conditional = False
    metered = True


def test_a_new_container_fences_the_old_one_before_it_saves_itself() -> None:
    """What the old one saves after the new one has read cannot fence the new one."""
    fenced = pytest.raises(autostate.FencedError)
    with fenced, autostate.open(Platform("run")) as old:  # leaving it cannot save either
        state = PersistedDict("progress", page=1)
        old.flush()
        with autostate.open(Platform("run")) as new:
            resumed = PersistedDict[str, int]("progress")
            state["page"] = 2
            with pytest.raises(autostate.FencedError):
                old.flush()
            resumed["page"] = 10
            new.flush()
    with autostate.open(Platform("run")):
        assert PersistedDict("progress") == {"page": 10}


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


def test_changes_that_were_not_saved_go_on_from_no_backup(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an older state of the same process: with them it would be a mixture."""
    store = Full("s.db")
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        state = PersistedDict("a", number=0)
        autostate.flush()
        shutil.copy("s.db", "backup.db")
        state["number"] = 1
        autostate.flush()
        store.full = True
        state["late"] = True
    shutil.copy("backup.db", "s.db")
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"number": 0}
    assert "The changes were not applied" in caplog.text
    assert [*isolated.glob("*.conflict")]


def test_changes_that_were_not_saved_are_found_under_any_name(isolated: Path) -> None:
    """A link to the file is the same store."""
    (isolated / "other").mkdir()
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", number=0)
    (isolated / "other" / "link.db").symlink_to(isolated / "s.db")
    store = Full("other/link.db")
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        store.full = True
        PersistedDict("a")["number"] = 1
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"number": 1}


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
