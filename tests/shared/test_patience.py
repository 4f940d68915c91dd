"""Who waits for a fold takes the place of a process that is gone, and of no other one."""

from __future__ import annotations

from collections import Counter

import pytest

from autostate.journal import Journal
from autostate.shared import patience, replica as replicas
from autostate.shared.kinds import COUNTER
from autostate.shared.patience import PATIENCE
from autostate.shared.replica import Replica
from tests.faulty import SHARING_STORES, FaultyStore, Records


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """The seconds."""
        return self.now


@pytest.mark.parametrize("store", SHARING_STORES)
def test_a_process_that_has_just_begun_to_fold_is_waited_for(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else many that wait would stop each other for ever, one after another."""
    records: Records = {}
    clock = Clock()
    for module in (patience, replicas):
        monkeypatch.setattr(module, "time", clock)
    replica = Replica(FaultyStore(records, **SHARING_STORES[store]))
    replica.open("hits", COUNTER, lambda _: Counter())
    for turn in range(3):
        journal = Journal(replica.shelf.store)
        journal.recover()
        journal.take_over()
        if not turn:
            replica.shelf.close_generation(1)
        assert not replica._is_left(replica.shelf.survey())
        clock.now += PATIENCE * 0.9
        assert not replica._is_left(replica.shelf.survey())
    clock.now += 2 * PATIENCE
    assert replica._is_left(replica.shelf.survey())
