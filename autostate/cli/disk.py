"""Checks of the file of a state, of the folder around it, and of the file system below."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from autostate.cli.findings import Finding
from autostate.errors import AutostateError
from autostate.stores.places import refuse_place

_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph"),
        *("glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "vboxsf", "virtiofs", "prl_fs"),
    }
)
_LOST: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_OF_CONTAINERS: Final = frozenset({"overlay", "aufs"})
_LITTLE: Final = 64 << 20
"""Bytes that should be free on the disk."""
_MODE: Final = slice(18, 20)
_WAL: Final = b"\x02\x02"
_FUTURE: Final = 60.0
"""Seconds by which clocks may differ."""
_INSTEAD: Final = (
    "use a server (redis://, postgresql://), or the folder itself by file:///…?state=NAME, which "
    "needs no locks; see docs/stores.md"
)


class Mount(NamedTuple):
    """A file system that is mounted.

    Attributes:
        place: Where it is mounted.
        kind: Its type, such as ext4.
    """

    place: str
    kind: str


def mount_of(path: Path, text: str | None = None) -> Mount | None:
    """Find the file system of a path.

    Args:
        path: The path; it need not exist.
        text: The content of `/proc/self/mountinfo`; None: as it is.

    Returns:
        The file system; None: this system does not tell.
    """
    if text is None:
        try:
            text = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    real, found = os.path.realpath(path), None
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and (found is None or len(place) >= len(found.place)):
            found = Mount(place, after.split(" ")[0])
    return found


def check_file_system(path: Path, mount: Mount | None) -> Finding:
    """Tell whether locks and files on a file system hold what a store needs."""
    if mount is None:
        return Finding("note", "file system", "its type is not known here")
    told = f"{path} is on {mount.kind} ({mount.place})"
    if mount.kind in _NETWORK or mount.kind.startswith("fuse"):
        return Finding(
            "warning",
            "file system",
            f"{told}, where SQLite's locks may not hold between machines, and a file be damaged "
            f"if two of them use it: {_INSTEAD}",
        )
    if mount.kind in _LOST:
        return Finding(
            "warning",
            "file system",
            f"{told}, which is memory: the state is gone after a restart of the machine. Name "
            "another place: AUTOSTATE_URL",
        )
    if mount.kind in _OF_CONTAINERS:
        return Finding(
            "warning",
            "file system",
            f"{told}, the layer of a container: the state is gone with the container. Mount a "
            "volume, and name a file in it: AUTOSTATE_URL",
        )
    return Finding("ok", "file system", told)


def check_file(path: Path) -> Iterator[Finding]:
    """Check a SQLite file, or the place where one would be made."""
    try:
        found = refuse_place(path)
    except AutostateError as error:
        yield Finding("problem", "file", str(error))
        found = path.stat() if path.is_file() else None
    else:
        if found is None:
            yield Finding("note", "file", f"{path} is not there yet: the first save makes it")
        else:
            yield Finding("ok", "file", f"{path}, {found.st_size:,} bytes, can be written")
    if path.is_symlink():
        yield Finding("note", "file", f"it is a link to {os.path.realpath(path)}, which is used")
    if found is not None and stat.S_ISREG(found.st_mode):
        yield from _check_content(Path(os.path.realpath(path)), found)
    folder = next((each for each in path.parents if each.is_dir()), None)
    if folder is not None:
        yield from _check_folder(folder, 0 if found is None else found.st_size)


def _check_content(path: Path, found: os.stat_result) -> Iterator[Finding]:
    if found.st_mode & 0o077:
        yield Finding(
            "warning",
            "permissions",
            f"other users can read or write {path} (mode {stat.S_IMODE(found.st_mode):o}), and a "
            f"state may hold cookies and tokens: chmod 600 {path}",
        )
    if found.st_uid != os.geteuid():
        yield Finding(
            "note", "permissions", f"{path} belongs to another user (number {found.st_uid})"
        )
    if found.st_nlink > 1:
        yield Finding(
            "warning",
            "file",
            f"{path} has {found.st_nlink} names (hard links): processes that use different names "
            "do not notice each other. Remove the others",
        )
    if found.st_mtime > time.time() + _FUTURE:
        yield Finding("warning", "clock", f"{path} was written in the future, says its file system")
    try:
        with path.open("rb") as file:  # this process has no lock on it that could be lost
            header = file.read(_MODE.stop)
    except OSError:
        return
    if header[_MODE] == _WAL:
        yield Finding(
            "warning",
            "file",
            f"{path} is in SQLite's WAL mode, which needs shared memory: not on a network, and a "
            "copy of this file alone is not whole. The next start of the program switches it",
        )
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists() and journal.stat().st_size:
        yield Finding(
            "note",
            "file",
            f"{journal.name} belongs to a commit that is under way or was cut short by a kill: "
            "leave it where it is, it is undone when the file is opened",
        )


def _check_folder(folder: Path, size: int) -> Iterator[Finding]:
    found = folder.stat()
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        yield Finding(
            "warning",
            "permissions",
            f"everybody can replace files in {folder}: chmod o-w {folder}",
        )
    free = shutil.disk_usage(folder).free
    if free < _LITTLE + 2 * size:
        yield Finding(
            "warning",
            "disk",
            f"{free >> 20:,} MiB are free on the disk of {folder}: a compaction needs as much as "
            "the state again. Make room",
        )
    else:
        yield Finding("ok", "disk", f"{free >> 20:,} MiB are free")
