"""resume: loops that go on after the last item whose body was completed.

The position is a state object like any other, a dict:

    position   (how many items are done, digests of the first, digests of one done lately)
    inner      (number of an item, names of the loops that ran in its body): they are forgotten
               when that item is done
    complete   the loop came to its end

An item is done when the loop asks for the next one. Then the position is written, which is one
write to a small dict, and after it is the moment at which saving may cut (`loop_bodies.py`).

Digests are taken before the body, which may change the item, and only so often that they take a
small part of the time. `loop_source.py` says what they are compared with.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, overload

from autostate import progress_bar
from autostate.containers.dict import PersistedDict
from autostate.errors import AutostateError, StateTypeError
from autostate.loop_bodies import Body
from autostate.loop_source import Check, Checker, Prints, Source, fingerprint, source_of
from autostate.manager import current_manager
from autostate.state_manager import StateManager, check_name, current

T = TypeVar("T")

CHECK_EVERY: Final = 0.01
"""Seconds between two fingerprints, at least."""
CHECK_FIRST: Final = 32
"""So many items get one in any case, so that a short loop is compared to its end."""
CHECK_SHARE: Final = 20
"""So many times as long as a fingerprint took, none is taken."""

_clock: Callable[[], float] = time.perf_counter
_BEGIN: Final = (0, None, None)
_KEYS: Final = frozenset({"position", "inner", "complete"})


@dataclass
class _Options:
    """What `resume` was asked for."""

    name: str
    source: Source
    key: Callable[[Any], Any] | None
    check: bool
    restart: bool
    again: bool
    progress: bool | None
    total: int | None


class AsyncLoop(Generic[T]):
    """A resumable loop over an asynchronous iterable, for `async for`; made by `resume`."""

    def __init__(self, options: _Options) -> None:
        self._options = options
        self._walk: Callable[[], _Walk | None] = lambda: None

    def __aiter__(self) -> AsyncIterator[T]:
        """Go on with the loop."""
        walk = self._begin()
        return _Awaited(walk.items()) if isinstance(self, Loop) else walk

    def done(self) -> None:
        """Count the item in work as done now, together with what `atomic()` around it writes.

        For bodies that take long, or run beside those of other loops.

        Raises:
            RuntimeError: No item is in work.

        Example:
            >>> import autostate
            >>> total = autostate.PersistedCounter[str]("total")
            >>> loop = autostate.resume("numbers", [1, 2, 3])
            >>> for number in loop:
            ...     with autostate.atomic():
            ...         total["sum"] += number
            ...         loop.done()
            >>> total["sum"]
            6
        """
        walk = self._walk()
        if walk is None or not walk.running:
            raise RuntimeError(
                f"done() was called outside the body of the loop {self._options.name!r}"
            )
        walk.count()

    def _begin(self) -> _Walk:
        walk = _Walk(self._options)
        self._walk = weakref.ref(walk)
        return walk


class Loop(AsyncLoop[T]):
    """A resumable loop, for `for` and `async for`; made by `resume`."""

    def __iter__(self) -> Iterator[T]:
        """Go on with the loop."""
        return self._begin().items()


class _Awaited(Generic[T]):
    """The items of an iterable, for `async for`."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        for item in self._items:
            return item
        raise StopAsyncIteration


