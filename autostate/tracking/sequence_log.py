"""What open `atomic()` blocks have written to one list or deque.

A write at one place is noted as a splice: the items before the write, and, when the write is done,
the items that replace them. A write that may change anything, or that runs code of the program
(`sort`, `remove`), keeps a copy of the whole content until somebody else writes; then the copy and
the content are aligned, as `diff` does.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Collection
from itertools import dropwhile
from operator import is_not
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from autostate.tracking.alignment import align
from autostate.tracking.augmented import is_augmented
from autostate.tracking.barrier import (
    EVERYTHING,
    changed as changed_anything,
    encode_first,
    is_keyed,
    kind_of,
    note_writing,
    size,
    spliced,
)
from autostate.tracking.differences import same_items
from autostate.tracking.kept import gaps
from autostate.tracking.raw import items_of, maxlen_of
from autostate.tracking.splices import Seams, Splice, joined, same_ends, taken_back

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint

MANY: Final = 1000
"""Splices of one block up to which no copy of the content is considered instead."""


class _Write(Struct):
    """A write that is under way.

    Attributes:
        owner: The savepoint of the block that writes; None for a write outside of blocks.
        start: The position that is going to change.
        removed: The items at this position before the write.
        length: The length of the whole sequence.
        paired: Whether items are replaced one by one.
        whole: Whether this stands for all writes of the owner, until somebody else writes.
        maxlen: The greatest length, of a deque.
        also_same: Whether the write counts also if it puts the item there that was there already.
        made: The splices of the write, once they are known.
    """

    owner: Savepoint | None
    start: int
    removed: list[Any]
    length: int
    paired: bool = False
    whole: bool = False
    maxlen: int | None = None
    also_same: bool = False
    made: list[Splice] | None = None


class SequenceLog:
    """The splices of one list or deque, in the order of the writes. The lock is held."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self._splices: list[Splice] = []
        self._write: _Write | None = None
        self._limit = MANY
        self._maxlens: dict[Savepoint | None, int | None] = {}
        self._planned: tuple[list[Splice], Any] | None = None

    def __len__(self) -> int:
        return len(self._splices) + (self._write is not None)

    def has_owner(self) -> bool:
        """Tell whether an open block has written to the sequence."""
        if self._write is not None and self._write.owner is not None:
            return True
        return any(splice.owner is not None for splice in self._splices)

    # -- notes --------------------------------------------------------------------------------

    def note(self, key: Any, owner: Savepoint | None, *, removes: bool = False) -> None:
        """Note the items before a write.

        Args:
            key: The index of an item that is replaced; the slice that may be replaced by any
                number of items; EVERYTHING.
            owner: The block that writes.
            removes: Not used: a removal from a sequence is the write of a slice.
        """
        assert not removes
        write = self._write
        if write is not None and write.whole and write.owner is owner:  # the copy tells all
            write.paired = write.paired and type(key) is int
            return
        self.written()  # if the write before this one was left before its mark
        if write is not None and write.whole:
            self._end_whole()
        container, length = self.container, size(self.container)
        if key is EVERYTHING:
            self._write = self._whole(owner, items_of(container))
            return
        start, stop = (key, key + 1) if type(key) is int else (key.start, key.stop)
        if 0 <= start <= stop <= length:
            removed = _part(container, start, stop)
            self._write = _Write(owner, start, removed, length, type(key) is int)
            if type(key) is int and self._is_of_another(owner) and not is_augmented():
                self._write.also_same = True

    def _is_of_another(self, owner: Savepoint | None) -> bool:
        """Tell whether somebody else has written to the sequence."""
        return any(splice.owner is not owner for splice in self._splices)

    def written(self) -> None:
        """Note the items after a write. Call it again if Ctrl-C interrupts it."""
        write = self._write
        if write is None or write.whole:
            return
        if write.made is None:
            added = size(self.container) - write.length + len(write.removed)
            now = _part(self.container, write.start, write.start + max(added, 0))
            write.made = _made(write, now)
        self._add(write.made)
        if len(self._splices) > self._limit:
            self._summarize(write.owner)

    def _add(self, made: list[Splice]) -> None:
        """Add splices, unless they are in the log already, and forget the write that made them."""
        last = self._splices[-1] if self._splices else None
        one = joined(last, made[0]) if last is not None and len(made) == 1 else None
        if not made or last is made[-1] or _is_repeated(last, made):
            self._write = None  # `last is made[-1]`: Ctrl-C came after they were added
        elif one is not None:  # no call between these two: Ctrl-C does not strike there
            self._splices[-1], self._write = one, None
        else:
            self._splices.extend(made)
            self._write = None

    def _end_whole(self) -> None:
        """Find the splices of the time with a copy. Call it again if Ctrl-C interrupts it."""
        write = self._write
        assert write is not None
        if write.made is None:
            now = items_of(self.container)
            made = _made(write, now)
            if isinstance(self.container, deque) and maxlen_of(self.container) != write.maxlen:
                self._maxlens.setdefault(write.owner, write.maxlen)
            write.made = made
        self._add(write.made)

    def _whole(self, owner: Savepoint | None, items: list[Any], *, paired: bool = False) -> _Write:
        container = self.container
        maxlen = maxlen_of(container) if isinstance(container, deque) else None
        return _Write(owner, 0, items, len(items), paired, whole=True, maxlen=maxlen)

    def _summarize(self, owner: Savepoint | None) -> None:
        """Replace very many consecutive splices of one owner by a copy of the content."""
        splices = self._splices
        run = _run_at_the_end(splices, {owner})
        if len(run) > max(MANY, size(self.container)) // 2:
            items = _reversed(items_of(self.container), run)
            write = self._whole(owner, items, paired=all(splice.paired for splice in run))
            self._splices, self._write = splices[: len(splices) - len(run)], write
        self._limit = max(MANY, size(self.container), 2 * len(self._splices))

    def hand_over(self, owner: Savepoint, outer: Savepoint | None) -> None:
        """Let the splices of a block belong to another one."""
        for splice in self._splices:
            if splice.owner is owner:
                splice.owner = outer
        if self._write is not None and self._write.owner is owner:
            self._write.owner = outer
            for splice in self._write.made or ():
                splice.owner = outer
        if owner in self._maxlens:
            self._maxlens.setdefault(outer, self._maxlens[owner])
        self._splices = _from_the_first_owned(self._splices)

    # -- undo ---------------------------------------------------------------------------------

    def undo(self, owner: Savepoint) -> None:
        """Undo the writes of a block. Call it again if Ctrl-C interrupts it."""
        self._finish()
        self._planned = self._plan({owner})
        self._finish()

    def step_back(self, owners: Collection[Savepoint], forward: list[Callable[[], None]]) -> None:
        """Undo the writes of these blocks; append to `forward` the steps that redo them."""
        former = kind_of(self.container).copy(self.container)
        plan = self._plan(set(owners))
        if plan is not None:
            forward.append(lambda: self._refill(former))  # first, in case of Ctrl-C
            self._refill(plan[1])

    def _finish(self) -> None:
        """Carry out the plan; it may be repeated."""
        if self._planned is not None:
            splices, content = self._planned
            self._refill(content)
            self._splices, self._write, self._planned = splices, None, None

    def _plan(self, owners: set[Savepoint | None]) -> tuple[list[Splice], Any] | None:
        """Compute the splices and the content without the splices of some blocks."""
        self.written()
        maxlens = [one for owner, one in self._maxlens.items() if owner in owners]
        write = self._write
        if write is not None and write.made is None and write.owner in owners:
            items = [*write.removed]  # the last one to write kept a copy: no need to compare
            maxlens.append(write.maxlen)
        else:
            if write is not None:
                self._end_whole()
            if not any(splice.owner in owners for splice in self._splices):
                return None
            items = items_of(self.container)
        splices = self._splices
        run = _run_at_the_end(splices, owners)
        items = _reversed(items, run)
        left: list[Splice] = []
        seams = Seams()
        for splice in splices[: len(splices) - len(run)]:
            if splice.owner in owners:
                seams.add(splice)
            else:
                left += seams.without(splice)
        items = seams.applied(items)
        if isinstance(self.container, deque):
            now = maxlen_of(self.container)
            return _from_the_first_owned(left), deque(items, maxlens[0] if maxlens else now)
        return _from_the_first_owned(left), items

    def _refill(self, content: Any) -> None:
        """Replace the whole content."""
        container, kind = self.container, kind_of(self.container)
        encode_first(container)
        now = items_of(container)
        start, end = same_ends(now, content)
        note_writing(container, EVERYTHING, -1)
        kind.refill(container, content)
        if is_keyed(container):
            spliced(container, start, len(now) - end - start, len(content) - end - start)
        else:
            changed_anything(container)


