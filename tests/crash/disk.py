"""What a disk holds after a power failure, of what was written to it and what was synced.

A disk may write in any order what it was not told to sync, and in parts. So after a failure it
holds everything that was synced before, and of what came later any part:

- of a write any of its sectors of 512 bytes; where it made the file longer, zeros for the others;
- of the changes of a file's length any;
- of the changes of a folder's names (made, renamed, removed) any, as long as the folder was not
  synced. A rename in one folder is one change.

File systems keep more order than that, each another one. What survives this survives them all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512


@dataclass
class File:
    """A file, whatever its name.

    Attributes:
        synced: What is on the disk for certain.
        pending: What was done to it since it was synced.
    """

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Callable[[bytearray, random.Random | None], None]] = field(default_factory=list)

    def now(self) -> bytes:
        """What programs read."""
        return self.left(None)

    def left(self, rng: random.Random | None) -> bytes:
        """What a power failure leaves of it."""
        content = bytearray(self.synced)
        kept = 1.0 if rng is None else rng.choice([0.0, 0.5, 0.5, 0.9, 1.0])
        for change in self.pending:
            if rng is None or rng.random() < kept:
                change(content, rng)
        return bytes(content)


def _writing(data: bytes, at: int) -> Callable[[bytearray, random.Random | None], None]:
    """A write, of which a power failure may leave some sectors."""

    def write(content: bytearray, rng: random.Random | None) -> None:
        torn = rng is not None and rng.random() < 0.3
        content.extend(bytes(max(0, at + len(data) - len(content))))
        begins = at
        while begins < at + len(data):
            ends = min((begins // SECTOR + 1) * SECTOR, at + len(data))
            if rng is None or not torn or rng.random() < 0.5:
                content[begins:ends] = data[begins - at : ends - at]
            begins = ends

    return write


def _cutting(length: int) -> Callable[[bytearray, random.Random | None], None]:
    """A change of the length."""

    def cut(content: bytearray, rng: random.Random | None) -> None:
        del content[length:]
        content.extend(bytes(length - len(content)))

    return cut


@dataclass
class Folder:
    """The names in a folder.

    Attributes:
        synced: What is there for certain, by name.
        pending: The changes since it was synced: what names got, or lost.
    """

    synced: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def left(self, rng: random.Random | None = None) -> dict[str, File | Folder]:
        """The names that a power failure leaves; without one all."""
        found: dict[str, File | Folder | None] = dict(self.synced)
        kept = 1.0 if rng is None else rng.choice([0.0, 0.5, 1.0])
        for change in self.pending:
            if rng is None or rng.random() < kept:
                found |= change
        return {name: file for name, file in found.items() if file is not None}


class Disk:
    """Files in folders, with what was synced of them.

    Args:
        root: The folder in which they are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = Folder()

    def folder(self, path: Path) -> Folder:
        """A folder that is there."""
        found = self._root
        for name in path.relative_to(self.root).parts:
            inner = found.left()[name]
            assert isinstance(inner, Folder)
            found = inner
        return found

    def file(self, path: Path) -> File:
        """A file that is there."""
        found = self.folder(path.parent).left()[path.name]
        assert isinstance(found, File)
        return found

    def make(self, path: Path) -> None:
        """Make a file."""
        self.folder(path.parent).pending.append({path.name: File()})

    def mkdir(self, path: Path) -> None:
        """Make a folder."""
        self.folder(path.parent).pending.append({path.name: Folder()})

    def write(self, path: Path, data: bytes, at: int = 0) -> None:
        """Write some bytes."""
        self.file(path).pending.append(_writing(data, at))

    def cut(self, path: Path, length: int) -> None:
        """Change the length."""
        self.file(path).pending.append(_cutting(length))

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in its folder, also one that another file had."""
        assert old.parent == new.parent
        folder = self.folder(old.parent)
        folder.pending.append({old.name: None, new.name: folder.left()[old.name]})

    def link(self, old: Path, new: Path) -> None:
        """Give a file one more name."""
        self.folder(new.parent).pending.append({new.name: self.file(old)})

    def remove(self, path: Path) -> None:
        """Take a name away."""
        self.folder(path.parent).pending.append({path.name: None})

    def sync(self, path: Path) -> None:
        """Write a file for certain."""
        file = self.file(path)
        file.synced = bytearray(file.now())
        file.pending.clear()

    def sync_folder(self, path: Path) -> None:
        """Write the names in a folder for certain."""
        folder = self.folder(path)
        folder.synced = folder.left()
        folder.pending.clear()

    def lose_power(self, rng: random.Random, into: Path) -> None:
        """Write what a power failure leaves now to a new folder."""
        self._leave(self._root, rng, into, {})

    def _leave(
        self, folder: Folder, rng: random.Random, into: Path, left: dict[int, bytes]
    ) -> None:
        into.mkdir()
        for name, found in folder.left(rng).items():
            if isinstance(found, Folder):
                self._leave(found, rng, into / name, left)
                continue
            if id(found) not in left:  # it may have two names
                left[id(found)] = found.left(rng)
            (into / name).write_bytes(left[id(found)])
