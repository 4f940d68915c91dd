"""`atomic()`: a block of the program whose writes are saved together, and undone if it raises.

A block may end in another thread or context than it began in, as a FastAPI dependency with `yield`
does. Its generator may be closed or collected. Ctrl-C may strike in `__enter__`, in `__exit__`, or
in between, where the `with` statement has called `__enter__` and does not yet know that it has to
call `__exit__`. So the end of a block depends on none of these:

- A context variable tells which block a context is in. Its value is a `Membership`, and only
  contexts refer to that. The variable is never reset by a token, which works in one context only;
  instead, a block that has ended is skipped. When no context refers to the membership any more
  while the block is open, the block is *orphaned*: it was begun in a context that has ended, for
  example that of a worker thread.
- `__exit__` is a descriptor that gives a new callable each time a `with` statement asks for it.
  Only the stack of the frame with this statement refers to the callable. When the frame leaves the
  block in any way, the callable is freed, and its weak reference ends the block. (What does not
  work: a bound method, which the interpreter frees before it calls the function.)
- The outcome of a block is stored first (`Savepoint.outcome`), and then carried out, in steps that
  may be repeated. A thread that finds a block that was left half-way completes it.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from autostate.process.interrupts import uninterrupted

if TYPE_CHECKING:
    from autostate.tracking.mirror import InstanceRoot
    from autostate.tracking.tracker import Tracker

P = ParamSpec("P")
R = TypeVar("R")

logger: logging.Logger = logging.getLogger("autostate")

LONGEST_HOLD: Final = 5.0
"""Seconds for which a new block waits for a save, at most."""

HOLD_CHECK: Final = 0.002
"""Seconds between checks whether the block still has to wait."""


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
        plain: Containers without a barrier, and their contents when the block began.
    """

    __slots__ = (
        "_membership",
        "holder",
        "instances",
        "may_step_back",
        "outcome",
        "outer",
        "plain",
        "threads",
        "tracker",
    )

    def __init__(
        self, tracker: Tracker, holder: weakref.ref[Any], membership: Membership, outer: Any
    ) -> None:
        self.tracker = tracker
        self.outer: Savepoint | None = outer
        self.outcome: bool | None = None
        self.holder: weakref.ref[Any] | None = holder
        self.may_step_back = True
        self.threads: set[int] = {threading.get_ident()}
        self.instances: list[tuple[InstanceRoot, dict[str, Any]]] = []
        self.plain: list[tuple[Any, Any]] = []
        self._membership = weakref.ref(membership)

    @property
    def is_open(self) -> bool:
        """Whether the block has not come to its end."""
        return self.outcome is None

    @property
    def is_orphaned(self) -> bool:
        """Whether the block is open and no context is inside."""
        return self.is_open and self._membership() is None

    def is_abandoned(self) -> bool:
        """Tell whether the block is open and its frame has left it."""
        return self.is_open and self.holder is not None and self.holder() is None


class Membership:
    """A context's mark that it is inside a block.

    Attributes:
        savepoints: The savepoints of the block, one for each tracker.
        outer: The block around it.
    """

    __slots__ = ("__weakref__", "outer", "savepoints")

    def __init__(self, outer: Membership | None) -> None:
        self.savepoints: list[Savepoint] = []
        while outer is not None and not any(point.is_open for point in outer.savepoints):
            outer = outer.outer  # ended in another context
        self.outer: Membership | None = outer


_inside: ContextVar[Membership | None] = ContextVar("autostate-atomic", default=None)


def innermost(tracker: Tracker) -> Savepoint | None:
    """Return the innermost open block of this context in a tracker."""
    member = _inside.get()
    while member is not None:
        for point in member.savepoints:
            if point.tracker is tracker and point.is_open and not point.is_abandoned():
                return point
        member = member.outer
    return None


class _Exit:
    """Gives the `__exit__` of a block: each `with` statement gets a callable of its own."""

    def __get__(self, block: AtomicBlock | None, owner: type) -> Callable[..., None]:
        if block is None:  # contextlib asks the class, and keeps the block itself
            return _leave_by_hand
        entry = Entry()
        leave = functools.partial(_leave_asked, block, entry)
        entry.holder = weakref.ref(leave, lambda _: _abandoned(entry))
        block.asked = entry
        return leave


class Entry:
    """One entering of a block.

    Attributes:
        savepoints: The savepoints that were begun.
        holder: The holder of these savepoints.
        membership: The mark in the context; weak, since only contexts may keep it.
        place: File and line, if the block was entered by hand.
    """

    __slots__ = ("holder", "membership", "place", "savepoints")

    def __init__(self, place: tuple[str, int] | None = None) -> None:
        self.place: tuple[str, int] | None = place
        self.savepoints: list[Savepoint] = []
        self.holder: weakref.ref[Any] | None = None
        self.membership: weakref.ref[Membership] | None = None


