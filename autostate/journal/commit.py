"""Commits: lists of changes, and the state that they make.

A change is one JSON object about one node. Most changes give the content after the change. A change
that takes items out of the middle of a sequence, or inserts some there, renumbers the items behind
them; so no change is ever applied twice: a snapshot holds exactly the commits before those that
its head names.

`replay.py` applies changes.
"""

# No postponed annotations: msgspec would compile each of them, again for each type of values, which
# takes a quarter of a millisecond of each start.

import re
from array import array
from collections.abc import Hashable
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from autostate.codec import CONTAINERS
from autostate.depth import reads_deep

V = TypeVar("V")

SEQUENCES: Final = {kind.name for kind in CONTAINERS.values() if kind.shape == "sequence"}
KINDS: Final = CONTAINERS.keys() | {"proxy", "object", "shared_object", "loop", "outbox"}
UNREADABLE = "unreadable"
"""The kind of a root whose records could not be read: only its name is known."""

_REFERENCE = rb'\{"\$ref":(\d+)\}'


class Change(msgspec.Struct, Generic[V], omit_defaults=True, forbid_unknown_fields=True):
    """One change of one node; the fields are applied in this order.

    The items of a sequence are numbered; `at` is the number of the first item in `items`. An item
    keeps its number while others come and go at both ends: numbers may become negative. If items
    are taken out or inserted, the numbers of the items behind them change.

    Attributes:
        id: The node.
        kind: The kind of the node; in its first change.
        name: The name of a root; in its first change.
        metadata: The description that is needed to make an empty one, a deque's `maxlen` for
            example.
        defaults: The defaults that this root was given. No later process fills them in again, so
            that deleted ones stay deleted. Of an object only deleted fields.
        more_defaults: The defaults that it was given since: they are added to `defaults`.
        assign: All content.
        drop: Keys, or members, to remove.
        put: Entries: an object, or pairs where a key is no `str`; members of a set.
        trim: Of a sequence: the range of numbers whose items stay, the second not included.
        cut: Of a sequence: ascending ranges of numbers, the second not included, whose items are
            taken out. All numbers are those before the change.
        at, items: Items that replace those with the same numbers, or are added at either end.
        insert: Whether `items` are inserted: the items from `at` on move up.
        delete: Whether the node is removed.
    """

    id: int
    kind: str | None = None
    name: str | None = None
    metadata: V | msgspec.UnsetType = msgspec.UNSET
    defaults: list[V] | None = None
    more_defaults: list[V] | None = None
    assign: dict[str, V] | list[V] | None = None
    drop: list[V] | None = None
    put: dict[str, V] | list[V] | None = None
    trim: tuple[int, int] | None = None
    cut: list[tuple[int, int]] | None = None
    at: int | None = None
    items: list[V] | None = None
    insert: bool = False
    delete: bool = False


class NodeState(Struct):
    """A node as it was saved.

    Attributes:
        kind: The kind of the node: see `KINDS`.
        name: The name of a root; None for a nested node.
        metadata: The description that is needed to make an empty one; None: there is none.
        defaults: The defaults that no process fills in any more: see `Change`.
        first: Of a sequence: the number of its first item.
        base: The content before the steps.
        steps: The changes of a mapping or set without content yet, whose keys are all str: dicts of
            entries to put, tuples of members to add, lists of keys or members to drop. So a million
            entries go into a container, and not into a dict before.
        hashes: Of a sequence, for `convert`: the hash of the JSON of each item.
        moved: Of a sequence: whether items have changed their numbers since they were put.
        owner: The object to which `convert` makes containers belong.
        unbuilt: Whether some values are JSON that has to be built.
    """

    kind: str
    name: str | None
    metadata: Any = None
    defaults: list[Hashable] = field(default_factory=list)
    first: int = 0
    base: Any = None
    steps: list[dict[str, Any] | tuple[str, ...] | list[str]] = field(default_factory=list)
    hashes: "array[int] | None" = None
    moved: bool = False
    owner: Any = None
    unbuilt: bool = True

    @property
    def content(self) -> Any:
        """The items of a sequence, the entries of a dict, the members of a set (as keys of None).

        Keys and members are decoded; values are decoded JSON, as `convert` left them.
        """
        for step in self.steps:
            if isinstance(step, dict):
                self.base.update(step)
            elif isinstance(step, tuple):
                self.base.update(dict.fromkeys(step))
            else:
                for key in step:
                    self.base.pop(key, None)
        self.steps = []
        return self.base

    @content.setter
    def content(self, content: Any) -> None:
        self.base, self.steps = content, []


def references(change: bytes) -> set[int]:
    """Find the nodes to which the values of a change refer.

    The bytes of a reference cannot be anything else: quotes in a string are escaped, and a user's
    own dict of that shape is tagged.
    """
    return set(map(int, re.findall(_REFERENCE, change)))


def touched(change: bytes) -> set[int]:
    """Find the node of a change, and the nodes to which the change refers."""
    return references(change) | {_about(change).id}


class _About(msgspec.Struct):
    id: int


_about: Final = reads_deep(msgspec.json.Decoder(_About).decode)
