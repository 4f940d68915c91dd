"""A state that is looked at again and again: what there is, how fast it changes, what changed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from autostate.cli import shared, tables
from autostate.cli.differences import Difference, differences
from autostate.cli.paths import extended
from autostate.cli.values import Values
from autostate.errors import AutostateError
from autostate.journal.commit import SEQUENCES, NodeState
from autostate.journal.verifying import size_of
from autostate.runtime.stored_state import StoredState, read_state
from autostate.shared.stored import StoredShared
from autostate.stores import file_of

WINDOW: Final = 10
"""The looks over which rates are measured."""
PLOTTED: Final = 240
"""The looks that a plot can show."""
KEPT: Final = 100
"""The last changes that are kept."""
LARGE: Final = 1 << 20
"""Bytes from which on a state is not read again at each look."""
MOST_SKIPPED: Final = 4
_AT_ONCE: Final = 3
"""The most changes of one object and look that are kept one by one."""


class Row(NamedTuple):
    """A state object or shared object, as it was at the last look.

    Attributes:
        name: Its name.
        kind: Its kind, as `ls` shows it.
        entries: The number of its entries.
        size: Its bytes.
    """

    name: str
    kind: str
    entries: int
    size: int


class Change(NamedTuple):
    """Something that was seen to change.

    Attributes:
        time: When it was seen, in seconds since 1970.
        what: A difference of an entry; or a text.
    """

    time: float
    what: Difference | str


class Watched:
    """What is known about a state that is watched.

    Args:
        url: The URL of its store.
        monotonic: Seconds that never jump.
        clock: The time of day in seconds.

    Attributes:
        rows: The objects by name.
        state: The state at the last look that could read it.
        changes: The last changes, the newest last.
        problem: Why the last look could not read the state, or what is shared; None: it could.
        writes: How many entries each look has found changed, by name.
    """

    def __init__(
        self,
        url: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rows: dict[str, Row] = {}
        self.state: StoredState | None = None
        self.changes: deque[Change] = deque(maxlen=KEPT)
        self.problem: str | None = None
        self.writes: dict[str, deque[int]] = {}
        self._url = url
        self._monotonic = monotonic
        self._clock = clock
        self._shares: list[StoredShared] = []
        self._shared_problem: str | None = None
        self._seen: object = None
        self._skipped = 0
        self._times: deque[float] = deque(maxlen=WINDOW + 1)
        self._entries: dict[str, deque[int]] = {}

    @property
    def staleness(self) -> float | None:
        """Seconds since the last save; None: nothing was ever saved."""
        saved_at = None if self.state is None else self.state.saved_at
        return None if saved_at is None else max(0.0, self._clock() - saved_at)

    def look(self) -> None:
        """Read the state, and note what has changed since the last look.

        Raises:
            AutostateError: The first look cannot read it.
        """
        if self._may_skip():
            state, shares = self.state, self._shares
            assert state is not None
        else:
            try:
                state = read_state(self._url)
                shares, problems = shared.readable(self._url)
                self._shared_problem = "; ".join(problems) or None
            except AutostateError as error:
                if self.state is None:
                    raise
                self._note_problem(str(error))
                return
        self._note_problem(self._shared_problem)
        before, self.state = self.state, state
        shared_before, self._shares = self._shares, shares
        self.rows = {row.name: row for row in _rows(state, shares)}
        counts = dict.fromkeys(self.rows, 0)
        if before is not None and before is not state:
            self._note_owner(before, state)
            for name, difference in changes(before, state):
                self._count(counts, name, difference)
            for name, difference in _shared_changes(shared_before, shares):
                self._count(counts, name, difference)
            for name, count in counts.items():
                if count > _AT_ONCE:
                    more = f"{name}: {count - _AT_ONCE:,} more changes"
                    self.changes.append(Change(self._clock(), more))
        self._times.append(self._monotonic())
        for name, row in self.rows.items():
            entries = self._entries.setdefault(name, deque(maxlen=WINDOW + 1))
            entries.append(row.entries)
            self.writes.setdefault(name, deque(maxlen=PLOTTED)).append(counts[name])

    def _may_skip(self) -> bool:
        """Tell whether a large state need not be read: its file is as it was.

        Every few looks it is read all the same, for its owner may have been killed.
        """
        path = file_of(self._url)
        if path is None or any(each.url != self._url for each in self._shares):
            return False
        try:
            found = path.stat()
        except OSError:
            return False
        seen, self._seen = self._seen, (found.st_mtime_ns, found.st_size, found.st_ino)
        large = sum(row.size for row in self.rows.values()) >= LARGE
        self._skipped = self._skipped + 1 if large and seen == self._seen else 0
        return self._skipped % (MOST_SKIPPED + 1) > 0

    def growth(self, name: str) -> float:
        """Give by how many entries an object grows in a second."""
        entries = self._entries[name]
        return self._each_second(entries[-1] - entries[0], len(entries))

    def rate(self, name: str) -> float:
        """Give how many entries of an object change in a second."""
        found = [*self.writes[name]][-(len(self._times) - 1) :] if len(self._times) > 1 else []
        return self._each_second(sum(found), len(found) + 1)

    def _each_second(self, count: float, looks: int) -> float:
        times = [*self._times][-looks:]
        passed = times[-1] - times[0] if times else 0.0
        return count / passed if passed > 0 else 0.0

    def _count(self, counts: dict[str, int], name: str, difference: Difference) -> None:
        counts[name] = counts.get(name, 0) + 1
        if counts[name] <= _AT_ONCE:
            self.changes.append(Change(self._clock(), difference))

    def _note_problem(self, problem: str | None) -> None:
        if problem is not None and self.problem is None:
            self.changes.append(Change(self._clock(), f"cannot be read: {problem}"))
        elif problem is None and self.problem is not None:
            self.changes.append(Change(self._clock(), "can be read again"))
        self.problem = problem

    def _note_owner(self, before: StoredState, now: StoredState) -> None:
        old, new = tables.owner_of(before), tables.owner_of(now)
        if old != new:
            self.changes.append(Change(self._clock(), f"owner: {old} → {new}"))


def _rows(state: StoredState, shares: list[StoredShared]) -> Iterator[Row]:
    for each in tables.object_rows(state):
        yield Row(*each.values())
    for there in shares:
        for each in shared.rows(there):
            yield Row(*each.values())


def changes(before: StoredState, now: StoredState) -> Iterator[tuple[str, Difference]]:
    """Find the entries that differ between two looks, each with the name of its state object.

    Nodes are compared as they are stored, so that what has not changed costs next to nothing.
    """
    old, new = Values(before), Values(now)
    outer = _outer(now)
    for at, node in now.nodes.items():
        name = outer.get(at)
        if name is None:
            continue
        path = name if node.name == name else f"{name}[…]"
        known = before.nodes.get(at)
        if known is None or known.kind != node.kind:
            if node.name is not None:
                yield name, Difference("added", name, None, new.of(name))
            continue
        for key, one, other in _entries(known, node):
            inside = path if node.kind == "set" else extended(path, key)
            is_item = now.nodes[now.roots[name]].kind == "outbox"
            rebuilt = [
                value if value is _NONE else each.item(key, value) if is_item else each.value(value)
                for each, value in ((old, one), (new, other))
            ]
            yield name, _difference(inside, *rebuilt)
    for name in before.roots.keys() - now.roots.keys():
        yield name, Difference("removed", name, old.of(name), None)


_NONE: Final = object()


def _difference(path: str, was: Any, now: Any) -> Difference:
    """Tell of an entry; where it holds containers, of the first place that differs in it."""
    if was is _NONE:
        return Difference("added", path, None, now)
    if now is _NONE:
        return Difference("removed", path, was, None)
    return next(differences(was, now, path), Difference("changed", path, was, now))


def _entries(known: NodeState, node: NodeState) -> Iterator[tuple[Any, Any, Any]]:
    """Give key, JSON before and JSON after of each entry that differs."""
    before, now = known.content, node.content
    if node.kind in SEQUENCES:
        if known.first == node.first and before == now:
            return
        before = dict(enumerate(before, known.first - node.first))
        now = dict(enumerate(now))
    elif before == now:
        return
    is_set = node.kind == "set"
    for key, value in now.items():
        one = before.get(key, _NONE)
        if one is _NONE:
            yield key, _NONE, key if is_set else value
        elif one != value:
            yield key, one, value
    for key, value in before.items():
        if key not in now:
            yield key, key if is_set else value, _NONE


def _outer(state: StoredState) -> dict[int, str]:
    """Find in which state object each node is."""
    found = {at: name for name, at in state.roots.items()}
    if len(found) == len(state.nodes):
        return found
    inside = {at: size_of(node)[1] for at, node in state.nodes.items()}
    left = [*found]
    while left:
        at = left.pop()
        for each in inside.get(at, ()):
            if each not in found:
                found[each] = found[at]
                left.append(each)
    return found


def _shared_changes(
    before: list[StoredShared], now: list[StoredShared]
) -> Iterator[tuple[str, Difference]]:
    known = {(each.url, name): one for each in before for name, one in each.objects.items()}
    for each in now:
        for name, one in each.objects.items():
            old = known.get((each.url, name))
            if old is None or old.content == one.content:
                continue
            found = differences(shared.value_of(old), shared.value_of(one), name)
            yield from ((name, difference) for difference in islice(found, 10_000))