def _is_repeated(last: Splice | None, made: list[Splice]) -> bool:
    """Tell whether an item is put where the same owner has just put it."""
    now = made[0]
    if last is None or len(made) > 1 or not now.is_same or last.owner is not now.owner:
        return False
    return last.start == now.start and same_items(last.added, now.added)


def _part(container: Any, start: int, stop: int) -> list[Any]:
    """Return the items of a list or deque between two positions."""
    if isinstance(container, list):
        return list.__getitem__(container, slice(start, stop))
    if stop - start > 1:
        return items_of(container)[start:stop]
    return [deque.__getitem__(container, index) for index in range(start, stop)]


def _run_at_the_end(splices: list[Splice], owners: Collection[Savepoint | None]) -> list[Splice]:
    at = len(splices)
    while at and splices[at - 1].owner in owners:
        at -= 1
    return splices[at:]


def _from_the_first_owned(splices: list[Splice]) -> list[Splice]:
    """Drop the first splices that no block owns: else they would pile up while blocks overlap."""
    return [*dropwhile(lambda splice: splice.owner is None, splices)]


def _reversed(items: list[Any], splices: list[Splice]) -> list[Any]:
    """Return the items as they were before these splices."""
    for splice in reversed(splices):
        found = items[splice.start : splice.end]
        if len(found) == len(splice.added) and not any(map(is_not, found, splice.added)):
            items[splice.start : splice.end] = splice.removed
        else:
            items = taken_back(items, splice)
    return items


