"""The last resort: changes that could not be saved at the end, in a file until the next start.

The file holds the commit that the store did not take, one change a line, below a header with a
digest, so that half a file is recognised. It lies beside the SQLite file, or in `.autostate/` of
the working directory for other stores, and its name tells for which store it is (by a digest: a
URL may hold a password). The header says on which epoch the changes build. If another incarnation
has saved since, they must not be applied over its work: the file is set aside for a human.

Only a store that outlives the process can be spilled for: not `memory:`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autostate.syncing import sync

logger: logging.Logger = logging.getLogger("autostate")

VERSION = 1


@dataclass(frozen=True)
class Spill:
    """A file of changes that were not saved.

    Attributes:
        path: The file.
        epoch: The epoch of the state that the changes build on.
        changes: The changes.
    """

    path: Path
    epoch: int
    changes: list[bytes]


def write(url: str, epoch: int, changes: Sequence[bytes]) -> Path:
    """Write changes to a file that the next start will find.

    Args:
        url: The store's.
        epoch: The epoch of the state that the changes build on.
        changes: The changes of a commit.

    Returns:
        The file.

    Raises:
        OSError: It could not be written.
    """
    folder, stem = _place(url)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{stem}{time.time_ns():020d}-{os.getpid()}.jsonl"
    body = b"".join(change + b"\n" for change in changes)
    header = {
        "autostate": VERSION,
        "record": "spill",
        "epoch": epoch,
        "time": time.time(),
        "changes": len(changes),
        "digest": hashlib.blake2b(body, digest_size=16).hexdigest(),
    }
    unfinished = path.with_suffix(".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(header).encode() + b"\n" + body)
        file.flush()
        sync(file.fileno())
    unfinished.rename(path)
    return path


def find(url: str) -> list[Spill]:
    """Return the readable spills for a store, oldest first; what is damaged is logged and left.

    Args:
        url: The store's.
    """
    folder, stem = _place(url)
    spills = []
    for path in sorted(folder.glob(f"{stem}*.jsonl")) if folder.is_dir() else ():
        try:
            spills.append(_read(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.error(  # noqa: TRY400 - what is wrong with the file, not where we noticed
                "%s holds unsaved changes, but cannot be read: %s", path, error
            )
    return spills


def set_aside(spill: Spill) -> Path:
    """Keep a spill that must not be applied under a name that no start looks for."""
    aside = spill.path.with_suffix(".conflict")
    with contextlib.suppress(OSError):
        spill.path.rename(aside)
    return aside


def remove(spill: Spill) -> None:
    """Delete a spill whose changes are durable now."""
    with contextlib.suppress(OSError):
        spill.path.unlink()


def _place(url: str) -> tuple[Path, str]:
    """Return the folder of a store's spills, and how their names begin."""
    scheme, _, rest = url.partition(":///")
    if scheme == "sqlite" and rest:
        database = Path(rest)
        return database.parent, f"{database.name}.spill-"
    return Path(".autostate"), f"spill-{hashlib.blake2b(url.encode(), digest_size=6).hexdigest()}-"


def _read(path: Path) -> Spill:
    """Read and check one file."""
    first, _, body = path.read_bytes().partition(b"\n")
    header = json.loads(first)
    if header["autostate"] != VERSION or header["record"] != "spill":
        raise ValueError("of an unknown format")
    changes = body.split(b"\n")[:-1]
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    if digest != header["digest"] or len(changes) != header["changes"]:
        raise ValueError("damaged: its digest does not fit")
    return Spill(path, int(header["epoch"]), changes)
