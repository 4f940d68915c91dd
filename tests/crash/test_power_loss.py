"""The power fails: what was acknowledged is there, whatever the disk has made of the rest.

What the store writes and syncs is recorded (`calls.py`). After each call the power may fail; then
the disk holds what was synced, and any part of what was not (`disk.py`). `CAMPAIGN_POWER` says
how many failures are tried for each store.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from autostate.errors import AutostateError
from autostate.journal import Journal, compaction
from autostate.stores import Store
from autostate.stores.apify_folder import ApifyFolderStore
from autostate.stores.sqlite import SqliteStore
from tests.campaign import Tally, size
from tests.crash.calls import Calls
from tests.crash.disk import Disk

FAILURES = size("POWER", 60)
T = TypeVar("T")
Event = tuple[str, tuple[Any, ...]]
CHANGES: Final = frozenset({"make", "mkdir", "write", "cut", "rename", "link", "remove"})
SYNCS: Final = frozenset({"sync", "sync_folder"})


class Recorder:
    """Records what changes the disk, in order.

    Attributes:
        events: The calls, and after which of them how many commits were begun and acknowledged.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def call(self, name: str, do: Callable[[], T], path: Path, *rest: Any) -> T:
        """Make a call, and take note of it."""
        done = do()
        if name in CHANGES | SYNCS:
            self.events.append((name, (path, *rest)))
        return done


class History:
    """A store in which several processes commit one after another, and what each commit made.

    Attributes:
        states: The state after each commit.
    """

    def __init__(self, open_in: Callable[[Path], Store], folder: Path, rng: random.Random) -> None:
        self.open_in, self.folder, self.rng = open_in, folder, rng
        self.states: list[dict[str, Any]] = [{}]
        self.recorder = Recorder()

    def live(self) -> None:
        """Commit some times as one process would: small and large, compact, and end."""
        rng, store = self.rng, self.open_in(self.folder)
        journal = Journal(store, inline_limit=rng.choice([150, 2000]), part_limit=2000)
        journal.recover()
        for _ in range(rng.randrange(3, 12)):
            put = {f"key{rng.randrange(20)}": "x" * rng.choice([10, 200, 3000])}
            put["n"] = str(len(self.states))
            begin = {} if self.states[-1] else {"kind": "dict", "name": "pages"}
            self.states.append({**self.states[-1], **put})
            self.note("begun")
            journal.commit([json.dumps({"id": 1, **begin, "put": put}).encode()])
            self.note("acknowledged")
            if rng.random() < 0.3:
                journal.compact(pause=lambda: None)
        store.close()

    def note(self, what: str) -> None:
        """Note how far it is."""
        self.recorder.events.append((what, (len(self.states) - 1,)))


def found_in(store: Store) -> object:
    """What a next process finds."""
    try:
        nodes = Journal(store).recover().nodes.values()
        return next((dict(node.content) for node in nodes if node.name == "pages"), {})
    finally:
        store.close()


def campaign(
    folder: Path,
    open_in: Callable[[Path], Store],
    rng: random.Random,
    tally: Tally,
    failures: int,
) -> None:
    """Record some histories, and let the power fail at each of their calls."""
    while tally.trials < failures:
        recorded, left = folder / "recorded", folder / "left"
        recorded.mkdir()
        history = History(open_in, recorded, rng)
        with Calls(recorded, history.recorder).watched():
            for _ in range(4):
                history.live()
        events = history.recorder.events
        tried = set(rng.sample(range(len(events)), min(len(events), failures // 3 + 1)))
        for number, (disk, begun, acknowledged) in enumerate(moments(recorded, events)):
            if number not in tried:
                continue
            disk.lose_power(rng, left)
            allowed = history.states[acknowledged : begun + 1]
            said = ""
            try:
                found = found_in(open_in(left))
            except AutostateError as error:
                found, said = None, str(error)
            wrong = found not in allowed
            tally.found(
                f"commit {acknowledged} was acknowledged, {said or 'another state was read'}",
                lost=wrong,
                silent=wrong and not said,
            )
            shutil.rmtree(left)
        shutil.rmtree(recorded)


def moments(root: Path, events: list[Event]) -> Iterator[tuple[Disk, int, int]]:
    """Make what was recorded once more; after each call give the disk, and how far it was."""
    disk, begun, acknowledged = Disk(root), 0, 0
    for name, arguments in events:
        if name == "begun":
            [begun] = arguments
        elif name == "acknowledged":
            [acknowledged] = arguments
        else:
            getattr(disk, name)(*arguments)
        yield disk, begun, acknowledged


def sqlite_in(folder: Path) -> Store:
    """A database."""
    return SqliteStore(folder / "state.db")


def folder_in(folder: Path) -> Store:
    """A key-value store in a folder, which it makes."""
    return ApifyFolderStore(folder / "storage" / "store", "apify:", 1 << 20)


STORES: Final[dict[str, Callable[[Path], Store]]] = {"SQLite": sqlite_in, "folder": folder_in}


@pytest.mark.campaign(name="power")
@pytest.mark.parametrize("kind", STORES)
def test_what_was_acknowledged_survives_a_power_failure(
    kind: str, tmp_path: Path, rng: random.Random, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was not synced is there, or not, or in parts."""
    monkeypatch.setattr(compaction, "FLOOR", 1)
    campaign(tmp_path, STORES[kind], rng, tally, FAILURES)
    tally.check()
