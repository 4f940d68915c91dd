"""The objects of one class, and the values that they held at the last scan.

The values of now are compared with those of the last scan by identity, by functions of C. Atoms of
the last scan are held here. Of every other value only the `id` is kept: references to containers
are counted (`refcount.py`), and one from here would keep them from being converted. The mirror
holds these values, so that no other value can have got the `id` of one of them. This does not hold
if the mirror was given another value since: then the object is examined in any case (`again`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, compress, count, repeat
from operator import attrgetter, is_not, length_hint, ne, not_
from typing import Any, Final, NamedTuple, Protocol, cast

from autostate.codec.introspection import MISSING
from autostate.tracking.layout import Layout, held
from autostate.tracking.node import Node
from autostate.tracking.search import ATOMS

_MANY: Final = 20
"""Objects of which it pays to compare them with their mirrors in bulk."""


class Scanned(Protocol):
    """What a scan asks of the root of an object: see `mirror.InstanceRoot`.

    Attributes:
        instance: The object.
        busy: Whether a constructor is at work on the object.
        place: The position of the object among those of its class.
        unknown_fields: Stored fields that the class does not have any more.
    """

    _node_: Node | None
    instance: Any
    busy: bool
    place: int
    unknown_fields: frozenset[str]

    def keys(self) -> Iterable[str]:
        """Return the names of the fields of the mirror."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a field of the mirror."""

    def known_layout(self) -> Layout:
        """Return the layout of the class."""

    def is_same(self, fields: dict[str, Any]) -> bool:
        """Tell whether these fields are those of the mirror, by identity."""

    def take(self, fields: dict[str, Any]) -> bool:
        """Note which fields the object has now."""

    def put(self, name: str, value: Any) -> bool:
        """Note another value of a field that the object had before; False if it cannot be noted."""

    def translated(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields as they are saved."""

    def read(self) -> dict[str, Any]:
        """Return the fields that the object has now."""

    def put_back(self, former: dict[str, Any]) -> None:
        """Give object and mirror the fields that they had before."""


class Ident(int):
    """The `id` of a value that is not held."""

    __slots__ = ()


class Contents(NamedTuple):
    """The contents of one dict of each object, one object after another.

    Attributes:
        lengths: The lengths of the dicts.
        names: Their keys.
        values: Their values.
    """

    lengths: list[int]
    names: list[Any]
    values: list[Any]

    def of(self, place: int, end: int) -> dict[str, Any]:
        """Return a copy of the dict of one object, whose contents end at a position."""
        part = slice(end - self.lengths[place], end)
        return dict(zip(self.names[part], self.values[part], strict=True))

    def aligned(self, lengths: list[int], others: list[int]) -> Contents:
        """Give some dicts other lengths, and contents that are no values of a program."""
        names: list[Any] = []
        values: list[Any] = []
        ends, start = [0, *accumulate(self.lengths)], 0
        for place in others:
            unknown = [MISSING] * lengths[place]
            names += self.names[start : ends[place]] + unknown
            values += self.values[start : ends[place]] + unknown
            start = ends[place + 1]
        return Contents(lengths, names + self.names[start:], values + self.values[start:])


class Reading(NamedTuple):
    """What all objects of one class hold at one moment: in their dicts, and in their slots."""

    dicts: list[Contents]
    slots: list[list[Any]]


class Instances:
    """The objects of one class. In all calls the lock of the tracker is held.

    Attributes:
        layout: Where the objects keep their fields.
        roots: The roots of the objects.
        again: Positions of objects that the next scan examines in any case.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.roots: list[Scanned] = []
        self.again: set[int] = set()
        self._objects: list[Any] = []
        self._slots = (*layout.slots,) if layout.reads_slots else ()
        # The set of names of a model changes in place; and some slots are read only when examined.
        self._always = layout.is_model or not layout.reads_slots
        self._in_bulk = True
        self._before = Contents([], [], [])  # the values are atoms, and `Ident`s
        self._in_slots: list[list[Any]] = [[] for _ in self._slots]

    def add(self, root: Scanned) -> None:
        """Scan the object of a root from now on."""
        root.place = len(self.roots)
        self.roots.append(root)
        self._objects.append(root.instance)
        self.again.add(root.place)

    def has(self, root: Scanned) -> bool:
        """Tell whether the object of a root is scanned here."""
        return root.place < len(self.roots) and self.roots[root.place] is root

    def renew(self) -> list[Scanned]:
        """Leave out untracked objects; return the roots of those that are of another class now."""
        roots, layout = self.roots, self.layout
        ours = [one._node_ is not None and one.known_layout() is layout for one in roots]
        if all(ours):
            return []
        moved = [root for root in compress(roots, map(not_, ours)) if root._node_ is not None]
        lengths, names, values = self._before
        cells = [*chain.from_iterable(map(repeat, ours, lengths))]
        kept = compress(lengths, ours), compress(names, cells), compress(values, cells)
        self._before = Contents(*map(list, kept))
        self._in_slots = [[*compress(slot, ours)] for slot in self._in_slots]
        again = [roots[place] for place in self.again if ours[place]]
        self.roots = [*compress(roots, ours)]
        self._objects = [*compress(self._objects, ours)]
        for place, root in enumerate(self.roots):
            root.place = place
        self.again = {root.place for root in again}
        return moved

    # -- reading ------------------------------------------------------------------------------

    def begin(self) -> tuple[Reading, Iterator[None]]:
        """Begin to read; return where the contents will be, and the steps: calls of C alone."""
        slots: list[list[Any]] = [[] for _ in self._slots]
        reading = Reading([], slots)
        steps: list[Iterator[None]] = []
        for slot, name in zip(slots, self._slots, strict=True):
            getting = map(getattr, self._objects, repeat(name), repeat(MISSING))
            steps.append(map(slot.extend, [getting]))
        for name in self.layout.dicts:
            contents, dicts = Contents([], [], []), list[dict[str, Any]]()
            reading.dicts.append(contents)
            if not self._in_bulk:
                dicts += [held(one, name) for one in self._objects]
            elif self.layout.reads_dict:
                steps.append(map(dicts.extend, [map(attrgetter(name), self._objects)]))
            else:
                reading_one: Any = object.__getattribute__
                steps.append(map(dicts.extend, [map(reading_one, self._objects, repeat(name))]))
            # `dicts` is still empty: these iterators read it when they are asked, one after another
            values = chain.from_iterable(map(dict.values, dicts))
            steps.append(map(contents.lengths.extend, [map(len, dicts)]))
            steps.append(map(contents.names.extend, [chain.from_iterable(dicts)]))
            steps.append(map(contents.values.extend, [values]))
        return reading, chain.from_iterable(steps)

    def read_singly(self) -> bool:
        """Read the objects one by one from now on if they cannot be read in bulk; tell whether."""
        try:
            deque(self.begin()[1], maxlen=0)
        except (TypeError, AttributeError):  # no dict, as it may be in a pydantic model
            self._in_bulk = False
            return True
        return False

    # -- comparing ----------------------------------------------------------------------------

    def changes(
        self, reading: Reading, *, remember: bool
    ) -> Iterator[tuple[Scanned, dict[str, Any]]]:
        """Yield the fields of the objects that may have changed.

        Args:
            reading: What all objects hold now.
            remember: Compare with this reading from now on. The caller takes the fields over.
        """
        places, values = self._compare(reading, remember=remember)
        if remember:
            self.again = set()
        roots = self.roots
        for place, name, value in values:
            root = roots[place]
            if not remember or root.busy or not root.put(name, value):
                places.add(place)
        if not places:
            return
        ends = [[*accumulate(contents.lengths)] for contents in reading.dicts]
        layout = self.layout
        for place in sorted(places):
            root = roots[place]
            if root.busy:  # a constructor is at work on it
                self.again.add(place)
                continue
            both = zip(reading.dicts, ends, strict=True)
            dicts = [contents.of(place, last[place]) for contents, last in both]
            if layout.reads_slots:
                in_slots = [slot[place] for slot in reading.slots]
            else:
                in_slots = layout.read_slots(root.instance)
            yield root, root.translated(layout.saved(dicts, in_slots))

    def _compare(
        self, reading: Reading, *, remember: bool
    ) -> tuple[set[int], list[tuple[int, str, Any]]]:
        """Compare with the last scan.

        Returns:
            The objects to be examined, and the values that have changed in the other ones, with the
            places of the objects and the names of the fields.
        """
        if self._always:
            return set(range(len(self.roots))), []
        changed: list[tuple[int, str, Any]] = []
        for name, now, before in zip(self._slots, reading.slots, self._in_slots, strict=True):
            differing = _differing(now, before)
            changed += [(place, name, now[place]) for place in differing]
            if remember:
                _remember(now, before, differing)
        examined = self.again - self._unchanged(reading)
        for contents in reading.dicts:  # one, if there is one: several are those of a model
            others, differing = self._compare_dicts(contents, remember=remember)
            examined |= others
            if differing:
                ends, (_, names, values) = [*accumulate(contents.lengths)], contents
                changed += [(bisect_right(ends, at), names[at], values[at]) for at in differing]
        return examined, [one for one in changed if one[0] not in examined]

    def _unchanged(self, reading: Reading) -> set[int]:
        """Find objects that are as their mirrors, among the last ones if these are to be examined.

        New objects are the last ones, and there may be very many.
        """
        start, layout = min(self.again, default=0), self.layout
        mirrors = self.roots[start:]
        if len(self.again) < max(len(mirrors), _MANY) or layout.slots or len(reading.dicts) != 1:
            return set()
        [now] = reading.dicts
        at = sum(now.lengths[:start])
        dicts = cast("list[dict[str, Any]]", mirrors)
        names = [*chain.from_iterable(dicts)]
        if [*map(len, dicts)] != now.lengths[start:] or names != now.names[at:]:
            return set()
        if any(map(attrgetter("busy"), mirrors)):
            return set()
        values = chain.from_iterable(map(dict.values, dicts))
        differing = compress(count(at), map(is_not, values, now.values[at:]))
        ends = [*accumulate(now.lengths)]
        return {*range(start, len(self.roots))} - {bisect_right(ends, at) for at in differing}

    def _compare_dicts(self, now: Contents, *, remember: bool) -> tuple[set[int], list[int]]:
        """Find the objects with other names in their dict, and the positions of other values."""
        before, others = self._before, set[int]()
        if now.lengths[: len(before.lengths)] != before.lengths:
            others.update(compress(count(), map(ne, now.lengths, before.lengths)))
            before = before.aligned(now.lengths, sorted(others))
        if now.names[: len(before.names)] != before.names:
            ends = [*accumulate(now.lengths)]
            differing = compress(count(), map(ne, now.names, before.names))
            others.update(bisect_right(ends, at) for at in differing)
        found = _differing(now.values, before.values)
        if remember:
            _remember(now.values, before.values, found)
            self._before = now._replace(values=before.values)
        return others, found


def _differing(now: list[Any], before: list[Any]) -> list[int]:
    """Find the positions at which two lists hold other values; one may be longer."""
    left = iter(now)
    differs = map(is_not, left, before)
    if not any(differs):  # faster than listing them, and the frequent case
        return []
    first = len(now) - length_hint(left) - 1
    found = chain([first], compress(count(first + 1), differs))
    return [at for at in found if type(before[at]) is not Ident or before[at] != id(now[at])]


def _remember(now: list[Any], before: list[Any], differing: Iterable[int]) -> None:
    """Keep the values of now in the place of former ones, and those that are new at the end."""
    for at in differing:
        before[at] = _kept(now[at])
    start = len(before)
    before += now[start:]
    others = map(not_, map(ATOMS.__contains__, map(type, now[start:])))
    for at in compress(count(start), others):
        before[at] = _kept(now[at])


def _kept(value: Any) -> Any:
    return value if value is MISSING or type(value) in ATOMS else Ident(id(value))
