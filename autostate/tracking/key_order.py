"""The places that the keys of a mapping have had since blocks of `atomic()` write to it.

A key that is put back has to lie at its former place. So there is one list of the keys for all
records of an `EntryLog`, made before the first removal; keys that come later are appended. The
length of the list is the *time*. At a given time, a key's place is its last occurrence in the part
of the list that was filled then. (What does not work: a copy of the content with each change of
writer.)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from autostate.tracking.differences import same_items

_GONE: Final = object()


class KeyOrder:
    """The list of the keys of one mapping; unknown at first."""

    def __init__(self) -> None:
        self._keys: list[Any] | None = None
        self._base = 0

    @property
    def time(self) -> int | None:
        """The present time; None while the order is unknown."""
        return None if self._keys is None else len(self._keys)

    def copy(self) -> KeyOrder:
        """Copy the list."""
        copied = KeyOrder()
        copied._base, copied._keys = self._base, None if self._keys is None else [*self._keys]
        return copied

    def begin(self, keys: list[Any]) -> None:
        """Take the keys that are there when the first one is removed."""
        self._base, self._keys = len(keys), keys

    def add(self, key: Any) -> None:
        """Note a key that comes last."""
        if self._keys is not None:
            self._keys.append(key)

    def add_unseen(self, keys: list[Any]) -> None:
        """Note all present keys: some of them came in unknown order."""
        known = self._keys
        if known is not None and not same_items(known[len(known) - len(keys) :], keys):
            known.extend(keys)

    def ranks(
        self, back: Mapping[Any, int | None], time: int | None = None, *, forget: bool = True
    ) -> dict[Any, int]:
        """Rank the keys by their places.

        Args:
            back: The keys that have been put back, with the times of their former places.
            time: The time of the other keys' places; None: now.
            forget: Forget any later places of the keys that have been put back.
        """
        order, ranks = self._keys or [], {}
        for index, key in enumerate(order):
            if key is _GONE:
                continue
            then = back[key] or self._base if key in back else time
            if then is None or index < then:
                ranks[key] = index
            elif forget:
                order[index] = _GONE
        return ranks


def arranged(keys: list[Any], ranks: Mapping[Any, int]) -> list[Any]:
    """Sort the keys by rank; keys without a rank come last."""
    return sorted(keys, key=lambda key: ranks.get(key, sys.maxsize))


def refill_in_order(builtin: Any, content: Any, keys: list[Any]) -> None:
    """Refill a plain mapping with its own entries in the order of these keys."""
    values = [dict.get(content, key) for key in keys]
    builtin.clear(content)
    for key, value in zip(keys, values, strict=True):
        builtin.__setitem__(content, key, value)
