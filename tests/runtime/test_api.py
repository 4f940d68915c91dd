"""State objects are created by name, told about, and deleted."""

from __future__ import annotations

import contextvars
import queue
import random
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
from autostate.errors import StateTypeError, StoreUnavailableError
from autostate.journal import Journal
from autostate.stores.memory import MemoryStore
from tests.runtime.unsteady import WAIT, Unsteady

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
        assert not autostate.info(made).dirty
        assert autostate.info(made).last_saved is not None
        assert autostate.info(made) == autostate.info("a")
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
        assert manager._incarnation is not None
        manager._incarnation.store_wiped()
        made["y"] = 2
        autostate.flush()
        nodes = Journal(MemoryStore("emptied")).recover().nodes
        assert [node.content for node in nodes.values()] == [{"x": 1, "y": 2}]
