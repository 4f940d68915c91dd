"""Who takes part in saving: by name, with what is known of the durability of each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import databases, participants
from benchmarks.entries import SHAPES, Shape
from benchmarks.limit import Limit
from benchmarks.participants import Participant

LIMIT: Final = "limit"
ALONE: Final = "limit without applying"
OWN: Final = "autostate, flush()"
OWN_ALONE: Final = "autostate without applying"
AUTOMATIC: Final = "autostate, automatic"
RIVAL: Final = "rocksdict"

FLAT: Final = ("dicts", "lists", "nested")
ALL: Final = tuple(SHAPES)


@dataclass(frozen=True)
class Peer:
    """One who takes part.

    Attributes:
        make: Makes the participant in a folder.
        durable: What makes its saves durable, or why they are not.
        package: What has to be installed for it.
        shapes: What it can save.
        fast: Whether it also takes part where the state is large.
    """

    make: Callable[[Path, Shape], Participant]
    durable: str
    package: str = "msgspec"
    shapes: tuple[str, ...] = FLAT
    fast: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can take part: peers are installed by `make bench` alone."""
        return importlib.util.find_spec(self.package) is not None


PEERS: Final = {
    LIMIT: Peer(Limit, "`fdatasync`", shapes=ALL, fast=True),
    OWN: Peer(participants.Flushed, "SQLite, `synchronous=FULL`", shapes=ALL, fast=True),
    AUTOMATIC: Peer(participants.Automatic, "as `flush()`", shapes=ALL, fast=True),
    RIVAL: Peer(
        databases.RocksDB, "`sync` for each batch", package="rocksdict", shapes=ALL, fast=True
    ),
    "lmdb": Peer(
        databases.LMDB, "its default, synced commits", package="lmdb", shapes=ALL, fast=True
    ),
    "ZODB, BTree": Peer(
        databases.Tree,
        "`FileStorage` syncs each commit",
        package="ZODB",
        shapes=(*FLAT, "members"),
    ),
    "ZODB, PersistentMapping": Peer(
        databases.Mapping, "`FileStorage` syncs each commit", package="ZODB"
    ),
    "diskcache": Peer(
        databases.DiskCache,
        "`sqlite_synchronous=2` in place of its default 1, which syncs at checkpoints only",
        package="diskcache",
    ),
    "sqlitedict": Peer(
        databases.SqliteDict,
        "`PRAGMA synchronous=FULL` in place of the OFF that it sets: "
        "by itself it survives a kill, and no power failure",
        package="sqlitedict",
    ),
    "shelve": Peer(databases.Shelf, databases.dbm_of_shelves()),
    "msgspec, whole": Peer(participants.WholeValue, "`fdatasync`, rename, `fsync` of the folder"),
    "use_state": Peer(
        participants.UseState,
        "no: it survives a kill, and nothing is synced before a power failure",
        package="apify",
    ),
}
