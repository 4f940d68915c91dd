"""Owners of which nobody can find out whether they live: leases, and signs of life."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, StateInUseError
from autostate.errors import FencedError
from autostate.journal import Journal
from autostate.ownership.owner import Owner
from autostate.runtime.manager import current
from autostate.stores.memory import MemoryStore
from autostate.testing.platform import LocalPlatform
from tests.peers.forked import ROOT, ProgramServer

NUMBERS = itertools.count()


class Told(MemoryStore):
    """A store of which other machines use the records, and that knows nothing of them.

    Args:
        records: The store with the records.
        guarded: Whether it honours `expect`.
    """

    owner_file: Path | None = None

    def __init__(self, records: MemoryStore, *, guarded: bool) -> None:
        super().__init__(None)
        self._records = records._records
        self.url = f"memory:{next(NUMBERS)}"  # in one process, but as if on several machines
        self.conditional = self.atomic = guarded

    def owner_lives(self, owner: Owner) -> bool | None:
        """Nobody knows."""
        return None


class Time:
    """A clock that moves when somebody sleeps, and what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.7e9 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of whoever claims."""
    clock = Time()
    monkeypatch.setattr("autostate.runtime.claim.time", clock)
    return clock


@pytest.fixture(params=[True, False], ids=["guarded", "unguarded"])
def other(request: pytest.FixtureRequest) -> Iterator[Callable[[], Told]]:
    """Gives a connection to the store as each machine has one."""
    records = MemoryStore(None)
    yield lambda: Told(records, guarded=request.param)
    records.close()


@pytest.fixture
def owner(other: Callable[[], Told]) -> Journal:
    """The journal of an owner on another machine, which has saved something."""
    journal = Journal(other())
    with autostate.open(other()) as manager:
        PersistedDict("progress", page=1)
        manager.flush()
    journal.recover()
    journal.take_over()
    return journal


def test_an_owner_without_a_sign_of_life_counts_as_gone(
    passing: Time, other: Callable[[], Told], owner: Journal
) -> None:
    """After the lease, and not before; should it live, it is fenced."""
    began = passing.now
    with autostate.open(other()) as manager:
        progress = PersistedDict("progress")
        assert manager.settings.lease <= passing.now - began < manager.settings.lease + 5
        progress["page"] += 1
        manager.flush()
    with pytest.raises(FencedError):
        owner.renew()


def test_an_owner_that_shows_that_it_lives_stays(
    passing: Time, other: Callable[[], Told], owner: Journal
) -> None:
    """Whoever does not want to wait is refused as soon as that is seen."""
    began = passing.now

    def meanwhile() -> None:
        if passing.now - began > 20:
            owner.renew()

    passing.meanwhile = meanwhile
    with autostate.open(other()), pytest.raises(StateInUseError, match="belongs to process"):
        PersistedDict("progress")
    assert 20 < passing.now - began < 25
    owner.renew()
    owner.check_owner()


def test_an_owner_that_could_be_asked_has_its_time_from_then_on(
    passing: Time, other: Callable[[], Told], owner: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question without an answer does not count as a minute without a sign of life."""
    began = passing.now

    def lives(_: Told, owner: Owner) -> bool | None:
        waited = passing.now - began
        return None if 70 < waited < 75 else waited < 300

    monkeypatch.setattr(Told, "owner_lives", lives)
    with autostate.open(other(), wait_for_owner=600):
        PersistedDict("progress")
    assert 300 <= passing.now - began < 305


def test_who_waits_is_told_when_the_owner_gives_back(
    passing: Time, other: Callable[[], Told], owner: Journal
) -> None:
    """It need not wait for the end of the lease."""
    began = passing.now

    def meanwhile() -> None:
        waited = passing.now - began
        if waited < 500:
            owner.renew()
        elif waited < 520:
            owner.renew(ended=True)

    passing.meanwhile = meanwhile
    with autostate.open(other(), wait_for_owner=3600):
        assert PersistedDict("progress") == {"page": 1}
    assert 500 <= passing.now - began < 505


def test_what_the_owner_saves_meanwhile_is_read(passing: Time, other: Callable[[], Told]) -> None:
    """Who waits goes on from the last state, however often it was changed."""
    store = other()
    first = autostate.open(store)
    first.__enter__()
    progress = PersistedDict("progress", page=0)
    first.flush()
    current.set(None)

    def meanwhile() -> None:
        if progress["page"] < 20:
            progress["page"] += 1
            first.flush()
        else:
            first.close()

    passing.meanwhile = meanwhile
    with autostate.open(other(), wait_for_owner=3600):
        assert PersistedDict("progress") == {"page": 20}


def test_an_end_gives_the_lease_back(passing: Time, other: Callable[[], Told]) -> None:
    """The next process need not wait."""
    for page in range(3):
        with autostate.open(other()):
            progress = PersistedDict("progress", page=0)
            assert progress["page"] == page
            progress["page"] += 1
    assert passing.now == 1000


@pytest.mark.parametrize("how", ["never writes", "writes", "in a child"])
def test_an_idle_owner_shows_that_it_lives(
    other: Callable[[], Told], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Also one that has never written, and one that claimed the state at its first write."""
    monkeypatch.setattr("autostate.process.lifecycle.in_child", lambda: how == "in a child")
    store = other()
    told: list[Any] = []
    write = store.write

    def noted(puts: Any, *args: Any, **kwargs: Any) -> None:
        if len(puts) == 1:  # a commit puts a head, too
            told.append(puts)
        write(puts, *args, **kwargs)

    store.write = noted  # type: ignore[method-assign]
    with autostate.open(store, debounce=0.0, lease=0.03):
        progress = PersistedDict("progress")
        if how != "never writes":
            progress["page"] = 1
            autostate.flush()
        told.clear()
        while len(told) < 3:
            time.sleep(0.001)


ACTOR = """
import sys
import autostate
from autostate import PersistedDict
autostate.configure("apify:seen", lease=6)
state = PersistedDict("state", runs=0)
state["runs"] += 1
autostate.flush()
print("works", flush=True)
sys.stdin.read() if "waits" in sys.argv else None
"""


def test_runs_of_which_the_platform_says_nothing(
    isolated: Path, program_server: ProgramServer
) -> None:
    """An idle owner keeps its state; one that was killed is waited out; an end is known at once."""
    (isolated / "job.py").write_text(ACTOR)

    def run(number: int, *arguments: str) -> Any:
        (isolated / str(number)).mkdir()
        return program_server.popen(
            [sys.executable, "job.py", *arguments],
            env={
                **platform.environment(),
                "ACTOR_RUN_ID": f"run{number}",
                "ACTOR_DEFAULT_KEY_VALUE_STORE_ID": "none",
                "PYTHONPATH": str(ROOT),
                "PATH": "",
                "TMPDIR": str(isolated / str(number)),  # each in a container of its own
            },
            cwd=isolated,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    with LocalPlatform() as platform:
        platform.traffic.fault("GET", "/v2/actor-runs/*", status=403)
        first = run(1, "waits")
        assert first.stdout.readline() == "works\n"
        second = run(2)
        _, errors = second.communicate()
        assert second.returncode == 75, errors
        assert "belongs to the run run1" in errors
        first.kill()
        first.communicate()
        for number in (3, 4):
            later = run(number)
            printed, errors = later.communicate()
            assert (later.returncode, printed) == (0, "works\n"), errors
            assert ("no sign of life" in errors) == (number == 3), errors
        [named] = [s for s in platform.stores.all() if "seen" in (s.name or "")]
        assert b'"runs":3' in b"".join(one.value for one in named.records.values())
