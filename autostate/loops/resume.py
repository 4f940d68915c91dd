"""resume: loops that go on after the last item whose body was completed.

`run.py` is one run over such a loop, `source.py` and `files.py` what it goes over,
`saving/rendezvous.py` waits for a moment between two items, and `autostate.progress_bar` shows the
progress on a terminal.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from autostate import progress_bar
from autostate.loops.files import file_source
from autostate.loops.run import LoopRun, Options
from autostate.loops.source import Source, source_of
from autostate.runtime.names import check_name

T = TypeVar("T")


class AsyncLoop(Generic[T]):
    """A resumable loop over an asynchronous iterable, for `async for`; made by `resume`."""

    def __init__(self, options: Options) -> None:
        self._options: Options = options
        self._walk: Callable[[], LoopRun | None] = lambda: None

    def __aiter__(self) -> AsyncIterator[T]:
        """Go on with the loop."""
        walk = self._begin()
        return _Awaited(walk.items()) if isinstance(self, Loop) else walk

    if not TYPE_CHECKING:  # for type checkers only a `Loop` has `__iter__`

        def __iter__(self) -> Any:
            raise TypeError(
                f"the loop {self._options.name!r} goes over an asynchronous iterable: `async for`"
            )

    def done(self) -> None:
        """Count the current item as done now, with the writes of the `atomic()` around the call.

        For bodies that take long, or that run beside bodies of other loops.

        Raises:
            RuntimeError: There is no current item.

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

    def _begin(self) -> LoopRun:
        walk = LoopRun(self._options)
        self._walk = weakref.ref(walk)
        return walk


class Loop(AsyncLoop[T]):
    """A resumable loop, for `for` and `async for`; made by `resume`."""

    def __iter__(self) -> Iterator[T]:
        """Go on with the loop."""
        return self._begin().items()


class _Awaited(Generic[T]):
    """The items of an iterable, for `async for`.

    An asynchronous generator would not do: if the loop is left by `break`, the event loop closes it
    some time later, and until then the run would not have ended.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        for item in self._items:
            return item
        raise StopAsyncIteration


_NOT_GIVEN: Final[Any] = object()


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
    batch: None = None,
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
    batch: None = None,
) -> AsyncLoop[T]: ...
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
    batch: int,
) -> Loop[list[T]]: ...
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
    batch: int,
) -> AsyncLoop[list[T]]: ...
def resume(
    name: str,
    iterable: Iterable[T] | AsyncIterable[T] = _NOT_GIVEN,
    *,
    key: Callable[[T], Any] | None = None,
    check: bool = True,
    restart: bool = False,
    again: bool = False,
    progress: bool | None = None,
    total: int | None = None,
    batch: int | None = None,
) -> Any:
    """Loop over items that are the same in the next process, which goes on where this one stopped.

    An item is done when the loop asks for the next one: after its body was completed, `continue`
    included. It is not done if the body raised, or left the loop by `break` or `return`, or was
    killed: then the item comes again. The position is saved together with all other state, and
    while loops run, saving waits for a moment between two items; so the writes of a body to the
    state are saved once for each item. A body that takes longer than the setting `max_delay`
    after its first write, or that calls `flush()`, is saved half-way: use `done()` in such a body.

    The position of a loop in the body of another loop is forgotten when the outer item is done.

    Args:
        name: The name of the position, a state object.
        iterable: A sequence, a file, or any other iterable that gives the same items in the same
            order. Sequences, files, and readers of `csv` over files are not read from the
            beginning; any other iterable is iterated over the done items once more.
        key: Gives a value that identifies an item, and that can be saved. By default the item
            itself, if it can be saved; else items are not compared.
        check: Compare the first item and a recently done one with those of the last process.
        restart: Begin with the first item, wherever the loop was.
        again: Begin with the first item if the loop came to its end the last time. Without it, a
            loop that came to its end gives only items that were added after the end.
        progress: Show the progress on standard error if that is a terminal and `rich` is
            installed, from half a second on. True: at once, and without `rich` it is an error.
            False: do not show it.
        total: The number of all items, if `len` cannot tell it.
        batch: Give lists of so many items, the last of which may be shorter. All of a list are
            done at once. The next process may give another number.

    Returns:
        An object for `for` or `async for`. Keep it to go on after a `break` with the same
        iterator, or to call its `done()`.

    Raises:
        TypeError: `iterable` is not iterable, or is a set, whose order differs between processes.
        ValueError: The name is empty or cannot be used, or begins with `autostate.`; or `batch` is
            less than 1.
        ImportError: `progress` is true, and `rich` is not installed.

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
    source = _source(name, iterable)
    if progress:
        progress_bar.require()
    if batch is not None:
        _check_batch(batch)
    options = Options(name, source, key, check, restart, again, progress, total, batch)
    return AsyncLoop(options) if source.is_async else Loop(options)


def _check_batch(batch: Any) -> None:
    if type(batch) is not int:
        raise TypeError(f"batch is a number of items, an int, not {type(batch).__name__}")
    if batch < 1:
        raise ValueError(f"batch is a number of items from 1 on, not {batch}")


def _source(name: str, iterable: Any) -> Source:
    """Check the name and the iterable of a loop, and choose how to begin in its middle."""
    if iterable is _NOT_GIVEN:
        raise TypeError(
            "resume() needs a name for its position, and what the loop goes over: "
            'for url in autostate.resume("urls", urls)'
        )
    if type(name) is not str:
        raise TypeError(
            f"the first argument of resume() is the name of the loop, a str, not "
            f'{type(name).__name__}: resume("urls", urls)'
        )
    check_name(name)
    if isinstance(iterable, set | frozenset):
        raise TypeError(
            f"the order of a {type(iterable).__name__} is another one in each process: give "
            f"sorted(…) to the loop {name!r}"
        )
    source = file_source(iterable) or source_of(iterable)
    if source.is_async and not isinstance(iterable, AsyncIterable):
        raise TypeError(
            f"the loop {name!r} was given a {type(iterable).__name__}, which cannot be iterated"
        )
    return source
