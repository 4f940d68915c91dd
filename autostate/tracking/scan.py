"""The objects of `@persisted` classes of one tracker: each cut scans all of them.

The scan sees all objects at one moment, as the cut sees all containers. One call of C lists the
contents of every `__dict__` and every slot; during the call the interpreter runs no other thread,
and no finalizer, since the garbage collector is off. The scan comes after all containers were
re-armed. So if a thread wrote to an object before it wrote to a container, the scan sees the write
to the object; and if it writes to a container first, it waits for the lock before it can write to
the object.

A change of an object shows in the identities of its values: the `id`s of all values are compared
with those of the last scan, by functions of C too. The mirror keeps the values of the last scan
alive, so that no other value can have got the `id` of one of them. This does not hold if the mirror
was given another value since: then the fields of the object are compared in any case. So are those
of a pydantic model, which changes the set of its fields in place, and of an object whose slots
`getattr` cannot read without running code of its class.
"""

from __future__ import annotations

import gc
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, compress, count, repeat
from operator import ne
from typing import Any, Final, NamedTuple, Protocol

from autostate.codec.introspection import MISSING
from autostate.tracking.guard import guard, unguard
from autostate.tracking.layout import Layout, held
from autostate.tracking.node import DirtySource, Marks, Node

_get: Final = object.__getattribute__  # runs no code of the class, as `getattr` may


