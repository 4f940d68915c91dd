"""Watched entries: entries that can change without a mark, so that every cut compares them.

A watched entry holds a plain container that somebody else holds too, or an object without a
barrier. Every cut compares it (`watch.py`) until the container can be converted, or the entry is
removed or leaves the state. Most are compared in bulk, with a picture of them (`picture.py`): these
are *pictured*. The others are *loose*: each one is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final

from autostate.tracking.node import DirtySource, Marks, Node
from autostate.tracking.raw import items_of

if TYPE_CHECKING:
    from autostate.tracking.picture import Picture

SIZE: Final = 512
"""Entries of a picture, at the most: a change costs the building of another one."""


class Watched:
    """The watched entries of one tracker, and their saved hashes. In all calls the lock is held.

    Attributes:
        source: Makes what compares the entries in every cut: `tracker.py` says how.
        entries: By node: entry → hash of the saved entry; None if it is not known.
        released: The same of entries that are watched no more since the last cut.
        loose: By node: the entries that are in no picture, or may have changed.
        pictures: By node: the pictures of the pictured entries.
        pending: Pictures of entries that are going to be encoded in this cut, with their nodes.
    """

    source: ClassVar[Callable[[Marks], DirtySource]]

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self.entries: dict[Node, dict[Any, int | None]] = {}
        self.released: dict[Node, dict[Any, int | None]] = {}
        self.loose: dict[Node, dict[Any, None]] = {}
        self.pictures: dict[Node, list[Picture]] = {}
        self.pending: list[tuple[Node, Picture]] = []

    def __iter__(self) -> Iterator[tuple[Node, Any]]:
        return iter([(node, key) for node, keys in self.entries.items() for key in keys])

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))

    def begin(self) -> None:
        """Let every cut compare the entries from now on."""
        self._tracker.part(Watched.source)

    def add(self, node: Node, key: Any) -> None:
        """Watch an entry."""
        self.begin()
        self.entries.setdefault(node, {}).setdefault(key)
        self.loose.setdefault(node, {})[key] = None

    def again(self, node: Node, key: Any, digest: int | None = None) -> None:
        """Watch an entry; `digest` is the hash of the saved entry, None if it is not known."""
        self.begin()
        self.entries.setdefault(node, {})[key] = digest
        self.loose.setdefault(node, {})[key] = None

    def loosen(self, node: Node, keys: Iterable[Any]) -> None:
        """Look at entries one by one from now on, until they are in a picture again."""
        found = dict.fromkeys(keys)
        if found:
            self.loose.setdefault(node, {}).update(found)

    def put(self, node: Node, picture: Picture) -> None:
        """Compare the entries of a picture with it from now on."""
        pictures = self.pictures.setdefault(node, [])
        if pictures and len(pictures[-1].keys) + len(picture.keys) <= SIZE:
            pictures[-1].join(picture)
        elif picture.keys:
            pictures.append(picture)

    def remove(self, node: Node, keys: Iterable[Any]) -> dict[Any, int | None]:
        """Stop watching entries of a node, which are in no picture; return their hashes."""
        entries, loose = self.entries.get(node, {}), self.loose.get(node, {})
        removed = {key: entries.pop(key, None) for key in keys}
        for key in removed:
            loose.pop(key, None)
        if not loose:
            self.loose.pop(node, None)
        if not entries:
            self.leave(node)
        return removed

    def leave(self, node: Node) -> None:
        """Stop watching the entries of a node."""
        known: tuple[dict[Node, Any], ...] = (self.entries, self.loose, self.pictures)
        for some in known:
            some.pop(node, None)

    def forget(self, of: Callable[[Node], bool]) -> None:
        """Stop watching the entries of the nodes that fulfil a condition."""
        for node in [node for node in self.entries if of(node)]:
            self.leave(node)

    def forget_pictures(self) -> None:
        """Look at all entries one by one in the next cut: a picture may be half-made."""
        self.pictures, self.pending = {}, []
        self.loose = {node: dict.fromkeys(keys) for node, keys in self.entries.items()}

    def knows(self, node: Node, key: Any) -> bool:
        """Tell whether an entry is watched, or was until this capture."""
        return key in self.entries.get(node, ()) or key in self.released.get(node, ())

    def saved(self, node: Node, digests: Mapping[Any, int | None]) -> None:
        """Remember the hashes of saved watched entries of a node."""
        entries = self.entries.get(node)
        if entries is not None and digests:
            entries.update({key: digests[key] for key in digests if key in entries})

    def was_saved(self, node: Node, key: Any, digest: int) -> bool:
        """Tell whether a watched entry was saved with this hash."""
        entries = self.entries.get(node, {})
        return digest == (entries[key] if key in entries else self.released.get(node, {}).get(key))

    def not_pictured(self, node: Node, slots: list[Any]) -> list[Any]:
        """Leave out the slots of pictured entries: the cut itself compares these."""
        pictures = self.pictures.get(node)
        if not pictures or not slots:
            return slots
        if node.kind.shape != "sequence":
            pictured = set(chain.from_iterable(picture.keys for picture in pictures))
            return [slot for slot in slots if slot not in pictured]
        ids = set(map(id, chain.from_iterable(picture.tops for picture in pictures)))
        items = list(map(id, items_of(node.obj)))
        found = list(filter(ids.__contains__, items))
        if len(found) != len(set(found)):
            return slots  # one of them is at two positions
        return [slot for slot in slots if slot >= len(items) or items[slot] not in ids]
