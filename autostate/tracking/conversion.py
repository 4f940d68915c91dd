"""Conversion: plain containers in the state become persisted ones, invisibly.

A plain `list` that was put into the state stays plain while anybody else can hold it: an item that
the program appends to it must be saved, as it would be visible in a plain dict. When nobody else
references the list any more (CPython's reference count, see `refcount.py`), the list is replaced
by its persisted kind. Until then its entry is *watched*: encoded and compared at every cut.

The replacement is undone if another thread took a reference meanwhile. A thread can take a
reference only from the parent, so that after the swap nobody can reach the old container any more.
If the old container has no other reference then, its content is final, and is compared with the
copy once more. A thread that reaches the new container meanwhile waits for the lock when it writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.codec import arrays
from autostate.tracking import refcount
from autostate.tracking.barrier import VARIANTS, Barrier, kind_of, make, size
from autostate.tracking.items import ItemRef
from autostate.tracking.kind import PLAIN, Kind, copy_dict
from autostate.tracking.node import LARGE
from autostate.tracking.raw import item_of, items_of

if TYPE_CHECKING:
    from autostate.tracking.node import Node

ATOMS: Final[set[type]] = codec.ATOMS
"""Types whose values never change and never hold a container; classes are added when found."""

_FIXED: Final = frozenset({tuple, frozenset, range, slice, Fraction})


def is_object(cls: type) -> bool:
    """Tell whether values of a class can change unseen: no container, and without a barrier."""
    if codec.is_atom(cls) or cls in _FIXED or cls in PLAIN or issubclass(cls, Barrier):
        return False
    entry = codec.entry_for(cls)
    if entry is not None:
        return entry.mutable
    return cls in codec.ENCODERS or codec.is_persisted(cls) or arrays.encoder_of(cls) is not None


def references(holder: Any, slot: Any) -> int:
    """Count the references to the value in a slot, without that of the measurement itself.

    The value is in no variable here, but on the stack, where a value that was read from a container
    is owned and counts once.
    """
    return refcount.count(item_of(holder, slot)) - refcount.MEASURING


_MANY: Final = 10_000


def is_held(parent: Any, slot: Any) -> bool:
    """Tell whether somebody else than its parent references a container.

    The caller must not hold the container. A container in a field is referenced by the object and
    by the object's mirror.
    """
    return references(parent, slot) > kind_of(parent).holds


def slots_of(container: Any) -> list[Any]:
    """List the keys or indices of values that are no atoms; of a large container, all of them.

    To search a large container in one go would hold up other threads.
    """
    kind = kind_of(container)
    if kind.shape == "set":
        return []
    if size(container) > _MANY:
        return list(range(size(container)) if kind.shape == "sequence" else container)
    if kind.shape == "sequence":
        items = items_of(container)
        if ATOMS.issuperset(map(type, items)):
            return []
        return [i for i, value in enumerate(items) if type(value) not in ATOMS]
    if ATOMS.issuperset(map(type, dict.values(container))):
        return []
    return [key for key, value in copy_dict(container).items() if type(value) not in ATOMS]


def convert_inside(container: Any, node: Node, entry: Any) -> bool:
    """Convert all containers in an inline container; False if something has to be watched."""
    complete = True
    for slot in slots_of(container):
        complete = convert(container, slot, node, entry) and complete
    return complete


def convert(parent: Any, slot: Any, node: Node, entry: Any) -> bool:
    """Convert one value and all inside it.

    Args:
        parent: The container that holds the value: armed, or plain itself.
        slot: Its key or index there.
        node: The node to which it will belong.
        entry: The entry of the node in which it lives.

    Returns:
        False if the value, or something inside it, has to be watched.
    """
    value = item_of(parent, slot)
    cls = type(value)
    if cls in ATOMS:
        return True
    if issubclass(cls, Barrier):
        node.tracker.graph.claim(value, node, entry)
        return True
    kind = PLAIN.get(cls)
    if kind is None:
        return not _has_to_be_watched(value, node, entry)
    if node.tracker.sharing.node_of(value) is not None:
        return False  # it is at several places: see sharing.py
    complete, ident = True, id(value)
    met = node.tracker.converting
    if not _holds_atoms(value):
        if ident in met:
            return False  # it holds itself, or is at several places: looked into once
        outermost = not met
        met.add(ident)
        try:
            complete = convert_inside(value, node, entry)
        finally:
            if outermost:
                met.clear()
    del value  # a variable is a reference
    if is_held(parent, slot) or not _replace(parent, slot, kind, node, entry):
        return False
    met.discard(ident)
    return complete


def convert_entry(parent: Any, slot: Any, node: Node, entry: Any) -> bool:
    """Convert like `convert_deep`; leave a value that is nested too deeply to be watched."""
    try:
        return convert_deep(parent, slot, node, entry)
    except RecursionError:
        return False


def _holds_atoms(container: Any) -> bool:
    """Tell whether a plain container holds atoms only: the frequent case."""
    if isinstance(container, dict):
        return ATOMS.issuperset(map(type, dict.values(container)))
    return isinstance(container, set) or ATOMS.issuperset(map(type, container))


def convert_deep(parent: Any, slot: Any, node: Node, entry: Any) -> bool:
    """Convert one value and all inside it, also inside containers that are converted already."""
    complete = convert(parent, slot, node, entry)
    for container in inline([item_of(parent, slot)], node):
        if container._node_ is None:  # it was detached, and came back past the barrier
            node.tracker.graph.claim(container, node, entry)
        if is_inline(container):
            complete = convert_inside(container, container._node_, container._key_) and complete
    return complete


def is_resolved(value: Any, node: Node, slot: Any) -> bool:
    """Tell quickly whether a value belongs to this place and holds nothing to convert."""
    if type(value) not in VARIANTS or value._node_ is not node or size(value) > LARGE:
        return False
    key = value._key_
    here = key.ident == id(value) if type(key) is ItemRef else key is slot
    return here and _holds_atoms(value)


def convert_flat(parent: Any, keys: Iterable[Any], node: Node) -> list[Any]:
    """Convert the dicts of atoms among the entries of a dict: the frequent case, made fast.

    Returns:
        The keys that are left to `convert`.
    """
    kind, get = PLAIN[dict], dict.get
    rest = []
    for key in keys:
        value = get(parent, key)
        if type(value) in ATOMS:
            continue
        if is_resolved(value, node, key):
            continue
        if (
            type(value) is not dict
            or len(value) > LARGE
            or not ATOMS.issuperset(map(type, value.values()))
            # the entry's, the variable's, and that of the stack; `_put` decides, without a variable
            or refcount.count(get(parent, key)) > 2 + refcount.MEASURING
        ):
            rest.append(key)
            continue
        new = make(kind, value, node, key)
        if get(parent, key) is not value:
            rest.append(key)
            continue
        box = [value]
        del value
        if not _put(dict.__setitem__, parent, key, new, box):
            rest.append(key)
        elif new != box[0]:
            kind.refill(new, box[0])
    return rest


def _replace(parent: Any, slot: Any, kind: Kind, node: Node, entry: Any) -> bool:
    """Replace a plain container by its persisted kind; False if the replacement was undone."""
    box = [item_of(parent, slot)]  # and in no variable: see `refcount.py`
    new = make(kind, box[0], node, entry)
    if item_of(parent, slot) is not box[0]:
        return False
    owner = kind_of(parent)
    if owner.swap is not None:
        if not owner.swap(parent, slot, new, box):
            return False
    elif not _put(owner.builtin.__setitem__, parent, slot, new, box):
        return False
    if new != box[0]:
        kind.refill(new, box[0])
    if type(entry) is ItemRef and entry.ident == id(box[0]):
        node.entries.forget(entry)
        entry.ident = id(new)
    if len(new) > LARGE:
        node.tracker.graph.promote(new)
    return True


def _put(put: Callable[..., None], parent: Any, slot: Any, new: Any, box: list[Any]) -> bool:
    """Replace the container in the box by another one; undo that if somebody holds the old one."""
    if refcount.put(put, parent, slot, new, box) > refcount.ALONE:
        put(parent, slot, box[0])
        return False
    return True


def convert_or_watch(node: Node, slot: Any, *, again: bool = False) -> None:
    """Convert the value in a slot of a node, or watch its entry.

    Args:
        node: The node.
        slot: A key or position.
        again: The value may have been there before: search converted containers, too.
    """
    entry = node.entries.at(slot)
    try:
        complete = (convert_deep if again else convert)(node.obj, slot, node, entry)
    except RecursionError:  # nested too deeply: that is reported when it is encoded
        complete = False
    if not complete:
        entry = node.entries.at(slot)  # it may be another object now
        watch = node.tracker.watch
        (watch.add if again else watch.again)(node, entry)
    elif type(entry) is ItemRef and next(inline([item_of(node.obj, slot)], node), None) is None:
        node.entries.forget(entry)


def entries_of(node: Node) -> list[Any]:
    """List the entries of a node whose values are no atoms."""
    return [node.entries.at(slot) for slot in slots_of(node.obj)]


def _has_to_be_watched(value: Any, node: Node, entry: Any) -> bool:
    """Tell whether a value, or something in it, can change unseen; nothing in it is replaced."""
    watched = False
    seen: dict[int, Any] = {}
    left = [value]
    while left:
        one = left.pop()
        cls = type(one)
        if cls in ATOMS or codec.is_atom(cls) or id(one) in seen:
            continue
        if issubclass(cls, Barrier):
            node.tracker.graph.claim(one, node, entry)
            continue
        seen[id(one)] = one
        watched = watched or cls in PLAIN or is_object(cls)
        if cls not in PLAIN and not node.tracker.sharing.is_elsewhere(one, node):
            left += codec.parts_of(one)
    return watched


def is_inline(value: Any) -> bool:
    """Tell whether a value is a persisted container that is no node."""
    return issubclass(type(value), Barrier) and (
        value._node_ is None or value._node_.obj is not value
    )


def inline(container: Any, node: Node) -> Iterator[Any]:
    """Yield each persisted container inside a container that is no node, at any depth, once.

    Args:
        container: The container; or a list of values that are in entries of the node.
        node: Containers below other nodes than this one are left out.
    """
    for value in all_inside(container, node):
        if issubclass(type(value), Barrier):
            yield value


def nodes_inside(values: list[Any], node: Node) -> Iterator[Node]:
    """Yield the nodes among values of a node and inside them, but not inside other nodes."""
    for container in chain([values], all_inside(values, node)):
        for value in _values_of(container):
            if not issubclass(type(value), Barrier):
                known = node.tracker.sharing.node_of(value)
                if known is not None and known is not node:
                    yield known
            elif value._node_ is not None and value._node_.obj is value:
                yield value._node_


def holds(values: list[Any], referrer: Node, node: Node) -> bool:
    """Tell whether the container of a node is in values of a referrer, not in further nodes."""
    target = node.kind.show(node.obj)
    containers = chain([values], all_inside(values, referrer))
    return any(value is target for container in containers for value in _values_of(container))


def all_inside(container: Any, node: Node) -> Iterator[Any]:
    """Yield everything inside a value that is no atom, except below other nodes than this one.

    The search works at any depth: it does not recurse.
    """
    is_elsewhere = node.tracker.sharing.is_elsewhere
    seen: dict[int, Any] = {}
    left = [container]
    while left:
        for value in _values_of(left.pop()):
            if id(value) in seen:
                continue
            if is_inline(value) or not (
                issubclass(type(value), Barrier) or is_elsewhere(value, node)
            ):
                seen[id(value)] = value
                left.append(value)
                yield value


def _values_of(container: Any) -> list[Any]:
    """List the values in a container, a tuple or an object that are no atoms."""
    cls = type(container)  # not `isinstance`, which looks behind a wrapper
    if issubclass(cls, set | frozenset):
        return []
    if issubclass(cls, dict | list | deque):
        values: Any = dict.values(container) if issubclass(cls, dict) else items_of(container)
        if ATOMS.issuperset(map(type, values)):  # the frequent case, six times as fast
            return []
        return [value for value in list(values) if type(value) not in ATOMS]
    return [value for value in codec.parts_of(container) if type(value) not in ATOMS]
