"""Objects of `@persisted` classes whose writes have to be seen before they happen.

Such objects have no write barrier (see `mirror.py`). While their tracker has a gate, or open
blocks of `atomic()`, their classes have a `__setattr__` and a `__delattr__`. These call the gate
first, and note the former value for the undo of the blocks. They are removed when the gate opens,
and at the first cut without open blocks. A write that bypasses them (`vars(shop)["page"] = 2`) is
found by comparing.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from autostate.codec.bound import root_of

_MARK: Final = "_passes_the_gate_"
_METHODS: Final = ("__setattr__", "__delattr__")


def guard(cls: type) -> None:
    """Let assignments to objects of a class call the gate, and be noted, first."""
    for name in _METHODS:
        found = getattr(cls, name)
        if not hasattr(found, _MARK):
            type.__setattr__(cls, name, _guarded(found, own=name in vars(cls)))


def unguard(cls: type) -> None:
    """Remove the methods that `guard` has added to a class."""
    for name in _METHODS:
        found = vars(cls).get(name)
        if not hasattr(found, _MARK):
            continue
        function, own = getattr(found, _MARK)
        if own:
            type.__setattr__(cls, name, function)
        else:
            type.__delattr__(cls, name)


def _guarded(function: Any, *, own: bool) -> Any:
    @functools.wraps(function)
    def method(self: Any, /, *args: Any) -> None:
        root = root_of(self)
        node = None if root is None or root.busy else root._node_
        if node is not None:
            node.tracker.pass_gate()
            if node.tracker.savepoints:
                node.tracker.note_field(root, args[0])
        function(self, *args)

    setattr(method, _MARK, (function, own))
    return method
