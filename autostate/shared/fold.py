"""Folding: the contributions of a generation are taken into the base.

The base is an ordinary journal: it is taken over, and of two processes that fold at once the
journal stops one. Whatever a fold did before it died, the next one does again. See `shelf.py`.

The base keeps how far each writer was taken in, for those whose last publication has an unknown
outcome; the entries of many past writers are dropped, with the generations up to which nothing is
known any more. Those of writers whose names outlast their processes are kept beside the base
(`past.py`). Any other process that was stopped for longer gets an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from autostate.errors import FencedError, StateTypeError
from autostate.journal import Journal
from autostate.memory import encode
from autostate.shared import past
from autostate.shared.clock import HybridClock
from autostate.shared.keys import kind_named
from autostate.shared.kinds import Entries, Kind, kept, merge_into
from autostate.shared.line import Line, LineKey
from autostate.shared.past import Taken
from autostate.shared.shelf import TAKEN, THROUGH, Base, Shelf

MANY: Final = 64
"""Lineages of past writers, from which number on a fold is due."""
MOST: Final = 16
"""So many times as many let a fold be due at once."""
INTERVAL: Final = 10.0
METERED_INTERVAL: Final = 600.0
"""The least seconds between two folds, if not so many lineages are there."""
LARGE: Final = 65_536
"""Bytes of a lineage, from which size on a fold is due."""
REMEMBERED: Final = 1_024
"""So many writers the base remembers."""

KindOf = Callable[[str, str], Kind]
"""Gives the kind of an object, from its name and the name of its kind."""


def is_due(
    base: Base, lineages: Collection[LineKey], now: float, interval: float, youth: float = 0.0
) -> bool:
    """Tell whether there are so many lineages that a fold is due.

    While a fold is under way all writers wait, and each publishes again afterwards. It is for those
    that are past. So writers that went on last time do not count, twice over; nor do those that
    have begun just now, where a fold takes long, since many may begin together. And until it is
    known how many live, folds are rare.

    Args:
        base: The base.
        lineages: The lineages.
        now: The time of day in seconds.
        interval: The least seconds between two folds, unless there are very many lineages.
        youth: Seconds for which a writer that has begun lives, as far as anybody knows. Clocks that
            differ make folds more frequent.
    """
    many = MANY + 2 * base.went_on
    if len(lineages) > MOST * many:
        return True
    if len(lineages) <= many or base.folded_at <= now < base.folded_at + interval:
        return False
    return sum(abs(now - key.began) >= youth for key in lineages) > many


def fold(
    shelf: Shelf, kind_of: KindOf, clock: HybridClock, timeout: float | None = None
) -> Base | None:
    """Take the contributions of the oldest generation into the base, and close it.

    Args:
        shelf: The records.
        kind_of: Gives the kinds of objects.
        clock: The time.
        timeout: The most seconds to wait for each answer of the store.

    Returns:
        The new base; None: another process folds.

    Raises:
        StateTypeError: A newer autostate has written it.
        StoreError: The store failed; the next fold begins again.
    """
    journal = Journal(shelf.store)
    recovered = journal.recover(timeout=timeout)
    base = Base.of(recovered.nodes)
    generation = base.through + 1
    forgets = _may_forget(shelf, base, timeout)
    try:
        journal.take_over(timeout=timeout)
        shelf.close_generation(generation, timeout)
        lines = shelf.lines_through(generation, timeout)
        changes = _Changes(base, recovered.next_id)
        made = _folded(base, lines, changes, kind_of=kind_of, clock=clock, forgets=forgets)
        past.keep(shelf.store, generation, changes.forgotten, timeout)
        journal.commit(changes.lines, timeout=timeout)
        journal.tidy(timeout=timeout)  # looks at the owner, before anything is deleted
    except FencedError:
        return None
    shelf.sweep(generation, timeout)
    if journal.needs_compaction:
        with suppress(FencedError):  # another process folds
            journal.compact(pause=lambda: None, timeout=timeout)
    return made


def _may_forget(shelf: Shelf, base: Base, timeout: float | None) -> bool:
    """Tell whether what is forgotten of a base was certainly taken in.

    Another process may be about to replace the base by one of the same generation, which lacks a
    lineage that came too late. It is called between the recovery of the base and its takeover,
    which finds whatever has changed in between.
    """
    if len(base.taken) <= REMEMBERED // 2:
        return False
    found = shelf.survey(timeout).base
    return found.is_settled and found.through == base.through


class _Changes:
    """The changes of a fold, as the journal commits them.

    Args:
        base: The base that is changed.
        next_id: The id of the next node that is made.

    Attributes:
        nodes: The ids of nodes by the names of their roots.
        lines: The changes.
        forgotten: What the base forgets of writers whose names outlast their processes.
    """

    def __init__(self, base: Base, next_id: int) -> None:
        self.nodes: dict[str, int] = dict(base.nodes)
        self.lines: list[bytes] = []
        self.forgotten: dict[str, Taken] = {}
        self._next_id = next_id

    def add(self, root: str, puts: Mapping[str, Any], drops: list[str]) -> None:
        """Put and drop entries of a root; make the root if there is none."""
        if not (puts or drops):
            return
        change: dict[str, Any] = {"id": self.nodes.get(root, self._next_id)}
        if root not in self.nodes:
            self.nodes[root] = self._next_id
            self._next_id += 1
            change |= {"kind": "dict", "name": root}
        if drops:
            change["drop"] = drops
        if puts:
            change["put"] = puts
        self.lines.append(encode(change))


_Merged = dict[tuple[str, str], tuple[Kind, Entries]]
"""Entries, with the kind that merges them, by the names of object and kind."""


def _merged(lines: Iterable[Line], kind_of: KindOf) -> _Merged:
    """Merge lineages with each other."""
    merged: _Merged = {}
    for line in lines:
        for name, (kind_name, entries) in line.objects.items():
            if (name, kind_name) not in merged:
                merged[name, kind_name] = _kind(kind_of, name, kind_name), {}
            kind, into = merged[name, kind_name]
            merge_into(kind, into, entries, kept)
    return merged


def _kind(kind_of: KindOf, name: str, kind_name: str) -> Kind:
    """Give the kind of contributions, also if this program has another one for the name."""
    kind = kind_of(name, kind_name)
    return kind if kind.name == kind_name else kind_named(kind_name)


def _taken_in(kind: Kind, known: Entries, contributed: Entries, generation: int) -> Entries:
    """Take contributions to an object into its entries in the base, which are changed.

    Returns:
        The entries that have changed; None: they are gone.
    """
    open_ones = [key for key, entry in known.items() if kind.is_open(entry)]
    changed: Entries = {}
    for key in {**contributed, **dict.fromkeys(open_ones)}:
        before, new = known.get(key), contributed.get(key)
        whole = new if before is None else before if new is None else kept(kind, key, before, new)
        settled = kind.settled(whole, new, generation)
        if settled is not None:
            known[key] = settled
        elif before is not None:
            del known[key]
        if settled != before:
            changed[key] = settled
    for key in kind.surplus(known, generation):
        del known[key]
        changed[key] = None
    return changed


def _folded(
    base: Base,
    lines: Mapping[LineKey, Line],
    changes: _Changes,
    *,
    kind_of: KindOf,
    clock: HybridClock,
    forgets: bool,
) -> Base:
    """Take lineages into the base; return the new one, and note what changes it."""
    generation = base.through + 1
    # What is older has arrived late, and is in no base.
    lines = {key: line for key, line in lines.items() if key.generation == generation}
    taken = dict(base.taken)
    taken |= {key.writer: (generation, line.number) for key, line in lines.items()}
    forgotten, known_from = _forgotten(taken, base.known_from) if forgets else ({}, base.known_from)
    contributed = _merged(lines.values(), kind_of)
    objects = {name: dict(kinds) for name, kinds in base.objects.items()}
    for name, kinds in base.objects.items():
        for kind_name in kinds:
            with suppress(StateTypeError):  # nobody has contributed to it: it stays as it is
                kind = _kind(kind_of, name, kind_name)
                contributed.setdefault((name, kind_name), (kind, {}))
    for (name, kind_name), (kind, new) in contributed.items():
        if kind.name == "dict":
            for entry in new.values():
                clock.see(entry[0])
        entries = objects.setdefault(name, {}).setdefault(kind_name, {})
        changed = _taken_in(kind, entries, new, generation)
        drops = [key for key, entry in changed.items() if entry is None]
        puts = {key: entry for key, entry in changed.items() if entry is not None}
        changes.add(f"{kind_name}:{name}", puts, drops)
    lasting = base.lasting | {key.writer for key, line in lines.items() if line.lasts}
    changes.forgotten = {who: one for who, one in forgotten.items() if who in lasting}
    fresh = {
        who: [*one, 1] if who in lasting else [*one]
        for who, one in taken.items()
        if base.taken.get(who) != one
    }
    changes.add(TAKEN, fresh, [who for who in forgotten if who in base.taken])
    went_on = sum(key.writer in base.taken for key in lines)
    at = int(clock.now())
    changes.add(THROUGH, {"closed": generation, "known": known_from, "live": went_on, "at": at}, [])
    left = lasting.intersection(taken)
    return Base(generation, known_from, taken, objects, changes.nodes, went_on, at, left)


def _forgotten(taken: dict[str, Taken], known_from: int) -> tuple[dict[str, Taken], int]:
    """Drop the writers of the oldest generations, as whole generations."""
    dropped: dict[str, Taken] = {}
    if len(taken) > REMEMBERED:
        order = sorted(generation for generation, _ in taken.values())
        last = order[-max(REMEMBERED // 2, 1)]
        newest = order[-1]
        known_from = max(known_from, min(last, newest))
        dropped = {who: one for who, one in taken.items() if one[0] < known_from}
        for who in dropped:
            del taken[who]
    return dropped, known_from


def checked(kind: Kind, name: str, kind_name: str) -> Kind:
    """Check that an object is of the kind that another program has given it.

    Raises:
        StateTypeError: It is not.
    """
    if kind.name != kind_name:
        raise _of_two_kinds(name, kind.name, kind_name)
    return kind


def _of_two_kinds(name: str, one: str, other: str) -> StateTypeError:
    return StateTypeError(
        f"the shared object {name!r} is a {one} in one program and a {other} in another: give one "
        "of them another name"
    )