class _Walk(Body):
    """One run over a loop, by one `for`; gone when that is left."""

    def __init__(self, options: _Options) -> None:
        super().__init__(options.name)
        self._options = options
        self._source = options.source
        self._items: Any = None
        self._sampling = False
        self._sample: tuple[Any, str | None, int | None] | None = None
        self._place: int | None = None
        self._inner: tuple[str, ...] = ()
        self._due = 0.0
        self._eager = CHECK_FIRST
        self._done = 0
        self._first: Prints | None = None
        self._check: tuple[int, Prints, int | None] | None = None
        self._bar: progress_bar.Bar = progress_bar.HIDDEN

    # -- the items ----------------------------------------------------------------------------

    def items(self) -> Iterator[Any]:
        """Give the items of an iterable."""
        item, complete = None, False
        number: int | None = None
        try:
            items = self._source.begin(*self._start())
            number = -1
            self._tick(_clock())
            advance = self._advance
            for item in items:
                if self._sampling:
                    self._look_at(item)
                yield item
                advance()
            complete = True
        except GeneratorExit:  # left by `break`, `return` or an exception: the item is not done
            number = 0
            raise
        finally:
            if number is not None:
                self._source.took(self._done + number, item)
            self._end(complete=complete)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            if self.running:
                self._advance()
            elif self._items is None:
                self._items = await self._source.begin_async(self._start()[0])
                self._tick(_clock())
            item = await anext(self._items)
        except BaseException as error:
            self._end(complete=isinstance(error, StopAsyncIteration))
            raise
        self._source.took(self._done, item)
        if self._sampling:
            self._look_at(item)
        return item

    def count(self) -> None:
        """Write that the item in work is done."""
        self._state["position"] = (self._done + 1, self._first, self._check)

    def _advance(self) -> None:
        """Write that the item in work is done, and let it be saved."""
        if self._sample is not None:
            self._keep(*self._sample)
        self._done = done = self._done + 1
        if self._inner:
            self._advance_past_inner()
        else:
            self._state["position"] = (done, self._first, self._check)
        if self._bodies.meeting is not None:
            self._bodies.between(self)
        now = _clock()
        if now >= self._due:
            self._tick(now)

    def _advance_past_inner(self) -> None:
        """Write that the item in work is done, and forget the loops in its body."""
        with self._manager._lock, self._lock:
            self._state["position"] = (self._done, self._first, self._check)
            self._forget_inner()

    def _tick(self, now: float) -> None:
        """Do what is not done for each item."""
        self._due = now + CHECK_EVERY
        self._sampling, self._place = True, self._source.place()
        self._bar.move(self._done, now)

    # -- fingerprints -------------------------------------------------------------------------

    def _look_at(self, item: Any) -> None:
        """Remember what is needed to find the item again, and that there is one."""
        self._sampling = False
        if "complete" in self._state:  # there is more than there was
            del self._state["complete"]
        if not self._options.check:
            return
        began, cpu = _clock(), time.thread_time()
        self._sample = item, fingerprint(item, self._options.key), self._place
        took = time.thread_time() - cpu
        if self._eager:
            self._eager -= 1
            self._due = began
        else:
            self._due = began + max(CHECK_EVERY, CHECK_SHARE * took)

    def _keep(self, item: Any, before: str | None, place: int | None) -> None:
        """Let the next save hold the fingerprint of an item that is done now."""
        after = fingerprint(item, self._options.key)
        prints = before, None if after == before else after
        self._check = self._done, prints, place
        if not self._done:
            self._first = prints
        self._sample = None

    # -- begin and end ------------------------------------------------------------------------

    def _start(self) -> tuple[Checker, Check | None]:
        """Find the position, and the loop around this one."""
        options = self._options
        self._manager = manager = current_manager()
        self._state = state = _position(manager, self.name)
        incarnation, node = manager._incarnation, state._node
        if incarnation is None or node is None:
            raise RuntimeError(f"the store of the loop {self.name!r} was closed meanwhile")
        self._bodies = incarnation.flusher.bodies
        self._lock = node.tracker.lock
        with manager._lock, self._lock:
            outer = self._bodies.enter(self)
            if isinstance(outer, _Walk):
                outer._adopt(self.name)
            again = options.restart or (options.again and "complete" in state)
            options.restart = False
            at, self._inner = state.get("inner", (0, ()))
            if again or at != state["position"][0]:
                self._forget_inner()
            if again:
                state.pop("complete", None)
                state["position"] = _BEGIN
        self._done, self._first, self._check = state["position"]
        self._show()
        return self._checker()

    def _checker(self) -> tuple[Checker, Check | None]:
        """What is to be compared before the loop goes on."""
        prints: dict[int, Prints] = {}
        if self._options.check and self._done:
            prints = {0: self._first or (None, None)}
            if self._check is not None:
                prints[self._check[0]] = self._check[1]
        checker = Checker(self.name, self._options.key, self._done, prints)
        return checker, None if self._check is None else Check(*self._check)

    def _show(self) -> None:
        """Show the progress, if it is to be shown."""
        options = self._options
        if progress_bar.is_wanted(options.progress):
            total = self._source.total() if options.total is None else options.total
            self._bar = progress_bar.Bar(
                self.name, self._done, total, at_once=options.progress is True
            )
            weakref.finalize(self, self._bar.close)

    def _end(self, *, complete: bool) -> None:
        """Let go of the loop: it came to its end, or something raised."""
        if not self.running:
            return
        if complete and "complete" not in self._state:
            self._state["complete"] = True
        self._bodies.leave(self)
        self._bar.close()

    # -- inner loops --------------------------------------------------------------------------

    def _adopt(self, name: str) -> None:
        """Note a loop that runs in the body."""
        if name not in self._inner:
            self._inner = (*self._inner, name)
            self._state["inner"] = (self._done, self._inner)

    def _forget_inner(self) -> None:
        """Forget the loops that ran in the body of an item that is done."""
        names, self._inner = self._inner, ()
        self._state.pop("inner", None)
        for name in names:
            if not self._bodies.is_running(name):
                with contextlib.suppress(AutostateError, LookupError, RuntimeError):
                    _forget(self._manager, name)


