"""A file with one JSON value in each line, to which the items of an outbox are appended.

The place is the length of the file, and a digest of the bytes before its end. What has arrived is
found by reading from the place on, and comparing lines. The digest tells whether the file is still
the same one: an inode does not, since the number of a deleted file is used again, and a file that
is copied to another machine has another one.

A line that was cut off in the midst of a write, by a kill or a full disk, is the beginning of an
item that has not arrived: it is truncated. Any other line without an end is somebody else's, and
gets its end before ours begins.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from autostate.delivery.destination import Destination, OutboxItem
from autostate.errors import UnsupportedTypeError
from autostate.files import make_folder, sync, sync_folder
from autostate.logs import heard

SEEN: Final = 4_096
"""So many bytes before a place are in its digest."""


class JsonlFile(Destination[Any]):
    """A local JSONL file; each item arrives exactly once, after kill -9 at any moment, too.

    Each batch is one write at the end of the file, and is synced before it counts as delivered.
    Others may append to the file as well, whole lines that are not equal to those of the outbox: of
    equal lines it is not known whose they are. With `id_key` no two lines are equal.

    A file that was renamed, as logrotate does, is read to its end under its new name if that begins
    alike, and a new one is begun. If it was deleted, truncated or moved elsewhere, the items of
    which it is not known whether they had arrived there come into the new file.

    Args:
        path: The path of the file; it is made if it is missing.
        id_key: Add the id of the item to each line under this key; the items are then dicts.
    """

    def __init__(self, path: str | os.PathLike[str], *, id_key: str | None = None) -> None:
        self.path = Path(path).absolute()
        self.id_key = id_key
        self._handle: int | None = None

    def __repr__(self) -> str:
        return f"JsonlFile({str(self.path)!r})"

    def is_same(self, other: Destination[Any]) -> bool:
        """Tell whether the other one writes to the same file in the same way."""
        return isinstance(other, JsonlFile) and (self.path, self.id_key) == (
            other.path,
            other.id_key,
        )

    def encode(self, value: Any) -> str:
        """Return the value as JSON, as it will stand in the file.

        What JSON does not have, and msgspec writes in one way (dates, UUIDs, dataclasses, sets), is
        written so.

        Raises:
            UnsupportedTypeError: The value cannot be written as JSON.
        """
        if self.id_key is not None and not isinstance(value, dict):
            raise UnsupportedTypeError("the item", "with id_key the items of a file are dicts")
        try:
            text = _dumped(value)
            text.encode()  # half a surrogate pair is no text
        except (TypeError, ValueError, RecursionError) as error:
            raise UnsupportedTypeError(
                "the item", f"it cannot be written as JSON: {error}"
            ) from None
        return text

    def decode(self, text: str) -> Any:
        """Return the value of a line."""
        return json.loads(text)

    def begin(self) -> str:
        """Return the end of the file."""
        return self._place(self._opened())

    def deliver(self, items: Sequence[OutboxItem[Any]], place: str) -> str:
        """Append the items, and sync the file."""
        handle = self._opened()
        lines = "".join(map(self._line, items)).encode()
        if not _is_ended(handle):
            lines = b"\n" + lines
        view = memoryview(lines)
        while view:
            view = view[os.write(handle, view) :]
        sync(handle)
        return self._place(handle)

    def find(self, items: Sequence[OutboxItem[Any]], place: str) -> tuple[list[int], str]:
        """Read what was written since the place, and mend the end of the file."""
        handle = self._opened()
        wanted = {self._line(item)[:-1].encode() for item in items}
        found: Counter[bytes] = Counter()
        begin = self._begin_of(handle, place, wanted, found)
        tail = _read(handle, begin, wanted, found)
        arrived, missing = [], []
        for item in items:
            line = self._line(item)[:-1].encode()
            if found[line] > 0:
                found[line] -= 1
                arrived.append(item.position)
            else:
                missing.append(line)
        if tail and any(line.startswith(tail) for line in missing):
            os.ftruncate(handle, os.fstat(handle).st_size - len(tail))
        sync(handle)  # what a killed process has written may not be on the disk yet
        return arrived, self._place(handle)

    def close(self) -> None:
        """Close the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    # -- inside -------------------------------------------------------------------------------

    def _line(self, item: OutboxItem[Any]) -> str:
        value = item.value
        if self.id_key is not None:
            value = {**value, self.id_key: item.id}
        return f"{_dumped(value)}\n"

    def _opened(self) -> int:
        """Open the file, unless the one of that name is open already; make it if it is missing."""
        if self._handle is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._handle), self.path.stat()):
                    return self._handle
            self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        try:
            self._handle = os.open(self.path, flags)
        except FileNotFoundError:
            make_folder(self.path.parent, 0o777)
            self._handle = os.open(self.path, flags | os.O_CREAT, 0o666)
            sync(self._handle)
            sync_folder(self.path.parent)
        return self._handle

    def _place(self, handle: int) -> str:
        """Return the end of a file as a place."""
        length = os.fstat(handle).st_size
        return f"{length} {_digest(handle, length)}"

    def _begin_of(
        self, handle: int, place: str | None, wanted: set[bytes], found: Counter[bytes]
    ) -> int:
        """Return where to read the file from; read the former file first if it was replaced."""
        offset, digest = _parts(place)
        if _digest(handle, offset) == digest:
            return offset
        with contextlib.suppress(OSError):
            for path in sorted(self.path.parent.iterdir()):
                if path != self.path and path.name.startswith(self.path.stem) and path.is_file():
                    with path.open("rb") as file:
                        if _digest(file.fileno(), offset) == digest:
                            _read(file.fileno(), offset, wanted, found)
                            return 0
        heard().warning(
            "%s is not the file to which an outbox has written before, and that one is not beside "
            "it: what it is not sure to have written there comes into this one",
            self.path,
        )
        return 0


def _parts(place: str | None) -> tuple[int, str]:
    """Return the offset and the digest of a place."""
    offset, _, digest = (place or "0 ").partition(" ")
    return int(offset), digest


def _dumped(value: Any) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_json
    )


def _as_json(value: Any) -> Any:
    """Return what msgspec writes for a value that `json` does not know."""
    return msgspec.to_builtins(value)


def _digest(handle: int, offset: int) -> str:
    """Return the digest of the bytes before an offset; "" if there are fewer, or none."""
    begin = max(0, offset - SEEN)
    data = os.pread(handle, offset - begin, begin)
    if not offset:
        return ""
    return blake2b(data, digest_size=8).hexdigest() if len(data) == offset - begin else "-"


def _is_ended(handle: int) -> bool:
    """Tell whether the last line of a file has its end."""
    length = os.fstat(handle).st_size
    return not length or os.pread(handle, 1, length - 1) == b"\n"


def _read(handle: int, begin: int, wanted: set[bytes], found: Counter[bytes]) -> bytes:
    """Count the wanted lines from an offset on; return what stands behind the last whole line."""
    tail = b""
    for line in _lines(handle, begin):
        tail = b"" if line.endswith(b"\n") else line
        if not tail and (text := line[:-1]) in wanted:
            found[text] += 1
    return tail


def _lines(handle: int, begin: int) -> Iterator[bytes]:
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(begin)
        yield from file
