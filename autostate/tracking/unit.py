"""A unit of work: a block that the library makes around the work of the program.

What is written in a unit is saved together with what says that the work is done, such as the mark
of a request as handled; or it is undone. A unit differs from a block of `atomic()` in three points:

- It begins later than it is entered, and perhaps in another context. (On Python 3.11
  `asyncio.wait_for` runs a coroutine in a copy of the context: what is set in there is not seen
  outside. So the membership is set before, and the savepoint added to it when the work begins.)
- No `with` statement of the program holds it. It ends by `end`, or by `close`, from any context; if
  the `Unit` is dropped, it is undone.
- `flush()` and `durable()` may be called inside: they save everything else. What the unit has
  written would be written again if the process were killed and the work repeated.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import Self, TypeVar

from autostate.process.interrupts import uninterrupted
from autostate.tracking.blocks import Blocks
from autostate.tracking.node import Marks
from autostate.tracking.savepoint import Membership, Savepoint, innermost, inside

T = TypeVar("T")


class Unit:
    """One unit of work in one tracker.

    As a context manager it is entered, and begun, at the beginning of the body; at the end of the
    body its writes are kept, or undone if the body raises.

    Args:
        tracker: Gives the tracker when the unit begins.
    """

    def __init__(self, tracker: Callable[[], Marks]) -> None:
        self._tracker = tracker
        self._membership: weakref.ref[Membership] | None = None
        self._point: Savepoint | None = None

    @property
    def is_open(self) -> bool:
        """Whether the unit has begun and not ended."""
        return self._point is not None and self._point.is_open

    def enter(self, beside: Unit | None = None) -> None:
        """Let the writes of this context, and of its copies from now on, belong to the unit.

        Args:
            beside: A unit of this context which goes on in copies of the context: the new one is
                not inside that one.
        """
        outer = inside.get()
        if beside is not None and outer is not None and outer is beside._member():
            outer = outer.outer
        member = Membership(outer)
        self._membership = weakref.ref(member)  # only contexts keep it
        inside.set(member)

    def begin(self) -> None:
        """Begin: what is written from now on belongs to the unit. It may begin again when ended."""
        member = self._member()
        if self.is_open or member is None:
            return
        tracker = self._tracker()
        outer = _innermost_outside(member, tracker)
        point = Savepoint(tracker, weakref.ref(self), member, outer, is_unit=True)
        self._point = point
        member.savepoints[:] = [point]
        tracker.part(Blocks).begin(point)

    def end(self, *, kept: bool) -> None:
        """End the unit: keep its writes, or undo them. Nothing happens if it is not open."""
        point = self._point
        if point is None:
            return
        if point.is_open:
            point.outcome = kept
        uninterrupted(lambda: point.tracker.part(Blocks).end(point))

    def close(self) -> None:
        """Undo the unit, and refuse what its contexts write later; this context leaves it.

        A thread or a task that the work has left behind would write for nobody: the work has
        failed, and may be repeated.
        """
        point, member = self._point, self._member()
        if point is not None:
            blocks = point.tracker.part(Blocks)
            uninterrupted(lambda: blocks.close(point, member))
        self.leave()

    def leave(self) -> None:
        """Let the context belong to no unit, or to the outer one."""
        member = self._member()
        if member is not None and inside.get() is member:
            inside.set(member.outer)

    def take_over(self, other: Unit) -> None:
        """Let what another open unit has written belong to this one; the other one ends."""
        if self.is_open and other.is_open:
            assert other._point is not None
            other._point.outer = self._point
            other.end(kept=True)

    def run(self, function: Callable[[], T]) -> T:
        """Call a function as a part of the unit, whatever this context belongs to."""
        token: Token[Membership | None] = inside.set(self._member())
        try:
            return function()
        finally:
            inside.reset(token)

    def _member(self) -> Membership | None:
        return None if self._membership is None else self._membership()

    def __enter__(self) -> Self:
        self.enter()
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.end(kept=kind is None)
        finally:
            self.leave()


def _innermost_outside(member: Membership, tracker: Marks) -> Savepoint | None:
    """Return the innermost open block around a membership."""
    token: Token[Membership | None] = inside.set(member.outer)
    try:
        return innermost(tracker)
    finally:
        inside.reset(token)
