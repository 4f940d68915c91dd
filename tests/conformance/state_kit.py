"""A small program with a state of its own: what tests of tracking, codec and containers drive.

`Program` stands for one run of a program; `restart()` is the next run, which sees nothing but
what the last one had committed. `shape` says what a state is, so that two can be compared:
structure, exact types, order, and which places hold the same object.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any, Final, Literal

from autostate.containers import (
    PersistedCounter,
    PersistedDeque,
    PersistedDict,
    PersistedList,
    PersistedSet,
)
from autostate.containers.default import PersistedDefaultDict
from autostate.containers.ordered import PersistedOrderedDict
from autostate.containers.root import blank
from autostate.errors import UnsupportedTypeError
from autostate.journal import Journal
from autostate.signing import Signer
from autostate.stores.memory import MemoryStore
from autostate.tracking import Tracker, convert
from autostate.tracking.defaults import begin, offer

BUILTIN: Final[dict[str, Any]] = {
    "dict": dict,
    "list": list,
    "set": set,
    "counter": Counter,
    "deque": deque,
    "ordereddict": OrderedDict,
    "defaultdict": defaultdict,
}
PERSISTED: Final[dict[str, Any]] = {
    "dict": PersistedDict,
    "list": PersistedList,
    "set": PersistedSet,
    "counter": PersistedCounter,
    "deque": PersistedDeque,
    "ordereddict": PersistedOrderedDict,
    "defaultdict": PersistedDefaultDict,
}
ROOTS: Final = ("dict", "list", "set", "counter", "deque")
"""The kinds of state objects; the others are nested only."""

LEAVES: Final = frozenset({bool, bytes, float, int, str, type(None)})
"""Types of values that hold no others."""

Outcome = Literal["saved", "lost", "unknown"]


class Program:
    """One run of a program that keeps its state.

    Args:
        store: Where an earlier run kept its state; a new store if there was none.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.journal = Journal(self.store, convert=convert)
        recovered = self.journal.recover()
        self.woken = 0
        signer = Signer(self.store.url, lambda: ())
        self.tracker = Tracker(wake=self._wake, signer=signer)
        self.tracker.load(recovered.nodes, recovered.next_id)
        self.errors: list[UnsupportedTypeError] = []

    def _wake(self) -> None:
        self.woken += 1

    def root(self, name: str, kind: str = "dict", default: Any = None, cls: Any = None) -> Any:
        """Make a state object, or rehydrate it; `cls` is a subclass of the kind's."""
        root = self.tracker.root(name)
        if root is None:
            root = blank(cls or PERSISTED[kind])
            self.tracker.attach(root, name, kind)
        if kind in ("list", "deque"):
            begin(root, [] if default is None else default)
        else:
            offer(root, default if default is not None else {})
        return root

    def flush(self, *, full_compare: bool = False, outcome: Outcome = "saved") -> list[bytes]:
        """Save, and give the changes that were written.

        Args:
            full_compare: Look for what was written past the barrier, too.
            outcome: "lost": the store did not get it. "unknown": it did, but nobody was told.
        """
        capture = self.tracker.cut(full_compare=full_compare)
        assert capture is not None
        changes = list(capture.encode())
        self.errors = list(capture.errors)
        if changes and outcome != "lost":
            self.journal.commit(changes)
        if outcome == "saved":
            capture.saved()
        else:
            capture.failed()
        return changes

    def restart(self) -> Program:
        """Start the next run; this one was killed."""
        return Program(self.store)


def form(container: Any) -> str:
    """Which form a persisted container is in: armed, disarmed or recording."""
    from autostate.tracking.barrier import variants_of

    forms = variants_of(type(container))
    return {forms.armed: "armed", forms.disarmed: "disarmed", forms.recording: "recording"}[
        type(container)
    ]


def shape(*values: Any) -> tuple[Any, ...]:
    """Describe values: two states are the same if their shapes are equal.

    A container that was met already is described by the number of its first appearance. The
    order of a set says nothing, all other orders do.
    """
    met: dict[int, int] = {}
    return tuple(_shape(value, met) for value in values)


def _shape(value: Any, met: dict[int, int]) -> Any:
    if type(value) in LEAVES:  # most values are: to ask what they are not takes its time
        return type(value), repr(value)
    kind = next((k for k, persisted in PERSISTED.items() if isinstance(value, persisted)), None)
    cls = BUILTIN[kind] if kind is not None else type(value)
    if cls in BUILTIN.values():
        if id(value) in met:
            return "met", met[id(value)]
        met[id(value)] = len(met)
    if issubclass(cls, dict):
        entries = [(_shape(key, met), _shape(item, met)) for key, item in cls.items(value)]
        return cls, entries, getattr(value, "default_factory", None)
    if cls in (list, deque):
        return cls, [_shape(item, met) for item in cls.__iter__(value)], getattr(value, "maxlen", 0)
    if cls is tuple:
        return cls, [_shape(item, met) for item in value]
    if cls in (set, frozenset):
        return cls, sorted(repr(_shape(member, met)) for member in value)
    return cls, repr(value)
