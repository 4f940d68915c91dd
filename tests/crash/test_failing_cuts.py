"""An error in the middle of a save, wherever it strikes: the next save has everything.

Most often it is one for want of memory. It may also be raised by a class of the program's own.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import random
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList, PersistedSet
from autostate.process.interrupts import Worker
from autostate.saving.thread import FlushThread
from autostate.tracking import LARGE
from autostate.tracking.mappings import MappingCapture
from tests.campaign import LONG
from tests.interrupting import Interrupt

SAMPLES = 60 if LONG else 20
PLACES = 2400
"""About as many functions are called while the state below is saved."""


class Injection:
    """Raises an error at one of the calls of tracking and codec."""

    def __init__(self, error: type[Exception], at: int) -> None:
        self._error = error
        self.left = at

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take note of a call, as `sys.setprofile` tells of it."""
        code = frame.f_code
        path = code.co_filename.replace("\\", "/")
        if event != "call" or code.co_flags & inspect.CO_GENERATOR:
            return  # an error in a generator that is closed would be ignored
        if "autostate/tracking/" in path or "autostate/codec/" in path:
            self.left -= 1
            if not self.left:
                raise self._error


@contextlib.contextmanager
def injected(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], at: int
) -> Iterator[Injection]:
    """Raise in the thread that saves, at a number of calls."""
    injection = Injection(error, at)
    serve: Callable[..., Any] = FlushThread._serve

    def serve_profiled(*args: Any) -> None:
        sys.setprofile(injection)
        try:
            serve(*args)
        finally:
            sys.setprofile(None)

    with monkeypatch.context() as patch:
        patch.setattr(FlushThread, "_serve", serve_profiled)
        yield injection


def objects() -> tuple[Any, Any, Any, Any]:
    """Give the state objects."""
    return (
        PersistedDict("entries"),
        PersistedSet("members"),
        PersistedList("items"),
        PersistedCounter("counts"),
    )


def fill(held: list[int]) -> None:
    """Make a state of several shapes and sizes."""
    entries, members, items, counts = objects()
    entries["inner"] = {"list": [1]}
    entries["large"] = {number: [number] for number in range(LARGE + 44)}
    entries["held"] = held
    members.update(range(LARGE + 44))
    items.extend({"number": number} for number in range(20))
    counts.update("abc")


def change(held: list[int]) -> None:
    """Write to all of it in different ways."""
    entries, members, items, counts = objects()
    entries["inner"]["list"].append(2)
    entries["new"] = {"y": {"z": 1}}
    entries["large"][5].append(1)
    entries["large"][1000] = {}
    del entries["large"][7]
    entries["alias"] = entries["inner"]["list"]
    members.add(-1)
    members.discard(5)
    items[3]["number"] = 7
    items.insert(2, {"q": [1]})
    counts["a"] += 5
    held.append(2)


def shown() -> str:
    """Everything, with the order of what has one."""
    entries, members, items, counts = objects()
    return repr((entries, sorted(members), items, counts, entries["alias"]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_the_next_save_has_what_a_save_that_failed_had(
    error: type[Exception], rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it failed: no mark is lost, and nothing counts as saved that is not."""
    struck = 0
    for sample in range(SAMPLES):
        url, at = f"memory:failing-{error.__name__}-{sample}", rng.randrange(1, PLACES)
        with autostate.open(url, debounce=3600.0, max_delay=3600.0):
            held = [1]
            fill(held)
            autostate.flush()
            change(held)
            with injected(monkeypatch, error, at) as injection, contextlib.suppress(Exception):
                autostate.flush()
            struck += injection.left <= 0
            autostate.flush()
            expected = shown()
        with autostate.open(url, debounce=3600.0, max_delay=3600.0):
            assert shown() == expected, f"at call {at}"
            assert objects()[0]["alias"] is objects()[0]["inner"]["list"]
    assert struck > SAMPLES // 4


class OtherTask:
    """A context in this thread, in which a block is open across what others do."""

    def __init__(self) -> None:
        self._run = contextvars.copy_context().run
        self._block = autostate.atomic()
        self._run(self._block.__enter__)
        self._run(self._write)

    def _write(self) -> None:
        entries, members, items, counts = objects()
        entries["large"][9] = entries["block"] = "block"
        members.add(-2)
        items.insert(1, "block")
        counts.update(["a", "block"])

    def end(self) -> None:
        """Keep what the block wrote."""
        self._run(self._block.__exit__, None, None, None)


def saves_in_another_thread() -> bool:
    """Whether another thread can save: nothing is locked."""
    done = threading.Event()

    def save() -> None:
        autostate.flush(10.0)
        done.set()

    threading.Thread(target=contextvars.copy_context().run, args=(save,), daemon=True).start()
    return done.wait(20.0)


@pytest.mark.parametrize("block", [False, True])
def test_the_next_save_has_what_one_had_that_ctrl_c_ended(
    block: bool, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, a save is made in the main thread, where Ctrl-C strikes."""

    def refuse(worker: Worker) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Worker, "start", refuse)

    def attempt(number: int, url: str) -> Interrupt:
        interrupt = Interrupt(number)
        with autostate.open(url, debounce=3600.0, max_delay=3600.0):
            held = [1]
            fill(held)
            autostate.flush()
            change(held)
            other = OtherTask() if block else None
            written = shown()
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                autostate.flush()
            assert shown() == written, interrupt.at
            if other is not None:
                other.end()
            assert saves_in_another_thread(), interrupt.at
        with autostate.open(url, debounce=3600.0, max_delay=3600.0):
            assert shown() == written, interrupt.at
        return interrupt

    places = sys.maxsize - attempt(sys.maxsize, f"memory:places-{block}").left
    for number in rng.sample(range(1, places + 1), SAMPLES // 3):
        attempt(number, f"memory:ctrl-c-{block}-{number}")


@pytest.mark.parametrize("step", ["copy_items", "changes"])
def test_a_lack_of_memory_is_a_failure_and_no_value_that_cannot_be_saved(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is tried again by itself, and everything is saved then."""

    def fail(_: object) -> None:
        raise MemoryError

    with autostate.open("memory:", debounce=3600.0, max_delay=3600.0):
        entries = PersistedDict[str, int]("entries", a=1)
        with monkeypatch.context() as patch:
            patch.setattr(MappingCapture, step, fail)
            with pytest.raises(autostate.FlushError) as raised:
                autostate.flush()
        assert isinstance(raised.value.__cause__, MemoryError)
        assert autostate.info(entries).dirty


def test_what_fails_in_the_last_save_costs_no_other_state_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no other attempt: everything else is saved."""
    copy_items = MappingCapture.copy_items

    def fail(share: MappingCapture) -> dict[Any, Any]:
        if share.node.name == "heavy":
            raise MemoryError
        return copy_items(share)

    with autostate.open("memory:failing-last", debounce=3600.0, max_delay=3600.0) as manager:
        PersistedDict[str, int]("light", a=1)
        PersistedDict[str, int]("heavy", a=1)
        monkeypatch.setattr(MappingCapture, "copy_items", fail)
        with contextlib.suppress(autostate.AutostateError):
            manager.close()
    with autostate.open("memory:failing-last"):
        assert PersistedDict("light") == {"a": 1}
