"""The write barrier, which removes itself.

A persisted container class exists in up to three *variants* of the same layout, and a container
moves between them by assignment to `__class__`:

    armed      what users see and subclass. Every mutating method takes the tracker's lock, does
               the builtin's own mutation and marks.
    disarmed   the twin: mutating methods that are one step of C *are* the builtin's functions.
               A container enters it with its first write after a capture: from then on it is
               known to be dirty, and nothing more needs to be recorded.
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
  that writes during the cut therefore meets the lock, with its first write at the latest: what
  it wrote before is part of the cut, what it writes afterwards is not. That is a consistent cut.
- A write in the recording variant takes no lock. A thread may have entered `__setitem__` when a cut
  re-arms the container and closes `node.log`; it then writes after the cut, finds the log closed
  and marks again, with the lock. Between entering and writing nothing happens, so the write may
  as well be placed before or after the cut.
- Methods that can run Python code half-way (`update` of a generator, `sort` with a key, `remove`
  with an `__eq__`) keep a wrapper in every variant: `spanning` marks before *and* after, so a
  cut in the middle does not lose the rest.
- `results.append(await page())` looks `append` up *before* it waits: after a cut meanwhile, the
  builtin's function is called on an armed container. Such *late calls* always change the length:
  a cut remembers the length of what it re-armed and somebody else holds, and compares it at the
  next one (`Tracker._late_calls`). `reverse`, which does not change it, is not left to C.
- Ctrl-C may strike between a write and its mark, and in the middle of marking. So `before` notes
  in `Tracker.writing` what is about to be written, and the mark takes the note back as its last
  step. A note that the next write or cut finds was left by Ctrl-C, or by an error of the builtin:
  `Tracker.finish_write` marks what may have happened. There is no call between the mark of a
  write and the end of the note, in which Ctrl-C could strike once more.
- A slice assigned from a generator, and keys with a `__hash__` or `__eq__` in Python, can be
  overtaken in the disarmed variant. The first insertion of such a key changes the length; the rest
  is found when contents are compared at `flush()`, persist_state, migrating and shutdown.
"""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.tracking import probe
from autostate.tracking.attributes import shield
from autostate.tracking.kept import SEGMENTS
from autostate.tracking.node import LARGE
from autostate.tracking.unnamed import UNNAMED, unnamed

if TYPE_CHECKING:
    from autostate.tracking.node import Node


