"""A survey of watched entries: everything inside them, level by level, in a few calls of C each.

It makes a picture of the entries (`picture.py`), and says which of them cannot be in one: an entry
that holds something which is met twice, or which only a call of the program's code can read. These
*odd* entries are looked at one by one, in every cut.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from itertools import chain, compress, repeat, starmap
from operator import attrgetter, call, is_, is_not
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.tracking.barrier import Barrier, kind_of
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import is_one_entry
from autostate.tracking.picture import Picture
from autostate.tracking.search import ATOMS, holds_atoms, is_inline, is_object
from autostate.tracking.sorts import Containers, Inline, Objects

if TYPE_CHECKING:
    from autostate.tracking.node import Node

_STR: Final = frozenset({str})
_DICT: Final = frozenset({dict})
_JSON_TOPS: Final = frozenset({dict, list})
_JSON: Final = codec.NATIVE | {float}
_BUILTIN: Final[tuple[Any, ...]] = (dict, Counter, defaultdict, list, deque, set)
_plain: Final = {
    (cls, movable): Containers(cls, is_exact=True, is_plain=movable)
    for cls in _BUILTIN
    for movable in (True, False)
}
_tracked: Final = {
    cls: Containers(cls, type, attrgetter("_node_"), attrgetter("_key_")) for cls in _BUILTIN
}


_INLINE: Final = Inline()


class Met:
    """What several surveys have met, by `id`: containers and objects that can change.

    Attributes:
        ids: Everything.
        twice: What was met more than once.
    """

    __slots__ = ("ids", "twice")

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.twice: set[int] = set()


class Survey:
    """A survey of some entries of one node. In all calls the lock is held.

    Args:
        node: The node.
        keys: Its entries.
        tops: Their values.
        met: What this survey and others have met.

    Attributes:
        picture: The picture of all of them.
        odd: The positions of entries that cannot be in a picture.
    """

    def __init__(self, node: Node, keys: list[Any], tops: list[Any], met: Met) -> None:
        self._node, self._shared, self._met = node, node.tracker.shared, met
        self.picture = Picture(keys, tops)
        self.odd: set[int] = set()
        self._not_json: set[int] = set()
        self._records: dict[int, bytes] = {}  # objects: see `Picture.heads`
        self._frozen: set[tuple[int, int]] = set()
        self._changing: set[int] = set()  # entries with anything that can change without a mark
        self._left: list[tuple[list[Any], list[int], bool]] = []
        self._at_top = False
        self._run()

    def _run(self) -> None:
        """Look at everything, level by level."""
        tops = self.picture.tops
        everything = [*range(len(tops))]
        self._left.append((tops, everything, True))
        while self._left:
            values, owners, movable = self._left.pop()
            self._at_top = values is tops
            classes = list(map(type, values))
            kinds = set(classes)
            self._note_scalars(kinds, classes, values, owners)
            for cls in kinds - ATOMS:
                some, whose = values, owners
                if len(kinds) > 1:
                    chosen = list(map(is_, classes, repeat(cls)))
                    some, whose = list(compress(values, chosen)), list(compress(owners, chosen))
                self._look(cls, some, whose, movable=movable)
        self.odd.update(set(everything) - self._changing)  # to be watched no more
        # A container with a barrier may be divided when it is encoded.
        records = self._records | dict.fromkeys(
            compress(everything, map(_JSON_TOPS.__contains__, map(type, tops))), b""
        )
        for position in self._not_json:
            records.pop(position, None)
        self.picture.heads = list(map(records.get, everything))

    def _note_scalars(
        self, kinds: set[type], classes: list[type], values: list[Any], owners: list[int]
    ) -> None:
        """Note the entries with scalars that msgspec does not write as they are to be stored."""
        if float in kinds and not math.isfinite(
            sum(compress(values, map(is_, classes, repeat(float))))
        ):
            pairs = zip(values, owners, strict=True)
            self._not_json.update(o for v, o in pairs if type(v) is float and not math.isfinite(v))
        for cls in (kinds & ATOMS) - _JSON:
            self._not_json.update(compress(owners, map(is_, classes, repeat(cls))))

    def _look(self, cls: type, values: list[Any], owners: list[int], *, movable: bool) -> None:
        """Look at values of one class."""
        is_container = cls in PLAIN
        if cls is tuple:
            self._not_json.update(owners)
            self._go_on([*chain.from_iterable(values)], _spread(owners, map(len, values)))
        elif codec.is_atom(cls):
            self._not_json.update(owners)
        elif issubclass(cls, Barrier):
            values, owners = self._new(*self._inline(values, owners))
            if values:
                self._containers(cls, kind_of(values[0]).builtin, values, owners, movable=False)
        elif is_container or is_object(cls):
            self._changing.update(owners)
            values, owners = self._new(values, owners)
            if values and is_container:
                self._containers(cls, cls, values, owners, movable=movable)
            elif values:
                self._objects(cls, values, owners)
        else:
            self._look_at_frozen(cls, values, owners)

    def _go_on(self, values: list[Any], owners: Iterable[int], *, movable: bool = False) -> None:
        """Look at more values later; `movable`: a container among them can be replaced."""
        if not codec.NATIVE.issuperset(map(type, values)):  # else there is nothing to look at
            # A copy: the picture adds to the lists that it was given.
            self._left.append(([*values], list(owners), movable))

    def _look_at_frozen(self, cls: type, values: list[Any], owners: list[int]) -> None:
        """Look at values that do not change, though values inside them may."""
        self._not_json.update(owners)
        pairs = list(zip(map(id, values), owners, strict=True))
        if not self._frozen.isdisjoint(pairs):  # it holds itself, for example
            new = [pair not in self._frozen for pair in pairs]
            values, owners = list(compress(values, new)), list(compress(owners, new))
        self._frozen.update(pairs)
        if values and _sort_of(cls) is not None:
            self._objects(cls, values, owners)
        elif values:
            self._parts(values, owners)

    def _parts(self, values: list[Any], owners: list[int]) -> None:
        """Look at what is inside values of any other class, one after the other."""
        self._not_json.update(owners)
        parts = [[*codec.parts_of(value)] for value in values]
        for some, owner in zip(parts, owners, strict=True):
            if not ATOMS.issuperset(map(type, some)):
                self.odd.add(owner)  # a picture could not copy what it holds
        self._go_on([*chain.from_iterable(parts)], _spread(owners, map(len, parts)))

    def _inline(self, values: list[Any], owners: list[int]) -> tuple[list[Any], list[int]]:
        """Return the inline containers among persisted ones; the others are nodes."""
        node, keys = self._node, self.picture.keys
        inline, whose = [], []
        for value, owner in zip(values, owners, strict=True):
            if not is_inline(value):
                self._not_json.add(owner)
                continue
            inline.append(value)
            whose.append(owner)
            if value._node_ is not node or not is_one_entry(value._key_, keys[owner]):
                self.odd.add(owner)  # it has moved here, or is at two places
        return inline, whose

    def _new(self, values: list[Any], owners: list[int]) -> tuple[list[Any], list[int]]:
        """Return the values that no survey has met before; note those that one has."""
        ids = list(map(id, values))
        shared, met = self._shared, self._met
        if shared and not shared.keys().isdisjoint(ids):
            self.odd.update(compress(owners, map(shared.__contains__, ids)))
        if met.ids.isdisjoint(ids):
            known = len(met.ids)
            met.ids.update(ids)
            if len(met.ids) == known + len(ids):
                return values, owners
            met.ids.difference_update(ids)  # some of these are the same
        new = []
        for one, owner in zip(ids, owners, strict=True):
            if one in met.ids:
                met.twice.add(one)
                self.odd.add(owner)
            new.append(one not in met.ids)
            met.ids.add(one)
        return list(compress(values, new)), list(compress(owners, new))

    def _containers(
        self, cls: type, builtin: Any, values: list[Any], owners: list[int], *, movable: bool
    ) -> None:
        """Put containers into the picture, and look at what is in them."""
        if builtin is not dict and builtin is not list:
            self._not_json.update(owners)
        if builtin not in _BUILTIN:  # an OrderedDict: its order cannot be read in this way
            self.odd.update(owners)
            parts = [list(dict.values(value)) for value in values]
            self._go_on([*chain.from_iterable(parts)], _spread(owners, map(len, parts)))
            return
        sort = _plain[cls, movable] if cls in PLAIN else _tracked[builtin]
        parts = [*starmap(call, sort.calls(values))]
        if cls in PLAIN:
            self.picture.add(sort, values, owners, parts)
        elif builtin is set or ATOMS.issuperset(map(type, parts[1])):
            self.picture.add(_INLINE, values, owners, [*starmap(call, _INLINE.calls(values))])
        elif len(values) > 1 and any(map(holds_atoms, values)):
            for value, owner in zip(values, owners, strict=True):
                self._containers(cls, builtin, [value], [owner], movable=movable)
            return
        else:
            self.picture.add(sort, values, owners, parts)
        if builtin is set:
            return
        if sort.is_mapping:
            lengths, _, keys = parts[:3]
            if not _STR.issuperset(map(type, keys)):
                others = map(is_not, map(type, keys), repeat(str))
                self._not_json.update(compress(_spread(owners, lengths), others))
            self._note_tags(lengths, keys, owners)
        self._go_on(parts[1], _spread(owners, parts[0]), movable=movable or cls not in PLAIN)

    def _note_tags(self, lengths: list[int], keys: list[Any], owners: list[int]) -> None:
        """Note the entries with dicts that could be taken for tags, if stored as they are."""
        if 1 not in lengths:
            return
        single = list(_spread(map((1).__eq__, lengths), lengths))
        pairs = zip(compress(keys, single), compress(_spread(owners, lengths), single), strict=True)
        self._not_json.update(o for key, o in pairs if type(key) is str and key[:1] == "$")

    def _objects(self, cls: type, values: list[Any], owners: list[int]) -> None:
        """Put objects into the picture, and look at their fields."""
        sort = _sort_of(cls)
        if sort is None:
            self.odd.update(owners)
            self._parts(values, owners)
            return
        try:
            parts = [*starmap(call, sort.calls(values))]
        except AttributeError:  # a slot is unset
            if len(values) > 1:
                for value, owner in zip(values, owners, strict=True):
                    self._objects(cls, [value], [owner])
            else:
                self.odd.update(owners)
                self._parts(values, owners)
            return
        self.picture.add(sort, values, owners, parts)
        fields = parts[1:]
        dicts = fields.pop(0) if sort.has_dict else []
        if not _DICT.issuperset(map(type, dicts)):
            self.odd.update(owners)
            self._parts(values, owners)
            return
        are_whole = bool(dicts) and not fields and self._at_top and sort.can_be_saved(values[0])
        if dicts:
            self._containers(dict, dict, dicts, owners, movable=False)
        self._note_records(sort, dicts, owners, are_whole=are_whole)
        for slot in fields:
            self._go_on(slot, owners)

    def _note_records(
        self, sort: Objects, dicts: list[Any], owners: list[int], *, are_whole: bool
    ) -> None:
        """Note the entries that are objects with just the declared fields, all in a `__dict__`."""
        if are_whole and all(map(sort.names.__eq__, map(dict.keys, dicts))):
            self._records.update(dict.fromkeys(owners, sort.head))
        else:
            self._not_json.update(owners)


def _spread(values: Iterable[Any], spans: Iterable[int]) -> Iterable[Any]:
    """Repeat each value as often as the other argument says."""
    return chain.from_iterable(map(repeat, values, spans))


def _sort_of(cls: type) -> Objects | None:
    """Return how objects of a class are read without its code; None if they cannot be."""
    entry = codec.entry_for(cls)
    # Whether an object of a `@persisted` class is a state object is not known from its class.
    fields = None if entry is None or codec.is_persisted(cls) else entry.fields
    if entry is None or fields is None:
        return None
    known = fields.reading
    if isinstance(known, Objects) and known.is_of(entry):
        return known
    places = fields.places()
    if places is None:
        return None
    has_dict, slots = places
    made = Objects(cls, entry, fields.defaults.keys(), slots, has_dict=has_dict)
    fields.reading = made
    return made
