"""What `fsync` promises elsewhere: on macOS it leaves the data in the cache of the drive."""

from __future__ import annotations

import os
from contextlib import suppress


def sync(handle: int) -> None:
    """Wait until a file or folder is on the drive itself.

    Raises:
        OSError: The drive refuses it.
    """
    import fcntl

    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # a network drive may not know it
            fcntl.fcntl(handle, full)
            return
    os.fsync(handle)