class Barrier:
    """What all persisted containers share: two slots, and the way to plain copies.

    Attributes:
        _node_: The node that the container belongs to; None while it is bound to no store.
        _key_: For an inline container: the entry of the node in which it lives. UNNAMED while it
            was never bound.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        _node_: Node | None
        _key_: Any


def _nothing(*_: Any) -> None:
    """Describe a kind that needs no description."""


def _itself(container: Any) -> Any:
    """Show a container as it is."""
    return container


@dataclass(frozen=True)
class Kind:
    """One kind of container.

    Attributes:
        name: As stored.
        shape: How its entries are addressed: "mapping" by key, "set" by member, "sequence" by
            position.
        builtin: The plain type that it replaces.
        tracked: Its persisted class, armed.
        nested: The same for nested containers: called, it makes a plain builtin, so that
            `type(obj)(...)`, which `dataclasses.asdict` does, works as on the plain type.
        copy: Makes a shallow plain copy.
        fill: The builtin's function that fills an empty one from a plain one.
        refill: Replaces the content in place, by the builtin's functions.
        raw: Mutating methods that are one step of C, so that the disarmed variant can use them.
        recording: The methods of the recording variant.
        describe: Gives what has to be known to make an empty one, as JSON; None if nothing.
        configure: Gives an empty one that description.
        show: Gives what stands for a container where the state refers to it.
        complete: Called for a root that was rehydrated, or begun, with all that it refers to: it
            may fail, and gives what is left to do when nothing has.
        release: Called for one that is untracked, or was not rehydrated after all.
        unclaimed: The class of roots that came along with another one that refers to them. It has
            the layout of a user's subclass, so that they can still become of one.
    """

    name: str
    shape: str
    builtin: Any
    tracked: Any
    copy: Callable[[Any], Any]
    fill: Callable[[Any, Any], Any]
    refill: Callable[[Any, Any], None]
    raw: frozenset[str]
    recording: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Any], Any] = _nothing
    configure: Callable[[Any, Any], None] = _nothing
    show: Callable[[Any], Any] = _itself
    complete: Callable[[Any], Callable[[], None]] | None = None
    release: Callable[[Any], None] = _nothing
    nested: Any = field(init=False)
    unclaimed: Any = field(init=False)

    def __post_init__(self) -> None:
        """Make the classes of nested containers and of unclaimed roots."""
        cls, builtin = self.tracked, self.builtin
        looks = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
        }
        makes_plain = {
            "__slots__": (),
            "__new__": lambda _cls, *args, **kwargs: builtin(*args, **kwargs),
        }
        nested = type(cls)(cls.__name__, (cls,), looks | makes_plain)
        object.__setattr__(self, "nested", nested)
        object.__setattr__(self, "unclaimed", type(cls)(cls.__name__, (cls,), looks))

    def make(self, content: Any, node: Node, key: Any) -> Any:
        """Build the tracked variant of a plain container, armed, owned by an entry of `node`."""
        made = self.builtin.__new__(self.nested)
        self.fill(made, content)
        made._node_ = node
        made._key_ = key
        return made


def copy_dict(container: dict[Any, Any]) -> dict[Any, Any]:
    """Make a shallow plain copy, whatever a user's class overrides."""
    if type(container).__iter__ is dict.__iter__:
        return dict(container)
    return dict(dict.items(container))


_LENGTHS: Final = frozenset(cls.__len__ for cls in (dict, set, list, deque, OrderedDict))


def size(container: Any) -> int:
    """The number of entries, whatever a user's class says."""
    if type(container).__len__ in _LENGTHS:
        return len(container)
    number: int = kind_of(container).builtin.__len__(container)
    return number


def kind_of(container: Any) -> Kind:
    """The kind of a plain or persisted container."""
    plain = PLAIN.get(type(container))
    return plain if plain is not None else variants_of(type(container)).kind


class _Twin:
    """Keeps `__init_subclass__` of a user's class from running for its variants."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Do nothing."""


