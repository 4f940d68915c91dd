"""What the tests of flushing share: a tracker of one flat dict, and a store that fails on demand.

The tracker is not the real one so that a test can refuse a cut, name a loop and count calls; the
journal is the real one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from autostate import hub
from autostate.errors import UnsupportedTypeError
from autostate.journal import Journal
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from autostate.saving.thread import FlushThread
from autostate.settings import Settings
from autostate.stores.memory import MemoryStore
from autostate.tracking.capture import Follower

WAIT = 120.0
"""Seconds after which a test that waits for an event fails."""
CALM = Settings(debounce=3600.0, max_delay=3600.0, duty_cycle=1.0, flush_timeout=20.0)
"""Nothing is saved unless a test asks for it."""
EAGER = Settings(debounce=0.0, max_delay=0.0, duty_cycle=1.0, flush_timeout=20.0)
"""Everything is saved at once."""


class Box:
    """A tracker of one dict, with the interface of the real one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.content: dict[str, Any] = {}
        self.unsaved: dict[str, Any] = {}
        self.wake: Callable[[], None] = lambda: None
        self.gate: Callable[[], None] | None = None
        self.activity = 0
        self.bytes_of_entry = 10
        self.needs_polling = False
        self.hides_changes = False  # whether a look finds that only a cut can tell
        self.looks = 0
        self.on_loop: Any = None
        self.open_blocks = 0
        self.first_block: object = None
        self.unsupported: list[UnsupportedTypeError] = []
        self.cuts: list[tuple[int, bool]] = []
        self.collected_ids: set[int] = set()
        self.cut_error: BaseException | None = None
        self.on_cut: Callable[[], None] = lambda: None
        self.declared = False
        self.capture: BoxCapture | None = None
        self.followers: list[Follower] = []

    def write(self, key: str, value: Any = 1) -> None:
        """Change an entry, as a user's thread would."""
        with self.lock:
            self.content[key] = value
            self.unsaved[key] = value
            self.activity += 1
        self.wake()

    def set_gate(self, gate: Callable[[], None] | None) -> None:
        self.gate = gate

    def waits_for_itself(self) -> bool:
        """Nothing is written in units."""
        return False

    def changed_past_the_gate(self) -> bool:
        return False

    @property
    def dirty(self) -> bool:
        return bool(self.unsaved)

    marked = dirty

    def look(self) -> bool:
        self.looks += 1
        return self.hides_changes or self.dirty

    def estimate(self) -> int:
        return len(self.unsaved) * self.bytes_of_entry

    loops: bool = True

    def loop(self) -> Any:
        return self.on_loop if self.on_loop is not None and self.on_loop.is_running() else None

    def inside_atomic(self) -> bool:
        return False

    def prepare(self, pause: Callable[[], None], *, full_compare: bool = False) -> None:
        pause()

    def collected(self, ids: Iterable[int]) -> None:
        self.collected_ids |= set(ids)

    def cut(
        self, *, full_compare: bool = False, paused: int | None = None, ending: bool = False
    ) -> BoxCapture | None:
        self.cuts.append((threading.get_ident(), full_compare))
        self.on_cut()
        if self.cut_error is not None:
            raise self.cut_error
        if self.open_blocks:
            return None
        with self.lock:
            taken, self.unsaved = self.unsaved, {}
        return BoxCapture(self, taken)

    @property
    def oldest_block(self) -> object:
        return self.first_block

    def holding_back(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """A block of another thread that refuses cuts."""
        self.open_blocks += 1
        self.first_block = object()
        try:
            yield
        finally:
            self.open_blocks -= 1
            self.first_block = None
            self.wake()


class BoxCapture:
    """What was unsaved in a box."""

    def __init__(self, box: Box, taken: dict[str, Any]) -> None:
        self.number = len(box.cuts)
        self.box = box
        self.taken = taken
        self.errors = list(box.unsupported)
        self.entries = len(taken)

    def encode(self, pause: Callable[[], None] | None = None) -> list[bytes]:
        if pause is not None:
            pause()
        if not self.taken:
            return []
        change: dict[str, Any] = {"id": 1, "put": self.taken}
        if not self.box.declared:
            change = {"id": 1, "kind": "dict", "name": "box", "assign": self.taken}
        return [json.dumps(change).encode()]

    def saved(self) -> None:
        self.box.declared = self.box.declared or bool(self.taken)

    def failed(self) -> None:
        with self.box.lock:
            self.box.unsaved = {**self.taken, **self.box.unsaved}


class FaultyStore(MemoryStore):
    """A store in memory that calls `before_write` (which may raise or wait) before each write."""

    def __init__(self, name: str | None = None, *, conditional: bool = True) -> None:
        super().__init__(name)
        self.conditional = conditional
        self.before_write: Callable[[], None] = lambda: None
        self.writes: list[dict[str, bytes]] = []
        self.timeouts: list[float | None] = []
        self.listings = 0

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        if puts:
            self.writes.append(dict(puts))
            self.timeouts.append(timeout)
            self.before_write()
        super().write(puts, deletes, expect=expect if self.conditional else None)

    def list(self, prefix: str, *, timeout: float | None = None) -> list[str]:
        self.listings += 1
        return super().list(prefix, timeout=timeout)


class Bench:
    """A flush thread with its tracker, journal and store."""

    def __init__(
        self,
        settings: Settings = CALM,
        *,
        conditional: bool = True,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.box = Box()
        self.store = FaultyStore(name, conditional=conditional)
        self.journal = Journal(self.store)
        self.journal.recover()
        tracker: Any = self.box
        policy = FlushPolicy(settings)
        self.flush_thread = FlushThread(
            FlushJob(
                tracker, self.journal, policy, conditional=conditional, sender=self, clock=clock
            )
        )
        self.box.wake = self.flush_thread.wake

    def stored(self) -> dict[str, Any]:
        """What a next incarnation would find."""
        nodes = Journal(self.store).recover().nodes
        content = nodes[1].content if nodes else {}
        assert isinstance(content, dict)
        return dict(content)

    def close(self) -> None:
        """End the thread."""
        self.flush_thread.abandon()
        if self.flush_thread._thread is not None:
            self.flush_thread._thread.join(10)


def waiting_for(event: threading.Event, busy: threading.Event | None = None) -> Callable[[], None]:
    """Hang until a test has seen enough; tell it by `busy` that it may look."""

    def wait() -> None:
        if busy is not None:
            busy.set()
        event.wait(WAIT)

    return wait


def failing(times: int, error: Exception) -> Callable[[], None]:
    """Fail so often, then work."""
    left = itertools.count(times, -1)

    def before_write() -> None:
        if next(left) > 0:
            raise error

    return before_write


Listen = Callable[[hub.HubSignal], "queue.SimpleQueue[dict[str, Any]]"]
Make = Callable[..., Bench]
