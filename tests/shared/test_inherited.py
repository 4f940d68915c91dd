"""What a parent had not published is shown in its child until that has read it, and never twice."""

from __future__ import annotations

from collections import Counter

import pytest

from autostate.shared.kinds import COUNTER
from autostate.shared.object import Shared
from autostate.shared.replica import Replica
from tests.faulty import SHARING_STORES, FaultyStore
from tests.shared.writers import Writers


def forked(writers: Writers, parent: Replica) -> tuple[Replica, Shared, Counter[str]]:
    """Give the child of a process, which has changed "page" once and not published that."""
    child = writers.new()
    hits, seen = writers.open(child, "hits", COUNTER)
    child.writer.id = parent.writer.id
    hits.write({"page": 1})
    store = FaultyStore(writers.records, **writers.promises)
    child.leave_to_parent(lambda: store, is_locked=False)
    return child, hits, seen


@pytest.mark.parametrize("store", SHARING_STORES)
def test_a_base_that_a_publication_finds_ends_what_is_inherited(store: str) -> None:
    """Nothing is read for that: only a survey tells that the parent's change is in the base."""
    writers = Writers(SHARING_STORES[store])
    parent = writers.new()
    hits, _ = writers.open(parent, "hits", COUNTER)
    hits.write({"page": 1})
    child, mine, seen = forked(writers, parent)
    assert seen == {"page": 1}
    parent.flush(5.0)
    writers.fold()
    before = child.shelf.read  # nobody calls it from here on
    child.shelf.read = None  # type: ignore[method-assign,assignment]
    mine.write({"other": 1})
    child.flush(5.0)
    child.show_again("hits", ["page", "other"])
    assert seen == {"page": 1, "other": 1}
    child.shelf.read = before  # type: ignore[method-assign]
    child.refresh()
    assert seen == {"page": 1, "other": 1}
