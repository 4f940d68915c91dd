"""Compares the watched entries at every cut, and converts the containers that became free.

A cut compares the pictured entries with their pictures, and counts the references to the plain
containers in them: some calls of C for each picture (`picture.py`). An entry that has changed, in
which a container became free, or that is new, is *loose*. A survey (`survey.py`) makes pictures of
the loose entries. They are encoded in the cut, since writers have no barrier here, and pictured if
they are still as in the picture. Entries that no picture can show stay loose: they are looked at,
searched for values at several places (`sharing.py`) and encoded one by one.

A thread may write at any moment. A picture that shows more than what was encoded would hide a
change for ever. So the values are encoded, and compared with the picture, in one call of C, in
which no other thread runs. Values that only Python code can encode are compared afterwards: both
before and after the encoding they were as in the picture.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import compress, count, repeat
from operator import is_, is_not, sub
from typing import Any, Final

from autostate import codec
from autostate.collector import no_collections
from autostate.memory import encode_each
from autostate.tracking.cell import Cell
from autostate.tracking.conversion import is_resolved
from autostate.tracking.graph import Graph
from autostate.tracking.items import SequenceEntries
from autostate.tracking.kind import PLAIN
from autostate.tracking.live_conversion import Batch
from autostate.tracking.node import DirtySource, EarlyEncoding, Marks, Node
from autostate.tracking.picture import Picture, copied
from autostate.tracking.raw import items_of
from autostate.tracking.reach import Reach
from autostate.tracking.search import entries_of
from autostate.tracking.sharing import Sharing
from autostate.tracking.survey import Met, Survey
from autostate.tracking.watched import SIZE, Watched

logger = logging.getLogger("autostate")

MANY: Final = 100_000
"""The number of watched entries above which a warning is logged."""

_get: Final = object.__getattribute__
_LONG: Final = 4000  # bytes of an entry that may hold an int with too many digits
_FEW: Final = SIZE // 4
"""Entries of a picture below which it is joined with another one."""


class Watch(DirtySource):
    """Compares the watched entries of one tracker. In all calls the lock is held."""

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._watched = tracker.part(Watched)
        self._graph = tracker.part(Graph)
        self._reach = tracker.part(Reach)
        self._sharing = tracker.part(Sharing)
        self._hinted = False
        self._met = Met()
        self._former: list[Any] = []

    def _hint(self) -> None:
        """Warn once that many watched entries are expensive, and why."""
        self._hinted = True
        node, key = next(iter(self._watched))
        logger.warning(
            "%d entries, %s%s for example, hold objects, or containers that the program also holds "
            "elsewhere: each save compares them all. Drop the other references to containers, and "
            "read them through the state; instead of many small objects, keep dicts",
            len(self._watched),
            node.path,
            node.entries.step(key),
        )

    def needs_polling(self) -> bool:
        """Tell whether any entry is watched."""
        return bool(self._watched.entries)

    def look(self) -> bool:
        """Compare between two cuts; tell whether anything may have changed."""
        if self._watched.loose or self._tracker.shared:
            return True
        with no_collections():
            self._review()
        self._former = []
        self._reach.forget()
        return bool(self._watched.loose)

    def complete(self) -> None:
        """Mark the watched entries that may have changed; find values at several places of them."""
        watched = self._watched
        watched.released = {}
        if not self._hinted and len(watched) > MANY:
            self._hint()
        watched.pending = []  # if a cut has failed, everything was marked
        self._former = []
        with no_collections():  # a finalizer could run between two calls of C
            self._review()
            surveys = self._survey()
            self._compare_places(surveys)
            self._take_out_odd(surveys)
        self._met = Met()
        self._check()
        self._reach.forget()
        if watched.loose or self._tracker.shared:
            with contextlib.suppress(RecursionError):  # it is reported when it is encoded
                self._sharing.resolve(self._loose())

    def _loose(self) -> list[tuple[Node, Any]]:
        return [(node, key) for node, keys in self._watched.loose.items() for key in keys]

    def exposed(self) -> Iterable[tuple[Node, Any]]:
        """Give the loose entries, and those of shared nodes."""
        yield from self._loose()
        for node in list(self._tracker.shared.values()):
            yield from ((node, key) for key in entries_of(node))

    # -- pictured entries ----------------------------------------------------------------------

    def _review(self) -> None:
        """Compare the pictured entries with their pictures; those that differ become loose."""
        watched = self._watched
        for node, pictures in [*watched.pictures.items()]:
            if not self._is_reached(node):
                continue
            loose = watched.loose.get(node, {})
            free = [picture.free() for picture in pictures]  # before anything else holds the values
            content = items_of(node.obj) if node.kind.shape == "sequence" else None
            small = []
            for picture, freed in zip(pictures, free, strict=True):
                changed = freed | _moved(node, picture, content)
                if loose and not loose.keys().isdisjoint(picture.keys):
                    changed.update(at for at, key in enumerate(picture.keys) if key in loose)
                changed |= picture.differing()[0]
                if changed:
                    self._former += picture.inside(changed)
                    watched.loosen(node, picture.leave_out(changed))
                    if len(picture.keys) < _FEW:
                        small.append(picture)
            if small:
                watched.pictures[node] = [one for one in pictures if one not in small]
                for picture in small:
                    watched.put(node, picture)
                if not watched.pictures[node]:
                    del watched.pictures[node]

    def _is_reached(self, node: Node) -> bool:
        """Tell whether the state reaches a node; else forget its entries."""
        if self._reach.reaches(node):
            return True
        if node.name is None:
            self._reach.mark_unreachable(node)  # if it comes back, its entries are searched again
        for key in self._watched.entries.get(node, ()):
            node.entries.forget(key)
        self._watched.leave(node)
        return False

    # -- loose entries ------------------------------------------------------------------------

    def _survey(self) -> list[tuple[Node, Survey]]:
        """Look at the loose entries; forget those that are gone."""
        met = self._met = Met()
        surveys = []
        for node, keys in [*self._watched.loose.items()]:
            if not self._is_reached(node):
                continue
            slots = node.entries.locate(keys)
            if len(slots) < len(keys):
                gone = [key for key in keys if key not in slots]
                self._watched.remove(node, gone)
                for key in gone:
                    node.entries.forget(key)
            there = list(slots)
            content = items_of(node.obj) if node.kind.shape == "sequence" else None
            for at in range(0, len(there), SIZE):
                some = there[at : at + SIZE]
                tops = _values(node, [slots[key] for key in some], content)
                survey = Survey(node, some, tops, met)
                if isinstance(node.entries, SequenceEntries):
                    survey.picture.numbers = [node.entries.first + slots[key] for key in some]
                bad = node.entries.bad
                for position, key in enumerate(some if bad else ()):
                    if (slots[key] if survey.picture.numbers else key) in bad:
                        survey.odd.add(position)
                if type(node.obj) in PLAIN or node.kind.holds > 1:
                    survey.odd.update(range(len(some)))
                surveys.append((node, survey))
        return surveys

    def _compare_places(self, surveys: list[tuple[Node, Survey]]) -> None:
        """Note as odd the entries in which something lies that lies in another entry as well."""
        former, self._former = {*map(id, self._former)}, []  # they counted as references
        if not surveys:
            return
        met = self._met
        for node in self._tracker.shared.values():
            if type(node.obj) is Cell:  # a root that was not asked for yet may hold it
                Survey(node, [None], [node.obj.get("value")], met)
        # What was in a picture until now is in no pictured entry: that entry would differ.
        new = met.ids - former
        for node, pictures in self._watched.pictures.items() if new else ():
            for picture in pictures:
                if not new.isdisjoint(map(id, picture.containers())):
                    met.twice.update(new.intersection(map(id, picture.containers())))
                    self._watched.loosen(node, picture.leave_out(picture.holding(met.twice)))
        repeated = {node: _repeated(node, loose) for node, loose in self._watched.loose.items()}
        for node, survey in surveys:
            if met.twice:
                survey.odd.update(survey.picture.holding(met.twice))
            if repeated.get(node):
                tops = enumerate(map(id, survey.picture.tops))
                survey.odd.update(at for at, one in tops if one in repeated[node])

    def _take_out_odd(self, surveys: list[tuple[Node, Survey]]) -> None:
        """Mark the surveyed entries; the odd ones, and no others, stay loose."""
        watched = self._watched
        while surveys:
            node, survey = surveys.pop()
            picture = survey.picture
            survey.odd |= picture.free()
            if survey.odd:
                picture.leave_out(survey.odd)
            loose = watched.loose[node]
            for key in picture.keys:
                del loose[key]
            if not loose:
                del watched.loose[node]
            if picture.keys:
                node.entries.touched.update(dict.fromkeys(picture.keys))
                self._tracker.dirty_nodes[node] = None
                watched.pending.append((node, picture))

    def _check(self) -> None:
        """Mark the loose entries, and convert containers that nobody else holds."""
        watched = self._watched
        for node, loose in [*watched.loose.items()]:
            keys = [*loose]
            slots = node.entries.locate(keys)
            node.entries.touched.update(dict.fromkeys(keys))
            self._tracker.dirty_nodes[node] = None
            done = self._convert_together(node, slots)
            released = [
                key
                for key in keys
                if key in done or key not in slots or self._convert(node, slots[key], key)
            ]
            watched.released.setdefault(node, {}).update(watched.remove(node, released))
            for key in [*watched.loose.get(node, ())]:
                now = node.entries.at(slots[key])  # it may be another object now
                if now is not key:
                    self._tracker.touch(node, now)
                    [digest] = watched.remove(node, [key]).values()
                    watched.again(node, now, digest)

    def _convert_together(self, node: Node, slots: dict[Any, Any]) -> set[Any]:
        """Convert the plain values of a mapping that nobody holds.

        Returns:
            The entries in which there is nothing left to convert.
        """
        if node.kind.shape != "mapping" or type(node.obj) in PLAIN:
            return set()  # the items have entries that would have to follow them
        plain = [key for key in slots if type(dict.get(node.obj, key)) in PLAIN]
        batch = Batch(node)
        batch.convert(plain)
        now = [dict.get(node.obj, key) for key in plain]
        return {
            key
            for key, value in zip(plain, now, strict=True)
            if is_resolved(value, node, key)  # persisted containers inside may hold plain ones
        }

    def _convert(self, node: Node, slot: Any, key: Any) -> bool:
        """Convert the value of an entry; leave one that is nested too deeply to be watched."""
        try:
            return self._graph.convert_deep(node.obj, slot, node, key)
        except RecursionError:
            return False

    # -- encoding -----------------------------------------------------------------------------

    def encode(self) -> None:
        """Encode entries in bulk: those that may have changed, and pictured ones that are taken."""
        watched = self._watched
        pending: Counter[Node] = Counter()
        for node, picture in watched.pending:
            pending[node] += len(picture.keys)
        with no_collections():
            for node, pictures in [*watched.pictures.items()]:
                for picture in pictures:
                    part = node.capture
                    if part is None or part.count == pending[node]:
                        break  # there is nothing to encode but what is pending
                    flags = part.holding(picture.keys, picture.tops)
                    if any(flags):
                        watched.loosen(node, self._encode(node, picture, flags))
            for node, picture in watched.pending:
                watched.loosen(node, self._encode(node, picture, [True] * len(picture.keys)))
                watched.put(node, picture)
        watched.pending = []

    def _encode(self, node: Node, picture: Picture, flags: list[bool]) -> list[Any]:
        """Encode some entries of a picture.

        Returns:
            The entries that are not as in the picture, or cannot be saved; they are left out.
        """
        part, keys, tops = node.capture, picture.keys, picture.tops
        if part is None:  # nothing reaches the node, or it could not be read
            return picture.leave_out(set(range(len(keys))))
        changed: set[int] = set()
        rest = dict.fromkeys(compress(count(), flags))
        at_once = [at for at in rest if picture.heads[at] is not None]
        if node.kind.shape == "mapping" and not codec.NATIVE.issuperset(map(type, keys)):
            at_once = []
        if at_once:
            heads = [picture.heads[at] for at in at_once]
            values = [
                _get(tops[at], "__dict__") if head else tops[at]
                for at, head in zip(at_once, heads, strict=True)
            ]
            encode = list, encode_each(values)
            with contextlib.suppress(ValueError, RecursionError):  # reported, one by one, below
                changed, results = picture.differing([encode])
                done = zip(at_once, heads, *results, strict=True) if results else ()
                raws = {
                    at: head + raw + b"]}" if head else raw
                    for at, head, raw in done
                    if len(raw) < _LONG and at not in changed
                }
                part.put_early([keys[at] for at in raws], [*raws.values()])
                for at in raws:
                    del rest[at]
        for at in changed.intersection(rest):
            part.encode_now(keys[at])  # it is left out
            del rest[at]
        picture.forget_heads()
        changed |= _encode_copies(part, picture, rest)
        return picture.leave_out(changed) if changed else []

    def end(self) -> None:
        """Forget what was kept for the capture: it is encoded."""
        self._watched.released = {}


def _encode_copies(part: EarlyEncoding, picture: Picture, positions: Collection[int]) -> set[int]:
    """Encode what some entries held when the picture was made; return those that cannot be saved.

    Between two steps of Python code a thread can write to a container, and write the former value
    again: no comparison afterwards would find that. So copies are encoded.
    """
    if not positions:
        return set()
    failed = set()
    try:
        copies, originals = picture.copies(positions)
        tops = {at: copied(picture.tops[at], copies) for at in positions}
    except RecursionError:  # tuples that are nested too deeply: that is reported
        for at in positions:
            part.encode_now(picture.keys[at])
        return set(positions)
    for at, top in tops.items():
        if not part.encode_copy(picture.keys[at], top, originals):
            failed.add(at)
    return failed


def _values(node: Node, slots: list[Any], content: list[Any] | None) -> list[Any]:
    """Return the values in slots of a node; `content` are the items of a sequence."""
    if content is not None:
        return list(map(content.__getitem__, slots))
    return list(map(dict.get, repeat(node.obj), slots))


def _moved(node: Node, picture: Picture, content: list[Any] | None) -> set[int]:
    """Return the positions of entries whose values are not there any more.

    Args:
        node: The node.
        picture: The picture; it notes the present positions of items.
        content: The items of a sequence.
    """
    entries = node.entries
    if content is None or not isinstance(entries, SequenceEntries):
        now = map(dict.get, repeat(node.obj), picture.keys)
        if all(map(is_, now, picture.tops)):
            return set()
        now = map(dict.get, repeat(node.obj), picture.keys)
        return set(compress(count(), map(is_not, now, picture.tops)))
    first = repeat(entries.first)
    with contextlib.suppress(IndexError):
        now = map(content.__getitem__, map(sub, picture.numbers, first))
        if all(map(is_, now, picture.tops)):
            return set()
    places = dict(zip(map(id, content), count(entries.first), strict=False))
    numbers = list(map(places.get, map(id, picture.tops)))
    picture.numbers = [-1 if number is None else number for number in numbers]
    gone = {position for position, number in enumerate(numbers) if number is None}
    repeated = _repeated_in(content, set(map(id, picture.tops)))
    return gone | {at for at, top in enumerate(picture.tops) if id(top) in repeated}


def _repeated(node: Node, entries: Collection[Any]) -> set[int]:
    """Return the `id`s of items of a sequence that lie at several positions."""
    if node.kind.shape != "sequence":
        return set()
    return _repeated_in(items_of(node.obj), {entry.ident for entry in entries})


def _repeated_in(content: list[Any], ids: set[int]) -> set[int]:
    """Return which of these `id`s items at several positions have."""
    found = list(filter(ids.__contains__, map(id, content)))
    if len(found) == len(set(found)):
        return set()
    return {one for one, times in Counter(found).items() if times > 1}
