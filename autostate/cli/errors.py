"""The errors of the commands, and what the user is told of those of the system and of faults."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path
from typing import Final

_WHY: Final = {
    errno.ENOENT: "is not there",
    errno.ENOTDIR: "is not there",
    errno.EISDIR: "is a folder: name a file",
    errno.EACCES: "may not be used: check its permissions, and those of its folder",
    errno.EPERM: "may not be used: check its permissions, and those of its folder",
    errno.EROFS: "is on a disk that is mounted for reading only: name another place",
    errno.ENOSPC: "cannot be written because the disk is full: free some space",
    errno.EDQUOT: "cannot be written because the quota is used up: free some space",
    errno.EFBIG: "cannot be written because a file may not become as large: see ulimit -f",
    errno.ENAMETOOLONG: "has too long a name: take a shorter one",
}


class CommandError(Exception):
    """A command cannot do what it was told to; the message says why."""


class UsageError(CommandError):
    """The arguments are wrong."""


def of_system(error: OSError, what: str = "") -> str:
    """Tell of an error of the operating system: which file it is about, and what to do.

    Args:
        error: The error.
        what: The file, if the error does not name it.
    """
    if error.errno is None:  # made by this library, with a message of its own
        return str(error)
    why = _WHY.get(error.errno, f"cannot be used: {os.strerror(error.errno)}")
    name = error.filename
    if isinstance(name, (str, bytes, os.PathLike)):
        return f"{os.fsdecode(name)} {why}"
    if what:
        return f"{what} {why}"
    if error.errno == errno.ENOENT:
        return "the working directory is not there any more: change to another one"
    return f"what the command writes {why}"


def of_fault(error: Exception) -> str:
    """Tell of an error that nobody has foreseen; its message may have values in it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"this is a fault of autostate ({type(error).__name__} in {Path(place.filename).name}, "
        f"line {place.lineno}): please report it. PYTHONDEVMODE=1 autostate … tells more, and "
        "perhaps what the state holds"
    )