class AtomicBlock:
    """What `atomic()` returns: for a `with` statement, or as a decorator.

    Args:
        trackers: Gives the trackers when the block begins.

    Attributes:
        asked: The next entry, if a `with` statement has asked for its `__exit__`.
        by_hand: The entries that are not kept by a `with` statement, the latest one last.
    """

    def __init__(self, trackers: Callable[[], Iterable[Tracker]]) -> None:
        self.asked: Entry | None = None
        self.by_hand: list[Entry] = []
        self._trackers = trackers

    def __enter__(self) -> None:
        """Begin."""
        entry, self.asked = self.asked, None
        if entry is None or entry.holder is None or entry.holder() is None:
            entry = Entry(_place(sys._getframe(1)))  # no `with` has asked for the way out
            self.by_hand.append(entry)
            entry.holder = weakref.ref(self, lambda _: _dropped(entry))
        holder = entry.holder
        assert holder is not None
        member = Membership(_inside.get())
        entry.membership = weakref.ref(member)
        try:
            for tracker in self._trackers():
                point = Savepoint(tracker, holder, member, innermost(tracker))
                entry.savepoints.append(point)
                member.savepoints.append(point)
                tracker.begin_block(point)
            _inside.set(member)
        except BaseException:
            _leave(entry, BaseException)
            raise

    if TYPE_CHECKING:

        def __exit__(self, *error: object) -> None:
            """End."""
    else:
        __exit__ = _Exit()

        async def __aenter__(self) -> None:
            raise TypeError(
                "a block of atomic() waits for nothing: write `with autostate.atomic():`, without "
                "`async`; its body may `await`"
            )

        async def __aexit__(self, *error: object) -> None:
            """Let `async with` get as far as the error of `__aenter__`."""

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, function: Any, /) -> Any: ...
    def __call__(self, function: Any, /) -> Any:
        """Decorate a function or coroutine function: each call is a block.

        Raises:
            TypeError: It is no function; or it is a generator function, which does not say which
                of its steps belong together.
        """
        import inspect

        if not callable(function) or isinstance(function, type):
            raise TypeError(
                "atomic() decorates functions, and this is "
                + (f"the class {function.__name__}: " if callable(function) else "no function: ")
                + "write `@autostate.atomic()` over a function or method, or "
                "`with autostate.atomic():` around a block"
            )

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                "atomic() cannot decorate a generator function, whose body runs in pieces: write "
                "`with autostate.atomic():` in it, around what belongs together"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call(*args: Any, **kwargs: Any) -> Any:
                with AtomicBlock(self._trackers):
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                with AtomicBlock(self._trackers):
                    return function(*args, **kwargs)

        return call


def _leave_asked(block: AtomicBlock, entry: Entry, *error: object) -> None:
    """End a block by the callable that a `with` statement got as `__exit__`."""
    if block.asked is entry:  # it was asked for at the end, by a call of `block.__exit__(...)`
        block.asked = None
        _leave_by_hand(block, *error)
    else:
        _leave(entry, *error)


def _leave_by_hand(block: AtomicBlock, *error: object) -> None:
    """End a block that is not kept by a `with` statement, but by an ExitStack, for example."""
    if not block.by_hand:
        raise RuntimeError("this atomic() block was not entered, or has ended")
    _leave(block.by_hand[-1], *error)
    block.by_hand.pop()


def _leave(entry: Entry, kind: object = None, *_: object) -> None:
    """End a block: keep its writes, or undo them if it raises."""
    kept = kind is None
    for point in entry.savepoints:
        if point.outcome is None:
            point.outcome = kept
    uninterrupted(lambda: _end(entry))


def _end(entry: Entry) -> None:
    for point in reversed(entry.savepoints):
        point.tracker.end_block(point)
    member = None if entry.membership is None else entry.membership()
    if member is not None and _inside.get() is member:
        _inside.set(member.outer)
    # Keep no weak reference that could call back: Python swallows a Ctrl-C in its callback.
    entry.savepoints.clear()
    entry.holder = None


_told: Final[set[tuple[str, int]]] = set()
untold: Final[list[tuple[str, int]]] = []
"""Places where dropped blocks were entered, those already logged included."""


def _place(frame: Any) -> tuple[str, int]:
    """Return file and line in the program, skipping frames of contextlib."""
    while frame.f_back is not None and frame.f_globals.get("__name__") == "contextlib":
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _dropped(entry: Entry) -> None:
    """Undo a block that was entered by hand and then dropped, and note it.

    Nothing is logged here: the collector may run this in the middle of a handler of logging.
    """
    if entry.place is not None and any(point.outcome is None for point in entry.savepoints):
        untold.append(entry.place)
    _abandoned(entry)


def tell_of_dropped() -> None:
    """Log where blocks were entered that nobody has left, once for each place."""
    while untold:
        place = untold.pop()
        if place not in _told:
            _told.add(place)
            logger.warning(
                "a block of atomic() that was entered at %s:%d was never left, and is undone: "
                "close the ExitStack, or call __exit__, or write `with autostate.atomic():`",
                *place,
            )


def _abandoned(entry: Entry) -> None:
    """Undo a block that was left without a call of `__exit__`, or with one that Ctrl-C ended."""
    for point in entry.savepoints:
        if point.outcome is None:
            point.outcome = False
    for point in reversed(entry.savepoints):
        point.tracker.end_block(point)