class ClassVariants:
    """The variants of one class."""

    __slots__ = ("armed", "disarmed", "kind", "length", "recording")

    def __init__(self, armed: Any, kind: Kind) -> None:
        self.length: Callable[[Any], int] = kind.builtin.__len__  # whatever the class says
        self.armed: Any = armed
        self.kind: Kind = kind
        shield(armed, kind, VARIANTS, write_entry)
        raw = {name: getattr(kind.builtin, name) for name in kind.raw}
        self.disarmed: Any = self._twin(raw)
        self.recording: Any = self._twin(kind.recording)
        for variant in (armed, self.disarmed, self.recording):
            VARIANTS[variant] = self
            VARIANT_SETS[kind.name].add(variant)
            ours = armed in (kind.tracked, kind.nested, kind.unclaimed)
            codec.register_container(variant, kind.name, None if ours else kind.copy)

    def _twin(self, methods: Mapping[str, Any]) -> Any:
        """Make a subclass of the same layout and name, with some methods replaced.

        A method that the user's class overrides is left to it. What its metaclass does when a
        class is made, it has done for the class: the metaclass is not called.
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
        make: Any = ABCMeta.__new__ if isinstance(cls, ABCMeta) else type.__new__
        return make(type(cls), cls.__name__, (_Twin, cls), namespace | ours)


VARIANTS: Final[dict[type, ClassVariants]] = {}
VARIANT_SETS: Final[defaultdict[str, set[type]]] = defaultdict(set)
KINDS: Final[dict[str, Kind]] = {}
PLAIN: Final[dict[type, Kind]] = {}


def register_kind(kind: Kind) -> None:
    """Make a kind of container known to tracking and codec."""
    KINDS[kind.name] = kind
    PLAIN[kind.builtin] = kind
    ClassVariants(kind.tracked, kind)
    ClassVariants(kind.nested, kind)


class Cell(dict[str, Any]):
    """What holds an object that is a node of its own, because it is at several places."""

    __slots__ = ("_key_", "_node_")


def _refill_cell(cell: Cell, content: dict[str, Any]) -> None:
    cell.update(content)


OBJECT: Final = Kind(
    name="shared_object",
    shape="mapping",
    builtin=Cell,
    tracked=Cell,
    copy=dict,
    fill=dict.update,
    refill=_refill_cell,
    raw=frozenset(),
    show=lambda cell: cell["value"],
)
"""An object without a barrier: saved as a whole, as the one entry "value"."""

object.__setattr__(OBJECT, "nested", Cell)  # there is nothing to hide about it
KINDS[OBJECT.name] = PLAIN[Cell] = OBJECT


def variants_of(cls: type) -> ClassVariants:
    """The variants of a class of persisted containers; made at its first use."""
    known = VARIANTS.get(cls)
    if known is not None:
        return known
    kind = next(kind for kind in KINDS.values() if issubclass(cls, kind.tracked))
    return ClassVariants(cls, kind)


def arm(container: Any) -> None:
    """Let every write to the container meet the barrier again."""
    container.__class__ = variants_of(type(container)).armed


def disarm(container: Any) -> None:
    """Let writes to the container pass at full speed."""
    container.__class__ = variants_of(type(container)).disarmed


EVERYTHING: Final = object()
"""In the place of a key: any entry may change."""


def before(container: Any, key: Any = EVERYTHING, *, removes: bool = False) -> None:
    """Prepare a write, with the tracker's lock held.

    If the entry belongs to a cut and is not encoded yet, it is encoded first. While a block of
    `atomic()` is open the former content is noted.

    Args:
        container: What is written.
        key: What will change at the most. Of a mapping or set, the entry of a key or member. Of a
            sequence, the item at an index, which is replaced; or a slice, in the place of which
            any number of items may come.
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
        tracker.gate()
    if tracker.savepoints:
        tracker.note_write(container, key, removes=removes)
    if tracker.writing is not None:
        tracker.finish_write()
    tracker.writing = (container, EVERYTHING if removes else key, size(container))


def encode_first(container: Any) -> None:
    """Encode what is about to change, if it belongs to a cut; the lock is held."""
    node: Node | None = container._node_
    if node is None:
        return  # its store was closed while this thread waited for the lock
    while node.capture is not None and node.obj is not container:
        node.capture.encode_now(container._key_)
        if container._node_ is node:
            break
        node = container._node_  # what holds the container has become a node meanwhile


def changed(container: Any) -> None:
    """Mark after a write that may have changed anything, with the lock held, and disarm."""
    node: Node | None = container._node_
    if node is None:
        return
    variants = variants_of(type(container))
    cls = type(container)
    if cls is not variants.disarmed:
        if not node.tracker.savepoints:  # inside atomic() every write has to be seen
            container.__class__ = variants.disarmed
        if cls is variants.armed:
            node.tracker.wrote(container, all_dirty=True)
    node.tracker.writing = None


def put(container: Any, key: Any, *, new: bool) -> None:
    """Mark one entry after it was written, with the lock held.

    Args:
        container: A mapping or a set.
        key: The key or the member.
        new: It was not there before.
    """
    if _record(container):
        node: Node = container._node_
        if new and type(key) is not node.key_type:
            node.key_type = None
        node.keys.setdefault(key, new)
        node.tracker.writing = None


def dropped(container: Any, key: Any) -> None:
    """Mark one entry after it was removed, with the lock held; `key` as `held_key` gave it."""
    if _record(container):
        node: Node = container._node_
        if node.keys.pop(key, None):  # it came after the last cut, and has gone again
            node.drops.setdefault(key, False)
        else:
            node.drops[key] = True
        node.tracker.writing = None


