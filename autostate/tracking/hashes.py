"""Hashes of rehydrated entries, by which later changes without a mark are found."""

from __future__ import annotations

from autostate.process.interrupts import is_passing
from autostate.tracking.barrier import size
from autostate.tracking.capture import Capture
from autostate.tracking.graph import Graph
from autostate.tracking.mappings import KeyedCapture, common_type
from autostate.tracking.node import LARGE, KeyedEntries, Node
from autostate.tracking.node_capture import NodeCapture
from autostate.tracking.watched import Watched


def remember_hashes(node: Node, *, only_str: bool) -> None:
    """Remember the hashes of a rehydrated small mapping or set, to find later changes.

    A capture of the node that nobody saves does what is needed: it remembers the hashes of all
    entries, as of a mapping that has become small.

    Args:
        node: The node.
        only_str: Whether it is known that all keys or members are str.
    """
    entries, tracker = node.entries, node.tracker
    if not isinstance(entries, KeyedEntries):
        return
    entries.length = size(node.obj)
    if entries.length > LARGE:
        if only_str:
            entries.key_type = str
        else:
            entries.key_type = common_type(set(map(type, node.kind.builtin.__iter__(node.obj))))
        return
    capture = Capture(tracker, tracker.part(Graph), tracker.part(Watched))
    try:
        part = NodeCapture.shapes[node.kind.shape](capture, node)
    except Exception as error:  # of the program's own code: reported when the node is saved
        if is_passing(error):
            raise
        entries.all_dirty = True
        return
    assert isinstance(part, KeyedCapture)
    node.capture = None
    entries.saved = None if entries.bad else part.remembered
    entries.bad = {}
