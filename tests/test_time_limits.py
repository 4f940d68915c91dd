"""Time limits are about a store that does not answer, not about work that goes on."""

from __future__ import annotations

import builtins
import itertools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

import autostate
from autostate.errors import StoreUnavailableError
from autostate.journal import Journal
from autostate.journal.commit import NodeState
from autostate.stores.memory import MemoryStore
from autostate.tracking import convert
from tests.journal.changes import Program, content, journal

LIMIT = 10.0
"""Seconds that are given to each call."""


class Watch:
    """Seconds that pass when a test says so; they replace those of the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float = 0.0) -> None:
        self.now, self.step = 1000.0, step
        monkeypatch.setattr(time, "monotonic", self)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let seconds pass."""
        self.now += seconds


class SlowStore(MemoryStore):
    """A store that answers every call, but takes its time: less is a timeout.

    Args:
        name: Which records.
        needs: Seconds that each call takes.
        watch: The clock on which they pass.
        fails: Calls, counted from 0, that are not answered at all.
    """

    def __init__(
        self, name: str, needs: float, watch: Watch | None = None, fails: Collection[int] = ()
    ) -> None:
        super().__init__(name)
        self.needs, self.watch, self.fails = needs, watch, fails
        self.calls = 0

    def _answer(self, timeout: float | None) -> None:
        call, self.calls = self.calls, self.calls + 1
        waited = self.needs if timeout is None else min(self.needs, timeout)
        if self.watch is not None:
            self.watch.now += waited
        if call in self.fails or waited < self.needs:
            raise StoreUnavailableError("no answer")

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Read, slowly."""
        self._answer(timeout)
        return super().read(key)

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Scan, slowly."""
        self._answer(timeout)
        return super().scan(prefixes)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """List, slowly."""
        self._answer(timeout)
        return super().list(prefix)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write, slowly."""
        self._answer(timeout)
        super().write(puts, deletes, expect=expect)


_names = (f"time-limits-{number}" for number in itertools.count())


def filled(name: str, promises: tuple[bool, bool], **arguments: Any) -> tuple[SlowStore, Program]:
    """A store that takes nearly all the time that it is given, and a program with much state."""
    store = SlowStore(name, 0.0, **arguments)
    store.atomic, store.conditional = promises
    program = Program(journal(store))
    program.journal.recover()
    program.run(17)
    store.needs = LIMIT * 0.9
    return store, program


@pytest.mark.parametrize("promises", [(True, True), (False, False)])
def test_a_slow_store_that_answers_is_never_given_up(
    promises: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery, commits, takeover and compaction take many calls, each of nearly all the time."""
    Watch(monkeypatch, step=LIMIT * 100)
    store, program = filled(next(_names), promises)
    before = store.calls
    program.journal.compact(pause=lambda: None, timeout=LIMIT)
    assert store.calls > before + 3
    later = Journal(store, token=lambda: "later")
    assert content(later.recover(timeout=LIMIT)) == program.states[-1]
    later.take_over(timeout=LIMIT)
    later.commit([b'{"id":1,"put":{"later":1}}'], timeout=LIMIT)
    later.check_owner(timeout=LIMIT)


def test_a_store_that_does_not_answer_is_given_up() -> None:
    """One call that takes longer than its time is an error: nothing waits for ever."""
    store, program = filled(next(_names), (True, True))
    for operation in (
        lambda: Journal(store).recover(timeout=LIMIT * 0.8),
        lambda: program.journal.compact(pause=lambda: None, timeout=LIMIT * 0.8),
        lambda: program.journal.check_owner(timeout=LIMIT * 0.8),
    ):
        with pytest.raises(StoreUnavailableError):
            operation()


def test_a_start_may_take_as_long_as_its_state_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding for hours, and a failed call in between, are no reason to give up a start."""
    name = next(_names)
    with autostate.open(MemoryStore(name)):
        autostate.PersistedDict("pages").update({str(n): "x" * 100 for n in range(1000)})
    watch = Watch(monkeypatch)

    def slowly(state: NodeState, entries: Any, at: int = 0) -> None:
        watch.now += 3600
        convert(state, entries, at)

    monkeypatch.setattr("autostate.runtime.start.convert", slowly)
    for failing in range(2):
        store = SlowStore(name, 1.0, watch, fails={failing})
        with autostate.open(store, flush_timeout=30):
            assert len(autostate.PersistedDict("pages")) == 1000
        assert store.calls > failing


def test_a_start_that_gives_up_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that never answers is tried twice at least, for as long as the setting says."""
    watch = Watch(monkeypatch)
    store = SlowStore(next(_names), 1e9, watch)
    began = watch.now
    with (
        caplog.at_level(logging.WARNING, "autostate"),
        autostate.open(store, flush_timeout=30),
        pytest.raises(StoreUnavailableError, match=r"30 s that the setting flush_timeout"),
    ):
        autostate.PersistedDict("pages")
    assert store.calls >= 2
    assert watch.now - began <= 40
