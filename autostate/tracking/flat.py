"""Containers of few entries, all of them atoms: nothing in them has to be resolved."""

from __future__ import annotations

from itertools import chain
from typing import Any

from autostate.tracking.barrier import VARIANTS
from autostate.tracking.node import LARGE
from autostate.tracking.search import ATOMS, holds_atoms


def is_flat(container: Any) -> bool:
    """Tell whether a container holds few entries and only atoms: there is nothing to resolve."""
    variants = VARIANTS.get(type(container))
    if variants is None or variants.length(container) > LARGE:  # a plain one: see `sharing.py`
        return False
    if isinstance(container, dict):  # the frequent case, without another call
        return ATOMS.issuperset(map(type, dict.values(container)))
    return holds_atoms(container)


def are_flat(containers: list[Any]) -> bool:
    """Tell whether persisted containers hold few entries, and only atoms."""
    kinds = {VARIANTS[cls].kind.shape for cls in {*map(type, containers)}}
    if kinds != {"mapping"} or max(map(dict.__len__, containers)) > LARGE:
        return all(map(is_flat, containers))
    return ATOMS.issuperset(map(type, chain.from_iterable(map(dict.values, containers))))
