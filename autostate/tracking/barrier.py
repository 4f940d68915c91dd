"""The write barrier, which removes itself.

A persisted container class exists in up to three *variants* of the same layout, and a container
moves between them by assignment to `__class__`:

    armed      the class that users see and subclass. Every mutating method takes the tracker's
               lock, calls the builtin's method and marks.
    disarmed   its twin: mutating methods that are one step of C *are* the builtin's functions. A
               container becomes disarmed with its first write after a capture: from then on the
               container is known to be dirty, and nothing more needs to be recorded.
    recording  for large containers that are nodes: records which keys changed, without the lock.

        ┌────────┐  first write: `changed`   ┌──────────┐
        │ armed  │ ────────────────────────▶ │ disarmed │
        │        │ ◀──────────────────────── │          │
        │        │      cut                  └──────────┘
        │        │  first write: `put` …     ┌───────────┐  `changed`: too much to record
        │        │ ────────────────────────▶ │ recording │ ─────────▶ disarmed
        │        │ ◀──────────────────────── │           │
        └────────┘      cut                  └───────────┘

Why this is safe:

- Under the tracker's lock a cut re-arms *every* dirty container before it reads *any*. A thread
  that writes during the cut therefore waits for the lock, at its first write at the latest. Its
  writes before that are part of the cut, its later writes are not: the cut is consistent.
- A write in the recording variant takes no lock. A thread may have entered `__setitem__` when a cut
  re-arms the container and closes `node.log`; the thread then writes after the cut, finds the log
  closed and marks again, with the lock. Nothing happens between entering and writing, so the
  write may count as before or as after the cut.
- Methods that can run Python code half-way (`update` of a generator, `sort` with a key, `remove`
  with an `__eq__`) keep a wrapper in every variant: `spanning` marks before *and* after, so a
  cut in the middle does not lose the rest.
- `results.append(await page())` looks `append` up *before* the await: if a cut happens meanwhile,
  the builtin's function is called on an armed container. Such a *late call* always changes the
  length. So a cut remembers the lengths of the re-armed containers that somebody else holds, and
  the next cut compares them (`late_calls.py`). `reverse` does not change the length, and is
  never the builtin's own method.
- Ctrl-C may strike between a write and its mark, and in the middle of marking. So `before` notes
  in `Tracker.writing` which entry is about to be written, and the mark deletes the note as its
  last step. A note that the next write or cut finds was left by Ctrl-C, or by an error of the
  builtin: `Tracker.finish_write` marks the entry that it names. There is no call between the mark
  of a write and the deletion of the note, in which Ctrl-C could strike once more.
- A cut can come into the middle of a slice assignment from a generator, or of a write whose key
  has a `__hash__` or `__eq__` in Python, while the container is disarmed. The first insertion of
  such a key changes the length; other changes are found by the full compare at `flush()`,
  `persistState`, `migrating` and shutdown.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.tracking import probe
from autostate.tracking.attributes import shield
from autostate.tracking.derive import derive
from autostate.tracking.kept import SEGMENTS
from autostate.tracking.kind import KINDS, PLAIN, Kind
from autostate.tracking.node import LARGE
from autostate.tracking.unnamed import UNNAMED, unnamed

if TYPE_CHECKING:
    from autostate.tracking.items import SequenceEntries
    from autostate.tracking.node import KeyedEntries, Node


class Barrier:
    """The base of all persisted containers: two slots, and copies that are plain.

    Attributes:
        _node_: The node that the container belongs to; None while it is bound to no store.
        _key_: For an inline container: the entry of the node in which it lives. UNNAMED while it
            was never bound.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        _node_: Node | None
        _key_: Any


_LENGTHS: Final = frozenset(kind.builtin.__len__ for kind in codec.CONTAINERS.values())


def size(container: Any) -> int:
    """Return the number of entries; methods of a user's class are not called."""
    if type(container).__len__ in _LENGTHS:
        return len(container)
    number: int = kind_of(container).builtin.__len__(container)
    return number


def kind_of(container: Any) -> Kind:
    """Return the kind of a plain or persisted container."""
    plain = PLAIN.get(type(container))
    return plain if plain is not None else variants_of(type(container)).kind


