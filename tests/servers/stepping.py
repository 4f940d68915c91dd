"""A real store whose calls pass through the test's hands, as those of `FaultyStore` do."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from autostate.stores import Store
from autostate.stores.wrapping import StoreAround
from tests.faulty import KilledError, Step, untroubled

T = TypeVar("T")


class SteppingStore(StoreAround):
    """A store of which each call is a step.

    Args:
        store: The real one.
        on_step: Lets a step happen, or not, or later.

    Attributes:
        steps: The number of steps so far.
        dead: Whether the process was killed at a step.
    """

    def __init__(self, store: Store, on_step: Callable[[Step], None] = untroubled) -> None:
        super().__init__(store)
        self.on_step = on_step
        self.steps: int = 0
        self.dead: bool = False

    def _step(self, call: Callable[[], T], *, writes: bool = False) -> T:
        if self.dead:
            raise KilledError
        found: builtins.list[T] = []
        step = Step(self.steps, writes, lambda: found.append(call()))
        self.steps += 1
        try:
            self.on_step(step)
        except KilledError:
            self.dead = True
            raise
        return found[0]

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """One step."""
        return self._step(lambda: self.store.read(key, timeout=timeout))

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """One step."""
        return self._step(lambda: self.store.list(prefix, timeout=timeout))

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """One step."""
        return self._step(lambda: self.store.scan(prefixes, timeout=timeout))

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """One step."""
        return iter(self._step(lambda: [*self.store.read_many(keys, timeout=timeout)]))

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """One step."""
        self._step(
            lambda: self.store.write(puts, deletes, expect=expect, timeout=timeout), writes=True
        )
