"""A copy of a database in whose commit a process was killed, to try first what can be recovered.

SQLite undoes such a commit as soon as the file is opened: it writes back the content of the journal
beside the file, and deletes the journal, before anybody can check the journal for damage. So this
is tried with a copy first.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from autostate.files import create
from autostate.ownership.lock import is_gone
from autostate.ownership.owner import Owner
from autostate.stores.sqlite import is_open

_ENDING = "[0-9a-f]{16}(-journal)?"
_YOUNG = 60.0
"""Seconds for which the copy of a process that seems to be gone is kept."""

_LOCKS = 0x40000000  # where SQLite locks its files: see https://sqlite.org/src/file/src/os.h


class Copy(NamedTuple):
    """A copy of a database and of its journal.

    Attributes:
        path: The copy of the database.
        files: The database and its journal.
        before: How these looked before they were copied.
    """

    path: Path
    files: tuple[Path, Path]
    before: list[tuple[int, ...] | None]

    def is_current(self) -> bool:
        """Tell whether the files are unchanged since they were copied."""
        return self.before == [*map(_look, self.files)]


@contextmanager
def copied(path: Path) -> Generator[Copy | None]:
    """Copy a database with the journal of a commit that nobody is in any more.

    Args:
        path: The database.

    Yields:
        The copy, which is deleted at the end; None: there is no such journal, somebody uses the
        database, or there is no room for a copy.
    """
    real = Path(os.path.realpath(path))
    files = (real, real.with_name(f"{real.name}-journal"))
    if not _is_left(*files):
        yield None
        return
    _remove_left(real)
    copy = real.with_name(f"{real.name}.new-{os.getpid():08x}{os.urandom(4).hex()}")
    copies = (copy, copy.with_name(f"{copy.name}-journal"))
    made: Copy | None = Copy(copy, files, [*map(_look, files)])
    try:
        try:
            for source, target in zip(files, copies, strict=True):
                _copy(source, target)
        except OSError:
            made = None
        yield made
    finally:
        for copy in copies:
            with suppress(OSError):
                copy.unlink(missing_ok=True)


def _is_left(database: Path, journal: Path) -> bool:
    """Tell whether a journal was left behind by a process that is gone."""
    try:
        found = journal.lstat()
        if is_open(database) or not stat.S_ISREG(found.st_mode) or not found.st_size:
            return False  # opening the database refuses anything that is no file
        if not database.stat().st_size:
            return False  # and an empty one
        handle = os.open(database, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 512, _LOCKS)
    except OSError:
        return False  # somebody reads or writes it
    finally:
        os.close(handle)
    return True


def _remove_left(database: Path) -> None:
    """Delete the copies of processes that were killed meanwhile: they are as large as the file."""
    with suppress(OSError):
        for name in os.listdir(database.parent):  # noqa: PTH208 - as in `sqlite_file`
            begins, _, token = name.rpartition(".new-")
            if (
                begins == database.name
                and re.fullmatch(_ENDING, token)
                and is_gone(Owner(int(token[:8], 16)))
            ):
                path = database.with_name(name)
                if time.time() - path.lstat().st_mtime > _YOUNG:  # it may belong to another machine
                    path.unlink(missing_ok=True)


def _copy(file: Path, copy: Path) -> None:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(file, flags), "rb") as source, os.fdopen(create(copy), "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
