"""Ctrl-C in the midst of a write, a publication or a refresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest

from autostate.shared.kinds import COUNTER
from autostate.shared.object import Shared
from autostate.shared.replica import Replica
from tests.faulty import STORES, FaultyStore, Records
from tests.interrupting import Interrupt

COUNT: Final = {"a": 1, "b": 1}


def opened(records: Records) -> tuple[Replica, Shared, Counter[str]]:
    """A process that counts."""
    replica = Replica(FaultyStore(records, **STORES["conditional"]))
    container: Any = replica.open("hits", COUNTER, lambda _: Counter[str]())
    return replica, replica.objects["hits"], container


@pytest.mark.parametrize(
    "act",
    [
        lambda _, hits: hits.write(COUNT),
        lambda replica, hits: (hits.write(COUNT), replica.flush(5.0)),
        lambda replica, hits: (hits.write(COUNT), replica.refresh()),
    ],
    ids=["write", "flush", "refresh"],
)
def test_ctrl_c_neither_hides_nor_doubles_a_change(
    act: Callable[[Replica, Shared], object],
) -> None:
    """It strikes at each place in turn; then the view is right, and all see the same."""
    records: Records = {}
    replica, hits, seen = opened(records)
    number, interrupted = 0, True
    while interrupted:
        number, before = number + 1, seen["a"]
        interrupt = Interrupt(number)
        try:
            with interrupt:
                act(replica, hits)
        except KeyboardInterrupt:
            pass
        else:
            interrupted = False
        at = interrupt.at
        replica.flush(5.0)
        _, _, there = opened(records)
        assert there["b"] == there["a"], at
        assert there["a"] - before in ((0, 1) if interrupted else (1,)), at
        replica.refresh()
        assert seen == there, at
