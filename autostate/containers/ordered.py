"""OrderedDict, as a nested container.

An OrderedDict keeps its order in a list beside the dict, and only its own functions maintain this
list. So `dict.__setitem__` and the like may be used only to replace the value of an existing key.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

from autostate.containers.dict import (
    DictBarrier,
    by_items,
    defaulting,
    keyed,
    popping,
    popping_item,
    recording,
    register_mapping,
)
from autostate.tracking.barrier import before, changed, dropped, locked, put, spanning

K = TypeVar("K")
V = TypeVar("V")


class PersistedOrderedDict(DictBarrier, OrderedDict[K, V]):
    """The class that an OrderedDict gets inside a state object."""

    __slots__ = ("_key_", "_node_")

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __init__ = spanning(OrderedDict, "__init__")
        __setitem__ = keyed(OrderedDict, "__setitem__")
        __delitem__ = keyed(OrderedDict, "__delitem__")
        clear = locked(OrderedDict, "clear")
        pop = popping(OrderedDict)
        popitem = popping_item(OrderedDict)
        setdefault = defaulting(OrderedDict)
        update = by_items(OrderedDict, "update")
        __ior__ = by_items(OrderedDict, "__ior__")

        @functools.wraps(OrderedDict.move_to_end)
        def move_to_end(self, /, key: Any, last: bool = True) -> None:
            """Move a key to the right end, or to the left, as `OrderedDict.move_to_end`."""
            if self._node_ is None:
                OrderedDict.move_to_end(self, key, last)
                return
            with self._node_.tracker.lock:
                before(self)
                OrderedDict.move_to_end(self, key, last)
                if last:  # what is moved is the key that was there, not an equal one
                    key = next(OrderedDict.__reversed__(self))
                    dropped(self, key)
                    put(self, key, new=True)
                else:
                    changed(self)


PersistedOrderedDict.__name__ = "OrderedDict"  # which its repr shows


def _copy(container: OrderedDict[Any, Any]) -> OrderedDict[Any, Any]:
    made = OrderedDict(OrderedDict.items(container))
    vars(made).update(vars(container))  # as `OrderedDict.copy` does
    return made


def _fill(container: OrderedDict[Any, Any], content: Any) -> None:
    for key, value in content.items():
        OrderedDict.__setitem__(container, key, value)


def _refill(container: OrderedDict[Any, Any], content: Any) -> None:
    OrderedDict.clear(container)
    _fill(container, content)


register_mapping(
    "ordereddict",
    OrderedDict,
    PersistedOrderedDict,
    copy=_copy,
    fill=_fill,
    refill=_refill,
    recording=recording(OrderedDict),
)
