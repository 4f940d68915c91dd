"""A node: a container with entries of its own in the store, and what is dirty about it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autostate.tracking.barrier import Kind
    from autostate.tracking.capture import Pending
    from autostate.tracking.tracker import Tracker

LARGE = 256
"""Entries above which a container is *keyed*, and above which a nested one becomes a node.

Below it a container is compared with what was saved of it, entry by entry, so that any write at
full speed still costs only the changed entries; 256 entries take about 0.1 ms to compare.
"""


class Node:
    """One container with entries of its own.

    Attributes:
        id: The number under which the store knows it.
        kind: "dict", "set", "counter", "list" …: the name of a `barrier.Kind`.
        shape: How its entries are addressed: "mapping", "set" or "sequence".
        name: The name of a root; None for a nested node.
        home: For a nested node: the node and the key where it was first seen, for error messages.
        keys: Keys (dict, counter) or members (set) that were assigned or added, oldest first.
        touched: Entries in which something changed: keys, or `id`s of elements (list). With the
            container that changed, if that was the whole entry and had only scalars in it when
            it was last looked at, and None otherwise.
        log: The same dict as `keys` while the container is in the recording form, else None.
        drops: Keys or members that were removed since the last capture.
        whole: All entries may be dirty.
        first: Of a sequence: the number of its first item. Items keep their numbers while
            others come and go at both ends; so the number may become negative.
        low, high: Of a sequence: items of these numbers, `high` not included, stand where they
            were saved.
        saved: What was last saved, to compare with: see `capture.py`. None if that is unknown.
        bad: Entries that could not be saved, with the error.
        offered: Keys or members that were given as defaults.
        gone: Those of them that the program deleted; they stay deleted.
        declared: The store knows of the node.
        weight: Bytes of an encoded entry, on the average of the last capture.
        pending: The node's share of the capture that is being encoded.
    """

    __slots__ = (
        "__weakref__",
        "bad",
        "declared",
        "drops",
        "first",
        "gone",
        "high",
        "home",
        "id",
        "keys",
        "kind",
        "log",
        "low",
        "name",
        "obj",
        "offered",
        "pending",
        "saved",
        "shape",
        "touched",
        "tracker",
        "weight",
        "whole",
    )

    def __init__(
        self, tracker: Tracker, node_id: int, kind: Kind, obj: Any, name: str | None = None
    ) -> None:
        self.tracker = tracker
        self.id = node_id
        self.kind = kind.name
        self.shape = kind.shape
        self.obj = obj
        self.name = name
        self.home: tuple[Node, Any] | None = None
        self.keys: dict[Any, None] = {}
        self.touched: dict[Any, Any] = {}
        self.log: dict[Any, None] | None = None
        self.drops: dict[Any, None] = {}
        self.whole = False
        self.first = self.low = self.high = 0
        self.saved: Any = None
        self.weight = 64
        self.bad: dict[Any, Any] = {}
        self.offered: frozenset[Hashable] = frozenset()
        self.gone: frozenset[Hashable] = frozenset()
        self.declared = False
        self.pending: Pending | None = None

    @property
    def path(self) -> str:
        """Where the node is, as code would write it."""
        if self.name is not None or self.home is None:
            return self.name or f"node {self.id}"
        home, key = self.home
        if home.shape == "sequence":
            return f"{home.path}[…]"
        return f'{home.path}["{key}"]' if type(key) is str else f"{home.path}[{key!r}]"

    def take_keys(self) -> dict[Any, None]:
        """Take over the dirty keys, with the lock held.

        Whoever records without the lock marks `log` and then looks whether it is still that:
        so it is closed first and copied afterwards. Who missed the copy finds it closed.
        """
        self.log = None
        taken, self.keys = self.keys, {}
        return dict(taken)

    def give_back(
        self, keys: dict[Any, None], drops: dict[Any, None], touched: Iterable[Any]
    ) -> None:
        """Mark again what was taken over, as older than what was marked since."""
        self.touched = dict.fromkeys(touched) | self.touched
        recording = self.log is not None
        newer = self.take_keys()
        self.keys = {key: None for key in keys if key not in self.drops} | newer
        self.drops = drops | self.drops
        if recording:
            self.log = self.keys
