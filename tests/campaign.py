"""How much a test does: a sample that the printed seed draws, or all of it in a long run.

`make fuzz` sets `AUTOSTATE_EXAMPLES`. By default a test that could go through thousands of places
goes through some of them, others each time.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import Final, TypeVar

T = TypeVar("T")

LONG: Final = "AUTOSTATE_EXAMPLES" in os.environ
"""Whether this is a long run."""


def sampled(rng: random.Random, places: Iterable[T], count: int) -> list[T]:
    """All places in a long run, else at most so many of them, in their order."""
    found = [*places]
    if LONG or len(found) <= count:
        return found
    return [found[index] for index in sorted(rng.sample(range(len(found)), count))]
