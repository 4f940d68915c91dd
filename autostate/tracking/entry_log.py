"""What open `atomic()` blocks have written to one mapping or set.

There is a list of *records* in the order of the writes. A record says who wrote (a savepoint; None
for a write outside of blocks) and what was there: the former values of single entries, or the
whole former content. The values that one record left are those that the next record found, or the
present content. So the writes of others between and after the writes of a block are known, and
stay:

    state["n"] is 5; block A adds 1, others add 2, block A adds 4: now it is 12
    records: (A, n was 5), (None, n was 6), (A, n was 8)
    A is undone: 12 is replaced by 8, and 8 becomes 7, since A's first write was a difference of 1

An entry gets its former value back if nobody has written to it since. If somebody has, a number is
corrected by the difference, in the records of later writers too, which may be undone after that.
A value that is no number stays as the later writer left it.

A write of what is there already counts as a write: two blocks add one member to a set, and one of
them is undone; the member stays. Such a write is noted only if somebody else has written the entry
before (`note_same`). A number that is assigned though it is there already is no difference: the
later writer meant this number.

A key that is removed comes back as it was held (`1` is not `True`), and at its former place
(`key_order.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from autostate.tracking import probe
from autostate.tracking.augmented import is_augmented
from autostate.tracking.barrier import (
    EVERYTHING,
    changed,
    dropped,
    encode_first,
    held_key,
    is_keyed,
    kind_of,
    note_writing,
    put,
    size,
)
from autostate.tracking.differences import MISSING, is_number, same_items, same_number, shifted
from autostate.tracking.former import (
    UNKNOWN,
    Former,
    Record,
    earlier,
    first_fixed,
    is_of_another,
    is_one_key,
    shifted_former,
)
from autostate.tracking.key_order import KeyOrder, arranged, refill_in_order
from autostate.tracking.kind import PLAIN
from autostate.tracking.search import ATOMS, all_inside

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint


class EntryLog:
    """The records of one mapping or set. The lock is held.

    Attributes:
        container: The mapping or set.
        place: The node, by its `id`, and the entry in which the container lay at first; None: it
            was a node.
    """

    def __init__(self, container: Any, records: Iterable[Record] = ()) -> None:
        self.container = container
        self.place: tuple[int, Any] | None = None
        self._kind = kind_of(container)
        self._is_set = self._kind.shape == "set"
        self._records = list(records)
        self._order = KeyOrder()
        self._back: dict[Any, int | None] = {}
        self._under_way: tuple[Record, list[Callable[[], None]]] | None = None
        self._in_order: Any = None
        self._assigned: tuple[Record, Any, Any] | None = None

    def __len__(self) -> int:
        return len(self._records)

    def has_owner(self) -> bool:
        """Tell whether an open block has written to the container."""
        return any(record.owner is not None for record in self._records)

    # -- notes --------------------------------------------------------------------------------

    def note(self, key: Any, owner: Savepoint | None, *, removes: bool = False) -> None:
        """Note the content before a write.

        Args:
            key: The key or member that is going to change; EVERYTHING if any entry may.
            owner: The block that writes.
            removes: The entry is going to be removed.
        """
        whole = key is EVERYTHING
        if removes and self._value(self.container, key) is MISSING:
            self.note_same(key, owner)  # as by `pop` with a default
            return
        self._settle()
        last = self._records[-1] if self._records else None
        if last is None or last.owner is not owner:
            last = self._begin(owner, last, whole=whole)
        if last.entries is None:
            if not whole:
                # Else the copy alone would not tell an entry that was written twice, and left as it
                # was, from one that was not written: a later undo of an earlier block took it back.
                self._expect_same(last, key, removes=removes)
                last.written.add(key)
                last.repeated.discard(key)
            return
        if whole:
            content = self._kind.copy(self.container)
            self._take_entries_back(content, dict(last.entries), last.time)
            self._know_order()
            if last.entries is not None:  # an `__eq__` that ran meanwhile may have written it all
                last.written = {*last.entries}
                last.content, last.entries = content, None
            return
        former = self._former(key, removes=removes)  # an `__eq__` may write to the container
        if last.entries is not None:
            self._expect_same(last, key, removes=removes)
            last.repeated.discard(key)
            known = last.entries.setdefault(key, former)
            if known.key is UNKNOWN and known.value is not MISSING:
                known.key = former.key
        if former.value is MISSING:
            self._order.add(key)

    def note_same(self, key: Any, owner: Savepoint | None) -> None:
        """Note that somebody writes what is there already, after somebody else has written it."""
        self._settle()
        if type(self._value(self.container, key)) in PLAIN:
            return  # a reference to it would prevent its conversion
        if not is_of_another(self._records, key, owner):
            return
        last = self._records[-1]
        if last.owner is not owner:
            last = self._begin(owner, last, whole=False)
        last.repeated.add(key)
        if last.entries is None:
            last.written.add(key)
        else:
            value = self._value(self.container, key)
            last.entries[key] = Former(value, time=self._order.time)

    def note_inside(self, container: Any, owner: Savepoint | None) -> None:
        """Note that somebody writes to a container that lies, at any depth, in an entry."""
        others = [record for record in self._records if record.owner is not owner]
        keys: Iterable[Any] = chain.from_iterable(record.entries or () for record in others)
        if any(record.entries is None for record in others):
            keys = self._keys()
        for key in [*dict.fromkeys(keys)]:
            value = self._value(self.container, key)
            if type(value) in ATOMS:
                continue
            if any(one is container for one in all_inside([value], container._node_)):
                self.note_same(key, owner)

    def _expect_same(self, record: Record, key: Any, *, removes: bool) -> None:
        """Find out later whether a number is assigned that is there already: see `_settle`.

        Of an entry that its writer has removed before, the new number is no difference either.

        A counter counts: its numbers are always differences.
        """
        if removes or self._is_set or self._kind.name == "counter":
            return
        value = self._value(self.container, key)
        if value is MISSING and record.has_written(key):
            if self._found(record, key) is not MISSING:
                record.absolute.add(key)  # removed before by the owner
        elif (
            is_number(value)
            and is_of_another(self._records, key, record.owner)
            and not is_augmented()
        ):
            self._assigned = record, key, value

    def _settle(self) -> None:
        """Note whether the last write was that of the number that was there already."""
        if self._assigned is not None:
            record, key, value = self._assigned
            if same_number(value, self._value(self.container, key)):
                record.absolute.add(key)
            self._assigned = None

    def _begin(self, owner: Savepoint | None, last: Record | None, *, whole: bool) -> Record:
        if last is not None and last.entries is None and self._order.time is not None:
            self._order.add_unseen(self._keys())
        if whole:
            self._know_order()
        content = self._kind.copy(self.container) if whole else None
        record = Record(owner, None if whole else {}, content, self._order.time)
        self._records.append(record)
        return record

    def _former(self, key: Any, *, removes: bool) -> Former:
        value = self._value(self.container, key)
        if self._is_set or value is MISSING or not removes:
            return Former(value, time=self._order.time)
        self._know_order()
        return Former(value, self._held(self.container, key), self._order.time)

    def written(self) -> None:
        """Do nothing after a write: what was there before it is all that is noted."""

    def _know_order(self) -> None:
        if self._order.time is None and not self._is_set:
            self._order.begin(self._keys())

    def _keys(self) -> list[Any]:
        return list(self._kind.builtin.__iter__(self.container))

    def hand_over(self, owner: Savepoint, outer: Savepoint | None) -> None:
        """Let the records of a block belong to another one."""
        self._settle()
        for record in self._records:
            if record.owner is owner:
                record.owner = outer
        self._records = self._merged()

    def _merged(self) -> list[Record]:
        """Merge neighbouring records of one owner, and drop the first ones that no block owns.

        Otherwise the records would grow for as long as blocks overlap.
        """
        merged: list[Record] = []
        for record in self._records:
            if not merged or merged[-1].owner is not record.owner:
                if merged or record.owner is not None:
                    merged.append(record)
                continue
            first = merged[-1]
            repeated, absolute = first.join(record)
            if first.entries is None:
                first.repeated, first.absolute = repeated, absolute
                first.written.update(record.written if record.entries is None else record.entries)
                continue
            if record.entries is None:
                content = self._kind.copy(record.content)
                self._take_entries_back(content, first.entries, first.time)
                written = record.written | first.entries.keys()
                merged[-1] = Record(first.owner, None, content, first.time, written)
            else:
                entries = dict(record.entries)
                for key, former in first.entries.items():
                    entries[key] = earlier(former, entries.get(key))
                merged[-1] = Record(first.owner, entries, time=first.time)
            merged[-1].repeated, merged[-1].absolute = repeated, absolute
        return merged

    # -- undo ---------------------------------------------------------------------------------

    def undo(self, owner: Savepoint) -> None:
        """Undo the writes of a block, the last one first. Call it again if Ctrl-C interrupts it."""
        self._settle()
        self._finish()
        for record in reversed(self._records):
            if record.owner is owner:
                self._under_way = record, self._steps(record)
                self._finish()
        if self._back:
            self._arrange(self._order.ranks(self._back))

    def step_back(self, owners: Iterable[Savepoint], forward: list[Callable[[], None]]) -> None:
        """Undo the writes of these blocks; append to `forward` the steps that redo them."""
        self._settle()
        container, kind = self.container, self._kind
        whole = any(record.entries is None for record in self._records)
        keys = {key: None for record in self._records for key in record.entries or ()}
        content = kind.copy(container) if whole else None
        values = {} if whole else {key: self._present(key) for key in keys}
        comes_again = any(one.value is not MISSING for one in values.values())
        order = self._keys() if comes_again and not self._is_set else None
        # undone by a copy of this log: the records stay, for the blocks are still open
        log = type(self)(container, map(self._copied, self._records))
        log._order = self._order.copy()

        def step_forward() -> None:
            if whole:
                self._refill(content)
            for key, former in values.items():
                self._put(key, former)
            self._back = {}
            if order is not None:
                self._arrange({key: index for index, key in enumerate(order)})

        forward.append(step_forward)  # before anything is undone, in case of Ctrl-C
        for owner in owners:
            log.undo(owner)

    def _present(self, key: Any) -> Former:
        value = self._value(self.container, key)
        held = key if self._is_set or value is MISSING else self._held(self.container, key)
        return Former(value, held)

    def _copied(self, record: Record) -> Record:
        entries = None if record.entries is None else dict(record.entries)
        content = None if record.content is None else self._kind.copy(record.content)
        sets = {*record.written}, {*record.repeated}, {*record.absolute}
        return Record(record.owner, entries, content, record.time, *sets)

    def _finish(self) -> None:
        """Carry out the planned steps: each one sets a value, so that it may be repeated."""
        if self._under_way is not None:
            done, steps = self._under_way
            for step in steps:
                step()
            self._records = [record for record in self._records if record is not done]
            self._under_way = None
        if self._in_order is not None:
            self._refill(self._in_order)
            self._in_order, self._back = None, {}

    def _steps(self, record: Record) -> list[Callable[[], None]]:
        """Plan the steps that undo a record."""
        later = self._records[_index(self._records, record) + 1 :]
        if record.entries is None and not later:  # nobody else has written since
            return [partial(self._restore, record.content)]
        entries = record.entries
        if entries is None:
            entries = self._difference(record.content, self._content_at(later), record.time)
        steps = [self._take_back_entry(key, value, later) for key, value in entries.items()]
        return [*chain.from_iterable(steps)]

    def _take_back_entry(
        self, key: Any, former: Former, later: list[Record]
    ) -> list[Callable[[], None]]:
        """Plan the undo of a write to one entry, where others may have written since."""
        later = [record for record in later if record.entries is None or key in record.entries]
        found = [self._found(record, key) for record in later]
        now = self._value(self.container, key)
        writers = [
            at
            for at, (value, after) in enumerate(pairwise([*found, now]))
            if later[at].has_written(key) or not self._is_equal(value, after)
        ]
        if not writers:  # the entry gets its former value back; so do the records of others
            return [
                *(partial(self._set_found, record, key, former) for record in later),
                partial(self._put, key, former),
            ]
        values = [*found, now]
        fixed = first_fixed(later, values, key)
        if fixed is not None:  # what comes after that is as it would be anyway
            later, values = later[: fixed + 1], values[: fixed + 1]
        numbers = None if self._is_set else shifted(values, former.value, found[0])
        # the first later writer would have found the former entry
        first = writers[0] + 1
        steps: list[Callable[[], None]] = [
            partial(self._set_found, record, key, former) for record in later[:first]
        ]
        if numbers is None:  # its value stays
            return steps
        rest = [*zip(later, found, numbers, strict=False)][first:]
        return [
            *steps,
            *(
                partial(self._set_found, record, key, shifted_former(number, value, former))
                for record, value, number in rest
            ),
            *([partial(self._put, key, Former(numbers[-1]))] if fixed is None else []),
        ]

    # -- former content -----------------------------------------------------------------------

    def _found(self, record: Record, key: Any) -> Any:
        if record.entries is None:
            return self._value(record.content, key)
        return record.entries[key].value

    def _set_found(self, record: Record, key: Any, former: Former) -> None:
        record.repeated.discard(key)  # of what it wrote, something else was there
        if record.entries is None:
            self._take_entries_back(record.content, {key: former}, record.time)
        else:
            record.entries[key] = earlier(former, record.entries[key])

    def _content_at(self, later: list[Record]) -> Any:
        """Return the whole content before the first of these records, which are the last ones."""
        content = self._kind.copy(self.container)
        for record in reversed(later):
            if record.entries is None:
                content = self._kind.copy(record.content)
            else:
                self._take_entries_back(content, record.entries, record.time)
        return content

    def _take_entries_back(
        self, content: Any, entries: Mapping[Any, Former], time: int | None
    ) -> None:
        """Restore a plain content to the time before these entries were written."""
        builtin = self._kind.builtin
        back: dict[Any, int | None] = {}
        for key, former in entries.items():
            now = self._value(content, key)
            if self._is_set:
                builtin.discard(content, key)
                if former.value is not MISSING:
                    builtin.add(content, former.value)
                continue
            other = self._holds_other(content, key, former)
            if now is not MISSING and (former.value is MISSING or other):
                builtin.pop(content, key)
                now = MISSING
            if former.value is not MISSING:
                held = key if former.key is UNKNOWN else former.key
                builtin.__setitem__(content, held, former.value)
                if now is MISSING or former.key is not UNKNOWN:
                    back[key] = former.time
        if back and self._order.time is not None:
            ranks = self._order.ranks(back, time, forget=False)
            refill_in_order(builtin, content, arranged(list(content), ranks))

    def _difference(self, former: Any, after: Any, time: int | None) -> dict[Any, Former]:
        """Return the entries that differ between two contents, as they were in the first."""
        old = {key: key for key in former} if self._is_set else former
        new = {key: key for key in after} if self._is_set else after
        held = {key: key for key in after}
        found = {}
        for key in dict.fromkeys([*old, *new]):
            value, now = dict.get(old, key, MISSING), dict.get(new, key, MISSING)
            other_key = value is not MISSING and not is_one_key(key, held.get(key, MISSING))
            if not self._is_equal(value, now) or (now is not MISSING and other_key):
                found[key] = Former(value, UNKNOWN if value is MISSING else key, time)
        return found

    def _value(self, content: Any, key: Any) -> Any:
        if self._is_set:
            return self._held(content, key) if set.__contains__(content, key) else MISSING
        return dict.get(content, key, MISSING)

    def _held(self, content: Any, key: Any) -> Any:
        """Return the key or member that the content holds in the place of an equal one."""
        if content is self.container and is_keyed(content):
            return held_key(content, key)
        return probe.held_key(self._kind.builtin, content, key)

    def _holds_other(self, content: Any, key: Any, former: Former) -> bool:
        """Tell whether a content now holds another key that is equal to the former one."""
        if former.key is UNKNOWN:
            return False
        return not is_one_key(self._held(content, key), former.key)

    def _is_equal(self, value: Any, other: Any) -> bool:
        return value is other or (self._is_set and is_one_key(value, other))

    def _arrange(self, ranks: Mapping[Any, int]) -> None:
        """Put the keys of the container in order, when all keys have been put back."""
        keys = self._keys()
        order = arranged(keys, ranks)
        if self._is_set or same_items(keys, order):
            self._back = {}
            return
        content = self._kind.copy(self.container)
        refill_in_order(self._kind.builtin, content, order)
        self._in_order = content
        self._finish()

    # -- writing ------------------------------------------------------------------------------

    def _put(self, key: Any, former: Former) -> None:
        """Set or remove an entry without noting that in the log."""
        container, builtin = self.container, self._kind.builtin
        value, now = former.value, self._value(container, key)
        if now is not MISSING and (value is MISSING or self._is_other(key, now, former)):
            self._drop(key)
            now = MISSING
        if value is not MISSING and (now is MISSING or former.key is not UNKNOWN):
            self._back[key] = former.time
        if self._is_equal(now, value):
            return
        encode_first(container)
        key = key if former.key is UNKNOWN or now is not MISSING else former.key
        note_writing(container, value if self._is_set else key, size(container))
        if self._is_set:
            set.add(container, value)
        else:
            builtin.__setitem__(container, key, value)
        if container._node_ is not None:
            put(container, value if self._is_set else key, new=now is MISSING)

    def _is_other(self, key: Any, now: Any, former: Former) -> bool:
        """Tell whether the present member or key is another object than the equal former one."""
        if self._is_set:
            return not is_one_key(now, former.value)
        return self._holds_other(self.container, key, former)

    def _drop(self, key: Any) -> None:
        container = self.container
        encode_first(container)
        held = held_key(container, key)
        note_writing(container, EVERYTHING, -1)
        (set.discard if self._is_set else self._kind.builtin.pop)(container, key)
        if container._node_ is not None:
            dropped(container, held)

    def _restore(self, content: Any) -> None:
        """Restore a former content: by entry if it is large and the order allows it."""
        factory = getattr(content, "default_factory", None)
        same = factory is getattr(self.container, "default_factory", None)
        if same and is_keyed(self.container):
            now = self._kind.copy(self.container)
            entries = self._difference(content, now, None)
            again = any(
                self._value(now, key) is MISSING or self._holds_other(now, key, former)
                for key, former in entries.items()
            )
            if self._is_set or not (again or _is_reordered(content, now)):
                for key, former in entries.items():
                    self._put(key, former)
                return
        self._refill(content)

    def _refill(self, content: Any) -> None:
        """Replace the whole content."""
        container = self.container
        encode_first(container)
        note_writing(container, EVERYTHING, -1)
        self._kind.refill(container, content)
        changed(container)


def _is_reordered(content: Any, now: Any) -> bool:
    """Tell whether the keys of `content`, all of them in `now`, come there in another order."""
    common = (key for key in now if key in content)
    return any(not is_one_key(key, other) for key, other in zip(content, common, strict=True))


def _index(records: list[Record], record: Record) -> int:
    return next(index for index, one in enumerate(records) if one is record)
