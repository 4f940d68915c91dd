"""Whole records that are not where they belong: deleted, renamed, swapped, replayed, foreign.

Each record is intact by itself, so what finds it out is how records name each other. Whoever can
write to the store without a key can put back an older state as a whole: that is not tried here.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from autostate.errors import CorruptStateError
from autostate.journal import Journal
from autostate.journal.head import parse_key
from autostate.stores.apify_folder import ApifyFolderStore
from autostate.stores.base import Store
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore
from tests.campaign import Tally, sampled

Records = dict[str, bytes]
STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda path: SqliteStore(path / "state.db"),
    "folder": lambda path: ApifyFolderStore(path / "default", "apify:", 9_000_000),
}


class History(NamedTuple):
    """A state, and what the store held after each of its commits."""

    moments: list[Records]
    newest: dict[str, Any]


def written(make: Callable[[Path], Store], path: Path, rng: random.Random) -> History:
    """Let three processes write one after another, with small and large commits."""
    with contextlib.closing(make(path)) as store:
        return _written(store, rng)


def _written(store: Store, rng: random.Random) -> History:
    moments: list[Records] = []
    for process in range(3):
        journal = Journal(store, inline_limit=300)
        journal.recover()
        for number in range(rng.randint(3, 8)):
            big = '"' + "x" * rng.choice([1, 1, 400]) + '"'
            change = f'{{"id":1,"put":{{"{process}.{number}":{big}}}}}'
            if not moments:
                change = f'{{"id":1,"kind":"dict","name":"crawl","assign":{{"0.0":{big}}}}}'
            journal.commit([change.encode()])
            if number == 2:
                journal.compact(pause=lambda: None)
            found = {key: store.read(key) for key in store.list("autostate-")}
            moments.append({key: data for key, data in found.items() if data is not None})
    return History(moments, content(Journal(store)))


def content(journal: Journal) -> dict[str, Any]:
    """What a recovery finds."""
    nodes = journal.recover().nodes
    return {str(key): node.content for key, node in nodes.items()}


def misplaced(history: History, foreign: History, rng: random.Random) -> Iterator[Records]:
    """What the store may hold when one record is not where it belongs."""
    now = history.moments[-1]
    for key in now:
        yield {other: data for other, data in now.items() if other != key}
        for other in _names_like(key, rng):
            rest = {each: data for each, data in now.items() if each != key}
            yield rest | {other: now[key]}
        for other in now.keys() - {key}:
            yield now | {key: now[other], other: now[key]}
        for moment in history.moments:
            if moment.get(key, now[key]) != now[key]:
                yield now | {key: moment[key]}
        for moment in foreign.moments:
            for data in moment.values():
                yield now | {key: data}
    for moment in (*history.moments, *foreign.moments):
        for key, data in moment.items():
            if key not in now:
                yield now | {key: data}


def _names_like(key: str, rng: random.Random) -> list[str]:
    at = rng.randrange(len(key))
    flipped = key[:at] + chr(ord(key[at]) ^ 1) + key[at + 1 :]
    return [flipped, f"{key}-1", key.replace("0000000", "0000001", 1)]


@pytest.mark.campaign(name="records")
@pytest.mark.parametrize("sort", STORES)
def test_a_record_that_is_not_where_it_belongs(
    sort: str, tmp_path: Path, rng: random.Random, tally: Tally
) -> None:
    """Either it is found out, or it is none that the newest state needs: never an older state."""
    places = iter(tmp_path / str(number) for number in range(100_000))
    history, foreign = (written(STORES[sort], next(places), rng) for _ in range(2))
    tried = sampled(rng, misplaced(history, foreign, rng), 200)
    found = 0
    for records in tried:
        store = STORES[sort](next(places))
        store.write(records)
        try:
            state = content(Journal(store))
        except CorruptStateError:
            found += 1
            continue
        finally:
            store.close()
        if state != history.newest:
            changed = {
                key
                for key in records.keys() | history.moments[-1].keys()
                if records.get(key) != history.moments[-1].get(key)
            }
            assert sort == "folder", f"an older state, because of {changed}"
            assert _is_older_head(changed), f"an older state, because of {changed}"
    assert found > len(tried) / 10
    tally.tried(len(tried))


def _is_older_head(changed: set[str]) -> bool:
    """An earlier version of a head under its own key: only a store that is atomic tells."""
    [key] = changed
    name = parse_key(key)
    return name is not None and not name.is_claim and "-head-" in key