def spliced(container: Any, at: int, removed: int, inserted: int) -> None:
    """Mark what was taken out of a sequence, and put in its place, with the lock held."""
    if _record(container):
        node: Node = container._node_
        node.kept.splice(at, removed, inserted)
        if len(node.kept.segments) > SEGMENTS:
            changed(container)
        node.tracker.writing = None


def cut_off(container: Any, index: int) -> None:
    """Mark that a sequence has other items from an index on, with the lock held."""
    if _record(container):
        node: Node = container._node_
        node.kept.clip(max(index, 0))
        node.tracker.writing = None


def moved(container: Any, shift: int) -> None:
    """Mark what an operation at the ends of a sequence did, after it, with the lock held.

    Args:
        container: The sequence.
        shift: So many items were taken off its left end, or, negative, put there.
    """
    if _record(container):
        node: Node = container._node_
        node.first += shift
        node.kept.move(shift, size(container))
        node.tracker.writing = None


def put_item(container: Any, index: int) -> None:
    """Mark one item that was replaced; `index` counts from the left, with the lock held."""
    if _record(container):
        node: Node = container._node_
        node.mark_item(index)
        node.tracker.writing = None


def _record(container: Any) -> bool:
    """Enter the recording variant if entries are recorded; else mark the container as a whole."""
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
            node.log = node.keys
            container.__class__ = variants.recording
        node.tracker.wrote(container, all_dirty=False)
    return True


def write_entry(function: Callable[..., Any], container: Any, key: Any, /, *value: Any) -> Any:
    """Call what may write one entry of a dict, past the barrier too, and mark what it did."""
    node: Node | None = container._node_
    if node is None:
        return function(container, key, *value)
    former = dict.get(container, key, EVERYTHING)
    with node.tracker.lock:
        before(container, key, removes=not value)
    try:
        return function(container, key, *value)
    finally:
        now = dict.get(container, key, EVERYTHING)
        if now is not former and container._node_ is node:
            with node.tracker.lock:
                if now is EVERYTHING:
                    dropped(container, key)
                else:
                    put(container, key, new=former is EVERYTHING)


def put_late(container: Any, key: Any, *, new: bool) -> None:
    """Mark with the lock what was to be recorded without: a cut has closed the log."""
    with container._node_.tracker.lock:
        put(container, key, new=new)


def is_keyed(container: Any) -> bool:
    """Whether writes to the container are recorded by entry.

    Those to a large node are. One that has become small goes on being recorded until a capture
    has remembered what is saved of it: what is unknown could only be written again as a whole.
    """
    node: Node | None = container._node_
    if node is None or node.obj is not container:
        return False
    if size(container) > LARGE:
        return True
    return node.saved is None and node.declared and not node.all_dirty and node.shape != "sequence"


INTERCHANGEABLE: Final = frozenset({str, int, bytes, bool, type(None)})
"""Types of keys of which two that are equal are the same in every respect, if both are of it."""


def held_key(container: Any, key: Any) -> Any:
    """The key that a mapping or set whose writes are recorded holds in the place of an equal one.

    That is the one that is stored; see `tracking/probe.py`.
    """
    node: Node | None = container._node_
    if node is None or type(key) is node.key_type or not is_keyed(container):
        return key
    return probe.held_key(KINDS[node.kind].builtin, container, key)


def held_keys(container: Any, keys: Iterable[Any]) -> Iterable[Any]:
    """Many keys as `held_key` gives them."""
    node: Node = container._node_
    if node.key_type is not None and {node.key_type}.issuperset(map(type, keys)):
        return keys
    return [held_key(container, key) for key in keys]


def locked(builtin: type, name: str) -> Any:
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


def spanning(builtin: type, name: str) -> Any:
    """Wrap a mutating method of a builtin that can run Python code half-way.

    It runs without the lock: the code that it runs may wait for another thread.
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
        changed(container)
    try:
        return function(container, *args, **kwargs)
    finally:
        with lock:
            changed(container)
