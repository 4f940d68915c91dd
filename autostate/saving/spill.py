"""The last resort: changes that could not be saved at the end, in a file until the next start.

The file holds the commit that the store did not take, one change a line, below a header with a
digest, so that half a file is recognised. It lies beside the SQLite file, or in `.autostate/` of
the working directory for other stores; if that folder is full or cannot be written to, it lies
among the system's temporary files, in a folder that belongs to this user alone. Its name tells for
which store it is (by a digest: a URL may hold a password). The header names the state on which the
changes build: the writer of that state, and the number of its commit. If another incarnation has
saved since, or if the store holds an older state from a backup, the changes must not be applied:
the file is renamed and kept for a human.

The content of the file becomes state. So the file has to belong to this user, with one name, and
nobody else may be able to write to it; if the program has a key, the file is signed or encrypted as
every record is. A file that does not pass these checks, or cannot be read, is reported in the log,
renamed and kept, too.

Only a store that outlives the process can be spilled for: not `memory:`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from autostate.digest import blake2b
from autostate.errors import StoreUnavailableError
from autostate.files import create, make_folder, sync
from autostate.stores.base import FORMAT

logger: logging.Logger = logging.getLogger("autostate")


Seal = Callable[[str, bytes], bytes]
Open = Callable[[str, bytes], bytes]
"""The inverse of a `Seal`; raises ValueError if the signature is not valid."""


Writer = tuple[int, str]
"""Who saved a state: the epoch and the token of an incarnation."""


class Base(Struct, frozen=True):
    """The states on which changes may build.

    Attributes:
        writers: The possible writers: the incarnation itself, or the one before; None: nobody yet.
        first: The number of the acknowledged commit.
        last: The number of the last commit that may have arrived after all.
    """

    writers: tuple[Writer | None, ...]
    first: int = 0
    last: int = sys.maxsize

    def fits(self, writer: Writer | None, number: int) -> bool:
        """Tell whether a state is one of them.

        An older state of the same process is not: the changes would make a mixture of it. An empty
        store has no number; the process may have counted before the store was emptied.
        """
        if writer not in self.writers:
            return False
        return writer is None or self.first <= number <= self.last


class Spill(Struct, frozen=True):
    """A file of changes that were not saved.

    Attributes:
        path: The file.
        base: The states on which the changes may build.
        changes: The changes.
    """

    path: Path
    base: Base
    changes: list[bytes]


class Place(Struct, frozen=True):
    """Where spills of a store may lie.

    Attributes:
        folder: The folder; it may not exist yet.
        stem: How the names of the files begin.
        shared: Whether others may write to the parent folder, so that the owner is checked.
    """

    folder: Path
    stem: str
    shared: bool = False

    def files(self) -> list[Path]:
        """Return the spills that lie here, oldest first.

        Raises:
            StoreUnavailableError: The folder cannot be read. A spill in it must not be missed,
                because the next save would make it outdated.
        """
        if self.shared and not _is_private(self.folder):
            return []
        try:
            found = os.listdir(self.folder)  # noqa: PTH208 - names are enough
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []  # a folder that this user may not list holds no spill of this user
        except OSError as error:
            raise StoreUnavailableError(
                f"whether {self.folder} holds unsaved changes cannot be read: {error.strerror}",
                lasting=error.errno not in (errno.EMFILE, errno.ENFILE),
            ) from error
        names = [one for one in found if one.startswith(self.stem) and one.endswith(".jsonl")]
        return [self.folder / name for name in sorted(names)]

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            OSError: The folder cannot be made, or belongs to somebody else.
        """
        make_folder(self.folder)
        if self.shared and not _is_private(self.folder):
            raise PermissionError(errno.EPERM, "the folder is not private", str(self.folder))


def places(url: str) -> list[Place]:
    """Return where spills of a store may lie, the best first.

    The working directory counts: ask for it before the program changes it.

    Args:
        url: The store's.
    """
    scheme, _, rest = url.partition(":///")
    if scheme == "sqlite" and rest:
        database = Path(os.path.realpath(rest))  # the same path under any name of the file
        beside = Place(database.parent, f"{database.name}.spill-")
    else:
        beside = Place(Path(".autostate").absolute(), f"spill-{_digest(url)}-")
    stem = f"spill-{_digest(f'{url} {beside.folder}')}-"
    return [beside, *(Place(folder, stem, shared=True) for folder in _temporary_folders())]


