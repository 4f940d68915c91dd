"""A node: a container with entries of its own in the store, and what is known about these entries.

`Node` says which container it is and what refers to it. Its `Entries` say which entries are dirty,
and what the store has of the others. Mappings and sets address their entries by keys
(`KeyedEntries`), sequences by position (`items.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from operator import countOf
from typing import TYPE_CHECKING, Any, ClassVar, Final

from autostate.tracking.raw import has

if TYPE_CHECKING:
    from autostate.tracking.kind import Kind
    from autostate.tracking.node_capture import NodeCapture
    from autostate.tracking.tracker import Tracker

LARGE: Final = 256
"""Entries above which a container is *keyed*, and above which a nested one becomes a node.

Smaller containers are compared with the hashes of their saved entries, so that a write at full
speed costs only the changed entries; comparing 256 entries takes about 0.1 ms.
"""


class Node:
    """One container with entries of its own.

    Attributes:
        tracker: The tracker of the state.
        id: The number under which the store knows the node.
        kind: The kind of the container.
        obj: The container.
        name: The name of a root; None for a nested node.
        entries: Which entries are dirty, and what is known about the saved ones.
        log: The dict `entries.keys` while the container is of the recording variant, else None. It
            is here, not there, because each write to a large container reads it twice.
        capture: The node's part of the capture that is being encoded.
        declared: Whether the store has the node.
        referrers: For a nested node: ids of nodes, and their entries, that have referred to it.
        unreachable: Whether no root reaches the node: nothing of it is saved.
    """

    __slots__ = (
        "__weakref__",
        "capture",
        "declared",
        "entries",
        "id",
        "kind",
        "log",
        "name",
        "obj",
        "referrers",
        "tracker",
        "unreachable",
    )

    def __init__(
        self, tracker: Tracker, node_id: int, kind: Kind, obj: Any, name: str | None = None
    ) -> None:
        self.tracker: Tracker = tracker
        self.id: int = node_id
        self.kind: Kind = kind
        self.obj: Any = obj
        self.name: str | None = name
        self.entries: Entries = Entries.shapes[kind.shape](self)
        self.log: dict[Any, bool | None] | None = None
        self.capture: NodeCapture | None = None
        self.declared: bool = False
        self.referrers: dict[tuple[int, Any], None] = {}
        self.unreachable = False

    @property
    def path(self) -> str:
        """The path of the node, as code would write it."""
        steps: list[str] = []
        node, seen = self, {self}
        while node.name is None:
            referrers = [
                (self.tracker.nodes.get(referrer_id), key) for referrer_id, key in node.referrers
            ]
            known = [
                (referrer, key)
                for referrer, key in referrers
                if referrer is not None and referrer not in seen
            ]
            if not known:
                return f"node {node.id}{''.join(reversed(steps))}"
            node, key = known[0]
            seen.add(node)
            steps.append(node.entries.step(key))
        return f"{node.name}{''.join(reversed(steps))}"

    def place_of(self, key: Any) -> str:
        """Name an entry as long as it is stored; all items of a sequence share one name."""
        return f"{self.id}/{key}" if type(key) is str else f"{self.id}"

    def close_log(self) -> dict[Any, bool | None]:
        """Take over the dirty keys, with the lock held.

        A thread that records without the lock writes to `log`, and then checks that `log` is still
        the same. So the log is closed first and copied afterwards: a thread whose key was not
        copied finds the log closed.
        """
        self.log = None
        taken, self.entries.keys = self.entries.keys, {}
        return dict(taken)


class Entries:
    """The entries of one node: which of them are dirty, and what is known about the saved ones.

    Attributes:
        node: The node.
        all_dirty: Whether any entry may be dirty.
        keys: Keys or members that were assigned or added, oldest first, each with True if it was
            not there at the last cut. Of a sequence: the positions that replaced items had at the
            last cut.
        touched: Entries in which something changed: keys, or `ItemRef`s (sequence). The value is
            the container that changed, if it was the whole entry and held only scalars at its last
            resolution, else None.
        drops: Keys or members that were removed since the last capture, each with True if it was
            there at that capture.
        saved: The hashes of the saved entries: see `capture.py`. None if they are unknown.
        bad: Entries that could not be saved, with the error.
        weight: Bytes of an encoded entry, on the average of the last capture.
        defaults: Keys or members that were given as defaults, by any process. No default fills
            them in again, so that a deleted key stays deleted. Of an object: only fields that its
            constructor makes in this process, and deleted fields.
        saved_defaults: The stored part of `defaults`.
        metadata: The stored description of the container (`Kind.describe`).
    """

    __slots__ = (
        "all_dirty",
        "bad",
        "defaults",
        "drops",
        "keys",
        "metadata",
        "node",
        "saved",
        "saved_defaults",
        "touched",
        "weight",
    )

    shapes: ClassVar[dict[str, type[Entries]]] = {}
    """The classes of entries by the shape of their container."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.all_dirty: bool = False
        self.keys: dict[Any, bool | None] = {}
        self.touched: dict[Any, Any] = {}
        self.drops: dict[Any, bool] = {}
        self.saved: Any = None
        self.bad: dict[Any, Any] = {}
        self.weight: int = 64
        self.defaults: frozenset[Hashable] = frozenset()
        self.saved_defaults: frozenset[Hashable] = frozenset()
        self.metadata: Any = None

    def __init_subclass__(cls, shape: str = "") -> None:
        """Make the entries of a shape."""
        Entries.shapes[shape] = cls

    def step(self, key: Any) -> str:
        """Return one entry as a part of a path."""
        raise NotImplementedError

    def at(self, slot: Any) -> Any:
        """Return the entry of a slot: of a key, or of the position of an item."""
        return slot

    def slots(self, key: Any) -> list[Any]:
        """List the slots of an entry: its key, or the position of an item of a sequence."""
        return [key] if has(self.node.obj, key) else []

    def locate(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """Find the slots of entries; leave out entries that are gone."""
        return {key: key for key in keys if has(self.node.obj, key)}

    def forget(self, key: Any) -> None:
        """Note that an entry has no container inside any more."""

    def clear_marks(self) -> None:
        """Forget all marks."""
        self.node.close_log()
        self.drops, self.touched, self.bad = {}, {}, {}

    def forget_saved(self) -> None:
        """Note that the store does not have the node: all entries have to be saved."""
        self.node.declared, self.saved, self.all_dirty = False, None, True


class KeyedEntries(Entries):
    """The entries of a mapping or set.

    Attributes:
        key_type: The type of all keys or members, if it is one of `barrier.INTERCHANGEABLE`; None
            if they are of several types, of another type, or of an unknown type.
        compare: Whether hashes are kept although the container is large: something has bypassed
            its methods, and may do so again.
    """

    __slots__ = ("compare", "key_type")

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.key_type: type | None = None
        self.compare: bool = False

    def growth(self) -> int:
        """Return by how much recorded writes made the container longer since the last cut."""
        return countOf(self.keys.copy().values(), True) - countOf(self.drops.values(), True)

    def restore(
        self, keys: Mapping[Any, Any], drops: Mapping[Any, Any], touched: Mapping[Any, Any]
    ) -> None:
        """Mark again entries that a capture had taken over, as older than the present marks.

        They do not count for `growth`: the length at the last cut includes them already.
        """
        self.touched = dict.fromkeys(touched) | self.touched
        recording = self.node.log is not None
        newer = self.node.close_log()
        older: dict[Any, bool | None] = dict.fromkeys(k for k in keys if k not in self.drops)
        self.keys = older | newer
        self.drops = dict.fromkeys(drops, False) | self.drops
        if recording:
            self.node.log = self.keys


class MappingEntries(KeyedEntries, shape="mapping"):
    """The entries of a mapping: one for each key."""

    __slots__ = ()

    def step(self, key: Any) -> str:
        """Return one entry as a part of a path."""
        return self.node.kind.step(key)


class SetEntries(KeyedEntries, shape="set"):
    """The entries of a set: one for each member."""

    __slots__ = ()

    def step(self, key: Any) -> str:
        """Return nothing: a path ends at a set, because a member holds nothing that changes."""
        return ""
