"""What a program gives for a state object that may be stored already: defaults, first content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autostate.tracking.barrier import size
from autostate.tracking.node import LARGE
from autostate.tracking.raw import has

if TYPE_CHECKING:
    from autostate.tracking.items import SequenceEntries
    from autostate.tracking.node import Node


def offer(container: Any, defaults: Mapping[Any, Any]) -> None:
    """Fill in the defaults that the stored state never had (dict, set and counter)."""
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


def begin(container: Any, default: list[Any]) -> None:
    """Fill a list that was never saved, unless that was done before."""
    node: Node = container._node_
    entries: SequenceEntries = container._node_.entries
    with node.tracker.lock:
        is_new = not (node.declared or entries.begun or size(container))
        if is_new and entries.all_dirty:
            node.kind.fill(container, default)
            entries.begun = bool(default)
