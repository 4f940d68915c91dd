"""Keys with one hash: to make a dict or a set of n of them takes a time that grows as n².

Hashes of texts are drawn anew in each process; those of numbers, and of tuples of them, are known
to whoever writes to a store: https://docs.python.org/3/using/cmdline.html#envvar-PYTHONHASHSEED
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Final

from autostate.errors import CorruptStateError

MOST: Final = 4_000
"""Keys that may have the hash of another one: so many take a part of a second."""


def refuse_collisions(keys: Collection[Hashable]) -> None:
    """See that a dict or set of these keys is made in time.

    Raises:
        CorruptStateError: Too many of them have one hash.
    """
    if len(keys) > MOST and len(keys) - len({*map(hash, keys)}) > MOST:
        raise CorruptStateError(
            f"of {len(keys):,} keys more than {MOST:,} have the hash of another one: somebody has "
            "chosen them so, and nothing of them was loaded"
        )
