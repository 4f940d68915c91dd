"""Paths of SQLite files: checks that make and change nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from autostate.errors import StoreError


def refuse_place(path: Path) -> None:
    """Refuse a path at which nothing can be saved; make and change nothing.

    Raises:
        StoreError: No file can be there, or it cannot be written; the message says what to do.
    """
    found = look_at(path)
    if found is None:
        _refuse_folder(path)
    elif stat.S_ISDIR(found.st_mode):
        raise StoreError(
            f"{path} cannot be opened: it is a folder. Name a file in it: "
            f"sqlite:///{path / 'state.db'}"
        )
    elif not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} cannot be opened: it is no file. Configure another path")
    elif not _writable(path):
        raise StoreError(f"{path} is not writable: check the permissions of the file")
    elif not _writable(path.parent):
        raise StoreError(
            f"{path} is not writable: SQLite keeps a journal beside the file while it writes. "
            f"Make the folder {path.parent} writable, or configure another path"
        )


def refuse_unreadable(path: Path) -> None:
    """Refuse a path from which nothing can be read; make and change nothing.

    Raises:
        StoreError: No file is there, or it cannot be read; the message says what to do.
    """
    found = look_at(path)
    if found is None:
        raise StoreError(f"there is no state in {path}: no such file{_others(path)}")
    if stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path} cannot be read: it is a folder. Name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} cannot be read: it is no file. Name another path")
    if not _may(path, os.R_OK):
        raise StoreError(f"{path} is not readable: check the permissions of the file")


def _others(path: Path) -> str:
    """Name the stores in the same folder, in case the user has misspelt one."""
    try:
        names = sorted(each.name for each in path.parent.glob(f"*{path.suffix or '.db'}"))
    except OSError:
        return ""
    return f". In {path.parent} there are: {', '.join(names[:10])}" if names else ""


def look_at(path: Path) -> os.stat_result | None:
    """Return what is at a path; None if nothing is, or if it cannot be reached."""
    try:
        return path.stat()
    except OSError:
        return None


def is_there(path: Path) -> bool:
    """Tell whether something is at a path.

    Raises:
        OSError: The answer is not known. From Python 3.14 on `Path.exists` returns False then, and
            a program would begin a new state over an existing one.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _refuse_folder(path: Path) -> None:
    """Refuse the path of a missing file if it cannot be made."""
    folder = next(each for each in path.parents if look_at(each) is not None)
    if not folder.is_dir():
        raise StoreError(
            f"{path} cannot be made: {folder} is a file, not a folder. Configure another path"
        )
    if not _writable(folder):
        raise StoreError(
            f"{path} cannot be made: the folder {folder} is not writable. Make it writable, or "
            "configure another path"
        )


def _writable(path: Path) -> bool:
    return _may(path, os.W_OK)


def _may(path: Path, mode: int) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, mode, effective_ids=effective)
