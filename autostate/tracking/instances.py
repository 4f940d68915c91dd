"""The objects of `@persisted` classes that a tracker keeps: all of them are looked at in a cut.

The look is one moment for all, as the cut is for containers. It takes two calls of C, which copy
every `__dict__` and read every slot; the interpreter runs no other thread in between, and no
finalizer either, since the garbage collector is off. It comes after all containers were re-armed:
what a thread wrote to an object before it wrote to a container is then there, and if it writes to
a container first, it waits for the lock before it can go on to the object.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from autostate.tracking.instance import release
from autostate.tracking.layout import MISSING

if TYPE_CHECKING:
    from autostate.tracking.instance import InstanceRoot


class Instances:
    """The objects of one tracker. In all calls the lock is held."""

    def __init__(self) -> None:
        self._roots: list[InstanceRoot] = []
        self._dicts: tuple[list[Any], list[str]] = ([], [])
        self._slots: tuple[list[Any], list[str]] = ([], [])

    def __bool__(self) -> bool:
        return bool(self._roots)

    def add(self, root: InstanceRoot) -> None:
        """Look at the object of a root from now on."""
        self._roots.append(root)
        layout = root.known_layout()
        for (holders, names), new in ((self._dicts, layout.dicts), (self._slots, layout.slots)):
            holders.extend(repeat(root.instance, len(new)))
            names.extend(new)

    def forget(self, root: InstanceRoot) -> None:
        """Look at it no more."""
        release(root)
        roots = [other for other in self._roots if other is not root]
        self._roots, self._dicts, self._slots = [], ([], []), ([], [])
        for other in roots:
            self.add(other)

    def pull(self) -> None:
        """Mark what is not as it was."""
        for root, fields in self._look():
            root.take(fields)

    def differing(self) -> int:
        """How many objects are not as they were at the last cut."""
        return sum(not root.is_same(fields) for root, fields in self._look())

    def contents(self) -> list[tuple[InstanceRoot, dict[str, Any]]]:
        """The fields of all objects, as they were when they were last looked at."""
        return list(zip(self._roots, map(dict, self._roots), strict=True))

    def _look(self) -> Iterator[tuple[InstanceRoot, dict[str, Any]]]:
        """The fields of all objects, as of one moment."""
        if not self._roots:
            return
        dicts, in_slots = map(iter, self._read())
        for root in self._roots:
            layout = root.known_layout()
            own = list(islice(dicts, len(layout.dicts)))
            fields = layout.saved(own, list(islice(in_slots, len(layout.slots))))
            if not root.busy:
                yield root, root.translated(fields)

    def _read(self) -> tuple[list[dict[str, Any]], list[Any]]:
        dicts: list[Any]
        in_slots: list[Any]
        lists: Any = list
        reading = (
            map(dict, map(getattr, *self._dicts)),
            map(getattr, *self._slots, repeat(MISSING)),
        )
        collecting = gc.isenabled()
        gc.disable()
        try:
            dicts, in_slots = map(lists, reading)
        except (AttributeError, TypeError):  # None in the place of a dict: a pydantic model may
            dicts = [dict(getattr(*at, None) or ()) for at in zip(*self._dicts, strict=True)]
            in_slots = [getattr(*at, MISSING) for at in zip(*self._slots, strict=True)]
        finally:
            if collecting:
                gc.enable()
        return dicts, in_slots
