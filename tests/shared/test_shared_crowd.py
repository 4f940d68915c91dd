"""Fifty processes count and collect together, and are killed and stopped: nothing is lost or twice.

Workers have a state of their own, in which they find after a kill how far they have come; so it is
known exactly how much there has to be. Visitors publish from memory: of what they had not been told
that it is published, it may be there or not.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from autostate.shared import fold as folding
from autostate.shared.kinds import COUNTER, SET
from autostate.shared.replica import Replica
from autostate.stores import open_store
from autostate.stores.base import Store
from autostate.testing import LocalPlatform
from tests.campaign import Tally, size
from tests.peers.forked import ProgramServer
from tests.servers import need
from tests.servers.kinds import PACKAGES, server_of
from tests.shared.crowd import Crowd

COUNT: Final = size("SHARED", 0)
"""How often each worker counts; 0: as often as is quick, in some stores."""
STORES: Final = [
    "sqlite",
    "folder",
    *(["apify", "valkey", "postgres"] if COUNT else []),
    pytest.param("seaweed", marks=pytest.mark.servers),
]
WORKERS: Final = 50 if COUNT >= 10_000 else 12 if COUNT else 3
KILLS: Final = WORKERS * 9 // 4 if COUNT else 2
STOPS: Final = max(1, WORKERS * 2 // 3)
MEMBERS: Final = (COUNT or 500) // 5


class Place(NamedTuple):
    """A store in which a state is shared.

    Attributes:
        name: Its kind.
        variables: Those of programs that share it.
    """

    name: str
    variables: Mapping[str, str]

    def open(self) -> Store:
        """Open it in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            return open_store(self.variables["AUTOSTATE_SHARED_URL"])


@pytest.fixture(scope="module", params=STORES)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Each store."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    if name == "sqlite":
        yield Place(name, {"AUTOSTATE_SHARED_URL": f"sqlite:///{folder}/shared.db"})
    elif name == "apify":
        with LocalPlatform() as platform:
            variables = {**platform.environment(), "AUTOSTATE_SHARED_URL": "apify:crowd"}
            yield used(Place(name, variables))
    else:
        need(*PACKAGES[name])
        server = server_of(name, folder)
        server.start()
        yield used(Place(name, {"AUTOSTATE_SHARED_URL": server.url("crowd")}))
        server.kill()
        server.remove()


def used(place: Place) -> Place:
    """Use a store once: a client may begin threads, which stay."""
    with closing(place.open()) as store:
        store.list("")
    return place


@pytest.mark.campaign(name="shared")
def test_a_crowd_counts_exactly(
    place: Place,
    program_server: ProgramServer,
    tmp_path: Path,
    rng: random.Random,
    tally: Tally,
) -> None:
    """Each increment and member once, whoever was killed or stopped, and whenever."""
    began = time.monotonic()
    crowd = Crowd(
        program_server,
        tmp_path,
        {**os.environ, **place.variables},
        rng,
        size=WORKERS,
        count=COUNT or 500,
        members=MEMBERS,
    )
    with closing(crowd):
        crowd.run(KILLS, STOPS)
    took = time.monotonic() - began
    with closing(place.open()) as opened:
        figures = check(Replica(opened), crowd)
        check(Replica(opened), crowd)  # after a fold
    tally.tried(crowd.kills + crowd.stops)
    tally.kinds.update({"killed": crowd.kills, "stopped": crowd.stops})
    tally.note(
        f"{place.name}: {WORKERS} processes x {crowd.count:,} increments and {MEMBERS:,} members, "
        f"{crowd.kills} kills, {crowd.stops} stops: exact. {figures}, {crowd.calls:,} calls of the "
        f"store, {took:.0f} s"
    )


def check(replica: Replica, crowd: Crowd) -> str:
    """Count what is there, as a new process does, and fold it; return figures."""
    made: dict[str, Any] = {"hits": {}, "seen": set()}
    hits = replica.open("hits", COUNTER, lambda shared: made[shared.name])
    seen = replica.open("seen", SET, lambda shared: made[shared.name])
    total = len(crowd.workers) * crowd.count
    assert hits.pop("all") == total, crowd.output
    assert seen == {*range(len(crowd.workers) * crowd.members)}
    for each in crowd.workers:
        assert hits.pop(each.name) == crowd.count
    for each in crowd.visitors:
        sure, begun = each.told()
        assert sure <= hits.pop(each.name, 0) <= begun
    assert not hits
    reading = replica.shelf.read()
    records = replica.shelf.store.scan([""])
    assert folding.fold(replica.shelf, replica.kind_of, replica._clock) is not None
    size = sum(map(len, records.values()))
    return f"{len(records):,} records, {size:,} bytes, {reading.base.through} folds"
