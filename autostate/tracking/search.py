"""What is inside the values of a state: the containers, nodes and objects in them, at any depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, compress, repeat
from operator import and_, is_, not_
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.codec import arrays
from autostate.collector import made_large
from autostate.tracking.barrier import VARIANT_SETS, Barrier, kind_of, size
from autostate.tracking.kind import PLAIN, copy_dict
from autostate.tracking.node import LARGE
from autostate.tracking.parts import parts_of
from autostate.tracking.raw import items_of, iterate, node_of

if TYPE_CHECKING:
    from autostate.tracking.node import Node

ATOMS: Final[set[type]] = codec.ATOMS
"""Types whose values never change and never hold a container; classes are added when found."""

_FIXED: Final = frozenset({tuple, frozenset, range, slice, Fraction})

_MANY: Final = 10_000
_LEVELS: Final = 8
_CONTENTS: Final[dict[str, Callable[[Any], Iterable[Any]]]] = {"dict": dict.values, "list": iter}


def is_object(cls: type) -> bool:
    """Tell whether values of a class can change unseen: no container, and without a barrier."""
    if codec.is_atom(cls) or cls in _FIXED or cls in PLAIN or issubclass(cls, Barrier):
        return False
    entry = codec.entry_for(cls)
    if entry is not None:
        return entry.mutable
    return cls in codec.ENCODERS or codec.is_persisted(cls) or arrays.encoder_of(cls) is not None


def holds_atoms(container: Any) -> bool:
    """Tell whether a container holds atoms only: the frequent case."""
    if isinstance(container, dict):
        return ATOMS.issuperset(map(type, dict.values(container)))
    return isinstance(container, set) or ATOMS.issuperset(map(type, iterate(container)))


def slots_of(container: Any) -> list[Any]:
    """List the keys or indices of values that are no atoms; of a large container, all of them.

    To search a large container in one go would hold up other threads.
    """
    kind = kind_of(container)
    if kind.shape == "set":
        return []
    if size(container) > _MANY:
        return list(range(size(container))) if kind.shape == "sequence" else _keys_of(container)
    if kind.shape == "sequence":
        items = items_of(container)
        if ATOMS.issuperset(map(type, items)):
            return []
        return [i for i, value in enumerate(items) if type(value) not in ATOMS]
    if ATOMS.issuperset(map(type, dict.values(container))):
        return []
    return [key for key, value in copy_dict(container).items() if type(value) not in ATOMS]


def _keys_of(container: Any) -> list[Any]:
    """List the keys of a large mapping, in parts, so that other threads can run in between."""
    keys: list[Any] = []
    try:
        for part in parts_of(container):
            keys += part
    except RuntimeError:  # another thread has added a key
        keys = list(container)
    made_large(len(keys))
    return keys


def entries_of(node: Node) -> list[Any]:
    """List the entries of a node whose values are no atoms."""
    return [node.entries.at(slot) for slot in slots_of(node.obj)]


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


def entries_inside(node: Node, keys: list[Any], wanted: set[int]) -> dict[int, Any]:
    """Find containers inside values of a mapping: the entry of each, by its `id`.

    The search takes few calls of C for all the values. It leaves out what is in other containers,
    in large ones, or at more than some levels; at two places, one of them is given.

    Args:
        node: The node of the mapping; the lock is held.
        keys: The keys of the values; comparing them runs no code of the program.
        wanted: The `id`s of the containers: the search ends where these are found.
    """
    found: dict[int, Any] = {}
    owners = [*dict.fromkeys(keys)]
    values: list[Any] = [*map(dict.get, repeat(node.obj), owners)]
    for _ in range(_LEVELS):
        types = [*map(type, values)]
        inside: list[Any] = []
        places: list[Any] = []
        for name, contents in _CONTENTS.items():
            which = [*map(VARIANT_SETS[name].__contains__, types)]
            if True not in which:
                continue
            some: list[Any] = [*compress(values, which)]
            of = [*compress(owners, which)]
            ours = map(is_, map(node_of, some), repeat(node))
            which = [*map(and_, ours, map(LARGE.__ge__, map(len, some)))]
            some, of = [*compress(some, which)], [*compress(of, which)]
            inside += chain.from_iterable(map(contents, some))
            places += chain.from_iterable(map(repeat, of, map(len, some)))
        which = [*map(not_, map(ATOMS.__contains__, map(type, inside)))]
        inside, places = [*compress(inside, which)], [*compress(places, which)]
        idents = [*map(id, inside)]
        # A container that holds itself many times would multiply from level to level.
        once = dict(zip(idents, inside, strict=True))
        found.update(zip(idents, places, strict=True))
        if not once or wanted <= found.keys():
            break
        values, owners = [*once.values()], [*map(found.__getitem__, once)]
    return found


def nodes_inside(values: list[Any], node: Node) -> Iterator[Node]:
    """Yield the nodes among values of a node and inside them, but not inside other nodes."""
    for container in chain([values], all_inside(values, node)):
        for value in _values_of(container):
            if not issubclass(type(value), Barrier):
                known = node.tracker.shared.get(id(value))
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
    shared = node.tracker.shared
    seen: dict[int, Any] = {}
    left = [container]
    while left:
        for value in _values_of(left.pop()):
            if id(value) in seen:
                continue
            if is_inline(value) or not (
                issubclass(type(value), Barrier) or shared.get(id(value), node) is not node
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