class ClassVariants:
    """The variants of one class.

    Attributes:
        armed, disarmed, recording: The variants: see above.
        kind: The kind of container.
        length: The builtin's `__len__`, whatever the class says.
    """

    __slots__ = ("armed", "disarmed", "kind", "length", "recording")

    def __init__(self, armed: type[Any], kind: Kind) -> None:
        self.length: Callable[[Any], int] = kind.builtin.__len__
        self.armed = armed
        self.kind: Kind = kind
        shield(armed, kind, VARIANTS, write_entry)
        raw = {name: getattr(kind.builtin, name) for name in kind.raw}
        self.disarmed = self._twin(raw)
        self.recording = self._twin(kind.recording)
        variants = (armed, self.disarmed, self.recording)
        ours = armed in (kind.tracked, kind.nested, kind.unclaimed)
        if ours:
            VARIANT_SETS[kind.name].update(variants)
        for variant in variants:
            codec.register_container(variant, kind.name, None if ours else kind.copy)
        # In one step of C: a class of which Ctrl-C left only one variant here would look like a
        # class of the program, and get variants of its own.
        VARIANTS.update(dict.fromkeys(variants, self))

    def _twin(self, methods: Mapping[str, Callable[..., Any]]) -> type[Any]:
        """Make a subclass of the same layout and name, with some methods replaced.

        A method that the user's class overrides is not replaced.
        """
        cls, tracked = self.armed, self.kind.tracked
        namespace = {
            "__slots__": (),
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
        }
        ours = {
            name: method
            for name, method in methods.items()
            if getattr(cls, name) is getattr(tracked, name)
        }
        return derive(cls, namespace | ours)


VARIANTS: Final[dict[type, ClassVariants]] = {}
VARIANT_SETS: Final[defaultdict[str, set[type]]] = defaultdict(set)
"""The variants of the library's own classes, by kind."""


def register_kind(kind: Kind) -> None:
    """Make a kind of container known to tracking and codec."""
    KINDS[kind.name] = kind
    PLAIN[kind.builtin] = kind
    ClassVariants(kind.tracked, kind)
    ClassVariants(kind.nested, kind)


def variants_of(cls: type) -> ClassVariants:
    """Return the variants of a class of persisted containers; made at its first use."""
    known = VARIANTS.get(cls)
    if known is not None:
        return known
    kind = next(kind for kind in KINDS.values() if issubclass(cls, kind.tracked))
    return ClassVariants(cls, kind)


def make(kind: Kind, content: Any, node: Node, entry: Any) -> Any:
    """Build the persisted variant of a plain container, armed, owned by an entry of a node."""
    made = kind.builtin.__new__(kind.nested)
    kind.fill(made, content)
    made._node_ = node
    made._key_ = entry
    return made


def arm(container: Any) -> None:
    """Make the container armed: every write to it takes the lock and marks."""
    container.__class__ = variants_of(type(container)).armed


def disarm(container: Any) -> None:
    """Make the container disarmed: writes to it run at full speed."""
    container.__class__ = variants_of(type(container)).disarmed


EVERYTHING: Final = object()
"""In the place of a key: any entry may change."""


def before(container: Any, key: Any = EVERYTHING, *, removes: bool = False) -> None:
    """Prepare a write, with the tracker's lock held.

    An entry that belongs to a cut and is not encoded yet is encoded first. While a block of
    `atomic()` is open, the former content is noted.

    Args:
        container: The container that will be written.
        key: The largest part that may change. Of a mapping or set: a key or member. Of a sequence:
            an index, whose item is replaced; or a slice, which any number of items may replace.
        removes: The entry of a mapping or set is removed.

    Raises:
        StateInUseError: This process may not write: see `Tracker.gate`.
    """
    encode_first(container)
    node: Node | None = container._node_
    if node is None:
        return
    tracker = node.tracker
    if tracker.gate is not None:
        tracker.gate()  # before anything is noted: it may raise
    if tracker.savepoints:
        tracker.note_write(container, key, removes=removes)
    # A note that is still there was left by Ctrl-C or by an error, never by a write under way: the
    # lock is held.
    if tracker.writing is not None:
        tracker.finish_write()
    # A removed key cannot be looked up afterwards; the length tells whether anything was removed.
    tracker.writing = (container, EVERYTHING if removes else key, size(container))


