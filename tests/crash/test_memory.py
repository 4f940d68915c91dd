"""Out of memory: an error, and neither the state nor the store is the worse for it.

`make memory` tries every place, and many processes; the tests some.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

import autostate
from autostate.deadline import Deadline
from autostate.errors import AutostateError, FlushError
from autostate.saving.thread import FlushThread
from autostate.stores import memory
from tests.campaign import Tally
from tests.crash.interrupted import a_dict, check_unlocked, plain, save, stored
from tests.crash.test_interrupts import nested
from tests.interrupting import Interrupt

WANTED: Final = os.environ.get("CAMPAIGN_MEMORY", "")
EVERY: Final = WANTED == "all"
MANY: Final = int(WANTED) if WANTED.isdigit() else 0
"""At how many places of each operation memory is refused, if not at all."""
LINUX: Final = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS, /proc")
TIMES: Final = (1, 6, 40)
"""How many allocations in a row fail, as long as what holds the memory is not let go of."""

_numbers = itertools.count()


def places(act: Callable[[Interrupt], None], rng: random.Random, count: int) -> Iterator[str]:
    """Do something at which memory is refused at each place, or at some of them."""
    counting = Interrupt(sys.maxsize)
    act(counting)
    numbers: Any = range(1, sys.maxsize - counting.left + 1)
    if not EVERY:
        numbers = sorted(rng.sample(numbers, min(max(count, MANY), len(numbers))))
    for number in numbers:
        refused = Interrupt(number, MemoryError, times=rng.choice(TIMES))
        act(refused)
        yield refused.at


def filled() -> tuple[str, Any, Any]:
    """A store with a state; its URL, and what is in it."""
    name = f"memory{next(_numbers)}"
    with autostate.open(f"memory:{name}", debounce=3600) as manager:
        state, items = a_dict(), a_list_of_dicts()
        nested(state)
        state["pair"], state["items"] = (1, 2), items
        manager.flush()
        kept = dict(memory._shared[name])
        found = copy.deepcopy(plain(state)), copy.deepcopy(plain(items))
    memory._shared.setdefault(name, memory._Records()).update(kept)
    return f"memory:{name}", *found


def a_list_of_dicts() -> Any:
    """A large list."""
    items = autostate.PersistedList("items")
    if not items:
        items.extend({"a": number} for number in range(300))
    return items


def write(state: Any, items: Any) -> None:
    """Change some of all."""
    state["k1"]["b"]["c"], state["new"] = 5, {"a": [1, 2]}
    state["large"]["k7"] = -1
    items[5:9] = [1]
    items.append({"x": 1})
    del state["k2"]


def check(url: str, state: Any, items: Any, refused: Interrupt) -> None:
    """See that another thread can write and save, and that all is saved then."""
    check_unlocked(url)
    assert stored(url, a_dict) == plain(state), refused.at
    assert stored(url, a_list_of_dicts) == plain(items), refused.at


pytestmark = pytest.mark.campaign(name="memory")


@pytest.fixture(autouse=True)
def quiet(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The reports would be longer than the tests. Each place that raises is a trial."""
    monkeypatch.setattr(Interrupt, "tally", tally)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_flush_that_gets_no_memory_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    """In the thread that asked for it, where none could be started."""

    def act(refused: Interrupt) -> None:
        url, before, _ = filled()
        with monkeypatch.context() as patch, autostate.open(url, debounce=3600) as manager:
            patch.setattr(FlushThread, "start", lambda _: None)
            state, items = a_dict(), a_list_of_dicts()
            write(state, items)
            now = copy.deepcopy(plain(state)), copy.deepcopy(plain(items))
            saved = False
            with contextlib.suppress(MemoryError, FlushError), refused:
                manager.flush()
                saved = True
            assert (plain(state), plain(items)) == now, refused.at
            assert stored(url, a_dict) in ((now[0],) if saved else (before, now[0])), refused.at
            patch.undo()
            check(url, state, items, refused)

    assert all(places(act, rng, 6))


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 4),
    reason="tracing each step of another thread ends this Python with SIGSEGV at times",
)
def test_the_thread_that_saves_goes_on_without_memory(rng: random.Random) -> None:
    """Whoever waits for it gets an answer, and later changes are saved as before."""
    died: list[object] = []
    threading.excepthook, hook = died.append, threading.excepthook

    def act(refused: Interrupt) -> None:
        url, before, _ = filled()
        works = False

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            return refused(frame, event, argument) if works else None

        sys._getframe().f_trace_opcodes = True
        threading.settrace(trace)
        try:
            with autostate.open(url, debounce=3600) as manager:
                state, items = a_dict(), a_list_of_dicts()
                save()
                threading.settrace(None)
                write(state, items)
                now = copy.deepcopy(plain(state)), copy.deepcopy(plain(items))
                works, saved = True, False
                with contextlib.suppress(FlushError):
                    manager.flush()
                    saved = True
                works = False
                assert (plain(state), plain(items)) == now, refused.at
                assert stored(url, a_dict) in ((now[0],) if saved else (before, now[0]))
                state["later"] = 1
                check(url, state, items, refused)
                assert manager._begin().flush_thread.busy(), refused.at
        finally:
            threading.settrace(None)

    try:
        for at in places(act, rng, 6):
            assert not died, at
    finally:
        threading.excepthook = hook


