"""A store on which everything can go wrong, at every step, as often as wanted.

A step is one read, one listing, or one write; where the store is not atomic, each record of a
write is a step of its own. What happens at a step is up to a function that the test passes.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict

from autostate.errors import FencedError, StoreUnavailableError
from autostate.stores.base import OneByOne

Records = dict[str, bytes]


class Promises(TypedDict):
    """What a store promises."""

    atomic: bool
    conditional: bool


STORES: dict[str, Promises] = {
    "one by one": {"atomic": False, "conditional": False},
    "all at once": {"atomic": True, "conditional": False},
    "conditional": {"atomic": True, "conditional": True},
}


class KilledError(BaseException):
    """The process is gone: no handler of the library may make anything of it."""


@dataclass
class Step:
    """One step, as the test's function sees it: it applies it, or not, or later.

    Attributes:
        number: Counts from 0.
        writes: Whether it changes anything.
        apply: Does it. May be called at any later time, as a late duplicate would.
    """

    number: int
    writes: bool
    apply: Callable[[], None]


def untroubled(step: Step) -> None:
    """Let a step happen."""
    step.apply()


@dataclass
class FaultyStore(OneByOne):
    """A store in memory whose steps pass through the test's hands."""

    records: Records
    on_step: Callable[[Step], None] = untroubled
    atomic: bool = False
    conditional: bool = False
    metered: bool = False
    max_record: int = 1 << 20
    owner_file: Path | None = None
    url: str = "faulty:"
    steps: int = 0
    dead: bool = field(default=False)

    def _step(self, apply: Callable[[], None], *, writes: bool) -> None:
        if self.dead:
            raise KilledError
        step = Step(self.steps, writes, apply)
        self.steps += 1
        try:
            self.on_step(step)
        except KilledError:
            self.dead = True
            raise

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """One step."""
        found: builtins.list[bytes | None] = []
        self._step(lambda: found.append(self.records.get(key)), writes=False)
        return found[0]

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """One step."""
        found: builtins.list[str] = []
        self._step(
            lambda: found.extend(sorted(key for key in self.records if key.startswith(prefix))),
            writes=False,
        )
        return found

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """One step, if that is so in a store that makes such promises."""
        if not self.atomic:
            return super().scan(prefixes, timeout=timeout)
        found: Records = {}
        wanted = tuple(prefixes)
        self._step(
            lambda: found.update((k, v) for k, v in self.records.items() if k.startswith(wanted)),
            writes=False,
        )
        return found

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """One step, or one for each record."""
        assert self.conditional or expect is None
        puts, deletes = dict(puts), builtins.list(deletes)

        def all_at_once() -> None:
            if any(self.records.get(key) != value for key, value in (expect or {}).items()):
                raise FencedError("expect")
            self.records.update(puts)
            for key in deletes:
                self.records.pop(key, None)

        if self.atomic:
            self._step(all_at_once, writes=True)
            return
        for key, value in puts.items():
            self._step(partial(self.records.__setitem__, key, value), writes=True)
        for key in deletes:
            self._step(partial(self._delete, key), writes=True)

    def _delete(self, key: str) -> None:
        self.records.pop(key, None)

    def close(self) -> None:
        """Nothing to let go of."""


def kill_before(number: int) -> Callable[[Step], None]:
    """Kill the process before a step happens."""

    def on_step(step: Step) -> None:
        if step.number == number:
            raise KilledError
        step.apply()

    return on_step


def kill_after(number: int) -> Callable[[Step], None]:
    """Kill the process after a step has happened, before it learns of that."""

    def on_step(step: Step) -> None:
        step.apply()
        if step.number == number:
            raise KilledError

    return on_step


def unreachable(number: int) -> Callable[[Step], None]:
    """Fail one step without its happening."""

    def on_step(step: Step) -> None:
        if step.number == number:
            raise StoreUnavailableError("unreachable")
        step.apply()

    return on_step


def answer_lost(number: int) -> Callable[[Step], None]:
    """Fail one step although it has happened."""

    def on_step(step: Step) -> None:
        step.apply()
        if step.number == number:
            raise StoreUnavailableError("answer lost")

    return on_step


def late(number: int, delay: int, *, kill: bool = False) -> Callable[[Step], None]:
    """Fail one step, and have it happen before the step that is `delay` later; then kill or not."""
    waiting: list[Step] = []

    def on_step(step: Step) -> None:
        if step.number == number:
            waiting.append(step)
            if step.writes:
                raise StoreUnavailableError("timed out")
        if waiting and step.number == number + delay:
            with suppress(FencedError):  # nobody is left to be told that the store refused it
                waiting[0].apply()
            if kill:
                raise KilledError
        step.apply()

    return on_step
