"""Paths of SQLite files: checks that make and change nothing.

Anybody who can write to the folder can put any file there. SQLite trusts the files beside a
database: it empties the target of a link with the journal's name, and a journal can name another
file, which is deleted after the journal was rolled back. So the files beside a database are checked
before SQLite sees them.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from autostate import steps
from autostate.errors import DamagedStoreError, StoreError

_BESIDE = ("-journal", "-wal", "-shm")
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")
"""The end of a journal that names another file, for a transaction over several databases."""

_EFFECTIVE = os.access in os.supports_effective_ids


def restore() -> str:
    """Say what to do about a file that is damaged."""
    return (
        f"Restore it from another copy. To begin anew, {steps.delete()}: it keeps the file under "
        "another name"
    )


def refuse_place(path: Path) -> os.stat_result | None:
    """Refuse a path at which nothing can be saved; return what is there, None if nothing is.

    Raises:
        StoreError: No file can be there, or it cannot be written; the message says what to do.
    """
    found = look_at(path)
    if found is None:
        refuse_unmakable(path)
    elif stat.S_ISDIR(found.st_mode):
        raise StoreError(
            f"{path} cannot be opened: it is a folder. Name a file in it: "
            f"sqlite:///{path / 'state.db'}"
        )
    elif not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} cannot be opened: it is no file. Configure another path")
    elif not os.access(path, os.W_OK, effective_ids=_EFFECTIVE):
        raise StoreError(f"{path} is not writable: check the permissions of the file")
    elif not os.access(path.parent, os.W_OK, effective_ids=_EFFECTIVE):
        raise StoreError(
            f"{path} is not writable: SQLite keeps a journal beside the file while it writes. "
            f"Make the folder {path.parent} writable, or configure another path"
        )
    return found


def is_writable(path: str) -> bool:
    """Tell whether the permissions of a database, its journal and its folder allow writes.

    While it is open SQLite reports a change of these as an I/O error.
    """
    files = filter(os.path.lexists, [path, f"{path}-journal"])
    places = [os.path.dirname(path), *files]  # noqa: PTH120 - a text, as SQLite has it
    return all(os.access(each, os.W_OK, effective_ids=_EFFECTIVE) for each in places)


def refuse_unreadable(path: Path) -> os.stat_result:
    """Refuse a path from which nothing can be read; return what is there.

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
    if not os.access(path, os.R_OK, effective_ids=_EFFECTIVE):
        raise StoreError(f"{path} is not readable: check the permissions of the file")
    return found


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


def refuse_folder(path: Path) -> None:
    """Refuse a path at which no folder of a state can be; make nothing.

    Raises:
        StoreError: It cannot be made or written, or is no folder; the message says what to do.
    """
    found = look_at(path)
    if found is None:
        refuse_unmakable(path)
    elif not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path} cannot be opened: it is no folder. Configure another path")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        raise StoreError(f"{path} is not writable: check the permissions of the folder")


def refuse_unmakable(path: Path) -> None:
    """Refuse the path of what is missing if it cannot be made."""
    folder = next(each for each in path.parents if look_at(each) is not None)
    if not folder.is_dir():
        raise StoreError(
            f"{path} cannot be made: {folder} is a file, not a folder. Configure another path"
        )
    if not os.access(folder, os.W_OK, effective_ids=_EFFECTIVE):
        raise StoreError(
            f"{path} cannot be made: the folder {folder} is not writable. Make it writable, or "
            "configure another path"
        )


def refuse_empty(path: Path, found: os.stat_result | None) -> None:
    """Refuse a file without content.

    Raises:
        DamagedStoreError: It is empty.
    """
    if found is not None and not found.st_size:
        raise DamagedStoreError(
            f"{path} is empty, and no state of autostate ever is: it was cut short, or made by "
            "another program. Restore it from a copy. To begin anew, delete the file, or "
            f"{steps.delete()}"
        )


def refuse_planted(path: str | Path) -> None:
    """Refuse files that another user has put beside a database.

    Args:
        path: The database, by its real path; as a text, where this is called very often.

    Raises:
        DamagedStoreError: A file beside it is not its own, or would cause another file's deletion.
    """
    for suffix in _BESIDE:
        beside = f"{path}{suffix}"
        try:
            found = os.stat(beside, follow_symlinks=False)  # noqa: PTH116 - at each write
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise DamagedStoreError(
                f"{beside} is no file of its own: somebody else has put it there, and SQLite would "
                "write to what it stands for. Nothing was changed. Move it away"
            )
        if suffix == "-journal" and found.st_size and _names_another(beside):
            raise DamagedStoreError(
                f"{beside} names another file, which SQLite would delete, and no journal of "
                f"autostate does: somebody else has put it there. Nothing was changed. {restore()}"
            )


def _names_another(journal: str) -> bool:
    with suppress(FileNotFoundError), Path(journal).open("rb") as file:
        begins = max(0, os.fstat(file.fileno()).st_size - len(_NAMES_ANOTHER))
        # In one step: its owner may empty it at any moment.
        return os.pread(file.fileno(), len(_NAMES_ANOTHER), begins) == _NAMES_ANOTHER
    return False
