"""The records of a shared state in one store, and the protocol by which processes share them.

It needs nothing of a store but to read, write, list and delete single records; so it is the same on
each. Processes that come and go do not wait for each other, and hold no locks.

    publish    write the lineage → look for the mark "closed" of its generation → acknowledge
    read       list lineages → read the base → read the lineages of later generations
    fold       take the base over → write the mark → read all lineages up to that generation →
               commit the base with them → check the owner → delete them

Why nothing is lost: if a publication does not see the mark, its write came before the mark, so that
the fold reads it. Why nothing counts twice: the base names the generation up to which it has
everything, and readers pass over older lineages, whenever they arrive. If a publication sees the
mark, it may have been in time or not; the base, once committed, tells for each writer how far it
was taken, and the writer goes on in the next generation with the rest.

What does not work: to mark lineages one by one, since a mark can never be deleted (a process that
was stopped for hours may still write). Marks of generations are few; when 256 generations are
closed, one mark of the *era* replaces theirs. A writer looks for the mark of its generation first,
and then for that of its era. What does not work, either: one record with the number of the open
generation. A fold that was stopped for hours could write it again, and so open a closed generation.

The lineages are listed before the base is read. The other way round, a lineage that is taken into
the base in between would be missed. One that is deleted in between is in a newer base: the reader
begins again.

A lineage of a generation that is closed, and not yet in the base, may have come too late. If it
were shown, a view could go back. So a reader looks for the mark again after lineages that are new
to it, and waits for the base if there is one.

In a store that writes several records as a whole and compares others, base and marks are read as of
one moment. Where the lineages are a part of that whole, a publication is one step. Where they lie
apart, as on S3, a publication is as above, and a reader needs no second look for the mark: it has
the lineages first, and then base and marks.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from autostate.errors import AutostateError, FencedError, StoreError, StoreUnavailableError
from autostate.journal.commit import NodeState
from autostate.journal.head import HEADS, OWNER
from autostate.journal.recovery import Recovery
from autostate.process.turns import Turns
from autostate.runtime.place import SHARED_KEYS as PREFIX
from autostate.shared.kinds import Entries
from autostate.shared.line import LINES, Line, LineKey, newest, opened, parse_key, sealed
from autostate.shared.past import Past
from autostate.shared.portions import FRAME
from autostate.stores.base import Store
from autostate.stores.wrapping import StoreAround

CLOSED: Final = "closed-"
ERAS: Final = "era-"
ERA: Final = 256
"""Generations whose marks are replaced by one."""
TAKEN: Final = "=taken"
THROUGH: Final = "=through"
"""Roots of the base: how far writers were taken in, and the generation up to which all were."""
_ROUNDS: Final = 10


class ClosedError(AutostateError):
    """The generation of a publication is closed.

    Args:
        is_certain: Whether the publication was certainly not made.
    """

    def __init__(self, generation: int, *, is_certain: bool) -> None:
        super().__init__(f"the generation {generation} of a shared state is closed")
        self.is_certain = is_certain


class LargeLineError(StoreError):
    """A lineage is larger than a record may be; nothing was written."""


class Base(NamedTuple):
    """What was folded.

    Attributes:
        through: Everything up to this generation is in it.
        known_from: The first generation of which it still knows how far writers were taken in.
        taken: Generation and number of the last change that was taken in, by writer.
        objects: Entries by kind, by name. Programs that disagree about the kind of a name get an
            error, and nobody else.
        nodes: The ids of the nodes of the journal, by the names of their roots.
        went_on: How many writers of the last generation had written in an earlier one.
        folded_at: The time of day of the last fold, in seconds; 0: there was none.
        lasting: The writers of those whose names outlast their processes.
        is_settled: Whether nothing can replace it by another one of the same generation. In a store
            without conditional writes a process that folds may have claimed the base, and not yet
            written its own.
    """

    through: int
    known_from: int
    taken: dict[str, tuple[int, int]]
    objects: dict[str, dict[str, Entries]]
    nodes: dict[str, int]
    went_on: int = 0
    folded_at: int = 0
    lasting: frozenset[str] = frozenset()
    is_settled: bool = True

    @classmethod
    def of(cls, nodes: Mapping[int, NodeState]) -> Base:
        """Read the base from the nodes of its journal."""
        roots = {node.name: node.content or {} for node in nodes.values() if node.name is not None}
        through = roots.pop(THROUGH, {})
        stored = roots.pop(TAKEN, {})
        taken = {who: (one[0], one[1]) for who, one in stored.items()}
        lasting = frozenset(who for who, one in stored.items() if one[2:])
        objects: dict[str, dict[str, Entries]] = {}
        for root, entries in roots.items():
            kind, _, name = root.partition(":")
            objects.setdefault(name, {})[kind] = entries
        ids = {node.name: each for each, node in nodes.items() if node.name is not None}
        closed, known, live, at = (through.get(k, 0) for k in ("closed", "known", "live", "at"))
        return cls(closed, known or 1, taken, objects, ids, live, at, lasting)


class Survey(NamedTuple):
    """How a shared state stands, without what its writers have contributed since the last fold.

    Attributes:
        base: What was folded.
        generation: The generation that is open.
        keys: The lineages of later generations.
        seconds: How long it took.
    """

    base: Base
    generation: int
    keys: tuple[LineKey, ...]
    seconds: float = 0.0

    @property
    def lineages(self) -> int:
        """How many lineages later generations have."""
        return len(self.keys)

    @property
    def is_folding(self) -> bool:
        """Whether a generation is closed that is not in the base yet."""
        return self.generation > self.base.through + 1


class Reading(NamedTuple):
    """A shared state as it was read.

    Attributes:
        base: What was folded.
        lines: The lineages of later generations, by their keys.
        generation: The generation that is open.
        size: Bytes of the lineages.
        is_settled: Whether all of it stays. A lineage in a generation that is closed, and not yet
            in the base, may have come too late to be taken in; then its writer repeats it. In a
            store in which a publication is one step it cannot come late.
    """

    base: Base
    lines: dict[LineKey, Line]
    generation: int
    size: int
    is_settled: bool = True

    def on(self, found: Survey) -> Reading:
        """Give the same on a later base, which has the lineages up to its generation."""
        if found.base.through <= self.base.through:
            return self
        lines = {key: one for key, one in self.lines.items() if key[0] > found.base.through}
        generation = max(self.generation, found.generation)
        return self._replace(base=found.base, lines=lines, generation=generation)

    def is_before(self, other: Reading) -> bool:
        """Tell whether it is certainly of an earlier moment than another one."""
        if self.base.through != other.base.through:
            return self.base.through < other.base.through
        numbers = {key[:2]: line.number for key, line in self.lines.items()}
        return any(numbers.get(key[:2], 0) < line.number for key, line in other.lines.items())


class Prefixed(StoreAround):
    """A store of which only the keys with a prefix are seen, without it.

    Threads publish while others read, and a store is never called by two at once.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._turns = Turns(f"another thread waits for {store.url}")

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return self._turns.run(lambda left: self.store.read(PREFIX + key, timeout=left), timeout)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        found = self._turns.run(
            lambda left: self.store.list(PREFIX + prefix, timeout=left), timeout
        )
        return [key.removeprefix(PREFIX) for key in found]

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        whole = [PREFIX + prefix for prefix in prefixes]
        found = self._turns.run(lambda left: self.store.scan(whole, timeout=left), timeout)
        return {key.removeprefix(PREFIX): data for key, data in found.items()}

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Store.read_many`."""
        whole = [PREFIX + key for key in keys]
        # All of them at once: a caller that stopped in between would keep its turn.
        return iter(
            self._turns.run(lambda left: [*self.store.read_many(whole, timeout=left)], timeout)
        )

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records; see `Store.write`."""
        written = {PREFIX + key: data for key, data in puts.items()}
        gone = [PREFIX + key for key in deletes]
        there = None if expect is None else {PREFIX + k: d for k, d in expect.items()}
        self._turns.run(
            lambda left: self.store.write(written, gone, expect=there, timeout=left), timeout
        )


def _marks(generation: int) -> tuple[str, str]:
    """Give the keys whose records tell that a generation is closed.

    They are read in this order: the mark of an era is written before those in it are deleted.
    """
    return f"{CLOSED}{generation:08}", f"{ERAS}{generation // ERA:08}"


def _version(keys: Collection[str]) -> tuple[str, ...]:
    """Give what changes with the base: the names of its heads, and the claims to it."""
    return tuple(key for key in keys if key.startswith(HEADS))


def _open_generation(base: Base, keys: Collection[str]) -> int:
    """Give the generation that is open, by the base and the marks among some keys."""
    marks = [int(key[len(CLOSED) :]) for key in keys if key.startswith(CLOSED)]
    return max(base.through, *marks, 0) + 1


def _later(base: Base, keys: Collection[str]) -> list[LineKey]:
    """Find the lineages of later generations than those in the base."""
    return [key for (generation, _), key in newest(keys).items() if generation > base.through]


def _opened(key: LineKey, data: bytes, known: tuple[bytes, Line] | None) -> tuple[bytes, Line]:
    """Read a lineage, unless it is as it was."""
    return known if known is not None and known[0] == data else (data, opened(key, data))


class Shelf:
    """The records of a shared state.

    Args:
        store: The store. Its owner closes it.
        past: What the parent of a forked process looks for.

    Attributes:
        store: The records.
        room: The most bytes of the objects in a lineage.
        past: What the base has forgotten.
    """

    def __init__(self, store: Store, past: Past | None = None) -> None:
        self.store: Prefixed = Prefixed(store)
        self.room: int = store.max_record - FRAME
        self._is_guarded = store.atomic and store.conditional
        lies_apart = (PREFIX + LINES).startswith(getattr(store, "apart", ()))
        self._one_step = self._is_guarded and not lies_apart
        self._base: tuple[Any, Base] | None = None
        self._known: dict[LineKey, tuple[bytes, Line]] = {}
        self.past: Past = Past(self.store, past)

    @property
    def has_single_lineages(self) -> bool:
        """Whether each lineage is a request: to read all of them takes long."""
        return not self._one_step

    @property
    def version(self) -> object:
        """What the last reading has found of the base: it changes when a process begins to fold."""
        return None if self._base is None else self._base[0]

    # -- publishing ---------------------------------------------------------------------------

    def publish(
        self, key: LineKey, line: Line, former: Sequence[str] = (), timeout: float | None = None
    ) -> int:
        """Write a lineage. When this returns, everybody who reads later sees it.

        Args:
            key: Its key.
            line: Its content.
            former: Keys of the same lineage with less in them: they are deleted.
            timeout: The most seconds to wait for each answer of the store.

        Returns:
            The bytes of the record.

        Raises:
            ClosedError: The generation is closed.
            LargeLineError: It is larger than a record may be.
            StoreUnavailableError: The outcome is unknown; use another key.
            StoreError: The store refused.
        """
        puts = {key.text: sealed(key, line)}
        if len(puts[key.text]) > self.room + FRAME:
            raise LargeLineError(
                f"changes to the shared state in {self.store.url} take {len(puts[key.text]):,} "
                f"bytes, and a record may have {self.room + FRAME:,}"
            )
        if self._one_step:
            marks = dict.fromkeys(_marks(key.generation))
            try:
                self.store.write(puts, former, expect=marks, timeout=timeout)
            except FencedError:
                raise ClosedError(key.generation, is_certain=True) from None
            return len(puts[key.text])
        self.store.write(puts, timeout=timeout)
        if self._is_closed(key.generation, timeout):
            raise ClosedError(key.generation, is_certain=False)
        if former:
            with suppress(StoreUnavailableError):  # published it is; a fold deletes them
                self.store.write({}, former, timeout=timeout)
        return len(puts[key.text])

    def _is_closed(self, generation: int, timeout: float | None) -> bool:
        marks = _marks(generation)
        if self._is_guarded:
            return bool(self.store.scan(marks, timeout=timeout))
        return any(self.store.read(mark, timeout=timeout) is not None for mark in marks)

    # -- reading ------------------------------------------------------------------------------

    def read(self, timeout: float | None = None) -> Reading:
        """Read the shared state: at least what was acknowledged before the call.

        Raises:
            CorruptStateError: A record is damaged.
            StoreError: The store could not be read.
        """
        for _ in range(_ROUNDS):
            found = self._read(timeout)
            if found is not None:
                return found
        raise StoreUnavailableError(
            f"the shared state in {self.store.url} is folded again and again while it is read: try "
            "again"
        )

    def survey(self, timeout: float | None = None) -> Survey:
        """Read how the shared state stands: few requests, however many lineages there are.

        Raises:
            CorruptStateError: A record is damaged.
            StoreError: The store could not be read.
        """
        began = time.monotonic()
        if self._is_guarded:
            records = self.store.scan((OWNER, CLOSED), timeout=timeout)
            keys: Collection[str] = [*records, *self.store.list(LINES, timeout=timeout)]
            base = self._base_of(records.get(OWNER), timeout)
        else:
            keys = self.store.list("", timeout=timeout)
            base = self._base_of(_version(keys), timeout)
        later = tuple(_later(base, keys))
        return Survey(base, _open_generation(base, keys), later, time.monotonic() - began)

    def _read(self, timeout: float | None) -> Reading | None:
        """Read once; None: a lineage has gone meanwhile."""
        if self._is_guarded:
            records = self.store.scan((LINES, OWNER, CLOSED), timeout=timeout)
            keys: Collection[str] = records
            version: Any = records.get(OWNER)
        else:
            records = {}
            keys = self.store.list("", timeout=timeout)
            version = _version(keys)
        base = self._base_of(version, timeout)
        wanted = _later(base, keys)
        if self._is_guarded:
            contents = [records[key.text] for key in wanted]
        else:
            got = [*self.store.read_many([key.text for key in wanted], timeout=timeout)]
            contents = [data for data in got if data is not None]
            if len(contents) < len(got):
                return None
        before, found = self._known, dict(zip(wanted, contents, strict=True))
        known = {key: _opened(key, data, before.get(key)) for key, data in found.items()}
        self._known, lines = known, {key: line for key, (_, line) in known.items()}
        generation = _open_generation(base, keys)
        reading = Reading(base, lines, generation, sum(map(len, contents)), base.is_settled)
        if self._one_step or not base.is_settled or not lines:
            return reading
        is_late = any(key.generation < generation for key in lines)
        if not (is_late or self._is_guarded):  # the lineages were read later than the marks
            is_news = any(before.get(key) is not known[key] for key in lines)
            is_late = is_news and self._is_closed(generation, timeout)
        return reading._replace(is_settled=not is_late)

    def _base_of(self, version: Any, timeout: float | None) -> Base:
        """Read the base, unless it is as it was."""
        if self._base is None or self._base[0] != version:
            found = Recovery(self.store, "raise", timeout).find()
            rank = (0, "") if found.key is None else found.key.rank
            later = any(claim.rank > rank for claim in found.sighting.claims)
            base = Base.of(found.nodes)
            self._base = version, base._replace(is_settled=self._is_guarded or not later)
        return self.past.recalled(self._base[1], timeout)

    # -- for folds ----------------------------------------------------------------------------

    def close_generation(self, generation: int, timeout: float | None = None) -> None:
        """Write the mark of a generation; before it that of the era that has ended."""
        era = generation // ERA
        puts = {f"{ERAS}{era - 1:08}": b"{}"} if era else {}
        self.store.write({**puts, f"{CLOSED}{generation:08}": b"{}"}, timeout=timeout)

    def lines_through(self, generation: int, timeout: float | None = None) -> dict[LineKey, Line]:
        """Read all lineages up to a generation that is closed.

        Raises:
            StoreUnavailableError: One was deleted meanwhile, by another process that folds.
        """
        keys = [
            key
            for (found, _), key in newest(self.store.list(LINES, timeout=timeout)).items()
            if found <= generation
        ]
        contents = self.store.read_many([key.text for key in keys], timeout=timeout)
        lines = {}
        for key, data in zip(keys, contents, strict=True):
            if data is None:
                raise StoreUnavailableError(f"another process folds {self.store.url}")
            lines[key] = opened(key, data)
        return lines

    def sweep(self, generation: int, timeout: float | None = None) -> None:
        """Delete lineages that are in the base, and marks that the mark of an era replaces."""
        keys = self.store.list("", timeout=timeout)
        gone = [text for text in keys if (key := parse_key(text)) and key.generation <= generation]
        begun = generation // ERA * ERA
        gone += [
            text for text in keys if text.startswith(CLOSED) and int(text[len(CLOSED) :]) < begun
        ]
        if gone:
            self.store.write({}, gone, timeout=timeout)
