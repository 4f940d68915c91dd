"""The records of a shared state, as several threads use them."""

from __future__ import annotations

import os
import threading
from collections import Counter

import pytest

from autostate.errors import StoreUnavailableError
from autostate.shared.kinds import COUNTER
from autostate.shared.line import Line, LineKey
from autostate.shared.replica import Replica
from autostate.shared.shelf import Shelf
from tests.faulty import FaultyStore, Step


@pytest.mark.usefixtures("often_switched")
def test_threads_call_a_store_one_after_another() -> None:
    """One publishes while another reads: on one connection their answers would be mixed up."""
    inside: Counter[int] = Counter()
    overlaps = 0

    def on_step(step: Step) -> None:
        nonlocal overlaps
        inside[threading.get_ident()] += 1
        os.sched_yield()
        overlaps += sum(inside.values()) > 1
        step.apply()
        del inside[threading.get_ident()]

    replica = Replica(FaultyStore({}, on_step, atomic=True, conditional=True))
    replica.open("hits", COUNTER, lambda _: Counter())

    def publish() -> None:
        for _ in range(200):
            replica.objects["hits"].write({"page": 1})
            replica.flush(60.0)

    thread = threading.Thread(target=publish)
    thread.start()
    while thread.is_alive():
        replica.refresh()
    thread.join()
    assert overlaps == 0


def test_what_is_published_is_so_although_a_former_record_stays() -> None:
    """Published again, it would leave another record."""
    writes = 0

    def on_step(step: Step) -> None:
        nonlocal writes
        writes += step.writes
        if step.writes and writes == 2:  # the one that deletes
            raise StoreUnavailableError("later")
        step.apply()

    former, key = LineKey(1, "writer", 0, 0), LineKey(1, "writer", 0, 1)
    shelf = Shelf(FaultyStore({}, on_step, atomic=False, conditional=False))
    assert shelf.publish(key, Line(1, {}), [former.text])
    assert [*shelf.read().lines] == [key]
