"""A block of `atomic()` in one tracker, and which block the calling context is in.

A context variable tells which block a context is in. Its value is a `Membership`, and only contexts
refer to that. The variable is never reset by a token, which works in one context only; instead, a
block that has ended is skipped. When no context refers to the membership any more while the block
is open, the block is *orphaned*: it was begun in a context that has ended, for example that of a
worker thread.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from autostate.errors import LateWriteError
from autostate.tracking.node import Marks

if TYPE_CHECKING:
    from autostate.tracking.instances import Scanned


class Savepoint:
    """One block in one tracker.

    Attributes:
        tracker: The tracker of the containers in question.
        outer: The savepoint of the block around this one.
        outcome: None while the block is open; then whether its writes are kept (True) or undone.
        holder: A weak reference to an object that lives until the block has been left.
        may_step_back: Whether all its writes can be taken back for a moment.
        threads: The threads in which it began and wrote.
        instances: The objects, and their fields when the block began.
        is_alone: Whether no other block was open meanwhile, except those around and inside it.
        plain: Containers without a barrier, and their contents when the block began.
        is_unit: Whether the block is a unit of work, which the program has not written as a block.
        when_undone: Is called if its writes are undone: takes back what belongs to them elsewhere.
        when_ended: Is called when it has ended, with the open block around it or None, and once
            more if Ctrl-C interrupts that; the tracker's lock is held.
    """

    __slots__ = (
        "_membership",
        "holder",
        "instances",
        "is_alone",
        "is_unit",
        "may_step_back",
        "outcome",
        "outer",
        "plain",
        "threads",
        "tracker",
        "when_ended",
        "when_undone",
    )

    def __init__(
        self,
        tracker: Marks,
        holder: weakref.ref[Any],
        membership: Membership,
        outer: Any,
        *,
        is_unit: bool = False,
    ) -> None:
        self.tracker = tracker
        self.outer: Savepoint | None = outer
        self.outcome: bool | None = None
        self.holder: weakref.ref[Any] | None = holder
        self.may_step_back = True
        self.threads: set[int] = {threading.get_ident()}
        self.instances: list[tuple[Scanned, dict[str, Any]]] = []
        self.is_alone = True
        self.plain: list[tuple[Any, Any]] = []
        self.is_unit = is_unit
        self.when_undone: list[Callable[[], None]] = []
        self.when_ended: list[Callable[[Savepoint | None], None]] = []
        self._membership = weakref.ref(membership)  # only contexts keep it

    @property
    def is_open(self) -> bool:
        """Whether the block has not come to its end."""
        return self.outcome is None

    @property
    def is_orphaned(self) -> bool:
        """Whether the block is open and no context is inside.

        A unit of work is none: nobody ends it if the work has ended with an error, and what others
        write is not its own.
        """
        return self.is_open and not self.is_unit and self._membership() is None

    def is_inside(self, other: Savepoint) -> bool:
        """Tell whether it is another block, or lies in that one."""
        point: Savepoint | None = self
        while point is not None and point is not other:
            point = point.outer
        return point is not None

    def is_abandoned(self) -> bool:
        """Tell whether the block is open and its frame has left it."""
        return self.is_open and self.holder is not None and self.holder() is None


class Membership:
    """A context's mark that it is inside a block.

    Attributes:
        savepoints: The savepoints of the block, one for each tracker.
        outer: The block around it.
        is_closed: Whether its contexts may write no more: the block was undone.
    """

    __slots__ = ("__weakref__", "is_closed", "outer", "savepoints")

    def __init__(self, outer: Membership | None) -> None:
        self.savepoints: list[Savepoint] = []
        self.is_closed = False
        while (
            outer is not None
            and not outer.is_closed
            and not any(point.is_open for point in outer.savepoints)
        ):
            outer = outer.outer  # ended in another context, so that nobody reset the variable here
        self.outer: Membership | None = outer


untold: Final[list[tuple[str, int]]] = []
"""Where blocks were entered by hand that were dropped: the next cut logs it."""


inside: Final[ContextVar[Membership | None]] = ContextVar("autostate-atomic", default=None)


def refuse_late() -> None:
    """Refuse a write of a context whose block was closed.

    Raises:
        LateWriteError: This is such a context.
    """
    member = inside.get()
    while member is not None:
        if member.is_closed:
            raise LateWriteError(
                "this write comes too late: the attempt that it belongs to has failed and was "
                "undone, and its request is worked again; let threads and tasks end before the "
                "handler does"
            )
        member = member.outer


def innermost(tracker: Marks) -> Savepoint | None:
    """Return the innermost open block of this context in a tracker."""
    member = inside.get()
    while member is not None:
        for point in member.savepoints:
            if point.tracker is tracker and point.is_open and not point.is_abandoned():
                return point
        member = member.outer
    return None