def write(
    url: str,
    base: Base,
    changes: Sequence[bytes],
    *,
    where: Sequence[Place] | None = None,
    seal: Seal | None = None,
) -> Path:
    """Write changes to a file that the next start will find.

    Args:
        url: The store's.
        base: The states on which the changes may build.
        changes: The changes of a commit.
        where: An earlier result of `places`.
        seal: Signs or encrypts with the program's key; None: it has none.

    Returns:
        The file.

    Raises:
        OSError: The file could not be written at any of the places.
    """
    problems = []
    for place in places(url) if where is None else where:
        try:
            return _write(place, base, changes, seal)
        except OSError as error:
            problems.append(f"{place.folder}: {error.strerror or error}")
    raise OSError("; ".join(problems))


def _write(place: Place, base: Base, changes: Sequence[bytes], seal: Seal | None) -> Path:
    """Write a file at one place, or leave nothing there."""
    place.prepare()
    path = place.folder / f"{place.stem}{time.time_ns():020d}-{os.getpid()}.jsonl"
    body = b"".join(change + b"\n" for change in changes)
    header = {
        "autostate": FORMAT,
        "record": "spill",
        "writers": base.writers,
        "commits": (base.first, base.last),
        "time": time.time(),
        "changes": len(changes),
        "digest": blake2b(body, digest_size=16).hexdigest(),
    }
    content = json.dumps(header).encode() + b"\n" + body
    if seal is not None:
        content = seal(place.stem, content)
    unfinished = path.with_suffix(".unfinished")
    descriptor = create(unfinished)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            sync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    return path


def pending(url: str) -> list[Path]:
    """Return the files that the next start of a program with this store looks at, oldest first."""
    if url.startswith("memory:"):
        return []
    return [path for place in places(url) for path in place.files()]


def find(url: str, opened: Open | None = None) -> list[Spill]:
    """Return the readable spills for a store, oldest first; report and rename bad ones.

    Args:
        url: The store's.
        opened: Opens contents sealed with the program's key; None: there is no key.
    """
    spills = []
    for place in places(url) if not url.startswith("memory:") else ():
        for path in place.files():
            try:
                spills.append(_read(place, path, opened))
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                logger.error(  # noqa: TRY400 - what is wrong with the file, not where we noticed
                    "%s holds unsaved changes, but is not to be believed, or cannot be read (%s): "
                    "it was not applied, and is kept as %s",
                    *(path, error, renamed(path, ".bad")),
                )
    return spills


def renamed(path: Path, suffix: str = ".conflict") -> Path:
    """Rename a spill that must not be applied, so that no start finds it; return the new path."""
    kept = path.with_suffix(suffix)
    with contextlib.suppress(OSError):
        path.rename(kept)
    return kept


def remove(spill: Spill) -> None:
    """Delete a spill whose changes are durable now."""
    with contextlib.suppress(OSError):
        spill.path.unlink()


def _digest(text: str) -> str:
    return blake2b(os.fsencode(text), digest_size=6).hexdigest()


def _temporary_folders() -> Iterator[Path]:
    """Yield this user's own folders among the temporary files, existing or not.

    `tempfile.gettempdir` would write a file to find out which of them works.
    """
    user = os.getuid() if hasattr(os, "getuid") else ""
    found = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")] + ["/tmp", "/var/tmp"]  # noqa: S108
    for folder in dict.fromkeys(filter(None, found)):
        yield Path(folder).absolute() / f"autostate-{user}"


def _is_private(folder: Path) -> bool:
    """Tell whether only this user can write to a folder: its files become state."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return ours and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022


def _is_own(found: os.stat_result) -> bool:
    """Tell whether a file has one name, belongs to this user, and nobody else can write to it."""
    ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return ours and stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _read(place: Place, path: Path, opened: Open | None) -> Spill:
    """Read and check one file."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, no pipe
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not _is_own(os.fstat(file.fileno())):
            raise ValueError("somebody else may have put it there, or can write to it")
        content = file.read()
    first, _, body = (opened(place.stem, content) if opened else content).partition(b"\n")
    header = json.loads(first)
    if header["autostate"] != FORMAT or header["record"] != "spill":
        raise ValueError("its format is unknown")
    changes = body.split(b"\n")[:-1]
    digest = blake2b(body, digest_size=16).hexdigest()
    if digest != header["digest"] or len(changes) != header["changes"]:
        raise ValueError("it is damaged: its digest does not match")
    lowest, highest = map(int, header["commits"])
    writers = (one and (int(one[0]), str(one[1])) for one in header["writers"])
    return Spill(path, Base(tuple(writers), lowest, highest), changes)
