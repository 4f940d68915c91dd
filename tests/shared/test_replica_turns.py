"""Calls keep to their time while another thread waits for a store that does not answer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from autostate.errors import FlushError, StoreUnavailableError
from autostate.shared.kinds import COUNTER
from autostate.shared.object import Shared
from autostate.shared.replica import Replica
from tests.faulty import STORES, FaultyStore, Step
from tests.shared.writers import Writers


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    "act",
    [lambda replica: replica.flush(30.0), lambda replica: replica.refresh(30.0)],
    ids=["publishes", "refreshes"],
)
def test_no_call_waits_for_the_call_of_another_thread(
    act: Callable[[Replica], None], store: str
) -> None:
    """Neither a publication nor a refresh; afterwards both are done."""
    begun, answers = threading.Event(), threading.Event()

    def on_step(step: Step) -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert answers.wait(60.0)
        step.apply()

    writers = Writers(STORES[store])
    replica = writers.new(FaultyStore(writers.records, on_step, **writers.promises))
    opened: tuple[Shared, Any] = writers.open(replica, "hits", COUNTER)
    hits, seen = opened
    hits.write({"page": 1})
    replica.flush(5.0)
    hits.write({"page": 1})
    thread = threading.Thread(target=act, args=(replica,))
    thread.start()
    assert begun.wait(60.0)
    try:
        with pytest.raises(FlushError, match="another thread"):
            replica.flush(0.05)
        with pytest.raises(StoreUnavailableError, match="another thread"):
            replica.refresh(0.05)
        hits.write({"page": 1})
        assert seen == {"page": 3}
    finally:
        answers.set()
        thread.join()
    replica.flush(5.0)
    _, there = writers.open(writers.new(), "hits", COUNTER)
    assert Counter(there) == {"page": 3}
