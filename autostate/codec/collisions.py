"""Keys with the same hash: making a dict or a set of n of them takes a time that grows as n².

Hashes of texts are seeded anew in each process; the hashes of numbers, and of tuples of numbers,
can be computed by anybody who writes to a store:
https://docs.python.org/3/using/cmdline.html#envvar-PYTHONHASHSEED
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Final

from autostate.errors import CorruptStateError

MOST: Final = 4_000
"""The most keys with the hash of another key: this many take a fraction of a second."""


def refuse_collisions(keys: Collection[Hashable]) -> None:
    """Refuse keys of which a dict or set could not be made in time.

    Raises:
        CorruptStateError: Too many keys have the same hash.
    """
    if len(keys) > MOST and len(keys) - len({*map(hash, keys)}) > MOST:
        raise CorruptStateError(
            f"of {len(keys):,} keys more than {MOST:,} have the hash of another one: somebody has "
            "chosen them so, and nothing of them was loaded"
        )
