"""Conversion in bulk: decoded values become tracked containers as soon as they are decoded.

Rehydration should cost little more than decoding does. Some hundred entries at a time are
converted, level by level, in a few calls of C for each level, while they are still in the
processor's cache; the plain containers are freed at once, and their memory is used for the next.

Tagged scalars that never change, such as moments, are decoded here too. A value that holds another
tag stays JSON: `builder.py` makes of it what it stands for.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterable
from itertools import chain, compress
from operator import call, not_
from typing import Any, Final, NamedTuple, Protocol

from autostate import codec
from autostate.codec.decoding import FIXED_SCALARS
from autostate.codec.signatures import Stored
from autostate.collector import untracking
from autostate.process.interrupts import is_passing
from autostate.tracking.barrier import VARIANT_SETS
from autostate.tracking.items import ItemRef
from autostate.tracking.kind import KINDS
from autostate.tracking.node import Node
from autostate.tracking.raw import drain

FLAT: Final[frozenset[type]] = codec.NATIVE | {float}
_PLAIN: Final = frozenset({dict, list})
CONVERTED: Final = frozenset(k.name for k in codec.CONTAINERS.values() if k.shape != "set")
"""Kinds whose entries are converted; the entries of other kinds are only decoded."""


@functools.cache
def converted_types() -> frozenset[type]:
    """Give the types of values in which nothing is left to be built."""
    return FLAT | {KINDS["dict"].nested, KINDS["list"].nested}


class Dict(dict[str, Any]):
    """A dict that becomes a tracked one: of the same layout, made by a single call of C."""

    __slots__ = ("_key_", "_node_")


class List(list[Any]):
    """A list that becomes a tracked one."""

    __slots__ = ("_key_", "_node_")


class Begun(Protocol):
    """A node whose changes are being applied: see `journal.commit.NodeState`.

    Attributes:
        kind: The kind of the node.
        name: The name of a root; None for a nested node.
        owner: The `Node` to which its containers belong, without content until it is rehydrated.
        unbuilt: Whether some of its values are still JSON.
    """

    kind: str
    name: str | None
    owner: Any
    unbuilt: bool


class _Level(NamedTuple):
    """Plain containers of one depth, as parallel lists.

    Attributes:
        values: The containers.
        copies: Their copies, which lie in the copies of the level above.
        entries: The entry of the node in which each one lives.
    """

    values: list[Any]
    copies: list[Any]
    entries: list[Any]


def convert(state: Begun, content: Any, at: int = 0) -> None:
    """Make tracked containers of the dicts and lists among decoded values, in place.

    Args:
        state: The node to which the values belong.
        content: Some of its entries, a dict, or some of its items, a list.
        at: The number of the first item.
    """
    if state.kind not in CONVERTED or "dict" not in KINDS:  # a process that only deletes, e.g.
        state.unbuilt = True
        return
    is_mapping = type(content) is dict
    values = [*content.values()] if is_mapping else content[:]
    types = set(map(type, values))
    if types <= FLAT:
        return
    slots: list[Any] = [*(content if is_mapping else range(len(values)))]
    if not types <= _PLAIN:
        wanted = [*map(_PLAIN.__contains__, map(type, values))]
        slots, values = [*compress(slots, wanted)], [*compress(values, wanted)]
    if 1 in map(len, values):
        slots = _without_tags(state, content, slots, values)
        values = [content[slot] for slot in slots]
        if not slots:
            return
    if state.owner is None:
        state.owner = Node.__new__(Node)
    copies: list[Any] = [*_called(_COPY, values)]
    entries = slots if is_mapping else [*map(ItemRef, _numbers(slots, at), map(id, copies))]
    tagged: set[Any] = set()
    level: _Level | None = _Level(values, copies, entries)
    while level is not None:
        # The garbage collector tracks no dict of scalars. Newer versions of Python track all dicts.
        deep = [*map(gc.is_tracked, level.values)]
        # It puts copies into these, which their barrier would see afterwards.
        below = _below(level, deep, tagged)
        _track(level, state.owner)
        if state.name is not None:
            _untrack(level.copies, deep)
        level = below
    if tagged:
        state.unbuilt = True
        copies = [
            value if entry in tagged else copy
            for value, copy, entry in zip(values, copies, entries, strict=True)
        ]
    _replace(content, slots, copies)


def _replace(content: Any, slots: list[Any], values: list[Any]) -> None:
    """Put values into some slots."""
    if type(content) is dict:
        content.update(zip(slots, values, strict=True))
    elif len(values) == len(content):
        content[:] = values
    else:
        for slot, value in zip(slots, values, strict=True):
            content[slot] = value


def _numbers(slots: list[int], at: int) -> Iterable[int]:
    """Number items by their indices; in the frequent case there is no gap."""
    if len(slots) == slots[-1] + 1:
        return range(at, at + len(slots))
    return map(at.__add__, slots)


def _without_tags(state: Begun, content: Any, slots: list[Any], values: list[Any]) -> list[Any]:
    """Decode those values that are tagged scalars; return the slots of values without a tag."""
    rest = []
    for slot, value in zip(slots, values, strict=True):
        if len(value) == 1 and type(value) is dict:
            [tag] = value
            if tag.startswith("$"):
                scalar = _scalar(tag, value[tag])
                if scalar is None:
                    state.unbuilt = True
                else:
                    content[slot] = scalar
                continue
        rest.append(slot)
    return rest


def _scalar(tag: str, json: Stored) -> Any:
    """Decode a scalar that never changes; None if it is another tag, or cannot be decoded."""
    decode = FIXED_SCALARS.get(tag)
    if decode is None:
        return None
    try:
        return decode(json)
    except Exception as error:  # the root is told of it, and not all that is in the store
        if is_passing(error):
            raise
        return None


def _below(level: _Level, deep: list[bool], tagged: set[Any]) -> _Level | None:
    """Copy the containers in containers; None if there are none.

    Args:
        level: The containers.
        deep: Tells which of them may hold others.
        tagged: Gets the entries with a tag that is no scalar's: they stay JSON as a whole.
    """
    if True not in deep:
        return None
    values = [*compress(level.values, deep)]
    contents = [value.values() if type(value) is dict else value for value in values]
    if _PLAIN.isdisjoint(map(type, chain.from_iterable(contents))):
        return None
    below = _Level([], [], [])
    # What does not pay: parallel lists of the parents and keys, for calls of C.
    parents, entries = compress(level.copies, deep), compress(level.entries, deep)
    for parent, entry in zip(parents, entries, strict=True):
        for slot, value in parent.items() if type(parent) is Dict else enumerate(parent):
            if type(value) is dict:
                if len(value) == 1:
                    [tag] = value
                    if tag.startswith("$"):
                        scalar = _scalar(tag, value[tag])
                        if scalar is None:
                            tagged.add(entry)
                        else:
                            parent[slot] = scalar
                        continue
                copy: Any = Dict(value)
            elif type(value) is list:
                copy = List(value)
            else:
                continue
            parent[slot] = copy
            below.values.append(value)
            below.copies.append(copy)
            below.entries.append(entry)
    return below if below.values else None


def _track(level: _Level, owner: Any) -> None:
    """Make copies tracked."""
    tracked: Any = {Dict: KINDS["dict"].nested, List: KINDS["list"].nested}
    types = set(map(type, level.copies))
    # Loops: to store into a slot takes less than half of the time of any call of C.
    if len(types) > 1:
        for copy in level.copies:
            copy.__class__ = tracked[type(copy)]
    else:
        cls = tracked[types.pop()]
        for copy in level.copies:
            copy.__class__ = cls
    for copy, entry in zip(level.copies, level.entries, strict=True):
        copy._node_ = owner
        copy._key_ = entry


def _untrack(copies: list[Any], deep: list[bool]) -> None:
    """Let the garbage collector forget the copies of dicts that it does not track either."""
    function = untracking(len(copies))
    if function is not None:
        drain(map(function, compress(copies, map(not_, deep)) if True in deep else copies))


def untrack(containers: list[Any]) -> None:
    """Let the garbage collector forget the dicts of scalars among containers; all keys are str."""
    function = untracking(len(containers))
    if function is None:
        return
    forms = VARIANT_SETS["dict"]
    dicts = containers
    if not forms.issuperset(map(type, containers)):
        dicts = [one for one in containers if type(one) in forms]
    if not FLAT.issuperset(map(type, chain.from_iterable(map(dict.values, dicts)))):
        dicts = [one for one in dicts if FLAT.issuperset(map(type, dict.values(one)))]
    drain(map(function, dicts))


def _called(makers: dict[type, Any], values: list[Any]) -> Iterable[Any]:
    """Call a function with each value, chosen by the type of the value."""
    types = set(map(type, values))
    if len(types) == 1:  # the frequent case, in a fifth less
        return map(makers[types.pop()], values)
    return map(call, map(makers.__getitem__, map(type, values)), values)


_COPY: Final[dict[type, Any]] = {dict: Dict, list: List}