def note_same(container: Any, key: Any) -> None:
    """Note that what is written is there already, for the undo of open blocks; the lock is held."""
    tracker = container._node_.tracker
    if tracker.savepoints:
        tracker.note_same(container, key)


def is_told_apart(container: Any) -> bool:
    """Tell whether each entry is written by itself: `is_keyed`, or a block of `atomic()` is open.

    A block undoes entries; who has written one is not known if all are written at once.
    """
    node: Node | None = container._node_
    return node is not None and (bool(node.tracker.savepoints) or is_keyed(container))


def convert_put(container: Any, key: Any) -> Any:
    """Convert a value that a block has put into a mapping, and return it; the lock is held.

    So it is seen what the block, and others, write inside, from the first write on. A value that
    the caller holds stays plain until nobody does.
    """
    node: Node | None = container._node_
    if node is not None and node.tracker.savepoints and type(dict.get(container, key)) in PLAIN:
        node.tracker.convert_put(container, key)
    return dict.get(container, key)


def note_writing(container: Any, key: Any, length: int) -> None:
    """Note which entry an undo is about to write, as `before` does; the lock is held."""
    if container._node_ is not None:
        container._node_.tracker.writing = (container, key, length)


def encode_first(container: Any) -> None:
    """Encode the entry of a container if it belongs to a cut; the lock is held."""
    node: Node | None = container._node_
    if node is None:
        return  # its store was closed while this thread waited for the lock
    # A write to the node itself needs none of that: the capture has copies of its entries.
    while node.capture is not None and node.obj is not container:
        node.capture.encode_now(container._key_)
        if container._node_ is node:
            break
        node = container._node_  # its holder has become a node meanwhile


def changed(container: Any) -> None:
    """Mark after a write that may have changed any entry, and disarm; the lock is held."""
    node: Node | None = container._node_
    if node is None:
        return
    variants = variants_of(type(container))
    cls = type(container)
    if cls is not variants.disarmed:
        if not node.tracker.savepoints:  # inside atomic() every write has to be seen
            container.__class__ = variants.disarmed
        if cls is variants.armed:  # a recording container is listed already
            node.tracker.wrote(container, all_dirty=True)
    node.tracker.writing = None  # without a call in between, in which Ctrl-C could strike


def put(container: Any, key: Any, *, new: bool) -> None:
    """Mark one entry after it was written, with the lock held.

    Args:
        container: A mapping or a set.
        key: The key or the member.
        new: It was not there before.
    """
    if _record(container):
        node: Node = container._node_
        entries: KeyedEntries = container._node_.entries
        if new and type(key) is not entries.key_type:
            entries.key_type = None
        entries.keys.setdefault(key, new)  # the first write tells whether the last cut had the key
        node.tracker.writing = None


def dropped(container: Any, key: Any) -> None:
    """Mark one entry after it was removed, with the lock held; `key` comes from `held_key`."""
    if _record(container):
        node: Node = container._node_
        entries = node.entries
        if entries.keys.pop(key, None):  # it came after the last cut, and has gone again
            entries.drops.setdefault(key, False)
        else:
            entries.drops[key] = True
        node.tracker.writing = None


def spliced(container: Any, at: int, removed: int, inserted: int) -> None:
    """Mark that items of a sequence were replaced by others; the lock is held."""
    if _record(container):
        node: Node = container._node_
        entries: SequenceEntries = container._node_.entries
        entries.kept.splice(at, removed, inserted)
        if len(entries.kept.segments) > SEGMENTS:
            changed(container)
        node.tracker.writing = None


def cut_off(container: Any, index: int) -> None:
    """Mark that all items of a sequence from an index on changed; the lock is held."""
    if _record(container):
        node: Node = container._node_
        entries: SequenceEntries = container._node_.entries
        entries.kept.clip(max(index, 0))
        node.tracker.writing = None


def moved(container: Any, shift: int) -> None:
    """Mark that items came or went at the ends of a sequence; the lock is held.

    Args:
        container: The sequence.
        shift: So many items were taken off its left end, or, negative, put there.
    """
    if _record(container):
        node: Node = container._node_
        entries: SequenceEntries = container._node_.entries
        entries.first += shift
        entries.kept.move(shift, size(container))
        node.tracker.writing = None


