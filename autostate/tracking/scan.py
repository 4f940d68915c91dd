"""The objects of `@persisted` classes of one tracker: each cut scans all of them.

The scan sees all objects at one moment, as the cut sees all containers. One call of C lists the
contents of every `__dict__` and every slot; during the call the interpreter runs no other thread,
and no finalizer, since the garbage collector is off. The scan comes after all containers were
re-armed. So if a thread wrote to an object before it wrote to a container, the scan sees the write
to the object; and if it writes to a container first, it waits for the lock before it can write to
the object.

A change of an object shows in the identities of its values, which are compared with those of the
last scan by functions of C too (`instances.py`). The fields of a pydantic model, which changes the
set of its fields in place, are compared in any case. So are those of an object whose slots
`getattr` cannot read without running code of its class.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Any

from autostate.tracking.guard import guard, unguard
from autostate.tracking.instances import Instances, Reading, Scanned
from autostate.tracking.node import DirtySource, Marks


class Scan(DirtySource):
    """The objects of one tracker. In all calls the lock is held.

    Attributes:
        is_guarding: Whether assignments to the objects are seen first: see `guard.py`.
    """

    def __init__(self, tracker: Marks) -> None:
        self._classes: dict[type, Instances] = {}
        self._stale = False
        self._is_complete = True
        self._tracker = tracker
        self.is_guarding: bool = tracker.gate is not None or bool(tracker.savepoints)

    def guard(self, *, on: bool) -> None:
        """Let assignments to the objects be seen first, or no longer if no block is open."""
        on = on or bool(self._tracker.savepoints)
        if on is not self.is_guarding:
            self.is_guarding = on
            for cls in {type(root.instance) for root in self._roots()}:
                (guard if on else unguard)(cls)

    def needs_polling(self) -> bool:
        """Tell whether there are any objects."""
        return bool(self._classes)

    def _roots(self) -> Iterator[Scanned]:
        return chain.from_iterable(instances.roots for instances in self._classes.values())

    def again(self, root: Scanned) -> None:
        """Examine an object in any case at the next scan: its mirror was given another value."""
        instances = self._classes.get(root.known_layout().cls)
        if instances is not None and instances.has(root):
            instances.again.add(root.place)

    def add(self, root: Scanned) -> None:
        """Scan the object of a root from now on."""
        layout = root.known_layout()
        if self.is_guarding:
            guard(type(root.instance))
        instances = self._classes.get(layout.cls)
        if instances is None:
            instances = self._classes[layout.cls] = Instances(layout)
        instances.add(root)

    def forget(self) -> None:
        """List the objects anew at the next scan: some are untracked or of another class by now."""
        self._stale = True

    def _renew(self) -> None:
        """Leave out the untracked objects, which often are many at once."""
        if self._stale:
            self._stale = False
            moved = [root for one in self._classes.values() for root in one.renew()]
            self._classes = {cls: one for cls, one in self._classes.items() if one.roots}
            for root in moved:
                self.add(root)

    def collect(self) -> None:
        """Mark the fields that hold other values than at the last scan."""
        if not self._is_complete:  # an interrupted scan has compared objects that nobody took over
            for instances in self._classes.values():
                instances.again.update(range(len(instances.roots)))
        self._is_complete = False
        for root, fields in self._changes(remember=True):
            root.take(fields)
        self._is_complete = True

    def look(self) -> bool:
        """Mark changed fields; see `DirtySource.look`."""
        self.collect()
        return False

    def differs(self) -> bool:
        """Tell whether an object differs from its mirror."""
        return any(not root.is_same(fields) for root, fields in self._changes())

    def contents(self) -> list[tuple[Scanned, dict[str, Any]]]:
        """Return the fields of all objects, as of the last scan."""
        self._renew()
        roots: list[Any] = [*self._roots()]
        return list(zip(roots, map(dict, roots), strict=True))

    def _changes(self, *, remember: bool = False) -> Iterator[tuple[Scanned, dict[str, Any]]]:
        """Yield the fields of the objects that may have changed, as of one moment."""
        self._renew()
        if self._classes:
            for instances, reading in self._read():
                yield from instances.changes(reading, remember=remember)

    def _read(self) -> list[tuple[Instances, Reading]]:
        """Read all objects at one moment."""
        classes = self._classes.values()
        collecting = gc.isenabled()
        try:
            gc.disable()  # lists are allocated meanwhile, and a collection could run a finalizer
            while True:
                begun = [instances.begin() for instances in classes]
                try:
                    # one call of C
                    deque(chain.from_iterable([steps for _, steps in begun]), maxlen=0)
                except (TypeError, AttributeError):
                    found = [instances.read_singly() for instances in classes]
                    if not any(found):
                        raise
                else:
                    readings = [reading for reading, _ in begun]
                    return list(zip(classes, readings, strict=True))
        finally:
            if collecting:
                gc.enable()
