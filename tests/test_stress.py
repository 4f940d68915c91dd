"""Threads write while captures are taken: every capture is one moment of the whole program."""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import autostate
from autostate.containers.counter import PersistedCounter
from autostate.containers.dict import PersistedDict
from autostate.containers.list import PersistedList
from autostate.containers.root import blank
from autostate.containers.set import PersistedSet
from autostate.journal.replay import DecodedReplay
from autostate.stores import memory
from autostate.tracking.capture import Capture
from autostate.tracking.defaults import offer
from autostate.tracking.tracker import Tracker
from tests.campaign import Tally, size

WRITERS = 2
CAPTURES = size("CAPTURES", 2 * int(os.environ.get("AUTOSTATE_EXAMPLES", "20")))
"""How many are taken; the campaign without its mechanism fails at the second or third."""


pytestmark = pytest.mark.usefixtures("often_switched")


class Program:
    """State objects of every kind, in which each writer counts up in a fixed order."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.first = self._root("first", PersistedDict, "dict")
        self.large = self._root("large", PersistedDict, "dict")
        self.counter = self._root("counter", PersistedCounter, "counter")
        self.members = self._root("members", PersistedSet, "set")
        self.items = self._root("items", PersistedList, "list")
        self.last = self._root("last", PersistedDict, "dict")
        offer(self.large, dict.fromkeys(range(1000), 0))
        for i in range(WRITERS):
            self.first[i] = {"count": {"n": 0}}
            self.large[f"w{i}"] = 0
            self.last[i] = 0
        self.merge = DecodedReplay()
        self.stop = threading.Event()

    def _root(self, name: str, cls: Any, kind: str) -> Any:
        made = blank(cls)
        self.tracker.attach(made, name, kind)
        return made

    def write(self, me: int) -> None:
        """One writer: each step is seen only after the one before it."""
        n = 0
        while not self.stop.is_set():
            n += 1
            self.first[me]["count"]["n"] = n
            self.large[f"w{me}"] = n
            self.counter[me] += 1
            self.members.add((me, n))
            self.items.append((me, n))
            self.large[(me, n % 50)] = n
            self.last[me] = n
            if n % 500 == 0:
                self.items.clear()
                self.members -= {(me, old) for old in range(n - 500, n)}

    def run(self) -> list[threading.Thread]:
        """Start the writers."""
        threads = [threading.Thread(target=self.write, args=(i,)) for i in range(WRITERS)]
        for thread in threads:
            thread.start()
        return threads


def moments(program: Program, captures: int) -> Iterator[dict[str, Any]]:
    """Take captures one after another, and rebuild what a restart would see after each."""
    merge = program.merge
    for _ in range(captures):
        capture = program.tracker.cut()
        if capture is None:
            continue
        for line in capture.encode():
            merge.apply(line)
        capture.saved()
        yield {node.name: node.content for node in merge.nodes.values() if node.name}


def inconsistency(state: dict[str, Any]) -> str | None:
    """The first pair of steps that no order of the writes explains."""
    for me in range(WRITERS):
        if state["first"].get(me) is None:
            continue
        steps = [
            state["first"][me]["count"]["n"],
            state["large"][f"w{me}"],
            state["counter"].get(me, 0),
            max((n for who, n in state["members"] if who == me), default=0),
            max((i["$tuple"][1] for i in state["items"] if i["$tuple"][0] == me), default=None),
            state["last"][me],
        ]
        steps = [step for step in steps if step is not None]  # cleared by somebody
        for earlier, later in itertools.pairwise(steps):
            if not earlier >= later:
                return f"writer {me}: {steps}"
        if steps[0] > steps[-1] + 1:
            return f"writer {me}: {steps}"
    return None


def campaign(tracker: Tracker, captures: int) -> str | None:
    """Run writers and captures together; what is wrong with the first wrong capture."""
    program = Program(tracker)
    threads = program.run()
    try:
        found = None
        for state in moments(program, captures):
            found = found or inconsistency(state)
            if found:
                break
    finally:
        program.stop.set()
        for thread in threads:
            thread.join()
    if found is None:
        *_, state = moments(program, 1)
        found = lost(program, state)
    return found


def lost(program: Program, state: dict[str, Any]) -> str | None:
    """What the last capture lacks of what is in memory."""
    for name in ("large", "counter", "last"):
        saved = state[name]
        if saved != dict(getattr(program, name)):
            return f"{name} differs"
    if set(state["members"]) != set(program.members):
        return "members differ"
    saved_items = [tuple(item["$tuple"]) for item in state["items"]]
    return None if saved_items == list(program.items) else "items differ"


@pytest.mark.campaign(name="threads")
def test_every_capture_is_one_moment_of_all_threads(tally: Tally) -> None:
    """No write is in a capture without those that came before it, and none is lost."""
    assert campaign(Tracker(wake=lambda: None), captures=CAPTURES) is None
    tally.tried(CAPTURES)


class ReadsBeforeItRearms(Tracker):
    """The mechanism removed: each node is read as soon as it is re-armed, not after all."""

    def cut(
        self, *, full_compare: bool = False, paused: int | None = None, ending: bool = False
    ) -> Capture | None:
        with self.lock:
            if self.savepoints:
                return None
            capture = self.capture = Capture(self, self.graph, self.watched)
            written = self.written
            written.late_calls.mark()
            for container in list(written.containers):
                written.containers.remove(container)
                rest, written.containers = written.containers, [container]
                written.collect()
                written.resolve_all()
                written.containers = rest + written.containers
                nodes, self.dirty_nodes = self.dirty_nodes, {}
                capture.take(nodes)
            return capture


def test_the_campaign_finds_a_cut_that_reads_before_all_is_rearmed() -> None:
    """The stress above can fail: it does, when re-arming before reading is removed."""
    found = campaign(ReadsBeforeItRearms(wake=lambda: None), captures=20_000)
    assert found is not None


def test_msgspec_reads_what_was_captured() -> None:
    """The changes of a capture are JSON, each on one line."""
    program = Program(Tracker(wake=lambda: None))
    capture = program.tracker.cut()
    assert capture is not None
    for line in capture.encode():
        assert b"\n" not in line
        msgspec.json.decode(line)


THREADS = 16


def begun(number: int) -> dict[str, Any]:
    """What another process would find in the store of that number, as it is now."""
    copied = memory._shared.setdefault(f"moment-{number}", memory._Records())
    copied.clear()
    copied.update(memory._shared[f"blocks-{number}"])
    with autostate.open(f"memory:moment-{number}", debounce=3600):
        return dict(autostate.PersistedDict("state"))


@pytest.mark.campaign(name="threads")
@pytest.mark.parametrize("number", range(2))
def test_blocks_of_sixteen_threads_are_saved_whole(number: int, tally: Tally) -> None:
    """Each save has of each thread all that a block of `atomic()` wrote, or nothing."""
    stop, ready = threading.Event(), threading.Barrier(THREADS + 1)
    with autostate.open(f"memory:blocks-{number}", debounce=3600, max_delay=3600):
        state: PersistedDict[str, Any] = autostate.PersistedDict("state")

        def write(me: int) -> None:
            ready.wait()
            n = 0
            while not stop.is_set():
                n += 1
                with autostate.atomic():
                    state[f"{me} first"] = n
                    state.setdefault(f"{me} items", []).append(n)
                    state[f"{me} last"] = n
                    if n % 20 == 0:
                        state[f"{me} items"] = []

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(write, me))
            for me in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        ready.wait()
        try:
            for _ in range(CAPTURES // 10):
                autostate.flush()
                found = begun(number)
                for me in range(THREADS):
                    n = found.get(f"{me} first", 0)
                    items = [*range(n - n % 20 + 1, n + 1)]
                    whole = (
                        found.get(f"{me} last", 0) == n and found.get(f"{me} items", []) == items
                    )
                    tally.found(f"thread {me}: {found}", lost=False, silent=not whole)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        autostate.flush()
        assert begun(number) == state
    tally.check()
