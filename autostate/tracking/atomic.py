"""`atomic()`: a block of the program whose writes are saved together, and undone if it raises.

A block may end in another thread or context than it began in, as a FastAPI dependency with `yield`
does. Its generator may be closed or collected. Ctrl-C may strike in `__enter__`, in `__exit__`, or
in between, where the `with` statement has called `__enter__` and does not yet know that it has to
call `__exit__`. So the end of a block depends on none of these:

- `savepoint.py` says how it is known which block a context is in.
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
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from autostate.process.interrupts import uninterrupted
from autostate.tracking.blocks import Blocks
from autostate.tracking.node import Marks
from autostate.tracking.savepoint import Membership, Savepoint, innermost, inside, untold

P = ParamSpec("P")
R = TypeVar("R")

logger: logging.Logger = logging.getLogger("autostate")


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

    def __init__(self, trackers: Callable[[], Iterable[Marks]]) -> None:
        self.asked: Entry | None = None
        self.by_hand: list[Entry] = []
        self._trackers = trackers

    def __enter__(self) -> None:
        """Begin the block in each tracker."""
        entry, self.asked = self.asked, None
        if entry is None or entry.holder is None or entry.holder() is None:
            entry = Entry(_place(sys._getframe(1)))  # no `with` has asked for the way out
            self.by_hand.append(entry)
            entry.holder = weakref.ref(self, lambda _: _dropped(entry))
        holder = entry.holder
        assert holder is not None
        member = Membership(inside.get())
        entry.membership = weakref.ref(member)
        entry.savepoints = member.savepoints  # see `join`
        try:
            for tracker in self._trackers():
                point = Savepoint(tracker, holder, member, innermost(tracker))
                member.savepoints.append(point)
                tracker.part(Blocks).begin(point)
            inside.set(member)
        except BaseException:  # a `with` statement calls no `__exit__` then
            _leave(entry, BaseException)
            raise

    if TYPE_CHECKING:

        def __exit__(self, *error: object) -> None:
            """End the block: see `_Exit`."""
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


def join(tracker: Marks) -> None:
    """Let the blocks that this context is in cover a tracker that was made since they began."""
    member, members = inside.get(), []
    while member is not None:
        members.append(member)
        member = member.outer
    for member in reversed(members):
        known = member.savepoints
        like = next((point for point in known if point.is_open and not point.is_unit), None)
        if like is None or like.holder is None or any(one.tracker is tracker for one in known):
            continue
        point = Savepoint(tracker, like.holder, member, innermost(tracker))
        known.append(point)
        tracker.part(Blocks).begin(point)


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
    block.by_hand.pop()  # afterwards, so that the block can be left again after Ctrl-C


def _leave(entry: Entry, kind: object = None, *_: object) -> None:
    """End a block: keep its writes, or undo them if it raises."""
    _decide(entry, kept=kind is None)
    uninterrupted(lambda: _end(entry))


def _decide(entry: Entry, *, kept: bool) -> None:
    """Store the outcome of a block, before it is carried out: any thread can complete it then."""
    for point in entry.savepoints:
        if point.is_open:
            point.outcome = kept


def _carry_out(entry: Entry) -> None:
    """Keep or undo the writes of a block, as its outcome says; it may be repeated."""
    for point in reversed(entry.savepoints):
        point.tracker.part(Blocks).end(point)


def _end(entry: Entry) -> None:
    _carry_out(entry)
    member = None if entry.membership is None else entry.membership()
    if member is not None and inside.get() is member:
        inside.set(member.outer)
    # Keep no weak reference that could call back: Python swallows a Ctrl-C in its callback.
    entry.savepoints.clear()
    entry.holder = None


_told: Final[set[tuple[str, int]]] = set()


def _place(frame: Any) -> tuple[str, int]:
    """Return file and line in the program, skipping frames of contextlib."""
    while frame.f_back is not None and frame.f_globals.get("__name__") == "contextlib":
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _dropped(entry: Entry) -> None:
    """Undo a block that was entered by hand and then dropped, and note it.

    Nothing is logged here: the collector may run this in the middle of a handler of logging.
    """
    if entry.place is not None and any(point.is_open for point in entry.savepoints):
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
    _decide(entry, kept=False)
    _carry_out(entry)
