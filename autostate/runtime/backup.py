"""A copy of a state in a file of its own."""

from __future__ import annotations

import os
from pathlib import Path

from autostate.runtime.copying import copy_into_file


def backup(path: str | os.PathLike[str], url: str | os.PathLike[str] | None = None) -> str:
    """Copy the state into a new SQLite file: as of one moment, also while a process writes it.

    Unsaved changes of this process are saved first. The copy is a state by itself, whatever store
    it comes from: to go on with it, also in another place, set `AUTOSTATE_URL` to the returned
    URL. The key that signs pickled values (`state.db.key`) is copied with it.

    Args:
        path: The new file, in a folder that is there.
        url: The store that is copied, as for `configure`; by default the store of this process.

    Returns:
        The URL of the copy.

    Raises:
        FileExistsError: Something is at the path already. It was left unchanged.
        FileNotFoundError: Its folder is missing.
        ValueError: No URL can name the path.
        CorruptStateError: A record is damaged; the message names it.
        StoreError: There is no state, or it cannot be read; or the file cannot be written.
        FlushError: As for `flush`, which raises the same other errors, too.

    Example:
        >>> import autostate
        >>> autostate.PersistedDict("progress")["page"] = 7
        >>> with autostate.open(autostate.backup("copy.db")):
        ...     autostate.PersistedDict("progress")
        {'page': 7}
    """
    return copy_into_file(url, Path(path))
