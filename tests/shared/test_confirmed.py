"""Programs with a state of their own count each page once, however they end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytest

import autostate
from autostate.delivery.destination import OutboxItem
from autostate.shared.confirmed import MOST
from autostate.shared.counter import SharedCounter
from autostate.shared.home import home
from autostate.shared.kinds import COUNTER
from autostate.shared.replica import Replica
from autostate.shared.set import SharedSet
from autostate.shared.unpublished import Change
from autostate.stores import open_store
from tests.interrupting import Interrupt

pytestmark = pytest.mark.usefixtures("shared_here")

PROGRAM: Final = """
import os, random, signal, sys
import autostate
from autostate import PersistedDict
from autostate.shared import home
from autostate.shared.counter import SharedCounter
autostate.configure(sys.argv[1], debounce=0.01, max_delay=0.05)
progress = PersistedDict("progress", page=0)
hits = SharedCounter("hits")
rng = random.Random(int(sys.argv[2]))
last = rng.randrange(5, 60)
while progress["page"] < 60:
    with autostate.atomic():
        hits["pages"] += 1
        progress["page"] += 1
    try:
        with autostate.atomic():
            hits["pages"] += 1
            raise KeyError
    except KeyError:
        pass
    if rng.random() < 0.1:
        autostate.flush()
    last -= 1
    if not last:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_each_page_counts_once(rng: random.Random) -> None:
    """Two programs, each killed until it comes to its end."""
    kills = 0
    for name in ("one", "two"):
        status = -signal.SIGKILL
        while status == -signal.SIGKILL:
            arguments = [f"sqlite:///{name}.db", str(rng.randrange(1 << 30))]
            status = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments], check=False, env={**os.environ}
            ).returncode
            kills += status == -signal.SIGKILL
        assert status == 0
    hits = SharedCounter[str]("hits")
    assert (hits["pages"], [*hits]) == (120, ["pages"]), kills


def test_all_changes_between_two_cuts_are_one_item() -> None:
    """However many there are; large ones do not wait for the cut, which would encode them."""
    autostate.configure("memory:", debounce=100.0, max_delay=100.0)
    progress, hits = autostate.PersistedDict("progress"), SharedCounter[int]("hits")
    seen = SharedSet[int]("seen")
    for number in range(3_000):
        hits[number % 10] += 1
        seen.add(number % 10)
    progress["page"] = 1
    [confirmed] = home().replica._others.values()
    assert len(confirmed.outbox) == 0
    confirmed.put_fresh()
    assert len(confirmed.outbox) == 1
    for number in range(2 * MOST):
        hits[number] += 1
    assert len(confirmed.outbox) == 3
    autostate.flush()
    assert len(confirmed.outbox) == 0
    assert hits.total() == 3_000 + 2 * MOST


def test_a_flush_waits_for_what_was_changed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox is never empty while others go on, and they are not waited for."""
    autostate.configure("memory:", debounce=0.001, max_delay=0.001)
    progress, hits = autostate.PersistedDict("progress"), SharedCounter[str]("hits")
    hits["before"] += 1
    [confirmed] = home().replica._others.values()
    deliver = confirmed.deliver

    def others(items: Sequence[OutboxItem[Change]]) -> None:
        hits["others"] += 1
        confirmed.put_fresh()
        deliver(items)

    with monkeypatch.context() as patch:
        patch.setattr(confirmed, "deliver", others)
        progress["page"] = 1
        hits["before"] += 1
        autostate.flush(20.0)
    assert autostate.info(hits).unpublished <= 1
    autostate.flush()
    assert autostate.info(hits).unpublished == 0
    assert hits["others"] > 0


def test_a_value_that_cannot_be_saved_holds_up_no_publication() -> None:
    """All else is durable in the program's own state, and so it is published."""
    autostate.configure("memory:", debounce=100.0, max_delay=100.0)
    progress, hits = autostate.PersistedDict[str, object]("progress"), SharedCounter("hits")
    progress["bad"] = object()
    hits["page"] += 1
    with pytest.raises(autostate.UnsupportedTypeError, match="bad"):
        autostate.flush()
    assert autostate.info(hits).unpublished == 0
    del progress["bad"]


def test_ctrl_c_neither_loses_nor_doubles_what_becomes_an_item() -> None:
    """It strikes at each place in turn; the next cut puts into the outbox what is left."""
    autostate.configure("memory:", debounce=100.0, max_delay=100.0)
    hits, progress = SharedCounter[str]("hits"), autostate.PersistedDict("progress", page=0)
    hits["all"] += 1
    [confirmed] = home().replica._others.values()
    interrupted, last = 0, 50
    for number in range(1, last + 1):
        hits.update({"all": 1, "other": 1})
        progress["page"] = number
        interrupt = Interrupt(number)
        try:
            with interrupt:
                confirmed.put_fresh()
        except KeyboardInterrupt:
            interrupted += 1
        assert hits["all"] == number + 1, interrupt.at
        if number % 8 == 0:
            autostate.flush()
            hits.refresh()
            assert hits["all"] == number + 1, interrupt.at
        home().replica.show_again("hits", ["all", "other"])
        assert hits == {"all": number + 1, "other": number}, interrupt.at
    assert interrupted > 20
    autostate.flush()
    replica = Replica(open_store(home().url))
    assert replica.open("hits", COUNTER, lambda _: Counter()) == {
        "all": last + 1,
        "other": last,
    }
    replica.close()