def _position(manager: StateManager, name: str) -> PersistedDict[str, Any]:
    """Give the state object of a loop.

    Raises:
        StateTypeError: The name belongs to something else.
    """
    token = current.set(manager)
    try:
        state = PersistedDict[str, Any](name)
    finally:
        current.reset(token)
    if not state:
        state["position"] = _BEGIN
    position = state.get("position")
    if not _KEYS.issuperset(state) or type(position) is not tuple or len(position) != 3:
        raise StateTypeError(
            f"{name!r} is a PersistedDict of the program, not the position of a loop: "
            "give the loop another name"
        )
    return state


def _forget(manager: StateManager, name: str) -> None:
    """Remove the position of a loop, and of those that ran in its body."""
    for inner in _position(manager, name).get("inner", (0, ()))[1]:
        _forget(manager, inner)
    manager.delete(name)


@overload
def resume(
    name: str,
    iterable: Iterable[T],
    *,
    key: Callable[[T], Any] | None = None,
    check: bool = True,
    restart: bool = False,
    again: bool = False,
    progress: bool | None = None,
    total: int | None = None,
) -> Loop[T]: ...
@overload
def resume(
    name: str,
    iterable: AsyncIterable[T],
    *,
    key: Callable[[T], Any] | None = None,
    check: bool = True,
    restart: bool = False,
    again: bool = False,
    progress: bool | None = None,
    total: int | None = None,
) -> AsyncLoop[T]: ...
def resume(
    name: str,
    iterable: Iterable[T] | AsyncIterable[T],
    *,
    key: Callable[[T], Any] | None = None,
    check: bool = True,
    restart: bool = False,
    again: bool = False,
    progress: bool | None = None,
    total: int | None = None,
) -> Loop[T] | AsyncLoop[T]:
    """Loop over something that is the same again in the next process, and go on there.

    An item is done when the loop asks for the next one: after its body was completed, `continue`
    included. It is not done when the body raised, or left the loop by `break` or `return`, or was
    killed: then it comes again. Its position is saved together with all other state, and while
    loops run, saving waits for a moment between two items; so what a body writes to the state is
    there once for each item. A body that takes longer than the setting `max_delay` after it has
    begun to write, or that calls `flush()`, is saved half-way: for these there is `done()`.

    A loop in the body of another one is forgotten when the item of the outer one is done.

    Args:
        name: The name of the position, a state object.
        iterable: A sequence, a file, or anything else that gives the same items in the same
            order. Sequences and files are not read from the beginning; everything else is asked
            for the items that are done once more.
        key: Gives what identifies an item, a value that can be saved. By default that is all of
            it, if it can be saved; else items are not compared.
        check: Compare the first item and one that was done lately with what they were.
        restart: Begin with the first item, wherever the loop was.
        again: Begin with the first item if the loop came to its end the last time. Without it, a
            loop that came to its end gives only what is new after it.
        progress: Show the progress on standard error if that is a terminal and `rich` is
            installed, from half a second on. True: at once, and without `rich` it is an error.
            False: do not show it.
        total: The number of all items, where `len` does not tell.

    Returns:
        What is iterated by `for` or `async for`. Keep it to go on after a `break` with the same
        iterator, or to call its `done()`.

    Raises:
        TypeError: It cannot be iterated, or is a set, whose order is another in each process.
        ValueError: The name is empty or cannot be used.
        ImportError: The progress is to be shown, and `rich` is not installed.

    When it begins, the loop raises `ResumeError` if the items are not the same, or if it is
    running already, and `StateTypeError` if the name belongs to another state object.

    Example:
        >>> import autostate
        >>> lengths = autostate.PersistedDict("lengths")
        >>> for word in autostate.resume("words", ["one", "two", "three"]):
        ...     lengths[word] = len(word)
        >>> lengths
        {'one': 3, 'two': 3, 'three': 5}
    """
    check_name(name)
    if isinstance(iterable, set | frozenset):
        raise TypeError(
            f"the order of a {type(iterable).__name__} is another one in each process: give "
            f"sorted(…) to the loop {name!r}"
        )
    loop: type[Loop[T] | AsyncLoop[T]] = Loop
    if not isinstance(iterable, Iterable) and not hasattr(type(iterable), "__getitem__"):
        if not isinstance(iterable, AsyncIterable):
            raise TypeError(
                f"the loop {name!r} was given a {type(iterable).__name__}, which cannot be iterated"
            )
        loop = AsyncLoop
    progress_bar.require(progress)
    source = source_of(iterable)
    return loop(_Options(name, source, key, check, restart, again, progress, total))
