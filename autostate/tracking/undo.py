"""The undo log: what open `atomic()` blocks have written, and how that is taken back.

While a block is open every write meets the barrier, which notes what was there before. For each
container that a block has written there is a list of *records* in the order of the writes. A
record says who wrote (a savepoint, or None: nobody's block) and what was there: the former values
of single entries, or the whole former content. What the writes of one record left behind is what
the next record found, or the present content.

So what others wrote between and after the writes of a block is known, and stays:

    state["n"] is 5; block A adds 1, others add 2, block A adds 4: now it is 12
    records: (A, n was 5), (None, n was 6), (A, n was 8)
    A is undone: 12 is replaced by 8, and 8 becomes 7, since A's first write was a difference of 1

An entry goes back to what it was if nobody has written to it since. If somebody has, a number is
taken back as a difference, in the records of later writers too, which may be undone after that.
What is no number stays as the later writer left it. Of lists and deques see `sequence_log.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from autostate.tracking.barrier import (
    EVERYTHING,
    changed,
    dropped,
    encode_first,
    held_key,
    is_keyed,
    kind_of,
    put,
    size,
)
from autostate.tracking.differences import MISSING, shifted
from autostate.tracking.sequence_log import SequenceLog

if TYPE_CHECKING:
    from autostate.tracking.savepoint import Savepoint


@dataclass(slots=True)
class Record:
    """What consecutive writes of one owner have found in a container.

    Attributes:
        owner: The savepoint of the block that wrote; None for those of no open block.
        entries: The former values by key or member; None if the whole content is kept.
        content: A plain copy of the whole former content.
    """

    owner: Savepoint | None
    entries: dict[Any, Any] | None
    content: Any = None


class UndoLog:
    """What open blocks have written to the containers of one tracker. The lock is held."""

    def __init__(self) -> None:
        self._logs: dict[int, ContainerLog | SequenceLog] = {}

    def note(self, container: Any, key: Any, owner: Savepoint | None) -> None:
        """Note what is there before a write.

        Args:
            container: What is about to be written.
            key: What is going to change: see `barrier.before`.
            owner: Whose block writes.
        """
        log = self._logs.get(id(container))
        if log is None:
            if owner is None:
                return
            is_sequence = kind_of(container).shape == "sequence"
            log = (SequenceLog if is_sequence else ContainerLog)(container)
            self._logs[id(container)] = log
        log.note(key, owner)

    def written(self, container: Any) -> None:
        """Note that a write is done."""
        log = self._logs.get(id(container))
        if log is not None:
            log.written()

    def undo(self, owner: Savepoint) -> None:
        """Take back what a block wrote. Ctrl-C may strike: call it again."""
        for key, log in reversed(self._logs.items()):
            log.undo(owner)
            self._forget_unless_open(key, log)

    def hand_over(self, owner: Savepoint, outer: Savepoint | None) -> None:
        """Leave what a block wrote to the block around it; None: it stays."""
        for key, log in [*self._logs.items()]:
            log.hand_over(owner, outer)
            self._forget_unless_open(key, log)

    def _forget_unless_open(self, key: int, log: ContainerLog | SequenceLog) -> None:
        if not log.has_owner():
            self._logs = {other: one for other, one in self._logs.items() if other != key}

    def step_back(self, owners: Iterable[Savepoint]) -> Callable[[], None]:
        """Take back for a moment what open blocks wrote; return what puts it there again."""
        inner_first = [*owners][::-1]
        steps = [log.step_back(inner_first) for log in [*self._logs.values()]]

        def step_forward() -> None:
            for step in reversed(steps):
                step()

        return step_forward


class ContainerLog:
    """The records of one container."""

    def __init__(self, container: Any, records: Iterable[Record] = ()) -> None:
        self.container = container
        self._kind = kind_of(container)
        self._records = list(records)
        self._under_way: tuple[Record, list[Callable[[], None]]] | None = None

    def __len__(self) -> int:
        return len(self._records)

    def has_owner(self) -> bool:
        """Tell whether an open block has written to the container."""
        return any(record.owner is not None for record in self._records)

    def note(self, key: Any, owner: Savepoint | None) -> None:
        """Note what is there before a write."""
        whole = key is EVERYTHING
        last = self._records[-1] if self._records else None
        if last is None or last.owner is not owner:
            last = Record(owner, {})
            if whole:
                last = Record(owner, None, self._kind.copy(self.container))
            self._records.append(last)
        if last.entries is None:
            return
        if whole:
            last.content, last.entries = self._content_before(last.entries), None
            return
        former = self._value(self.container, key)  # an `__eq__` may write to the container
        if last.entries is not None:
            last.entries.setdefault(key, former)

    def written(self) -> None:
        """Note that a write is done: what it left is there."""

    def hand_over(self, owner: Savepoint, outer: Savepoint | None) -> None:
        """Let the records of a block belong to another one."""
        for record in self._records:
            if record.owner is owner:
                record.owner = outer
        self._records = self._merged()

    def _merged(self) -> list[Record]:
        """Make one record of neighbours of one owner, and none of the first ones of nobody.

        Else the records would grow for as long as blocks overlap.
        """
        merged: list[Record] = []
        for record in self._records:
            if not merged or merged[-1].owner is not record.owner:
                if merged or record.owner is not None:
                    merged.append(record)
                continue
            first = merged[-1]
            if first.entries is None:
                continue
            if record.entries is None:
                content = self._kind.copy(record.content)
                _restore_entries(content, first.entries)
                merged[-1] = Record(first.owner, None, content)
            else:
                merged[-1] = Record(first.owner, {**record.entries, **first.entries})
        return merged

    def step_back(self, owners: list[Savepoint]) -> Callable[[], None]:
        """Take back what these wrote; return what puts it there again."""
        container, kind = self.container, self._kind
        whole = any(record.entries is None for record in self._records)
        keys = {key: None for record in self._records for key in record.entries or ()}
        content = kind.copy(container) if whole else None
        values = {} if whole else {key: self._value(container, key) for key in keys}
        log = ContainerLog(container, map(self._copied, self._records))
        for owner in owners:
            log.undo(owner)

        def step_forward() -> None:
            if whole:
                self._refill(content)
            for key, value in values.items():
                self._put(key, value)

        return step_forward

    def _copied(self, record: Record) -> Record:
        entries = None if record.entries is None else dict(record.entries)
        content = record.content
        return Record(record.owner, entries, None if content is None else self._kind.copy(content))

    # -- undo ---------------------------------------------------------------------------------

    def undo(self, owner: Savepoint) -> None:
        """Take back what a block wrote, its last write first. Ctrl-C may strike: call it again."""
        self._finish()
        for record in reversed(self._records):
            if record.owner is owner:
                self._under_way = record, self._steps(record)
                self._finish()

    def _finish(self) -> None:
        """Carry out what was planned: each step sets a value, so it may be done twice."""
        if self._under_way is not None:
            done, steps = self._under_way
            for step in steps:
                step()
            self._records = [record for record in self._records if record is not done]
            self._under_way = None

    def _steps(self, record: Record) -> list[Callable[[], None]]:
        """Plan how a record is taken back."""
        later = self._records[_index(self._records, record) + 1 :]
        if record.entries is None and not later:
            return [partial(self._restore, record.content)]
        entries = record.entries
        if entries is None:
            entries = self._difference(record.content, self._content_at(later))
        steps = [self._take_back_entry(key, value, later) for key, value in entries.items()]
        return [*chain.from_iterable(steps)]

    def _take_back_entry(
        self, key: Any, former: Any, later: list[Record]
    ) -> list[Callable[[], None]]:
        """Plan how the write to one entry is taken back, where others may have written since."""
        later = [record for record in later if record.entries is None or key in record.entries]
        found = [self._found(record, key) for record in later]
        now = self._value(self.container, key)
        if all(value is now for value in found):  # nobody has changed it since
            return [
                *(partial(_set_found, record, key, former) for record in later),
                partial(self._put, key, former),
            ]
        numbers = shifted([*found, now], former, found[0])
        if numbers is None:
            return [partial(_set_found, later[0], key, former)]
        pairs = zip(later, numbers, strict=False)
        return [
            *(partial(_set_found, record, key, value) for record, value in pairs),
            partial(self._put, key, numbers[-1]),
        ]

    # -- what was found -----------------------------------------------------------------------

    def _found(self, record: Record, key: Any) -> Any:
        if record.entries is None:
            return self._value(record.content, key)
        return record.entries[key]

    def _content_at(self, later: list[Record]) -> Any:
        """The whole content before the first of these records, the last there are."""
        content = self._kind.copy(self.container)
        for record in reversed(later):
            if record.entries is None:
                content = self._kind.copy(record.content)
            else:
                _restore_entries(content, record.entries)
        return content

    def _content_before(self, entries: dict[Any, Any]) -> Any:
        content = self._kind.copy(self.container)
        _restore_entries(content, entries)
        return content

    def _difference(self, former: Any, after: Any) -> dict[Any, Any]:
        """The entries that are not the same in two contents, with their former values."""
        keys = dict.fromkeys([*former, *after])
        values = ((key, self._value(former, key)) for key in keys)
        return {key: value for key, value in values if value is not self._value(after, key)}

    def _value(self, content: Any, key: Any) -> Any:
        if self._kind.shape == "set":
            return True if set.__contains__(content, key) else MISSING
        return dict.get(content, key, MISSING)

    # -- writing ------------------------------------------------------------------------------

    def _put(self, key: Any, value: Any) -> None:
        """Give an entry a value, or remove it, past the log."""
        container, builtin = self.container, self._kind.builtin
        now = self._value(container, key)
        if now is value:
            return
        encode_first(container)
        bound = container._node_ is not None
        if value is MISSING:
            held = held_key(container, key)
            _note(container, EVERYTHING, -1)
            (set.discard if self._kind.shape == "set" else builtin.pop)(container, key)
            if bound:
                dropped(container, held)
            return
        _note(container, key, size(container))
        if self._kind.shape == "set":
            set.add(container, key)
        else:
            builtin.__setitem__(container, key, value)
        if bound:
            put(container, key, new=now is MISSING)

    def _restore(self, content: Any) -> None:
        """Give the container a former content: by entry if it is large and the order allows it."""
        factory = getattr(content, "default_factory", None)
        same = factory is getattr(self.container, "default_factory", None)
        if same and is_keyed(self.container):
            now = self._kind.copy(self.container)
            entries = self._difference(content, now)
            again = any(self._value(now, key) is MISSING for key in entries)
            if self._kind.shape == "set" or not (again or _is_reordered(content, now)):
                for key, value in entries.items():
                    self._put(key, value)
                return
        self._refill(content)

    def _refill(self, content: Any) -> None:
        """Replace the whole content."""
        container = self.container
        encode_first(container)
        _note(container, EVERYTHING, -1)
        self._kind.refill(container, content)
        changed(container)


def _note(container: Any, key: Any, length: int) -> None:
    """Note what is about to be written, as `barrier.before` does, should Ctrl-C strike."""
    if container._node_ is not None:
        container._node_.tracker.writing = (container, key, length)


def _is_reordered(content: Any, now: Any) -> bool:
    """Tell whether the keys of `content`, all of them in `now`, come there in another order."""
    common = (key for key in now if key in content)
    return any(key is not other for key, other in zip(content, common, strict=True))


def _index(records: list[Record], record: Record) -> int:
    return next(index for index, one in enumerate(records) if one is record)


def _restore_entries(content: Any, entries: dict[Any, Any]) -> None:
    builtin = kind_of(content).builtin
    for key, value in entries.items():
        if issubclass(builtin, set):
            (set.discard if value is MISSING else set.add)(content, key)
        elif value is MISSING:
            builtin.pop(content, key, None)
        else:
            builtin.__setitem__(content, key, value)


def _set_found(record: Record, key: Any, value: Any) -> None:
    if record.entries is None:
        _restore_entries(record.content, {key: value})
    else:
        record.entries[key] = value
