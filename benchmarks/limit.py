"""The limit: the least that anybody must do who keeps a state in memory and saves its changes.

It applies the changes to a plain dict, encodes what changed with msgspec, appends that to a file,
and waits for `fdatasync`. It keeps no index, checks nothing, never compacts, and is *told* what
changed.

The time of every participant is that of applying the changes and saving them. So the limit applies
them, too. What saving alone takes is the *limit without applying*.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.entries import MEMBERS, Shape

encode = msgspec.json.Encoder().encode


class Limit:
    """A plain dict or set, and a file to which its changes are appended."""

    idle = 0.0

    def __init__(self, folder: Path, shape: Shape) -> None:
        self._shape = shape
        self.state = shape.empty()
        self._changed: Collection[str] = ()
        self._file = (folder / "limit").open("ab")

    def fill(self, values: dict[str, Any]) -> None:
        """Put many values in at once."""
        self._changed = self.state
        self._shape.fill(self.state, values)

    def assign(self, values: dict[str, Any]) -> None:
        """Assign values one by one."""
        self._changed = [*values]
        self._shape.assign(self.state, values)

    def alter(self, urls: list[str], status: int) -> None:
        """Change something inside of values."""
        self._changed = urls
        self._shape.alter(self.state, urls, status)

    def remove(self, urls: list[str]) -> None:
        """Remove entries."""
        self._changed = urls
        self._shape.remove(self.state, urls)

    def save(self) -> None:
        """Make durable what changed."""
        state = self.state
        if self._changed is state:
            data = encode(state)
        elif self._shape is MEMBERS:
            data = encode(self._changed)
        else:  # null stands for a removed entry
            data = encode({url: state.get(url) for url in self._changed})
        self._file.write(data)
        self._file.flush()
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
