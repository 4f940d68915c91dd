"""A node: a container with entries of its own in the store, and what is known about these entries.

`Node` says which container it is and what refers to it. Its `Entries` say which entries are dirty,
and what the store has of the others. Mappings and sets address their entries by keys
(`KeyedEntries`), sequences by position (`items.py`). `Marks` are what is dirty in all nodes of one
store: all modules of tracking know the tracker as its marks, and only `tracker.py` is above them.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from operator import countOf
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar, cast

from autostate.tracking.raw import has, item_of

if TYPE_CHECKING:
    from autostate.codec.signatures import Json
    from autostate.errors import UnsupportedTypeError
    from autostate.signing import Signer
    from autostate.tracking.kind import Kind

Part = TypeVar("Part")

LARGE: Final = 256
"""Entries above which a nested container becomes a node, and writes to a node are recorded singly.

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
        self, tracker: Marks, node_id: int, kind: Kind, obj: Any, name: str | None = None
    ) -> None:
        self.tracker: Marks = tracker
        self.id: int = node_id
        self.kind: Kind = kind
        self.obj: Any = obj
        self.name: str | None = name
        self.entries: Entries = Entries.shapes[kind.shape](self)
        self.log: dict[Any, bool | None] | None = None
        self.capture: EarlyEncoding | None = None
        self.declared: bool = False
        self.referrers: dict[tuple[int, Any], None] = {}
        self.unreachable = False

    @property
    def path(self) -> str:
        """The path of the node, as code would write it."""
        steps: list[str] = []
        node, seen = self, {self}  # nodes may refer to each other in a circle
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
        """Name an entry as long as it is stored; an item, which moves, by its sequence alone."""
        return f"{self.id}/{key}" if type(key) is str else f"{self.id}"

    def close_log(self) -> dict[Any, bool | None]:
        """Take over the dirty keys, with the lock held.

        A thread that records without the lock writes to `log`, and then checks that `log` is still
        the same. So the log is closed first and copied afterwards: a thread whose key was not
        copied finds the log closed, and marks again with the lock.
        """
        self.log = None
        taken, self.entries.keys = self.entries.keys, {}
        # What does not work: to hand out `taken` itself, to which a late thread may still add while
        # a cut reads it; or to let that thread add to the new dict, since nobody lists the node.
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
        self.bad: dict[Any, UnsupportedTypeError] = {}
        self.weight: int = 64
        self.defaults: frozenset[Hashable] = frozenset()
        self.saved_defaults: frozenset[Hashable] = frozenset()
        self.metadata: Json | object = None

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

    def values(self, key: Any) -> list[Any]:
        """List the value of an entry; nothing if the entry is gone."""
        return [item_of(self.node.obj, slot) for slot in self.slots(key)]

    def locate(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """Find the slots of entries; leave out entries that are gone."""
        return {key: key for key in keys if has(self.node.obj, key)}

    def forget(self, key: Any) -> None:
        """Forget an entry that has no container inside any more."""

    def clear_marks(self) -> None:
        """Forget all marks."""
        self.node.close_log()
        self.drops, self.touched, self.bad = {}, {}, {}

    def forget_saved(self) -> None:
        """Forget what the store has of the node: all entries have to be saved."""
        self.node.declared, self.saved, self.all_dirty = False, None, True


def is_one_entry(key: Any, other: Any) -> bool:
    """Tell whether two keys address one entry; nan is never equal to itself."""
    return key is other or bool(key == other)


class KeyedEntries(Entries):
    """The entries of a mapping or set.

    Attributes:
        key_type: The type of all keys or members, if it is one of `barrier.INTERCHANGEABLE`; None
            if they are of several types, of another type, or of an unknown type.
        compare: Whether hashes are kept although the container is large: something has bypassed
            its methods, and may do so again.
        length: How many entries there were at the last cut; None before the first one.
    """

    __slots__ = ("compare", "key_type", "length")

    if TYPE_CHECKING:
        saved: dict[Any, int] | None

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.key_type: type | None = None
        self.compare: bool = False
        self.length: int | None = None

    def growth(self) -> int:
        """Return by how much recorded writes made the container longer since the last cut."""
        # copied in one step of C: a thread that records without the lock may add keys meanwhile
        return countOf(self.keys.copy().values(), True) - countOf(self.drops.values(), True)

    def restore(
        self, keys: Mapping[Any, Any], drops: Mapping[Any, Any], touched: Iterable[Any]
    ) -> None:
        """Mark again entries that a capture had taken over, as older than the present marks.

        They do not count for `growth`: the length at the last cut includes them already.
        """
        # Without the containers, which may have left their entries since.
        self.touched = dict.fromkeys(touched) | self.touched
        recording = self.node.log is not None
        newer = self.node.close_log()
        older: dict[Any, bool | None] = dict.fromkeys(k for k in keys if k not in self.drops)
        self.keys = older | newer  # the oldest first: keys are put in the order of this dict
        self.drops = dict.fromkeys(drops, False) | self.drops
        if not drops.keys().isdisjoint(keys):
            # An entry that was removed and put again moves to the end once more, behind the new
            # ones if the store has them. So these are removed and put again, too.
            news = (key for key, is_new in keys.items() if is_new and key in older)
            self.drops = dict.fromkeys(news, False) | self.drops
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


class EarlyEncoding(Protocol):
    """A node's part of a capture, for a writer who is about to change what the cut has seen.

    Attributes:
        count: The number of entries to encode.
    """

    count: int

    def encode_now(self, key: Any) -> None:
        """Encode one entry before it is written to; the lock is held."""

    def encode_rest(self) -> None:
        """Encode entries that can still change, before the node is untracked; the lock is held."""

    def encode_copy(self, entry: Any, copy: Any, originals: dict[int, Any]) -> bool:
        """Encode a copy of the value of an entry; tell whether all of it can be saved."""

    def holding(self, entries: list[Any], values: list[Any]) -> list[bool]:
        """Tell for each of these values whether it is to be encoded as its entry."""

    def put_early(self, entries: list[Any], raws: list[bytes]) -> None:
        """Take over encoded entries; the lock is held."""


class OpenCapture(Protocol):
    """The capture that is being encoded.

    Attributes:
        began: Nodes have been taken: a node that is made from now on has to be taken, too.
        nodes: The nodes that were taken.
    """

    began: bool
    nodes: set[Node]

    def take(self, nodes: Iterable[Node]) -> None:
        """Copy the dirty entries of nodes, and take over their marks; the lock is held."""

    def failed(self) -> None:
        """Mark everything again: it is not known which changes the store has."""


class DirtySource:
    """One way to find changes without a mark. In all calls the tracker's lock is held.

    A persisted container marks its writes. Changes that nothing marks, of objects and of plain
    containers that the program also holds, are found by a source, in every cut. A source is a part
    (`Marks.part`) that exists when it has something to compare for the first time, so that a
    program without such values runs none of its code.
    """

    __slots__ = ()

    def needs_polling(self) -> bool:
        """Tell whether there is anything to compare: only regular looks find a change of it."""
        return False

    def differs(self) -> bool:
        """Tell whether a value is seen to differ from the last cut, without marking it."""
        return False

    def look(self) -> bool:
        """Mark changed values between two cuts; tell whether only a cut can find more of them."""
        return self.needs_polling()

    def collect(self) -> None:
        """Mark changed values: in a cut, when all containers are armed and none was read."""

    def complete(self) -> None:
        """Mark further changes: in a cut, when all written containers are resolved."""

    def exposed(self) -> Iterable[tuple[Node, Any]]:
        """Yield the entries that a writer can change past the barrier during the encoding."""
        return ()

    def encode(self) -> None:
        """Encode entries like `exposed`, many at once: in a cut, before any other."""

    def end(self) -> None:
        """Forget what was kept for a capture: it is encoded."""

    def guard(self, *, on: bool) -> None:
        """Let changes call the gate of the tracker first, or no longer."""


class Marks(ABC):
    """What is marked in the state objects of one store, and the lock for it.

    Args:
        wake: Called when something becomes dirty, and when an `atomic()` block ends that had
            refused a cut. It may run under a lock and inside a signal handler: it must not block.
        signer: Signs pickled values, and verifies them; None: there are none.
        on_unknown: Returns how to treat a stored value whose type the program does not know:
            "raise" or "keep".

    Attributes:
        lock: Held while anything here is changed.
        closed: Whether the objects are untracked, and plain.
        gate: Called before each write while this process does not own the state. It claims the
            state, or raises, so that nothing is changed. None: the process owns the state.
        ending: Whether the save is the last one: an error then costs one node only, and is not
            retried.
        writing: The container that is about to be written, with the key and its former length: see
            `barrier.before`.
        savepoints: The open blocks of `atomic()`, in the order in which they began; or anything, if
            writes have to be seen as while one is open.
        note_write: Notes the content before a write while blocks are open: see `blocks.py`.
        note_same: Notes that somebody writes what is there already, in the same way.
        convert_put: Converts a value that a block has just put into a mapping.
        note_field: Notes a field of an object before a write, in the same way.
        nodes: All nodes, by number.
        roots: The live roots by name.
        deleted: The numbers of deleted roots, until they are saved.
        dirty_nodes: The nodes in which something is marked.
        settled: The nodes of objects that are saved as their mirrors are, and hold atoms alone,
            of which the scan finds each change, or containers as noted by `resting.py`: a full
            compare leaves them out.
        unresolved: Written containers, by `id`, to be resolved before the next cut: `written.py`.
        shared: The nodes whose containers are plain, or objects, by the `id` of these.
        capture: The capture that is being encoded; None: there is none.
        unsaved: The capture that is not yet known to be durable, and has not failed.
        sources: The sources of changes without a mark.
    """

    note_write: Callable[..., None]
    note_same: Callable[[Any, Any], None]
    convert_put: Callable[[Any, Any], None]
    note_field: Callable[[Any, str], None]

    def __init__(
        self, *, wake: Callable[[], None], signer: Signer | None, on_unknown: Callable[[], str]
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.wake = wake
        self.signer = signer
        self.on_unknown = on_unknown
        self.closed: bool = False
        self.gate: Callable[[], None] | None = None
        self.ending: bool = False
        self.writing: tuple[Any, Any, int] | None = None
        self.savepoints: Collection[object] = ()
        # Weak: a node lives as long as something refers to its container.
        self.nodes: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()
        self.roots: dict[str, Node] = {}
        self.deleted: list[int] = []
        self.dirty_nodes: dict[Node, None] = {}
        self.settled: set[Node] = set()
        self.unresolved: dict[int, Any] = {}
        self.shared: dict[int, Node] = {}
        self.capture: OpenCapture | None = None
        self.unsaved: OpenCapture | None = None
        self.sources: list[DirtySource] = []
        self._parts: dict[Callable[[Marks], Any], Any] = {}
        self._next_id = 1

    def part(self, cls: Callable[[Marks], Part]) -> Part:
        """Return the object of a class that belongs to this tracker; made at its first use.

        So a special case is one file, and costs nothing where it does not occur.
        """
        found = self._parts.get(cls)
        if found is None:
            with self.lock:
                found = self._parts.get(cls)  # another thread may have made it
                if found is None:
                    found = cls(self)
                    # First asked, then found: after Ctrl-C in between, it is made once more. The
                    # other way round it would be in use, and never be asked.
                    if isinstance(found, DirtySource):
                        others = [one for one in self.sources if type(one) is not type(found)]
                        self.sources = [*others, found]
                    self._parts[cls] = found
        return cast("Part", found)

    def part_in_use(self, cls: Callable[[Marks], Part]) -> Part | None:
        """Return the object of a class that belongs to this tracker, if it was ever used."""
        return self._parts.get(cls)

    def touch(self, node: Node, key: Any) -> None:
        """Mark one entry of a node."""
        node.entries.touched[key] = None
        self.dirty_nodes[node] = None

    def touch_all(self, node: Node) -> None:
        """Mark all entries of a node."""
        node.entries.all_dirty = True
        self.dirty_nodes[node] = None

    def mark_unresolved(self, container: Any) -> None:
        """List a container to be resolved before the next cut."""
        self.unresolved[id(container)] = container

    def discard(self, node: Node) -> None:
        """Forget a node that could not be made; it may be repeated."""
        self.nodes.pop(node.id, None)
        self.dirty_nodes.pop(node, None)
        if node.name is not None and self.roots.get(node.name) is node:
            del self.roots[node.name]
        if node.obj._node_ is node:
            node.kind.release(node.obj)
        node.obj._node_ = None

    def mark_anew(self, nodes: Iterable[Node]) -> None:
        """Mark nodes of which the store has nothing; the lock is held."""
        for node in nodes:
            node.entries.forget_saved()
            self.dirty_nodes[node] = None
        self.wake()

    def new_id(self) -> int:
        """Return a number that no node has had."""
        node_id = self._next_id
        self._next_id += 1
        return node_id

    @abstractmethod
    def note_loop(self) -> None:
        """Note the event loop of this thread, if one runs: cuts fall between its callbacks."""

    def pass_gate(self) -> None:
        """Call the gate, if there is one, for a write that does not use the barrier.

        Raises:
            StateInUseError: This process may not write; the gate may raise other errors, too.
        """
        if self.gate is not None:
            with self.lock:
                if self.gate is not None:
                    self.gate()

    @abstractmethod
    def wrote(self, container: Any, *, all_dirty: bool) -> None:
        """List a container that was armed until now; the lock is held."""

    @abstractmethod
    def finish_write(self) -> None:
        """Mark a write that ended before its mark; the lock is held."""

    @abstractmethod
    def may_be_referred_to(self, nodes: Iterable[Node]) -> bool:
        """Tell whether a root that is only stored may refer to one of these nodes."""
