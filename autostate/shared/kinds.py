"""The kinds of shared objects: how what several processes have contributed is merged.

An *entry* is JSON, and what is known about one key (or member). `merge` is commutative and
associative: entries may be merged in any order and grouping. The protocol merges each contribution
exactly once, so `merge` need not be idempotent; that of a counter is not.

- *counter*: an entry is a number, and merging adds.
- *set*: an observed-remove set [1]. Each addition has a number that is larger than all former ones
  of its writer. An entry has, by writers, the latest addition, and the latest removed addition: a
  removal names the additions that its process has seen, so an addition that it has not seen wins.
  No clock decides.
- *dict*: the last writer wins, by a hybrid logical clock [2]; or a function of the user merges.

[1] Bieniusa et al., An optimized conflict-free replicated set, 2012, https://arxiv.org/abs/1210.3368
[2] Kulkarni et al., Logical physical clocks, 2014, https://cse.buffalo.edu/tech-reports/2014-04.pdf
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any, Final, Protocol

from autostate.delivery.destination import decode, encode
from autostate.errors import StateTypeError
from autostate.shared.frozen import frozen
from autostate.shared.handle import ABSENT

Entry = Any
Entries = dict[str, Entry]
Objects = dict[str, tuple[str, Entries]]
"""Kind and entries by the names of objects."""
Merge = Callable[[Any, Any], Any]

MERGED: Final = -1
"""In the place of a stamp: a function of the user merges the values of this key.

