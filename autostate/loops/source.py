"""The iterable of a resumable loop: how to begin in its middle, and whether it is the same again.

How the done items are skipped depends on the iterable:

    sequences       by index: list, tuple, range, str, NumPy arrays, all types with a length and []
    files, csv      by seeking to the place of a remembered item, then one by one: `files.py`
    everything else by iterating over the done items once more, and dropping them

*Whether it is the same* is decided by fingerprints: digests of the first item, and of a recently
done one. A list that has become longer at its end passes; a list with an item more or less before
the position does not. The items in between are not compared: for a sequence that would make the
beginning as slow as reading all of it.
"""

from __future__ import annotations

import itertools
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn, cast

from autostate import codec
from autostate.digest import blake2b
from autostate.errors import ResumeError

Prints = tuple[str | None, str | None]
"""Digests of an item: before its body, and, if it differs, after its body.

The body may change an item. The next process gets the item as it was before the body, if the item
is read again, or as it was after the body, if it is part of the state.
"""


class Check(NamedTuple):
    """A recently done item, by which the loop checks that the items are the same.

    Attributes:
        number: The number of the item, from 0.
        prints: The digests of the item.
        place: In a file, where the item begins.
    """

    number: int
    prints: Prints
    place: int | None


class Last(NamedTuple):
    """The last item of a file.

    Attributes:
        items: The item as it is, and as it may become without being another one.
        place: Where it begins.
    """

    items: tuple[Any, Any]
    place: int


def fingerprint(item: Any, key: Callable[[Any], Any] | None) -> str | None:
    """Digest an item; None if it cannot be saved, because the digest is taken of the saved form."""
    told = item if key is None else key(item)
    try:
        data = codec.dump(codec.jsonable(told, _no_node))
    except Exception:  # it cannot be saved, or code of its class raised
        return None
    return blake2b(data, digest_size=8).hexdigest()


def _no_node(_value: Any) -> None:
    """Tell that no container is a node, so that all are written inline."""


class Checker:
    """Compares items with fingerprints.

    Args:
        name: The name of the loop, for messages.
        key: Gives a value that identifies an item.
        done: The number of items that are done.
        first: The digests of the first item; None: no item is compared.
        recent: A recently done item.

    Attributes:
        indexes: The numbers of the items to compare, in order.
    """

    def __init__(
        self,
        name: str,
        key: Callable[[Any], Any] | None,
        done: int,
        first: Prints | None,
        recent: Check | None,
    ) -> None:
        self.name: str = name
        self.done: int = done
        self.recent: Check | None = recent
        self._key = key
        self._prints: dict[int, Prints] = {}
        if first is not None:
            self._prints[0] = first
            if recent is not None:
                self._prints[recent.number] = recent.prints
        self.indexes: list[int] = [at for at, prints in sorted(self._prints.items()) if any(prints)]

    def matches(self, index: int, item: Any) -> bool:
        """Tell whether an item is the one that was done."""
        return fingerprint(item, self._key) in self._prints[index]

    def check(self, index: int, item: Any) -> None:
        """Compare an item.

        Raises:
            ResumeError: It is not the item that was done.
        """
        if not self.matches(index, item):
            self.refuse(f"item {index} (the first is item 0) is not the one that was done")

    def ends(self, length: int) -> NoReturn:
        """Refuse an iterable that is too short."""
        self.refuse(f"there are fewer items ({length}) than were done ({self.done})")

    def refuse(self, what: str) -> NoReturn:
        """Raise an error that says what differs, and what the user can do."""
        raise ResumeError(
            f"the loop {self.name!r} cannot go on ({self.done} done): its items are not "
            f"the same as before: {what}. Nothing was changed. Give the same items in "
            "the same order, say by key=… what identifies an item, go on all the same with "
            "check=False, or begin again with restart=True"
        )


