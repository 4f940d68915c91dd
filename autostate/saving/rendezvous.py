"""Cuts while resumable loops run: between two items, if possible.

Every cut is one moment, for a loop's position and for the writes of its body. That alone is not
enough for `total["n"] += item`: a cut in the middle of a body would save the sum with the item, but
the position without it, and the item would be counted again. So while loops run, the flush thread
does not cut at once. It asks for a *rendezvous*: the next loop that is between two items, while no
body of another loop is running, waits until the cut is done.

The cut runs on the flush thread, not on the loop's thread: Ctrl-C, which Python raises in the main
thread, must not strike in the middle of the cut.

Three things end the flush thread's waiting without a rendezvous: a time limit (set by `FlushJob`),
the end of all loops, and a body that itself waits for the flush thread, in `flush()` or
`durable()`.

A loop that runs in the body of another one is its *inner* loop. The outer body is running then, and
may be saved in the middle: the progress of the inner loop has to be found again. Python's context
variables tell which loop is around another one, also in tasks.

Loops are held weakly: a loop that is left by `break` or an exception is gone at once.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import weakref
from collections.abc import Callable, Generator
from typing import NamedTuple

from autostate.errors import ResumeError
from autostate.process.interrupts import Latch

LONGEST_RENDEZVOUS = 10.0
"""Seconds after which a loop continues although the cut is not done."""


class ActiveLoop:
    """A loop that runs, as far as saving has to know it.

    Attributes:
        name: The name of its state object.
        running: Whether it has begun and not ended.
        outer: The loop of the same store in whose body it runs.
    """

    __slots__ = ("__weakref__", "name", "outer", "running")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.running: bool = False
        self.outer: weakref.ref[ActiveLoop] | None = None

    def is_inside(self, other: ActiveLoop) -> bool:
        """Tell whether the other loop is around this one, at any distance."""
        loop: ActiveLoop | None = self
        while loop is not None and loop.outer is not None:
            loop = loop.outer()
            if loop is other:
                return True
        return False


class _Scope(NamedTuple):
    """The innermost loop around a context, and the scope around that loop."""

    loop: weakref.ref[ActiveLoop]
    active_loops: ActiveLoops
    outer: _Scope | None


_scope: contextvars.ContextVar[_Scope | None] = contextvars.ContextVar(
    "autostate_loops", default=None
)


def _scope_here() -> _Scope | None:
    """Return the scope of the innermost loop around this context that was not left."""
    scope = _scope.get()
    while scope is not None:
        loop = scope.loop()
        if loop is not None and loop.running:
            return scope
        scope = scope.outer
    return None


class Rendezvous:
    """A request of the flush thread to cut between two items.

    Attributes:
        reached: Whether a loop waits for the end of the rendezvous.
        pid: The process of the flush thread.
    """

    def __init__(self) -> None:
        self.reached: bool = False
        self.pid: int = os.getpid()
        self._over = Latch()

    def attend(self, tell: Callable[[], None]) -> None:
        """Wait until the cut is done."""
        self.reached = True
        tell()
        self._over.wait(LONGEST_RENDEZVOUS)

    def end(self) -> None:
        """Let the loop continue."""
        self._over.set()


class ActiveLoops:
    """The loops of one store that run.

    Attributes:
        tell: Wakes the flush thread; never blocks.
        rendezvous: The rendezvous that the flush thread asks for; loops check it after each item.
        running: The loops by name; some may have ended unnoticed.
    """

    def __init__(self) -> None:
        self.tell: Callable[[], None] = lambda: None
        self.rendezvous: Rendezvous | None = None
        self.running: dict[str, weakref.ref[ActiveLoop]] = {}
        self._waiting = 0

    # -- for loops ----------------------------------------------------------------------------

    def enter(self, loop: ActiveLoop) -> ActiveLoop | None:
        """Note that a loop begins, with the tracker's lock held; return the loop around it.

        Raises:
            ResumeError: A loop of that name runs already.
        """
        if self._alive(loop.name) is not None:
            raise ResumeError(
                f"the loop {loop.name!r} is running already: leave it first, or give this one "
                "another name. In a notebook the traceback of a cell that was interrupted may keep "
                "its iterator: run this cell once more"
            )
        scope = _scope_here()
        outer = scope.loop() if scope is not None and scope.active_loops is self else None
        loop.outer = None if outer is None else weakref.ref(outer)
        loop.running = True
        self.running[loop.name] = weakref.ref(loop)
        _scope.set(_Scope(self.running[loop.name], self, scope))
        return outer

    def leave(self, loop: ActiveLoop) -> None:
        """Note that a loop has ended, and is in no context any more."""
        loop.running = False
        if self._alive(loop.name) is None:
            self.running.pop(loop.name, None)
        _scope.set(_scope_here())

    def is_running(self, name: str) -> bool:
        """Tell whether a loop of this name runs."""
        return self._alive(name) is not None

    def between(self, loop: ActiveLoop) -> None:
        """Note that a loop is between two items; wait for a requested cut if no other body runs."""
        rendezvous = self.rendezvous
        if (
            rendezvous is not None and rendezvous.pid != os.getpid()
        ):  # the flush thread is the parent's
            rendezvous = self.rendezvous = None
        if rendezvous is not None and not any(
            other is not loop and not loop.is_inside(other) for other in self._all()
        ):
            rendezvous.attend(self.tell)

    # -- for the flush thread ----------------------------------------------------------------------

    @property
    def in_work(self) -> bool:
        """Whether a cut now would fall into a running body that is worth waiting for."""
        return not self._waiting and bool(self.running) and bool(self._all())

    @contextlib.contextmanager
    def asked(self) -> Generator[Rendezvous]:
        """Ask for a rendezvous during the body."""
        rendezvous = self.rendezvous = Rendezvous()
        try:
            yield rendezvous
        finally:
            self.rendezvous = None
            rendezvous.end()

    @contextlib.contextmanager
    def waiting(self) -> Generator[None]:
        """Mark that the body waits for the flush thread, so that no cut waits for its loop."""
        scope = _scope_here()
        if scope is None or scope.active_loops is not self:
            yield
            return
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _alive(self, name: str) -> ActiveLoop | None:
        reference = self.running.get(name)
        loop = None if reference is None else reference()
        return loop if loop is not None and loop.running else None

    def _all(self) -> list[ActiveLoop]:
        loops = [reference() for reference in list(self.running.values())]
        return [loop for loop in loops if loop is not None and loop.running]
