"""Ctrl-C at each place where Python delivers signals: nothing is lost, locked or corrupt.

`make interrupts` tries every place, the tests a sample; `CAMPAIGN_INTERRUPTS` says how large.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import hub
from autostate.process import lifecycle
from autostate.process.interrupts import Latch, Worker
from autostate.runtime.api import current_manager
from autostate.saving.event_loops import EventLoops
from tests.crash.interrupted import (
    EVERY,
    LARGE,
    SAMPLE,
    Act,
    Operation,
    a_deque,
    a_dict,
    a_list,
    a_set,
    attempt,
    check_unlocked,
    chosen,
    counted,
    entries,
    items,
    manager_of,
    members,
    plain,
    save,
    stored,
    two_entries,
    urls,
)
from tests.interrupting import AlarmError, Interrupt

__all__ = ["counted"]

pytestmark = [
    pytest.mark.campaign(name="interrupts"),
    # From 3.13 on it is told when the collector closes one, which Ctrl-C has left.
    pytest.mark.filterwarnings("ignore:(?s).*unclosed database:Warning"),
]


class Settings:
    """A state class."""

    def __init__(self) -> None:
        self.a = 1
        self.rows = {"x": [1]}


Settings = autostate.persisted(name="s")(Settings)  # type: ignore[misc]


def a_counter() -> Any:
    """A counter."""
    return autostate.PersistedCounter("s")


def nested(d: Any) -> None:
    """Fill a dict with containers, one of them large."""
    d.update({f"k{i}": {"a": [i], "b": {"c": i}} for i in range(3)})
    d["large"] = {f"k{i}": i for i in range(LARGE)}


MAPPING: Final[dict[str, Act]] = {
    "set a new item": lambda d: d.__setitem__("new", 1),
    "set an item": lambda d: d.__setitem__("k1", -1),
    "delete an item": lambda d: d.__delitem__("k1"),
    "pop": lambda d: d.pop("k1"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("new", 1),
    "clear": lambda d: d.clear(),
}
SET: Final[dict[str, Act]] = {
    "add": lambda s: s.add(-1),
    "discard": lambda s: s.discard(1),
    "remove": lambda s: s.remove(1),
    "pop": lambda s: s.pop(),
    "clear": lambda s: s.clear(),
}
SEQUENCE: Final[dict[str, Act]] = {
    "append": lambda s: s.append(-1),
    "insert": lambda s: s.insert(2, -1),
    "pop": lambda s: s.pop(),
    "remove": lambda s: s.remove(2),
    "set": lambda s: s.__setitem__(1, -1),
    "delete": lambda s: s.__delitem__(1),
    "reverse": lambda s: s.reverse(),
    "extend": lambda s: s.extend([7, 8]),
    "clear": lambda s: s.clear(),
    "repeat": lambda s: s.__imul__(2),
}
STEPS: Final[dict[str, Act]] = {
    "update": lambda d: d.update({"k1": -1, "new": 1, "newer": 2}),
}


def operations() -> Iterator[tuple[str, Operation]]:
    """All of them, with their names."""
    for size in (5, LARGE):
        for kind, make in (("dict", a_dict), ("counter", a_counter)):
            for name, act in MAPPING.items():
                yield f"{kind} {size} {name}", Operation(make, entries(size), act)
        yield f"dict {size} update", Operation(a_dict, entries(size), STEPS["update"], True)
        counted = Operation(a_counter, entries(size), lambda c: c.update(["k1", "new"]), True)
        yield f"counter {size} update", counted
        for name, act in SET.items():
            yield f"set {size} {name}", Operation(a_set, members(size), act)
        for name, in_place in (
            ("update", lambda s: s.update([-1, -2])),
            ("intersection_update", lambda s: s.intersection_update(range(2, 400))),
        ):
            yield f"set {size} {name}", Operation(a_set, members(size), in_place, True)
        for kind, make in (("list", a_list), ("deque", a_deque)):
            for name, act in SEQUENCE.items():
                yield f"{kind} {size} {name}", Operation(make, items(size), act)
        backwards = Operation(a_list, items(size), lambda s: s.sort(key=lambda i: -i))
        yield f"list {size} sort", backwards
        yield f"deque {size} rotate", Operation(a_deque, items(size), lambda s: s.rotate(2))
        appended = Operation(a_deque, items(size), lambda s: s.appendleft(-1))
        yield f"deque {size} appendleft", appended
    for name, act in {
        "inner": lambda d: d["k1"]["b"].__setitem__("c", -1),
        "append": lambda d: d["k1"]["a"].append(-1),
        "assign": lambda d: d.__setitem__("k1", {"a": {"b": [1]}}),
        "large": lambda d: d["large"].__setitem__("new", 1),
        "delete large": lambda d: d.__delitem__("large"),
        "new large": lambda d: d.__setitem__("more", {str(i): i for i in range(LARGE)}),
    }.items():
        yield f"nested {name}", Operation(a_dict, nested, act)
    for name, act in {
        "set": lambda s: setattr(s, "a", 2),
        "new": lambda s: setattr(s, "b", 2),
        "delete": lambda s: delattr(s, "a"),
        "inner": lambda s: s.rows["x"].append(2),
    }.items():
        yield f"object {name}", Operation(Settings, lambda _s: None, act)
    changed = Operation(a_dict, nested, _change_and_flush, True)
    yield "flush", changed
    yield "durable", Operation(a_dict, nested, _change_and_wait, True)
    yield "info", Operation(a_dict, nested, lambda s: (autostate.info(s), autostate.statistics()))


def _change_and_flush(d: Any) -> None:
    d["k1"] = -1
    autostate.flush()


def _change_and_wait(d: Any) -> None:
    async def main() -> None:
        d["k1"] = -1
        await autostate.durable()

    asyncio.run(main())


OPERATIONS: Final = dict(operations())


# Python's own word on a coroutine that was made when Ctrl-C struck, and so was never awaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*coroutine:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupted_operation_is_done_or_not(name: str, rng: random.Random) -> None:
    """And what memory holds is saved; also what is written afterwards."""
    operation = OPERATIONS[name]
    places = sys.maxsize - attempt(operation, sys.maxsize).left
    numbers: Sequence[int] = range(1, places + 1)
    for number in chosen(numbers, SAMPLE, rng):
        for again in (False, True) if EVERY else (rng.random() < 0.5,):
            # What another error does in a callback of a loop is up to asyncio: it is logged.
            plain = again or name == "durable" or rng.random() < 0.5
            error: type[BaseException] = KeyboardInterrupt if plain else AlarmError
            attempt(operation, number, again=again, error=error)


def places_of(act: Callable[[str, Interrupt], None], rng: random.Random) -> Iterator[None]:
    """Do something on a new store, interrupted at each place, or at some of them."""
    counting = Interrupt(sys.maxsize)
    act(f"memory:places{next(urls)}", counting)
    numbers: Sequence[int] = range(1, sys.maxsize - counting.left + 1)
    for number in chosen(numbers, 12, rng):
        act(f"memory:places{next(urls)}", Interrupt(number))
        yield


def test_an_interrupted_delete_is_done_or_not(rng: random.Random) -> None:
    """The name is that of the whole state object, or of a new one."""

    def act(url: str, interrupt: Interrupt) -> None:
        with autostate.open(url, debounce=3600):
            state = a_dict()
            nested(state)
            save()
            before = copy.deepcopy(plain(state))
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                autostate.delete(state)
            found = plain(a_dict())
            assert found in (before, {}), interrupt.at
            check_unlocked(url)
            assert stored(url, a_dict) == found, interrupt.at

    for _ in places_of(act, rng):
        pass


def test_an_interrupted_end_loses_nothing(tmp_path: Path, rng: random.Random) -> None:
    """It is saved, or spilled, or still to be saved at the end of the process."""
    urls = (f"sqlite:///{tmp_path / str(number)}.db" for number in range(sys.maxsize))

    def act(_: str, interrupt: Interrupt) -> None:
        url = next(urls)
        manager = autostate.open(url, debounce=3600)
        with manager_of(manager):
            state = a_dict()
            nested(state)
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            manager.close()
        manager.finish(20.0)  # as the end of the process does
        for thread in threading.enumerate():
            if thread.name == "autostate-flush":
                thread.join(60)
                assert not thread.is_alive(), interrupt.at
        with autostate.open(url, debounce=3600):
            assert plain(a_dict()) == plain(state), interrupt.at

    for _ in places_of(act, rng):
        pass


def test_an_interrupted_exit_saves(tmp_path: Path, rng: random.Random) -> None:
    """Ctrl-C also before the last save has begun, and in a receiver of `shutdown`."""
    urls = (f"sqlite:///{tmp_path / str(number)}.db" for number in range(sys.maxsize))
    heard: list[float] = []

    def receiver(_sender: object, **_rest: Any) -> None:
        heard.append(time.monotonic())

    def act(_: str, interrupt: Interrupt) -> None:
        heard.clear()
        url = next(urls)
        manager = autostate.open(url, debounce=3600)
        with manager_of(manager):
            state = a_dict()
            nested(state)
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            lifecycle._exit()
        lifecycle._exit()  # it is registered twice
        assert len(heard) <= 1, interrupt.at
        assert not hub.migrating._own, interrupt.at
        for thread in threading.enumerate():
            if thread.name == "autostate-flush":
                thread.join(60)
                assert not thread.is_alive(), interrupt.at
        with autostate.open(url, debounce=3600):
            assert plain(a_dict()) == plain(state), interrupt.at

    with hub.shutdown.connected_to(receiver):
        for _ in places_of(act, rng):
            pass


def test_ctrl_c_in_pythons_own_code_for_threads_stops_none(isolated: Path) -> None:
    """Up to Python 3.12 it may leave a thread that runs as one that is over."""

    def act(number: int) -> bool:
        interrupt = Interrupt(number, ours="threading.py")
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            state["n"] += 1
            autostate.flush()
        flush_thread = current_manager()._begin().flush_thread
        flush_thread.start()
        assert flush_thread.busy(), interrupt.at
        autostate.flush()  # it may be about to begin
        names = [one.name for one in threading.enumerate()]
        assert names.count("autostate-flush") == 1, interrupt.at
        return interrupt.left <= 0

    with autostate.open(f"memory:places{next(urls)}", debounce=3600):
        state = autostate.PersistedDict("s", n=0)
        number = 1
        while act(number):
            number += 1


def test_ctrl_c_in_pythons_own_code_while_a_thread_starts(isolated: Path) -> None:
    """It may leave a lock of `threading` taken: the thread works all the same."""

    def act(number: int) -> bool:
        interrupt = Interrupt(number, ours="threading.py")
        with autostate.open(f"memory:places{next(urls)}", debounce=3600, flush_timeout=5):
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                autostate.PersistedDict("s", n=0)["n"] += 1
            state = autostate.PersistedDict("s", n=0)
            state["n"] += 1
            autostate.flush()
            names = [one.name for one in threading.enumerate()]
            assert names.count("autostate-flush") == 1, interrupt.at
        return interrupt.left <= 0

    number = 1
    while act(number):
        number += 1


def _wait_for(ends: Latch) -> None:
    ends.wait()


def test_a_thread_has_begun_when_start_returns() -> None:
    """Else it begins when the main thread is about to wait for input: SIGTERM wakes nobody then."""
    for _ in range(50):
        ends = Latch()
        worker = Worker(functools.partial(_wait_for, ends), "test")
        worker.start()
        assert worker.ident is not None
        ends.set()
        worker.join(5.0)
        assert not worker.is_alive()


def test_a_loop_whose_flush_ctrl_c_ended_counts_as_running_again() -> None:
    """Else every later cut would be taken in the middle of what runs on it."""
    event_loops = EventLoops()

    async def act(number: int) -> bool:
        loop = asyncio.get_running_loop()
        interrupt = Interrupt(number, ours="saving/event_loops.py")
        with (
            contextlib.suppress(KeyboardInterrupt),
            interrupt,
            event_loops.blocked(),
            event_loops.blocked_thread(loop) as thread,
        ):
            assert thread == threading.get_ident()
        with event_loops.blocked_thread(loop) as thread:
            assert thread is None, interrupt.at
        return interrupt.left <= 0

    number = 1
    while asyncio.run(act(number)):
        number += 1


def test_ctrl_c_in_a_block_that_gives_way_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a save waits: from Python's own events it would come out as another error."""
    from autostate.tracking import blocks

    monkeypatch.setattr(blocks, "LONGEST_HOLD", 0.01)
    with autostate.open(f"memory:places{next(urls)}", debounce=3600) as manager:
        state = autostate.PersistedDict("s", n=0)

        def act(number: int) -> bool:
            interrupt = Interrupt(number, ours="threading.py")
            with (
                contextlib.suppress(KeyboardInterrupt),
                manager._tracker().holding_back(),
                interrupt,
                autostate.atomic(),
            ):
                state["n"] += 1
            return interrupt.left <= 0

        number = 1
        while act(number):
            number += 1
        still = threading.Thread(target=two_entries, args=(state,), daemon=True)
        still.start()
        still.join(20.0)
        assert not still.is_alive()


def test_an_interrupted_adoption_is_done_when_asked_again(
    isolated: Path, rng: random.Random
) -> None:
    """The record is taken over once, and whole."""
    folder = isolated / "storage/key_value_stores/default"
    folder.mkdir(parents=True)
    (folder / "WANTED.__metadata__.json").write_text(
        '{"key": "WANTED", "content_type": "application/json; charset=utf-8", "size": 26}'
    )
    (folder / "WANTED").write_text('{"page": 7, "done": ["a"]}')

    def adopted() -> Any:
        return autostate.adopt("WANTED", {"page": 1, "more": 0})

    def act(url: str, interrupt: Interrupt) -> None:
        with autostate.open(url, debounce=3600):
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                adopted()
            state = adopted()
            assert plain(state) == {"page": 7, "more": 0, "done": ["a"]}, interrupt.at
            check_unlocked(url)
            assert stored(url, adopted) == plain(state), interrupt.at

    for _ in places_of(act, rng):
        pass