class Source:
    """An iterable of any type: the items that are done are iterated once more, and dropped.

    Attributes:
        is_async: Whether the iterable can be iterated by `async for` only.
        once: Whether the iterable is an iterator, which gives each item once. A loop that is left
            and then continued needs the last item again.
        taken: The number of the last item that was given, and the item, or all of its batch; used
            for an iterator.
        tell: Tells where the next item begins; None: that would not help to find it again.
    """

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable
        self.once: bool = isinstance(iterable, Iterator | AsyncIterator)
        self.is_async: bool = not (
            isinstance(iterable, Iterable) or hasattr(type(iterable), "__getitem__")
        )
        self.taken: tuple[int, list[Any]] | None = None
        self.tell: Callable[[], int] | None = None
        self._begun = False

    def total(self) -> int | None:
        """Give the number of all items, if it is known."""
        try:
            return len(self._iterable)
        except Exception:  # it has none, or one that is too large for `len`
            return None

    def last(self, item: Any, number: int, near: Check) -> Last | None:
        """Give what is known of the last item, if that may be another one in the next process.

        Args:
            item: The item, as the body left it.
            number: The number of the item.
            near: The item itself, or one shortly before.
        """
        return None

    def bytes(self, place: int | None) -> tuple[int, int] | None:
        """Give how many bytes lie before the next item, and how many there are, if that is known.

        Args:
            place: What `tell` has returned.
        """
        return None

    def begin(self, checker: Checker) -> Iterator[Any]:
        """Give the items that are not done yet, after comparing some of the done ones."""
        items: Iterator[Any] = iter(self._iterable)
        if self._goes_on(checker):
            return itertools.chain(self._again(checker), items)
        skip(items, 0, checker)
        return items

    async def begin_async(self, checker: Checker) -> AsyncIterator[Any]:
        """Give the items of an asynchronous iterable that are not done yet, as `begin` does."""
        items: AsyncIterator[Any] = aiter(self._iterable)
        if self._goes_on(checker):
            return _chain(self._again(checker), items)
        for index in range(checker.done):
            try:
                item = await anext(items)
            except StopAsyncIteration:
                checker.ends(index)
            if index in checker.indexes:
                checker.check(index, item)
        return items

    def _goes_on(self, checker: Checker) -> bool:
        """Tell whether this is an iterator that an earlier run has begun to iterate."""
        if not self.once:
            return False
        if self._begun and self.taken is None:
            checker.refuse("the loop was interrupted while it looked for its place in an iterator")
        self._begun = True
        return self.taken is not None

    def _again(self, checker: Checker) -> list[Any]:
        """Give what was current when the loop over this iterator was left."""
        assert self.taken is not None
        number, items = self.taken
        if checker.done - number not in {0, len(items)}:
            checker.refuse(f"{number + len(items)} items were taken from this iterator already")
        return [] if checker.done > number else items


async def _chain(first: list[Any], rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for item in first:
        yield item
    async for item in rest:
        yield item


def skip(items: Iterator[Any], at: int, checker: Checker) -> None:
    """Go forward from item `at` to the first item that is not done."""
    for index in checker.indexes:
        if at <= index:
            _drop(items, at, index, checker)
            item = next(items, checker)
            if item is checker:
                checker.ends(index)
            checker.check(index, item)
            at = index + 1
    _drop(items, at, checker.done, checker)


def _drop(items: Iterator[Any], at: int, end: int, checker: Checker) -> None:
    counter = itertools.count(at)
    deque(zip(itertools.islice(items, end - at), counter, strict=False), maxlen=0)  # a loop of C
    reached = next(counter)
    if reached < end:
        checker.ends(reached)


class Indexed(Source):
    """A sequence: of the done items, only the compared ones are read."""

    def begin(self, checker: Checker) -> Iterator[Any]:
        """Give the items that are not done yet, after comparing some of the done ones."""
        total = self.total()
        if total is not None and total < checker.done:
            checker.ends(total)
        for index in checker.indexes:
            checker.check(index, next(self._from(index)))
        return self._from(checker.done)

    def _from(self, index: int) -> Iterator[Any]:
        items: Any = iter(self._iterable)
        if type(items) in _SEQUENCE_ITERATORS:
            items.__setstate__(index)
            return cast("Iterator[Any]", items)
        return _by_index(self._iterable, index)


def _by_index(sequence: Any, index: int) -> Iterator[Any]:
    for number in itertools.count(index):
        try:
            item = sequence[number]
        except IndexError:
            return
        yield item


class _Old:
    def __getitem__(self, index: int) -> Any:
        raise IndexError


_SEQUENCES: Final[tuple[Any, ...]] = (
    [],
    (),
    range(0),
    range(2**70),
    "",
    "é",
    b"",
    bytearray(),
    array("b"),
    _Old(),
)
_SEQUENCE_ITERATORS: Final = {type(iter(sequence)) for sequence in _SEQUENCES}
"""Types of iterators that can be set to an index. NumPy's arrays have that of `_Old`."""


def source_of(iterable: Any) -> Source:
    """Choose how to begin in the middle of an iterable that is no file."""
    cls = type(iterable)
    if isinstance(iterable, deque) or not hasattr(cls, "__getitem__"):  # a deque is slow inside
        return Source(iterable)
    by_index = hasattr(cls, "__len__") and type(iter(iterable)) in _SEQUENCE_ITERATORS
    return Indexed(iterable) if by_index or isinstance(iterable, Sequence) else Source(iterable)
