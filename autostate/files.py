"""Files and folders for the user of this process alone, whatever its umask is.

A umask only removes bits. With a umask of 0 everybody can write a file of a plain `open()`, and
with 0o277 nobody can read it, not even its owner. So files are made with their mode, and get it
again afterwards. An existing file keeps its mode: users share a database by a group.

`fsync` promises less on macOS: it leaves the data in the cache of the drive.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

ALONE: Final = 0o600
"""The mode of files that only the owner can read and write."""

_GITIGNORE: Final = b"*\n"


def create(path: Path, mode: int = ALONE) -> int:
    """Make a file and open it, to read and write; return its descriptor.

    Args:
        path: The path of the file; no link is followed.
        mode: The mode of the file.

    Raises:
        FileExistsError: The path exists.
        OSError: It cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) != mode:
            os.fchmod(handle, mode)
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_free(path: Path) -> None:
    """Check that a file that a user names can be made: nothing is there, and its folder is.

    A missing folder is not made, as `cp` makes none: mostly its name has a mistake in it, and then
    nobody would look for a backup there.

    Raises:
        FileExistsError: Something is there.
        FileNotFoundError: The folder is missing.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already, and was left: name another file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}: make it first")


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a missing folder, and those above it; sync them, as far as that is possible.

    The library's own folder is kept out of version control.

    Args:
        folder: The path of the folder.
        mode: The largest mode of the folder; its owner can always use it.

    Raises:
        OSError: It cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    try:
        folder.mkdir(mode)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return  # another process was faster
    found = stat.S_IMODE(folder.stat().st_mode)
    if found & 0o700 != 0o700:
        folder.chmod(found | 0o700)
    if folder.name == ".autostate":
        with suppress(FileExistsError), os.fdopen(create(folder / ".gitignore"), "wb") as file:
            file.write(_GITIGNORE)
    with suppress(OSError):
        sync_folder(folder.parent)


def write_new(path: Path, content: bytes) -> None:
    """Make a file with some content, which is on the drive when this returns; see `create`."""
    with os.fdopen(create(path), "wb") as file:
        file.write(content)
        file.flush()
        sync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure.

    Raises:
        OSError: Folders cannot be synced here, or the drive refuses to sync.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """Wait until a file or folder is on the drive itself.

    Raises:
        OSError: The drive refuses to sync.
    """
    import fcntl

    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # a network drive may not support it
            fcntl.fcntl(handle, full)
            return
    os.fsync(handle)
