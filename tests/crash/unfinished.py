"""What a kill in the midst of a large commit leaves: the database, and the journal beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from autostate.journal import Journal
from autostate.stores.sqlite import SqliteStore


def leave_unfinished(
    path: Path, folder: Path, journal_of: Callable[[SqliteStore], Journal], changes: list[bytes]
) -> None:
    """Copy the files of a database as they are when a commit has written, and is not done.

    Args:
        path: The database.
        folder: Where the copies go; it is made.
        journal_of: Makes the journal, with limits of its own.
        changes: What is committed: more than the cache of SQLite holds.
    """
    folder.mkdir()
    store = SqliteStore(path)
    journal = journal_of(store)
    journal.recover()
    connection = store._connection
    assert connection is not None
    connection.execute("PRAGMA cache_size = 10")  # so that pages are written before the commit

    def kill(sql: str) -> None:
        # Not by this process: SQLite would lose its locks when the file is closed here.
        if sql == "COMMIT" and not [*folder.iterdir()]:  # after it, what is not needed is deleted
            for file in path.parent.glob(f"{path.name}*"):
                subprocess.run(["cp", str(file), str(folder / file.name)], check=True)

    connection.set_trace_callback(kill)
    journal.commit(changes)
    connection.set_trace_callback(None)
    store.close()
