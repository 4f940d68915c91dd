"""A store on which everything can go wrong, at every step, as often as wanted.

A step is one read, one listing, or one write; where the store is not atomic, each record of a
write is a step of its own. What happens at a step is up to a function that the test passes.

Where some records lie apart, as on S3, the code of the library that divides them (`ApartStore`) is
inside, and each of its requests is a step.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NotRequired, TypedDict

from autostate.errors import FencedError, StoreUnavailableError
from autostate.stores.apart import APART, ApartStore
from autostate.stores.base import OneByOne, Store
from autostate.stores.indexed import Found

Records = dict[str, bytes]


class Promises(TypedDict):
    """What a store promises."""

    atomic: bool
    conditional: bool
    apart: NotRequired[tuple[str, ...]]


STORES: dict[str, Promises] = {
    "one by one": {"atomic": False, "conditional": False},
    "all at once": {"atomic": True, "conditional": False},
    "conditional": {"atomic": True, "conditional": True},
}
SHARING_STORES: Final[dict[str, Promises]] = {
    **STORES,
    "apart": {"atomic": True, "conditional": True, "apart": APART},
}
"""The same, and those that differ for what processes share."""


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


class ObjectsOf:
    """Objects whose names are keys of a store, which writes one record at a time.

    No two versions are the same, so that all objects are read.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def listed(self, folder: str, timeout: float | None) -> dict[str, object]:
        """One step."""
        return {_named(key): object() for key in self._store.list(f"{_key(folder)}-")}

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """One step each."""
        found = (self._store.read(_key(name)) for name in names)
        return (None if data is None else Found(data, object()) for data in found)

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """One step each."""
        self._store.write({_key(name): data for name, data in contents.items()})

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """One step each."""
        self._store.write({}, [*map(_key, names)])


def _key(name: str) -> str:
    return name.removeprefix("autostate-").replace("/", "-")


def _named(key: str) -> str:
    prefix = next(each for each in APART if key.startswith(each))
    return f"autostate-{prefix[:-1]}/{key.removeprefix(prefix)}"


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
    apart: tuple[str, ...] = ()
    _inside: ApartStore | None = None

    def __post_init__(self) -> None:
        if self.apart:
            whole = FaultyStore(self.records, self._pass_on, atomic=True, conditional=True)
            objects = ObjectsOf(FaultyStore(self.records, self._pass_on))
            self._inside = ApartStore(whole, objects)

    def _pass_on(self, step: Step) -> None:
        self._step(step.apply, writes=step.writes)

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
        if self._inside is not None:
            return self._inside.read(key)
        found: builtins.list[bytes | None] = []
        self._step(lambda: found.append(self.records.get(key)), writes=False)
        return found[0]

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """One step; one more for records that lie apart."""
        if self._inside is not None:
            return self._inside.list(prefix)
        found: builtins.list[str] = []
        self._step(
            lambda: found.extend(sorted(key for key in self.records if key.startswith(prefix))),
            writes=False,
        )
        return found

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """One step, if that is so in a store that makes such promises."""
        if self._inside is not None:
            return self._inside.scan(prefixes)
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
        if self._inside is not None:
            self._inside.write(puts, deletes, expect=expect)
            return
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
