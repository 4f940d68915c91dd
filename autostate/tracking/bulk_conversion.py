"""Conversion: dicts of scalars become tracked ones as soon as they are decoded.

Rehydration should cost little more than decoding does. Most entries of large states are dicts of
scalars. These are converted some hundreds at a time, in a few calls of C, while they still are in
the processor's cache; the plain ones go at once, and their memory is used for the next.
"""

from __future__ import annotations

import gc
from typing import Any, Final

from autostate import codec
from autostate.tracking.barrier import KINDS

FLAT: Final[frozenset[type]] = codec.NATIVE | {float}
_ONLY_DICTS: Final = frozenset({dict})
CONVERTED: Final = frozenset({"dict", "counter", "ordereddict", "defaultdict", "list", "deque"})
"""Kinds whose entries are converted; those of the others are only decoded as a whole."""


def convert(kind: str, content: Any) -> None:
    """Make tracked dicts of the dicts of scalars in what was just decoded, in place.

    To which node they belong is not known yet: `Rehydration` says it to each.

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
    """Becomes a tracked dict: of the same layout, but made by a single call of C."""

    __slots__ = ("_key_", "_node_")


class List(list[Any]):
    """Becomes a tracked list."""

    __slots__ = ("_key_", "_node_")


def is_flat(json: dict[str, Any]) -> bool:
    """Whether a decoded object holds only scalars.

    If it does, the collector need not look at it. Where it looks at all dicts, the types say so.
    """
    return not gc.is_tracked(json) or FLAT.issuperset(map(type, json.values()))