def _made(write: _Write, now: list[Any]) -> list[Splice]:
    """Return the splices of a write, from the present items."""
    former = write.removed
    if write.paired and len(former) == len(now):
        made = _replaced(former, now, also_same=write.also_same)
    elif write.whole or (former and now):
        made = _aligned(former, now)
    else:
        made = [Splice(0, former, now)] if former or now else []
    for splice in made:
        splice.start += write.start
        splice.owner = write.owner
    return made


def _replaced(former: list[Any], now: list[Any], *, also_same: bool = False) -> list[Splice]:
    """Return the splices between two versions of equal length, whose items are entries."""
    pairs = enumerate(zip(former, now, strict=True))
    return [
        Splice(at, [old], [new], paired=True)
        for at, (old, new) in pairs
        if old is not new or also_same
    ]


def _aligned(former: list[Any], now: list[Any]) -> list[Splice]:
    """Return the splices between two versions, the rightmost one first."""
    start, end = same_ends(former, now)
    old, new = former[start : len(former) - end], now[start : len(now) - end]
    segments = align(array("q", map(id, old)), array("q", map(id, new))) if old and new else []
    spaces = [one for one in gaps(segments, len(old), len(new)) if any(one)]
    return [
        Splice(start + a.start, old[a.start : a.stop], new[b.start : b.stop])
        for a, b in reversed(spaces)
    ]
