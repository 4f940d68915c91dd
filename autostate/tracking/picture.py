"""Pictures: what many watched entries held at the last cut, to be compared in a few calls of C.

Nothing marks a write to a plain container or to an object, so every cut has to look at all of them.
A *picture* has the values of some watched entries of one node, everything inside them that can
change, and the parts of all these. A later cut reads the parts again, and compares them by
identity: each loop runs in C, and no code of the program is called, no `__eq__` either. What is the
same object is the same value: `1` and `True` differ, and a number of any class cannot change. The
picture keeps the parts alive, so that no other object can have got the `id` of one of them.

A part that is equal but not the same counts as changed. Its entry is then encoded, and the encoding
compared with the saved one.

What does not work:

- A comparison of kept copies by `==`: 1 == True == 1.0, and the program's `__eq__` would run.
- A digest of the encoded values: msgspec writes a date as a str, and a tuple as a list, so that all
  types have to be read as well; `marshal`, which tells types apart, takes six times as long.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import accumulate, chain, compress, repeat, starmap
from operator import call, is_, is_not
from typing import Any, Final

from autostate.tracking import refcount
from autostate.tracking.sorts import Containers, Parts, Sort


class Group:
    """The containers of one sort in the entries of a picture.

    Attributes:
        sort: How they are read.
        containers: The containers.
        owners: For each of them the position of its entry in the picture.
        parts: What the calls of the sort gave.
    """

    __slots__ = ("containers", "owners", "parts", "sort")

    def __init__(self, sort: Sort, containers: list[Any], owners: list[int]) -> None:
        self.sort, self.containers, self.owners = sort, containers, owners
        self.parts: Parts = []

    def differing(self, now: Parts) -> set[int]:
        """Return the entries whose parts differ."""
        spanned = self.sort.spanned
        if spanned and self.parts[0] != now[0]:
            return self._differing_singly()  # the parts of one container are not where they were
        changed: set[int] = set()
        for number, (parts, other) in enumerate(zip(self.parts, now, strict=True)):
            if len(parts) != len(other):
                return self._differing_singly()
            if number or not spanned:
                spans = self._spans(number)
                owners = self.owners if spans is None else _spread(self.owners, spans)
                changed.update(compress(owners, map(is_not, parts, other)))
        return changed

    def _spans(self, number: int) -> list[int] | None:
        """Return how many of these parts each container has; None: one."""
        return self.parts[0] if 0 < number <= self.sort.spanned else None

    def _differing_singly(self) -> set[int]:
        """Compare one container after the other."""
        sort = self.sort
        everything = range(max(self.owners) + 1)
        differs = (
            not sort.is_same(parts, [*starmap(call, sort.calls([one]))])
            for one, parts in self.of(everything)
        )
        return set(compress(self.owners, differs))

    def of(self, positions: Container[int]) -> Iterator[tuple[Any, Parts]]:
        """Yield the containers of some entries, with the parts of each."""
        spans = [self._spans(number) for number in range(len(self.parts))]
        ends = [None if one is None else [0, *accumulate(one)] for one in spans]
        for index, (one, owner) in enumerate(zip(self.containers, self.owners, strict=True)):
            if owner in positions:
                yield (
                    one,
                    [
                        parts[index : index + 1]
                        if end is None
                        else parts[end[index] : end[index + 1]]
                        for parts, end in zip(self.parts, ends, strict=True)
                    ],
                )

    def free(self) -> set[int]:
        """Return the entries that hold a container to which nothing refers but the state."""
        if not self.sort.is_plain or min(map(refcount.count, self.containers)) > FREE:
            return set()
        counts = map(refcount.count, self.containers)
        return {owner for owner, found in zip(self.owners, counts, strict=True) if found <= FREE}

    def keep(self, flags: list[bool], numbers: list[int]) -> None:
        """Keep the containers of some entries.

        Args:
            flags: For each entry, whether it stays.
            numbers: For each entry, its position afterwards.
        """
        chosen = [flags[owner] for owner in self.owners]
        spans = [self._spans(number) for number in range(len(self.parts))]
        self.parts = [
            list(compress(parts, chosen if each is None else _spread(chosen, each)))
            for parts, each in zip(self.parts, spans, strict=True)
        ]
        self.containers = list(compress(self.containers, chosen))
        self.owners = [numbers[owner] for owner in compress(self.owners, chosen)]

    def join(self, other: Group, offset: int) -> None:
        """Add the containers of another group of the same sort."""
        self.containers += other.containers
        self.owners += [owner + offset for owner in other.owners]
        for parts, more in zip(self.parts, other.parts, strict=True):
            parts.extend(more)


def _spread(values: Iterable[Any], spans: Iterable[int]) -> Iterable[Any]:
    """Repeat each value as often as the other argument says."""
    return chain.from_iterable(map(repeat, values, spans))


class Picture:
    """What some watched entries of one node held at one moment.

    Attributes:
        keys: The entries.
        tops: Their values.
        numbers: Of items of a sequence: their positions, counted as in `ItemRef`.
        groups: Everything in the values that can change, by sort.
        heads: For each entry, how its value is stored: None if only general code can tell; empty if
            msgspec writes the value as it is stored; for an object, what stands before its
            `__dict__`, followed by "]}".
    """

    __slots__ = ("groups", "heads", "keys", "numbers", "tops")

    def __init__(self, keys: list[Any], tops: list[Any]) -> None:
        self.keys, self.tops = keys, tops
        self.numbers: list[int] = []
        self.groups: dict[Sort, Group] = {}
        self.heads: list[bytes | None] = []

    def add(self, sort: Sort, containers: list[Any], owners: list[int], parts: Parts) -> None:
        """Add containers in the entries, with their parts."""
        # Lists of its own: one more list refers to each container, and they grow independently.
        group = Group(sort, [*containers], [*owners])
        group.parts = parts
        known = self.groups.setdefault(sort, group)
        if known is not group:
            known.join(group, 0)

    def containers(self) -> Iterable[Any]:
        """Return everything in the entries that can change."""
        return chain.from_iterable(group.containers for group in self.groups.values())

    def inside(self, positions: Container[int]) -> list[Any]:
        """List what can change in some entries."""
        return [
            one
            for group in self.groups.values()
            for one in compress(group.containers, map(positions.__contains__, group.owners))
        ]

    def holding(self, ids: Container[int]) -> set[int]:
        """Return the positions of entries in which any of these containers lies."""
        found: set[int] = set()
        for group in self.groups.values():
            found.update(compress(group.owners, map(ids.__contains__, map(id, group.containers))))
        return found

    def free(self) -> set[int]:
        """Return the positions of entries that hold a container which nobody else holds.

        Nothing may hold the containers, or lists of them, but the picture.
        """
        return set().union(*(group.free() for group in self.groups.values()))

    def differing(self, first: Iterable[tuple[Any, ...]] = ()) -> tuple[set[int], list[Any]]:
        """Read everything again, and return the positions of entries that differ.

        Args:
            first: Calls of C to be made in the same moment: no other thread runs in between.

        Returns:
            The positions, and the results of these calls.
        """
        groups = [*self.groups.values()]
        readings = [group.sort.calls(group.containers) for group in groups]
        calls = [*first]
        number = len(calls)
        try:
            results = [*starmap(call, chain(calls, *readings))]
        except (AttributeError, TypeError):  # a slot is unset, or an object has lost its `__dict__`
            return set(range(len(self.keys))), []
        changed: set[int] = set()
        at = number
        for group, reading in zip(groups, readings, strict=True):
            now = results[at : at + len(reading)]
            at += len(reading)
            if not group.sort.is_valid():
                changed.update(group.owners)
            elif not group.sort.is_same(group.parts, now):
                changed |= group.differing(now)
        return changed, results[:number]

    def copies(self, positions: Container[int]) -> tuple[dict[int, Any], dict[int, Any]]:
        """Rebuild what some entries held, without any code of the program.

        Returns:
            The copies by the `id`s of the originals, and the originals by the `id`s of the copies.
        """
        found = [
            (group.sort, one, parts)
            for group in self.groups.values()
            if group.sort.is_copied
            for one, parts in group.of(positions)
        ]
        copies = {id(one): sort.blank(one) for sort, one, _ in found}
        for sort, one, parts in found:
            sort.fill(copies[id(one)], [[copied(part, copies) for part in some] for some in parts])
        return copies, {id(copies[id(one)]): one for _, one, _ in found}

    def forget_heads(self) -> None:
        """Let the general code encode entries from now on whose form can change unseen."""
        for sort, group in self.groups.items():
            if not sort.is_copied:
                for owner in group.owners:
                    self.heads[owner] = None

    def leave_out(self, positions: set[int]) -> list[Any]:
        """Take entries out of the picture, and return their keys."""
        flags = [position not in positions for position in range(len(self.keys))]
        numbers = [end - 1 for end in accumulate(flags)]
        left = [self.keys[position] for position in sorted(positions)]
        self.keys = list(compress(self.keys, flags))
        self.tops = list(compress(self.tops, flags))
        self.heads = list(compress(self.heads, flags))
        self.numbers = list(compress(self.numbers, flags))
        for sort, group in [*self.groups.items()]:
            group.keep(flags, numbers)
            if not group.containers:
                del self.groups[sort]
        return left

    def join(self, other: Picture) -> None:
        """Add the entries of another picture of the same node."""
        offset = len(self.keys)
        self.keys += other.keys
        self.tops += other.tops
        self.heads += other.heads
        self.numbers += other.numbers
        for sort, group in other.groups.items():
            known = self.groups.get(sort)
            if known is None:
                group.owners = [owner + offset for owner in group.owners]
                self.groups[sort] = group
            else:
                known.join(group, offset)


def copied(part: Any, copies: dict[int, Any]) -> Any:
    """Return the copy of a part of a container; a tuple may hold some."""
    if type(part) is not tuple:
        return copies.get(id(part), part)
    parts = tuple(copied(one, copies) for one in part)
    return part if all(map(is_, parts, part)) else parts


def _calibrate() -> int:
    holder: list[Any] = [[None]]
    picture = Picture([0], [holder[0]])
    picture.add(Containers(list, is_exact=True, is_plain=True), [holder[0]], [0], [])
    return min(map(refcount.count, picture.containers()))


FREE: Final = _calibrate() if refcount.RELIABLE else 0
"""The count of a container in a picture to which nothing else refers but its place in the state.

In the picture it is in `containers`, and among `tops` or among the parts of what it lies in.
"""
