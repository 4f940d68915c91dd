"""Changes to shared objects that open blocks of `atomic()` have made.

They are shown in this process at once. They are published together when the outermost block has
ended, and never if it raises: what is published cannot be taken back. What other code changes
meanwhile does not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol

from autostate.shared.kinds import Entries, Entry, Kind, Objects, kept
from autostate.shared.portions import check_size
from autostate.tracking.blocks import Blocks
from autostate.tracking.node import Marks
from autostate.tracking.savepoint import Savepoint

KindOf = Callable[[str, str], Kind]


class Target(Protocol):
    """Who takes over changes."""

    def batch(self) -> Objects:
        """Give the changes that belong to no open block, to be added to; the lock is held."""
        ...


class Held:
    """The changes of open blocks in one tracker, whose lock guards everything here.

    Args:
        tracker: The tracker.
        target: What gets the changes of blocks that have ended, and those of no block.
        kind_of: Gives the kind of an object, from its name and the name of its kind.
        room: The most bytes of one entry.
        show_again: Shows keys of objects anew, by name, when a block has been undone. It is called
            without the lock.
        wake: Lets another thread call `show_undone` soon.
    """

    def __init__(
        self,
        tracker: Marks,
        target: Target,
        kind_of: KindOf,
        *,
        room: int,
        show_again: Callable[[str, list[str]], None],
        wake: Callable[[], None],
    ) -> None:
        self._tracker = tracker
        self._target = target
        self._kind_of = kind_of
        self._room = room
        self._show_again = show_again
        self._wake = wake
        self._held: dict[Savepoint, Objects] = {}
        self._undone: list[tuple[str, list[str]]] = []
        self._moving: tuple[Savepoint, list[tuple[Entries, Entries]]] | None = None

    def __len__(self) -> int:
        """Return the number of blocks that have changed something."""
        return len(self._held)

    def add(self, name: str, kind: Kind, entries: Mapping[str, Entry]) -> int:
        """Note changes; return how many entries of the object belong to no block.

        Raises:
            LateWriteError: The block of this context was closed.
            UnsupportedTypeError: An entry is too large for a record.
        """
        tracker, target = self._tracker, self._target
        with tracker.lock:
            if self._moving is not None:
                self.settle()
            point = tracker.part(Blocks).here() if tracker.savepoints else None
            into = target.batch() if point is None else self._objects(point)
            known = _of(into, name, kind.name)
            made = {
                key: entry if key not in known else kind.merge(key, known[key], entry)
                for key, entry in entries.items()
            }
            check_size(made, self._room)
            known.update(made)  # in one step: all or none, wherever Ctrl-C strikes
            return 0 if point is not None else len(known)

    def own(self, name: str) -> list[Entries]:
        """Give the changes of open blocks to an object; the lock is held."""
        self.settle()
        return [objects[name][1] for objects in self._held.values() if name in objects]

    def _objects(self, point: Savepoint) -> Objects:
        """Give the changes of a block; the lock is held."""
        found = self._held.get(point)
        if found is None:
            point.when_ended.append(partial(self._end, point))
            found = self._held[point] = {}
        return found

    # -- the end of a block -----------------------------------------------------------------------

    def _end(self, point: Savepoint, outer: Savepoint | None) -> None:
        """Hand over or forget the changes of a block that has ended; the lock is held."""
        self.settle()
        objects = self._held.get(point)
        if objects is not None and point.outcome:
            self._keep(point, objects, outer)
        elif objects is not None:
            self._undo(point, objects)

    def _keep(self, point: Savepoint, objects: Objects, outer: Savepoint | None) -> None:
        """Hand over the changes of a block.

        Ctrl-C may interrupt this at any point. So it is noted what will be in the place of what is
        there, before that is changed.
        """
        into = self._target.batch() if outer is None else self._objects(outer)
        steps = []
        for name, (kind_name, entries) in objects.items():
            kind, known = self._kind_of(name, kind_name), _of(into, name, kind_name)
            made = {
                key: entry if key not in known else kept(kind, key, known[key], entry)
                for key, entry in entries.items()
            }
            steps.append((known, made))
        self._moving = point, steps
        self.settle()

    def settle(self) -> None:
        """Complete what Ctrl-C has interrupted, before anything else changes; the lock is held."""
        if self._moving is not None:
            point, steps = self._moving
            for known, made in steps:
                known.update(made)
            self._held.pop(point, None)
            self._moving = None

    def _undo(self, point: Savepoint, objects: Objects) -> None:
        """Forget the changes of a block that raises."""
        self._undone += [(name, list(entries)) for name, (_, entries) in objects.items()]
        self._held.pop(point, None)
        # Not now: who holds the lock of the shared objects takes this one. If the block does not
        # end by itself, another thread does it soon.
        self._tracker.part(Blocks).afterwards.append(self.show_undone)
        self._wake()

    def forget(self) -> None:
        """Forget all changes: in the child of a fork, the parent ends its blocks."""
        self._held, self._undone, self._moving = {}, [], None

    def show_undone(self) -> None:
        """Show no longer what was undone."""
        while self._undone:
            step = self._undone[-1]
            self._show_again(*step)
            with suppress(ValueError):  # another thread has done it, too
                self._undone.remove(step)


def _of(objects: Objects, name: str, kind_name: str) -> Entries:
    return objects.setdefault(name, (kind_name, {}))[1]
