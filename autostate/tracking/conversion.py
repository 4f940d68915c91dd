"""Replacing plain containers in the state by persisted ones, invisibly.

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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autostate.tracking import refcount
from autostate.tracking.barrier import VARIANTS, kind_of, make, size
from autostate.tracking.items import ItemRef
from autostate.tracking.kind import Kind
from autostate.tracking.node import LARGE
from autostate.tracking.raw import item_of
from autostate.tracking.search import holds_atoms

if TYPE_CHECKING:
    from autostate.tracking.node import Node


def references(holder: Any, slot: Any) -> int:
    """Count the references to the value in a slot, without that of the measurement itself.

    The value is in no variable here, but on the stack, where a value that was read from a container
    is owned and counts once.
    """
    return refcount.count(item_of(holder, slot)) - refcount.MEASURING


def is_held(parent: Any, slot: Any) -> bool:
    """Tell whether somebody else than its parent references a container.

    The caller must not hold the container. A container in a field is referenced by the object and
    by the object's mirror.
    """
    return references(parent, slot) > kind_of(parent).holds


def is_resolved(value: Any, node: Node, slot: Any) -> bool:
    """Tell quickly whether a value belongs to this place and holds nothing to convert."""
    if type(value) not in VARIANTS or value._node_ is not node or size(value) > LARGE:
        return False
    key = value._key_
    here = key.ident == id(value) if type(key) is ItemRef else key is slot
    return here and holds_atoms(value)


def replace(parent: Any, slot: Any, kind: Kind, node: Node, entry: Any) -> Any:
    """Replace a plain container by its persisted kind.

    Returns:
        The new container; None if the replacement was undone.
    """
    box = [item_of(parent, slot)]  # and in no variable: see `refcount.py`
    new = make(kind, box[0], node, entry)
    if item_of(parent, slot) is not box[0]:  # the copy took time, in which others may have written
        return None
    owner = kind_of(parent)
    if owner.swap is not None:
        if not owner.swap(parent, slot, new, box):
            return None
    elif not _put(owner.builtin.__setitem__, parent, slot, new, box):
        return None
    if new != box[0]:  # changed after it was copied; nobody can reach it any more
        kind.refill(new, box[0])
    if type(entry) is ItemRef and entry.ident == id(box[0]):
        # The entry follows the item. With the `id` of the plain container, which is freed, it would
        # not be found any more.
        node.entries.forget(entry)
        entry.ident = id(new)
    return new


def _put(put: Callable[..., None], parent: Any, slot: Any, new: Any, box: list[Any]) -> bool:
    """Replace the container in the box by another one; undo that if somebody holds the old one."""
    if refcount.put(put, parent, slot, new, box) > refcount.ALONE:
        put(parent, slot, box[0])
        return False
    return True