def put_item(container: Any, index: int) -> None:
    """Mark one item that was replaced; `index` counts from the left, with the lock held."""
    if _record(container):
        node: Node = container._node_
        entries: SequenceEntries = container._node_.entries
        entries.mark(index)
        node.tracker.writing = None


def _record(container: Any) -> bool:
    """Begin to record if writes are recorded by entry; else mark the whole container."""
    if not is_keyed(container):
        changed(container)
        return False
    node: Node = container._node_
    variants = variants_of(type(container))
    cls = type(container)
    if cls is variants.disarmed:
        return False
    if cls is variants.armed:
        if not node.tracker.savepoints:
            node.log = node.entries.keys
            container.__class__ = variants.recording
        node.tracker.wrote(container, all_dirty=False)
    return True


def write_entry(function: Callable[..., Any], container: Any, key: Any, /, *value: Any) -> Any:
    """Call a function that may write one entry of a dict, even past the barrier, and mark it."""
    node: Node | None = container._node_
    if node is None:
        return function(container, key, *value)
    former = dict.get(container, key, EVERYTHING)
    with node.tracker.lock:
        before(container, key, removes=not value)
    try:
        return function(container, key, *value)  # without the lock: it is code of the program
    finally:
        now = dict.get(container, key, EVERYTHING)
        if now is not former and container._node_ is node:
            with node.tracker.lock:
                if now is EVERYTHING:
                    dropped(container, key)
                else:
                    put(container, key, new=former is EVERYTHING)


def put_late(container: Any, key: Any, *, new: bool) -> None:
    """Mark one entry with the lock: a cut has closed the log of writes without the lock."""
    with container._node_.tracker.lock:
        put(container, key, new=new)


def is_keyed(container: Any) -> bool:
    """Tell whether writes to the container are recorded by entry.

    Writes to a large node are recorded. Writes to a node that has become small are recorded until a
    capture has remembered the hashes of its entries: without hashes, all entries would be written.
    """
    node: Node | None = container._node_
    if node is None or node.obj is not container:
        return False
    if size(container) > LARGE:
        return True
    if node.kind.shape == "sequence" or not node.declared:
        return False
    return node.entries.saved is None and not node.entries.all_dirty


INTERCHANGEABLE: Final = frozenset({str, int, bytes, bool, type(None)})
"""Types of keys: two equal keys of one of these types are the same in every respect."""


def held_key(container: Any, key: Any) -> Any:
    """Return the key that a recorded mapping or set holds in the place of an equal one.

    The held key is the one that is stored; see `tracking/probe.py`.
    """
    node: Node | None = container._node_
    if node is None or node.obj is not container:
        return key
    if type(key) is container._node_.entries.key_type or not is_keyed(container):
        return key
    return probe.held_key(node.kind.builtin, container, key)


def held_keys(container: Any, keys: Iterable[Any]) -> Iterable[Any]:
    """Return many keys as `held_key` does; the container is a node."""
    entries: KeyedEntries = container._node_.entries
    # one step of C for all of them, in the frequent case
    if entries.key_type is not None and {entries.key_type}.issuperset(map(type, keys)):
        return keys
    return [held_key(container, key) for key in keys]


def locked(builtin: type, name: str) -> Callable[..., Any]:
    """Wrap a mutating method of a builtin that is one step of C."""
    function = getattr(builtin, name)

    @functools.wraps(function)
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        node = self._node_
        if node is None:
            return function(self, *args, **kwargs)
        with node.tracker.lock:
            before(self)
            result = function(self, *args, **kwargs)
            changed(self)
        return result

    return method


def spanning(builtin: type, name: str) -> Callable[..., Any]:
    """Wrap a mutating method of a builtin that can run Python code half-way.

    The method runs without the lock, because its Python code may wait for another thread.
    """
    function = getattr(builtin, name)

    @functools.wraps(function)
    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return span(self, function, *args, **kwargs)

    return method


def span(container: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function that writes to the container in several steps."""
    node = container._node_
    if node is None:
        if container._key_ is UNNAMED:
            unnamed(container)
        return function(container, *args, **kwargs)
    lock = node.tracker.lock
    with lock:
        before(container)
        changed(container)  # before the call, too: whatever a cut in its middle finds is dirty
    try:
        return function(container, *args, **kwargs)
    finally:
        with lock:
            changed(container)
