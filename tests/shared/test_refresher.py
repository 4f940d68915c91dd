"""What changes the view: a refresh that the program asks for, or the interval that it has set."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from typing import Any, Self

import pytest

import autostate
from autostate import SharedCounter, SharedDict, SharedSet
from autostate.shared.home import home
from autostate.shared.kinds import COUNTER, SET
from autostate.shared.replica import Replica, Shared
from autostate.stores import open_store


@pytest.fixture(autouse=True)
def _home(shared_here: None) -> None:
    """A shared state of this test, beside a state in memory."""
    autostate.configure("memory:")


class Other:
    """Another process."""

    def __init__(self) -> None:
        self.replica = Replica(open_store(home().url))
        self.objects: dict[str, Shared] = {}
        self.replica.open("hits", COUNTER, lambda made: self._note(made, Counter()))
        self.replica.open("seen", SET, lambda made: self._note(made, set()))

    def _note(self, made: Shared, container: Any) -> Any:
        self.objects[made.name] = made
        return container

    def publish(self, number: int, keys: int = 5) -> None:
        """Add keys."""
        self.objects["hits"].write({f"{number}-{n}": 1 for n in range(keys)})
        self.objects["seen"].write({f"{number}-{n}": True for n in range(keys)})
        self.replica.flush(10.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.replica.close()


def test_nothing_changes_a_view_by_itself() -> None:
    """Not writing, publishing, or a first state object of its own; nor another shared object."""
    hits, seen = SharedCounter[str]("hits"), SharedSet[str]("seen")
    hits.update("abc")
    seen.update("abc")
    with Other() as other:
        for number, key in enumerate(hits):
            other.publish(number)
            hits[key] += 1
            autostate.flush()
            SharedDict(f"best-{number}")["x"] = 1
            autostate.PersistedDict(f"progress-{number}")["page"] = 1
        for number, member in enumerate(seen):
            other.publish(number + 3)
            seen.add(member)
            autostate.flush()
    assert (hits, seen) == (Counter("aabbcc"), set("abc"))
    hits.refresh()
    assert (len(hits), len(seen)) == (33, 33)


def test_calls_of_c_do_not_mind_the_refreshes_of_other_threads() -> None:
    """They see the view of one moment."""
    hits, seen = SharedCounter[str]("hits"), SharedSet[str]("seen")
    hits["x"] += 1
    over = threading.Event()

    def refresh() -> None:
        with Other() as other:
            for number in range(8):
                other.publish(number, 100)
                hits.refresh()
        over.set()

    thread = threading.Thread(target=refresh)
    thread.start()
    while not over.is_set():
        assert len(dict(hits)) % 100 == 1
        assert len(json.loads(json.dumps(hits))) % 100 == 1
        assert len(sorted(seen)) % 100 == 0
        assert sum(hits.values()) % 100 == 1
        assert len([*hits.items()]) % 100 == len(hits.most_common()) % 100 == 1
    thread.join()
    assert len(hits) == 801


def test_a_refresh_adds_keys_in_one_step() -> None:
    """Between any two calls of it, another thread may read."""
    hits, seen = SharedCounter[str]("hits"), SharedSet[str]("seen")
    hits["x"] += 1
    sizes: set[tuple[int, int]] = set()
    with Other() as other:
        other.publish(1)
        sys.setprofile(lambda *_: sizes.update(((len(hits), -1), (-1, len(seen)))))
        hits.refresh()
        sys.setprofile(None)
    assert sizes == {(1, -1), (6, -1), (-1, 0), (-1, 5)}


def test_an_interval_refreshes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the background; an error of the store is told, and later attempts go on."""
    autostate.configure(shared_refresh=0.01)
    hits, shown = SharedCounter[str]("hits"), threading.Event()
    replica = home().replica
    fetch, show, failures = replica.fetch, replica.show, [OSError("no answer")]

    def fails(timeout: float | None = None) -> None:
        if failures:
            raise failures.pop()
        fetch(timeout)

    def shows() -> None:
        show()
        if len(hits) == 5:
            shown.set()

    monkeypatch.setattr(replica, "fetch", fails)
    monkeypatch.setattr(replica, "show", shows)
    with Other() as other:
        other.publish(1)
    assert shown.wait(20.0)
    assert autostate.info(hits).last_error is None
    assert autostate.info(hits).age < 20.0
    with pytest.raises(RuntimeError, match="before the first one is created"):
        autostate.configure(shared_refresh=5.0)
    autostate.configure(shared_refresh=0.01)


def test_an_interval_changes_nothing_between_two_awaits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read in the background waits until the event loop is at the next callback."""
    fetched, shown = threading.Semaphore(0), asyncio.Event()

    async def main() -> None:
        hits = SharedCounter[str]("hits")
        hits["x"] += 1
        with Other() as other:
            other.publish(1)
        for _ in hits:
            fetched.acquire()
            fetched.acquire()  # the second one began after the publication
            assert len(hits) == 1
        await shown.wait()
        assert len(hits) == 6

    autostate.configure(shared_refresh=0.01)
    replica, fetch, show = home().replica, home().replica.fetch, home().replica.show

    def shows() -> None:
        show()
        if replica.objects["hits"].entries.keys() > {"x"}:
            shown.set()

    def fetches(timeout: float | None = None) -> None:
        fetch(timeout)
        fetched.release()

    monkeypatch.setattr(replica, "fetch", fetches)
    monkeypatch.setattr(replica, "show", shows)
    asyncio.run(main())


def test_the_information_about_a_shared_object_is_that_of_the_moment() -> None:
    """Entries, unpublished changes, age and URL; of all objects without an argument."""
    progress = autostate.PersistedDict("progress", page=0)
    autostate.configure(debounce=100.0, max_delay=100.0)
    hits = SharedCounter[str]("hits")
    hits.update({"a": 1, "b": 2})
    with autostate.atomic():
        hits["c"] += 1
        found = autostate.info(hits)
    assert (found.name, found.kind, found.entries, found.unpublished) == ("hits", "counter", 3, 3)
    assert (found.url, found.last_error) == (home().url, None)
    assert [each.name for each in autostate.info()] == ["progress", "hits"]
    assert autostate.info(progress).kind == "dict"
    autostate.flush()
    later = autostate.info(hits)
    assert later.unpublished == 0
    assert later.age > found.age > 0
    hits.refresh()
    assert autostate.info(hits).age < later.age
    with pytest.raises(TypeError, match="cannot be deleted"):
        autostate.delete(hits)