def test_a_request_outlives_an_error_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is served with the next turn; it was forgotten, and the caller waited in vain."""
    limit, errors = FlushThread._limit, iter([MemoryError, MemoryError])

    def without_memory(flush_thread: FlushThread, latest: float) -> Deadline:
        for error in errors:
            raise error
        return limit(flush_thread, latest)

    url, *_ = filled()
    with autostate.open(url, debounce=3600) as manager:
        state = a_dict()
        save()
        monkeypatch.setattr(FlushThread, "_limit", without_memory)
        state["new"] = 1
        manager.flush(timeout=60)
        assert stored(url, a_dict)["new"] == 1


def test_a_load_that_gets_no_memory_can_be_repeated(rng: random.Random) -> None:
    """And nothing of the half of it is left."""

    def act(refused: Interrupt) -> None:
        url, *before = filled()
        with autostate.open(url, debounce=3600):
            with contextlib.suppress(MemoryError, AutostateError), refused:
                a_dict()
            state, items = a_dict(), a_list_of_dicts()
            assert [plain(state), plain(items)] == before, refused.at
            state["later"] = 1
            check(url, state, items, refused)

    assert all(places(act, rng, 5))


def test_a_block_that_gets_no_memory_is_done_or_not(rng: random.Random) -> None:
    """`atomic()`: all of it, or nothing."""

    def act(refused: Interrupt) -> None:
        url, *before = filled()
        with autostate.open(url, debounce=3600):
            state, items = a_dict(), a_list_of_dicts()
            with contextlib.suppress(MemoryError), refused, autostate.atomic():
                write(state, items)
            found = [plain(state), plain(items)]
            if found != before:
                after = filled_and_written()
                assert found == after, refused.at
            check(url, state, items, refused)

    assert all(places(act, rng, 5))


def filled_and_written() -> list[Any]:
    """What `write` leaves."""
    url, *_ = filled()
    with autostate.open(url, debounce=3600):
        state, items = a_dict(), a_list_of_dicts()
        write(state, items)
        return [copy.deepcopy(plain(state)), copy.deepcopy(plain(items))]


def test_a_compaction_that_gets_no_memory_changes_nothing(rng: random.Random) -> None:
    """The journal stays as it is, and the next one works."""

    def act(refused: Interrupt) -> None:
        url, *_ = filled()
        with autostate.open(url, debounce=3600) as manager:
            state, items = a_dict(), a_list_of_dicts()
            for number in range(4):
                items.append("x" * 3000)
                state["n"] = number
                manager.flush()
            incarnation = manager._begin()
            with incarnation.flush_thread.exclusive():
                with contextlib.suppress(MemoryError, AutostateError), refused:
                    incarnation._journal.compact(pause=lambda: None)
                state["later"] = 1
            check(url, state, items, refused)

    assert all(places(act, rng, 5))


FILLS = """
import os, random, resource, sys, time
import autostate
from autostate import PersistedDict, PersistedList

def told():
    return repr((sorted(state.items()), list(items)))

state, items = PersistedDict("state"), PersistedList("items")
if sys.argv[1:]:
    rng, room = random.Random(sys.argv[1]), int(sys.argv[2])

    def value():
        text = rng.choice("aé€") * rng.randrange(rng.choice((3, 50, 2_000, 60_000, 1_000_000)))
        few = {str(number): number for number in range(rng.randrange(400))}
        nested = {"text": text, "n": [rng.random()]}
        return rng.choice((text, nested, [text, {"k": text[:9]}], few, (text, rng.random())))

    def fill():
        while True:
            if rng.random() < 0.5:
                state[f"k{rng.randrange(2000)}"] = value()
            else:
                items.append(value())
            if rng.random() < 0.01:
                autostate.flush()

    autostate.flush()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    for _ in range(3):
        try:
            fill()
        except (MemoryError, autostate.AutostateError):
            pass
        saved, tries = False, 0
        while not saved:
            del items[len(items) // 2 :]
            for key in list(state)[::2]:
                del state[key]
            try:
                autostate.flush()
                saved = True
            except (MemoryError, autostate.AutostateError):
                tries += not state and not items
                if tries > 50:  # the flush thread may hold some for a moment
                    raise
                time.sleep(0.02)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(told(), flush=True)
os._exit(0)
"""


@LINUX
def test_a_process_without_memory_saves_when_it_has_some_again(
    tmp_path: Path, rng: random.Random
) -> None:
    """It fills state objects until there is none, drops half of them and saves; no crash."""
    for number in range(40 if EVERY else 10 if MANY else 1):
        seed, room = rng.randrange(10**6), rng.choice([3, 12, 30, 80]) * 1_000_000
        env = os.environ | {"AUTOSTATE_URL": f"sqlite:///{tmp_path}/{number}.db"}
        outputs = []
        for arguments in ((str(seed), str(room)), ()):
            command = [sys.executable, "-c", FILLS, *arguments]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (seed, room, done.returncode, done.stderr)
            outputs.append(done.stdout)
        assert outputs[0] == outputs[1], (seed, room)


IN_SQLITE = """
import pytest
from autostate.errors import StoreUnavailableError
from autostate.stores import open_store

store = open_store("sqlite:///state.db")
store.write({"a": b"1"})
store._connection.execute("PRAGMA hard_heap_limit=3000000")  # of the whole process, for good
with pytest.raises(StoreUnavailableError, match="there is not enough memory"):
    store.write({"a": b"2", "large": b"x" * 20_000_000})
assert store.read("a") == b"1"
store.write({"a": b"3"})
assert store.list("") == ["a"]
store.close()
"""


def test_sqlite_without_memory_is_unavailable(tmp_path: Path) -> None:
    """And works again with what it has."""
    command = [sys.executable, "-c", IN_SQLITE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
