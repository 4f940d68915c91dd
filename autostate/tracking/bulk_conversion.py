"""Conversion: dicts of scalars become tracked ones as soon as they are decoded.

Rehydration should cost little more than decoding does. Most entries of large states are dicts of
scalars. These are converted some hundreds at a time, in a few calls of C, while they are still in
the processor's cache; the plain dicts are freed at once, and their memory is used for the next.
"""

from __future__ import annotations

import gc
from typing import Any, Final

from autostate import codec
from autostate.tracking.kind import KINDS

FLAT: Final[frozenset[type]] = codec.NATIVE | {float}
_ONLY_DICTS: Final = frozenset({dict})
CONVERTED: Final = frozenset(k.name for k in codec.CONTAINERS.values() if k.shape != "set")
"""Kinds whose entries are converted; the entries of other kinds are only decoded."""


def convert(kind: str, content: Any) -> None:
    """Make tracked dicts of the dicts of scalars among decoded values, in place.

    Their node is not known yet: `Rehydration` sets it.

    Args:
        kind: The kind of the node.
        content: Some of its entries, a dict, or some of its items, a list.
    """
    if kind not in CONVERTED or "dict" not in KINDS:  # a process that only deletes, for example
        return
    values = content.values() if type(content) is dict else content
    types = set(map(type, values))
    if types <= FLAT:
        return
    keys: Any = content if type(content) is dict else range(len(content))
    if types != _ONLY_DICTS or min(map(len, values)) < 2 or any(map(gc.is_tracked, values)):
        pairs = zip(keys, values, strict=True)
        keys = [key for key, v in pairs if type(v) is dict and len(v) > 1 and is_flat(v)]
        values = [content[key] for key in keys]
    made: list[Any] = [*map(Dict, values)]
    tracked = KINDS["dict"].nested
    if type(content) is dict:
        for key, one in zip(keys, made, strict=True):
            one.__class__ = tracked
            one._key_ = key
        content.update(zip([*keys], made, strict=True))
    else:
        for index, one in zip(keys, made, strict=True):
            one.__class__ = tracked
            content[index] = one


class Dict(dict[str, Any]):
    """A dict that becomes a tracked one: of the same layout, made by a single call of C."""

    __slots__ = ("_key_", "_node_")


class List(list[Any]):
    """A list that becomes a tracked one."""

    __slots__ = ("_key_", "_node_")


def is_flat(json: dict[str, Any]) -> bool:
    """Tell whether a decoded object holds only scalars.

    The garbage collector tracks no such dict; in a version that tracks all dicts, the types of the
    values are compared.
    """
    return not gc.is_tracked(json) or FLAT.issuperset(map(type, json.values()))