class Scanned(Protocol):
    """What a scan asks of the root of an object: see `mirror.InstanceRoot`."""

    _node_: Node | None
    instance: Any
    busy: bool

    def keys(self) -> Iterable[str]:
        """Return the names of the fields of the mirror."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a field of the mirror."""

    def known_layout(self) -> Layout:
        """Return the layout of the class."""

    def is_same(self, fields: dict[str, Any]) -> bool:
        """Tell whether these fields are those of the mirror, by identity."""

    def take(self, fields: dict[str, Any]) -> bool:
        """Note which fields the object has now."""

    def translated(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields as they are saved."""

    def read(self) -> dict[str, Any]:
        """Return the fields that the object has now."""

    def put_back(self, former: dict[str, Any]) -> None:
        """Give object and mirror the fields that they had before."""


class Seen(NamedTuple):
    """The contents of the objects at the last scan.

    Attributes:
        lengths: The lengths of the dicts.
        names: The keys of all dicts, one dict after another.
        values: The `id`s of the values under these keys.
        in_slots: The `id`s of the contents of the slots.
    """

    lengths: list[int]
    names: list[str]
    values: list[int]
    in_slots: list[int]


class Scan(DirtySource):
    """The objects of one tracker. In all calls the lock is held."""

    def __init__(self, tracker: Marks) -> None:
        self._roots: list[Scanned] = []
        self._stale = False
        self._guarding = tracker.gate is not None
        self._begin()

    def guard(self, *, on: bool) -> None:
        """Let assignments to the objects call the gate of the tracker first, or no longer."""
        self._guarding = on
        for cls in {type(root.instance) for root in self._roots}:
            (guard if on else unguard)(cls)

    def needs_polling(self) -> bool:
        """Tell whether there are any objects."""
        return bool(self._roots)

    def _begin(self) -> None:
        """Begin with no object.

        For each dict and each slot of the objects there are three list items: the object, the name
        of the attribute, and the position of the object among all.
        """
        self._dicts: tuple[list[Any], list[str], list[int]] = ([], [], [])
        self._slots: tuple[list[Any], list[str], list[int]] = ([], [], [])
        self._seen: Seen | None = None
        self._owners: dict[int, int] = {}
        self._always: set[int] = set()
        self._again: set[int] = set()

    def again(self, root: Scanned) -> None:
        """Compare an object in any case at the next scan: its mirror was given another value."""
        if id(root) in self._owners:
            self._again.add(self._owners[id(root)])

    def add(self, root: Scanned) -> None:
        """Scan the object of a root from now on."""
        layout, owner = root.known_layout(), len(self._roots)
        if self._guarding:
            guard(type(root.instance))
        self._roots.append(root)
        self._owners[id(root)] = owner
        self._again.add(owner)
        if layout.is_model or not layout.reads_slots:
            self._always.add(owner)
        names: Iterable[str]
        slots = layout.slots if layout.reads_slots else ()
        for known, names in ((self._dicts, layout.dicts), (self._slots, slots)):
            for name in names:
                known[0].append(root.instance)
                known[1].append(name)
                known[2].append(owner)

    def forget(self) -> None:
        """List the objects anew at the next scan: some are untracked or of another class by now."""
        self._stale = True

    def _renew(self) -> None:
        """List the objects anew, without the untracked ones, which often are many at once."""
        if self._stale:
            roots = [root for root in self._roots if root._node_ is not None]
            self._roots, self._stale = [], False
            self._begin()
            for root in roots:
                self.add(root)

    def collect(self) -> None:
        """Mark the fields that hold other values than at the last scan."""
        for root, fields in self._changes(remember=True):
            root.take(fields)

    def differing(self) -> int:
        """Count the objects that differ from the last cut."""
        return sum(not root.is_same(fields) for root, fields in self._changes())

    def contents(self) -> list[tuple[Scanned, dict[str, Any]]]:
        """Return the fields of all objects, as of the last scan."""
        self._renew()
        return list(zip(self._roots, map(dict, self._roots), strict=True))

    def _changes(self, *, remember: bool = False) -> Iterator[tuple[Scanned, dict[str, Any]]]:
        """Yield the fields of the objects that may have changed, as of one moment."""
        self._renew()
        if not self._roots:
            return
        lengths, names, values, in_slots = self._read()
        seen = Seen(lengths, names, list(map(id, values)), list(map(id, in_slots)))
        ends = [*accumulate(lengths)]
        owners = sorted({*self._changed(seen, ends), *self._always, *self._again})
        if remember:
            # `ids` alone: the caller takes the values into the mirrors, which keep them alive
            self._seen, self._again = seen, set()
        for owner in owners:
            root = self._roots[owner]
            if root.busy:  # a constructor is at work on it
                self._again.add(owner)
                continue
            dicts = [
                dict(
                    zip(
                        names[ends[i] - lengths[i] : ends[i]],
                        values[ends[i] - lengths[i] :],
                        strict=False,
                    )
                )
                for i in _range(self._dicts[2], owner)
            ]
            layout = root.known_layout()
            if layout.reads_slots:
                slots = [in_slots[i] for i in _range(self._slots[2], owner)]
            else:
                slots = layout.read_slots(root.instance)
            yield root, root.translated(layout.saved(dicts, slots))

    def _changed(self, seen: Seen, ends: list[int]) -> Iterator[int]:
        """Yield the positions of objects whose contents have changed."""
        last, owners = self._seen, self._dicts[2]
        if last is None or last.lengths != seen.lengths or last.names != seen.names:
            yield from range(len(self._roots))
            return
        # The mirrors keep the values of the last scan alive: an `id` that is the same is the same
        # value. The comparison runs in C, over all objects.
        for at in compress(count(), map(ne, seen.values, last.values)):
            yield owners[bisect_right(ends, at)]
        yield from compress(self._slots[2], map(ne, seen.in_slots, last.in_slots))

    def _read(self) -> list[list[Any]]:
        lists: Any = list
        objects, names, _ = self._dicts
        reading = (
            map(len, map(_get, objects, names)),
            chain.from_iterable(map(_get, objects, names)),
            chain.from_iterable(map(dict.values, map(_get, objects, names))),
            map(getattr, *self._slots[:2], repeat(MISSING)),
        )
        collecting = gc.isenabled()
        gc.disable()  # the lists are allocated meanwhile, and a collection could run a finalizer
        try:
            return [*map(lists, reading)]  # one call of C: all objects at one moment
        except (TypeError, AttributeError):  # no dict, as it may be in a pydantic model
            dicts = [held(*at) for at in zip(objects, names, strict=True)]
            in_slots = map(getattr, *self._slots[:2], repeat(MISSING))
            fields = [list(one.items()) for one in dicts]
            values = [value for held in fields for _, value in held]
            return [[*map(len, dicts)], [*chain.from_iterable(dicts)], values, [*in_slots]]
        finally:
            if collecting:
                gc.enable()


def _range(owners: list[int], owner: int) -> range:
    """Return the range of the items of one owner in a list that is sorted by owner."""
    end = bisect_right(owners, owner)
    return range(bisect_right(owners, owner - 1), end)