A program that folds and lacks the function keeps all values in the entry.
"""
_PLACE: Final = "the value", "a shared dict"
"""What is told of values that cannot be kept."""
_SINGLE: Final = 3
"""The length of an entry with one value."""
DELETIONS: Final = 10_000
"""So many deletions of a dict the base remembers, if there are not more keys."""
_TAKEN_IN: Final = 3
"""The place in a deletion in the base that has the generation which has brought it."""

_LARGEST: Final = 10**290
"""No change of a count is as large: then 10¹⁸ of them add up to a finite float, in any order."""


class Origin(Protocol):
    """Who writes.

    Attributes:
        id: The name of the writer.
    """

    id: str

    def next(self) -> int:
        """Return the number of this change: larger than all former ones of the writer."""
        ...

    def stamp(self) -> int:
        """Return a time of the hybrid logical clock, larger than all that were seen."""
        ...


class Kind(Protocol):
    """How the entries of an object are made, merged and shown.

    Attributes:
        name: Its name in records.
    """

    name: str

    def entry(self, key: str, operation: Any, seen: Entry | None, origin: Origin) -> Entry:
        """Make the entry that an operation contributes.

        Args:
            key: The key.
            operation: See `handle.Handle.write`.
            seen: What is known about the key.
            origin: Who writes.
        """
        ...

    def merge(self, key: str, one: Entry, other: Entry) -> Entry:
        """Merge two entries of a key; change neither."""
        ...

    def show(self, key: str, entry: Entry) -> Any:
        """Return the value of an entry; of a set, True; ABSENT if the key is not there."""
        ...

    def is_open(self, entry: Entry) -> bool:
        """Tell whether a later fold keeps less of an entry of the base."""
        ...

    def settled(self, entry: Entry, contributed: Entry | None, generation: int) -> Entry | None:
        """Return an entry as the base keeps it; None: there is nothing to keep.

        Args:
            entry: The entry, with what is folded now.
            contributed: What is folded now.
            generation: The generation that is folded.
        """
        ...

    def surplus(self, entries: Entries, generation: int) -> Collection[str]:
        """Return the keys of which the base forgets that they were deleted.

        Args:
            entries: All entries of the base.
            generation: The generation that is folded.
        """
        ...


class CounterKind:
    """Numbers that are added."""

    name: str = "counter"

    def entry(self, key: str, operation: Any, seen: Entry | None, origin: Origin) -> Entry:
        """Contribute a difference."""
        if not -_LARGEST < operation < _LARGEST:
            raise OverflowError(
                "a change of a shared counter is too large: the sum with those of other processes "
                "would not be a finite float"
            )
        origin.next()
        return operation

    def merge(self, key: str, one: Entry, other: Entry) -> Entry:
        """Add."""
        return one + other

    def show(self, key: str, entry: Entry) -> Any:
        """Show all numbers but 0."""
        return entry or ABSENT

    def is_open(self, entry: Entry) -> bool:
        """Numbers are kept whole."""
        return False

    def settled(self, entry: Entry, contributed: Entry | None, generation: int) -> Entry | None:
        """Forget what is 0."""
        return entry or None

    def surplus(self, entries: Entries, generation: int) -> Collection[str]:
        """There are no deletions."""
        return ()


class SetKind:
    """Members: additions by writer, and removed additions by writer."""

    name: str = "set"

    def entry(self, key: str, operation: Any, seen: Entry | None, origin: Origin) -> Entry:
        """Contribute an addition, or the removal of the additions that are seen."""
        number = origin.next()
        if operation:
            return [{origin.id: number}, {}]
        return [{}, {} if seen is None else dict(seen[0])]

    def merge(self, key: str, one: Entry, other: Entry) -> Entry:
        """Keep the latest of each writer."""
        return [_latest(one[0], other[0]), _latest(one[1], other[1])]

    def show(self, key: str, entry: Entry) -> Any:
        """Show a member of which some addition is not removed."""
        added, removed = entry
        return True if any(n > removed.get(who, 0) for who, n in added.items()) else ABSENT

    def is_open(self, entry: Entry) -> bool:
        """Removals of additions that may come yet."""
        return bool(entry[1])

    def settled(self, entry: Entry, contributed: Entry | None, generation: int) -> Entry | None:
        """Forget what is removed, and removals of additions that have come.

        A process that removes a member in one generation can have seen it in the next one, and in
        no later one: that begins when the base has the first, and whoever reads it goes on from
        there. So the fold of the next generation forgets the rest.
        """
        added, removed = entry
        left = {who: n for who, n in added.items() if n > removed.get(who, 0)}
        late = {} if contributed is None else contributed[1]
        late = {who: n for who, n in late.items() if n > added.get(who, 0)}
        return [left, late] if left or late else None

    def surplus(self, entries: Entries, generation: int) -> Collection[str]:
        """Removals are settled one by one."""
        return ()


class DictKind:
    """Values of which the last one wins, or which a function merges.

    Args:
        merge: A function for all keys; or functions by key.
    """

    name: str = "dict"

    def __init__(self, merge: Merge | Mapping[str, Merge] | None = None) -> None:
        self._merge = merge

    def function(self, key: str) -> Merge | None:
        """Return the function that merges the values of a key."""
        return self._merge.get(key) if isinstance(self._merge, Mapping) else self._merge

    def check_merges_as(self, name: str, kind: Kind) -> None:
        """Check that the object of a name, which is live, has the functions of this kind.

        Raises:
            StateTypeError: It has others, or none.
        """
        if self._merge is not None and not _is_same(self._merge, getattr(kind, "_merge", None)):
            raise StateTypeError(
                f"the shared dict {name!r} was made by this program already, with another merge=, "
                "or none: pass the same one wherever it is made"
            )

    def entry(self, key: str, operation: Any, seen: Entry | None, origin: Origin) -> Entry:
        """Contribute a value, as a text of JSON; None: the key is deleted."""
        origin.next()
        if self.function(key) is not None:
            return [MERGED, "", encode(operation, *_PLACE)]
        text = None if operation is ABSENT else encode(operation, *_PLACE)
        return [origin.stamp(), origin.id, text]

    def merge(self, key: str, one: Entry, other: Entry) -> Entry:
        """Keep the later one, or merge both."""
        if one[0] != MERGED and other[0] != MERGED:
            return max(one, other, key=_order)
        both = joined(one, other)
        self._check(key, both)
        return [MERGED, "", encode(self._value(key, [*one[2:], *other[2:]]), *_PLACE)]

    def _check(self, key: str, entry: Entry) -> None:
        """Check that all programs merge the values of a key.

        Raises:
            StateTypeError: One of them does not.
        """
        if entry[1]:
            raise StateTypeError(
                f"the key {key} of a shared dict is merged by a function in one program and not in "
                "another: pass the same merge= to SharedDict in both"
            )

    def _value(self, key: str, texts: Sequence[str]) -> Any:
        """Merge values.

        Raises:
            UnmergeableError: This program lacks the function.
            Exception: The function has failed.
        """
        function = self.function(key)
        if function is None:
            raise UnmergeableError(
                f"the values of the key {key} of a shared dict are merged by a function: pass the "
                "same merge= to SharedDict as the programs that write it"
            )
        values = [*map(decode, texts)]
        try:
            return reduce(function, values)
        except Exception as error:
            error.add_note(f"in the function that merges the values of the key {key!r}")
            raise

    def show(self, key: str, entry: Entry) -> Any:
        """Show the value."""
        if entry[0] == MERGED:
            self._check(key, entry)
            if len(entry) > _SINGLE:
                return frozen(self._value(key, entry[2:]))
        return ABSENT if entry[2] is None else frozen(decode(entry[2]))

    def is_open(self, entry: Entry) -> bool:
        """Deletions are forgotten when there are many: see `surplus`."""
        return False

    def settled(self, entry: Entry, contributed: Entry | None, generation: int) -> Entry | None:
        """Note of a deletion which generation has brought it."""
        is_new = entry[2] is None and len(entry) == _TAKEN_IN
        return [*entry, generation] if is_new else entry

    def surplus(self, entries: Entries, generation: int) -> Collection[str]:
        """Remember the last deletions, in the order in which they were folded.

        A value that was assigned before a deletion, and is published after it is forgotten, comes
        back. No clock decides when that may be: one that is far ahead would make all former
        deletions old, the youngest ones too. Deletions of the last two generations always stay.
        """
        at = {k: [*e, 0][_TAKEN_IN] for k, e in entries.items() if e[2] is None}
        most = max(DELETIONS, len(entries) - len(at))
        if len(at) <= most:
            return ()
        oldest = sorted(at, key=lambda key: (at[key], key))[: len(at) - most]
        return [key for key in oldest if at[key] < generation - 1]


class UnmergeableError(StateTypeError):
    """This program lacks the function that merges two values."""


def joined(one: Entry, other: Entry) -> Entry:
    """Merge two entries of a dict without a function: keep the values that it would merge.

    A value that is not meant to be merged stands in the second place.
    """
    parts = [(e[1] or None, e[2:]) if e[0] == MERGED else (e, []) for e in (one, other)]
    last = max((single for single, _ in parts if single), key=_order, default="")
    return [MERGED, last, *sorted({text for _, texts in parts for text in texts})]


def kept(kind: Kind, key: str, one: Entry, other: Entry) -> Entry:
    """Merge two entries of a key as far as this program can, or keep both."""
    try:
        return kind.merge(key, one, other)
    except Exception:  # of a function of the user, too
        if kind.name != "dict":
            raise
        return joined(one, other)


def own_kept(kind: Kind, key: str, one: Entry, other: Entry) -> Entry:
    """Merge two entries of one writer, or keep both if this program lacks the function.

    Raises:
        StateTypeError: Its program merges the values, and merged them not before, or vice versa:
            published, this would be an error in all programs.
    """
    try:
        return kind.merge(key, one, other)
    except Exception as error:  # of a function of the user, too
        is_mixed = isinstance(error, StateTypeError) and not isinstance(error, UnmergeableError)
        if kind.name != "dict" or is_mixed:
            raise
        return joined(one, other)


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether functions are the same; a lambda that is made again has the same code."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    code = getattr(one, "__code__", None)
    return one == other or (code is not None and code == getattr(other, "__code__", None))


def _order(entry: Entry) -> tuple[int, str]:
    return entry[0], entry[1]


def _latest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    if not other:
        return dict(one)
    merged = dict(one)
    for who, number in other.items():
        if number > merged.get(who, 0):
            merged[who] = number
    return merged


def merge_into(
    kind: Kind,
    into: Entries,
    entries: Mapping[str, Entry],
    merge: Callable[[Kind, str, Entry, Entry], Entry] | None = None,
) -> None:
    """Merge the entries of a contribution into others.

    Args:
        kind: Their kind.
        into: The others.
        entries: The contribution.
        merge: Merges two entries of a kind and a key; by default as the kind does.
    """
    merges = kind.merge if merge is None else partial(merge, kind)
    for key, entry in entries.items():
        known = into.get(key)
        into[key] = entry if known is None else merges(key, known, entry)


COUNTER: Final = CounterKind()
SET: Final = SetKind()
