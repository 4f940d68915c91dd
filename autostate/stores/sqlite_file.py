"""The file of a SQLite store: how it is made and opened, and which other files are refused.

SQLite would make a missing file at its final path, with no byte in it until the first commit. A
process that dies in between leaves a file that the next process takes for an empty state. So a
database is made under a temporary name, and linked to its path when it is complete. If two
processes do so at once, one finds that the path exists, and opens the file of the other. So no
process of this library leaves an empty file: it was cut short, and is an error.

Only SQLite opens the database file. POSIX drops all locks that a process holds on a file when the
process closes *any* of its descriptors: reading a header with `open()` would release the lock of a
commit in another thread. `stat`, `link` and `rename` do no harm.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from autostate.files import create, make_folder, sync_folder
from autostate.stores.places import (
    is_there,
    refuse_empty,
    refuse_place,
    refuse_planted,
    refuse_unreadable,
)
from autostate.stores.sqlite_connection import SCHEMA, checked, connected

logger: logging.Logger = logging.getLogger("autostate")

_UNFINISHED = ".new-"
_ENDING = r"[0-9a-f]{16}(-\w+)?"
"""The rest of the names of temporary files, and of SQLite's files beside them."""
_ABANDONED = 3600.0
"""Seconds after which a file under a temporary name belongs to no process that still lives."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database, made if there is no file at the path.

    Args:
        path: Where it is. Missing folders are made, with mode 0700.

    Raises:
        StoreError: Something else is there, or it cannot be written; the message says what to do.
        DamagedStoreError: The file is empty.
        sqlite3.Error: SQLite cannot open it.
        OSError: A folder cannot be made.
    """
    found = refuse_place(path)
    refuse_empty(path, found)
    real = Path(os.path.realpath(path))
    _tidy(real, found)
    if found is None and not is_there(real):
        make_folder(real.parent)
        _make(real)
    refuse_planted(real)
    return checked(path, "rw")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that is there, to read it alone: nothing is made or changed.

    Raises:
        StoreError: There is none, or it cannot be read; the message says what to do.
        DamagedStoreError: It is empty, was cut short, or has pages of several moments.
        sqlite3.Error: SQLite cannot open it.
    """
    refuse_empty(path, refuse_unreadable(path))
    refuse_planted(Path(os.path.realpath(path)))
    return checked(path, "ro")


def open_copy(copy: Path, path: Path) -> sqlite3.Connection:
    """Open a copy of a database; messages name the path of the original."""
    refuse_planted(copy)
    return checked(copy, "rw", path)


def owner_file_of(path: Path) -> Path:
    """Give the lock file of a database, which its owner locks: see `autostate.ownership.lock`."""
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.name}-owner")


def renamed(path: Path) -> Path:
    """Give a file that cannot be read another name, with its journal; return that name."""
    kept = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(kept)
    journal = path.with_name(f"{path.name}-journal")
    with suppress(FileNotFoundError):
        journal.rename(kept.with_name(f"{kept.name}-journal"))
    return kept


def _make(path: Path) -> None:
    """Make the database under a temporary name, then link it to its path."""
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}{os.urandom(8).hex()}")
    try:
        os.close(create(unfinished))  # SQLite gives its journal the mode of the file
        with closing(connected(unfinished, "rw")) as connection:
            # Without a journal there is one sync, not four. A process that dies leaves a file that
            # nobody opens.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(SCHEMA)
        publish(unfinished, path)
    except FileExistsError:  # another process was faster, and may not have come to this
        with suppress(OSError):
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def publish(unfinished: Path, path: Path) -> None:
    """Give a finished database its path.

    Raises:
        FileExistsError: The path exists.
    """
    try:
        os.link(unfinished, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or is_there(path):
            told = f"{path} is there already, and was left: name another file"
            raise FileExistsError(told) from None
        # A file system without hard links. A rename may replace what another process has made
        # in this very moment; that process finds out at its next write, as for every file that
        # is replaced while it is used, and writes its state again.
        unfinished.rename(path)
    with suppress(OSError):  # where folders can be synced
        sync_folder(path.parent)


def _tidy(path: Path, found: os.stat_result | None) -> None:
    """Delete the temporary files of processes that died while they made the database.

    A young file may be in use. A process that died between link and unlink has left a second name
    of the database itself, which is deleted at once. Another hard link is warned of: users of the
    other name cannot be noticed.
    """
    with suppress(OSError):  # listing the folder may be forbidden
        names = os.listdir(path.parent)  # noqa: PTH208 - one step, which Ctrl-C cannot split
        is_being_made = False  # a database that is being made has two names for a moment
        for name in names:
            begin, _, end = name.rpartition(_UNFINISHED)
            if begin == path.name and re.fullmatch(_ENDING, end):
                is_being_made = True
                left = path.with_name(name)
                entry = left.lstat()
                linked = found is not None and os.path.samestat(entry, found)
                if linked or time.time() - entry.st_mtime > _ABANDONED:
                    left.unlink(missing_ok=True)
        if not is_being_made and found is not None and found.st_nlink > 1:
            logger.warning(
                "%s has another name, too (a hard link): a process that uses the file by that name "
                "is not seen, and SQLite may damage it after a crash. Make a copy in place of the "
                "link",
                path,
            )
