"""What a program gives for a state object that may be stored already: defaults, first content."""

from __future__ import annotations

import sys
from collections.abc import Container, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from autostate.tracking import refcount
from autostate.tracking.barrier import kind_of, size
from autostate.tracking.conversion import references
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import LARGE
from autostate.tracking.raw import has, item_of
from autostate.tracking.search import holds_atoms, slots_of

if TYPE_CHECKING:
    from autostate.tracking.items import SequenceEntries
    from autostate.tracking.node import Node


def offer(container: Any, defaults: Mapping[Any, Any]) -> list[Any]:
    """Fill in the defaults that the stored state never had (dict, set and counter).

    Returns:
        The keys that were filled in.
    """
    node: Node = container._node_
    tracker = node.tracker
    with tracker.lock:
        kind, entries = node.kind, node.entries
        new = [k for k in defaults if not has(container, k) and k not in entries.defaults]
        is_new = not (node.declared or entries.defaults or size(container))
        if is_new and entries.all_dirty:  # not if a capture has taken the mark
            kind.fill(container, defaults)
        elif new:
            tracker.dirty_nodes[node] = None
            tracker.mark_unresolved(container)
            try:
                kind.fill(container, {key: defaults[key] for key in new})
            finally:
                entries.all_dirty = entries.all_dirty or size(container) <= LARGE
                entries.keys.update(dict.fromkeys([k for k in new if has(container, k)], True))
            tracker.wake()
        if not entries.defaults.issuperset(defaults):
            tracker.dirty_nodes[node] = None
            # After filling in: else defaults would count as offered after an interruption.
            entries.defaults |= frozenset(defaults)
            tracker.wake()
        return new


def begin(container: Any, default: list[Any]) -> list[int]:
    """Fill a list that was never saved, unless that was done before.

    Returns:
        The positions that were filled.
    """
    node: Node = container._node_
    entries: SequenceEntries = container._node_.entries
    with node.tracker.lock:
        is_new = not (node.declared or entries.begun or size(container))
        if is_new and entries.all_dirty:
            node.kind.fill(container, default)
            entries.begun = bool(default)
            return [*range(size(container))]
    return []


def owned(
    container: Any, values: Any, given: Any, by_keyword: Mapping[str, Any] | None = None
) -> Any:
    """Replace containers in defaults by copies if nothing but the defaults holds them.

    So they can be converted at once. As long as a dict of defaults exists, perhaps until the next
    statement, its containers would stay plain in the state; and what the program writes to a plain
    container has no known writer.

    Args:
        container: The state object; perhaps it has all entries already.
        values: A dict or list that the library has made of the defaults; it is changed.
        given: What the program has given, of which the values were made.
        by_keyword: What the program has given by keyword.

    Returns:
        The values.
    """
    is_filled = values.keys() <= dict.keys(container) if type(values) is dict else size(container)
    if refcount.RELIABLE and not is_filled and not holds_atoms(values):
        if type(given) in (dict, list):
            _own(values, given, _IN_BOTH)
        if by_keyword:
            alone, is_ambiguous = _by_keyword()
            variables = sys._getframe(2).f_locals if is_ambiguous else {}
            _own(values, by_keyword, alone, {*map(id, variables.values())})
    return values


_IN_BOTH: Final = 2
"""References to a container that only its holder and a copy of that hold."""


def _own(values: Any, given: Any, alone: int, held: Container[int] = ()) -> None:
    slots = slots_of(values)
    for slot in slots if len(slots) <= LARGE else ():
        kind = PLAIN.get(type(item_of(values, slot)))
        if kind is None or references(values, slot) > alone or not _is_in(given, slot, values):
            continue
        if id(item_of(values, slot)) in held:
            continue
        made = kind.copy(item_of(values, slot))
        if not holds_atoms(made):
            _own(made, item_of(values, slot), _IN_BOTH)
        kind_of(values).builtin.__setitem__(values, slot, made)


def _is_in(given: Any, slot: Any, values: Any) -> bool:
    """Tell whether what was given has the same item as the values."""
    try:
        return item_of(given, slot) is item_of(values, slot)
    except LookupError:
        return False


class _Example(dict[str, Any]):
    """Counts the references to an argument as `PersistedDict` does."""

    found = 0

    def __init__(self, _name: str, /, *args: Any, **kwargs: Any) -> None:
        self.found = references(dict(*args, **kwargs), "one")


@cache
def _by_keyword() -> tuple[int, bool]:
    """Count the references to an argument by keyword that nobody else holds.

    Returns:
        The number, and whether an argument that the caller has in a variable counts as often: then
        the variable is borrowed (Python 3.14), and it is one of the calling frame.
    """
    variable: list[Any] = []
    alone = _Example("", one=[]).found
    return alone, _Example("", one=variable).found <= alone
