"""A store over objects of which only one can be compared and replaced in one step.

S3 and a file system replace one object at once, and cannot write several. So one object, the
*index*, holds the small records themselves, and names the objects with the large ones. A write puts
the objects of its large records first, under names that were never used. Then it replaces the
index, if that is still the one that was read. This one step makes the write atomic and conditional.

`apart.py` has the records that need not be in the index.

A replaced or deleted record leaves an object that no index names. It is deleted after the write; if
a process dies before that, a later one finds it by listing the objects.
"""

from __future__ import annotations

import builtins
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from autostate.digest import blake2b
from autostate.errors import DamagedStoreError, FencedError, StoreError, StoreUnavailableError

INDEX: Final = "autostate-index"
OBJECTS: Final = "autostate-object-"
SMALL: Final = 8192
"""The most bytes of a record that lies in the index, if the store does not say."""
MOST: Final = 64 << 20
"""The most bytes of an object."""
REWRITTEN: Final = 65_536
"""The same for a record that nearly every write replaces."""
ABANDONED: Final = 24 * 3600.0
"""Seconds after which an object without a name in the index is left over: a write is shorter."""
_DIGEST: Final = 32
"""The length of a digest."""
_ATTEMPTS: Final = 20
"""How often a write without expectations is repeated because another process was faster."""


_OBJECT: Final = re.compile(rf"{OBJECTS}[0-9a-f]{{32}}-[0-9]{{1,9}}")


class Found(NamedTuple):
    """An object.

    Attributes:
        data: Its content.
        version: What tells this content from any other that the object has had; never None.
    """

    data: bytes
    version: Any


class ChangedError(Exception):
    """The object is not the one that was to be replaced."""


class Objects(Protocol):
    """Objects by name, of which one can be compared and replaced; all others tell their size.

    An object with more than `MOST` bytes is not read: see `check_size`.
    """

    def get(self, name: str, timeout: float | None) -> Found | None:
        """Return an object, None if there is none."""
        ...

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """Return objects, at the same time where that saves time."""
        ...

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """Make objects, each as a whole; durable when it returns."""
        ...

    def replace(self, name: str, data: bytes, version: Any, timeout: float | None) -> Any:
        """Replace an object if it still has this version; None: if there is none.

        Returns:
            The new version.

        Raises:
            ChangedError: It has not. A repetition of an earlier attempt may be the reason.
            StoreUnavailableError: The outcome is unknown.
        """
        ...

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete objects; a missing one is no error."""
        ...

    def old(self, prefix: str, seconds: float, timeout: float | None) -> list[str]:
        """List the objects with this prefix that are so much older than the newest of them.

        Clocks of different machines are not compared.
        """
        ...

    def close(self) -> None:
        """Release what is open."""
        ...


class _Index(Struct, frozen=True, array_like=True, tag="autostate-index-1"):
    """The content of the index.

    Attributes:
        number: Makes each index differ from all others.
        small: Records by key.
        large: Names of the objects with records, by key.
        digest: Of all before it. Records tell whether they are damaged, and not whether one is
            missing because its key is; "" in an index of an earlier version.
    """

    number: str
    small: dict[str, bytes]
    large: dict[str, str]
    digest: str = ""

    def encoded(self) -> bytes:
        """Give the bytes of the index, with its digest."""
        data = _encode(msgspec.structs.replace(self, digest="0" * _DIGEST))[:-_DIGEST]
        return data + _digest(data)

    def is_sound(self, data: bytes) -> bool:
        """Tell whether it was written as these bytes."""
        return not self.digest or data[-_DIGEST:] == _digest(data[:-_DIGEST])


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST // 2).hexdigest().encode()


class _Read(NamedTuple):
    """An index that was read, or written."""

    content: _Index
    version: Any


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Index).decode
logger: logging.Logger = logging.getLogger("autostate")
_EMPTY: Final = _Read(_Index("", {}, {}), None)


class IndexedStore:
    """A store over objects; see the docstring of the module.

    Args:
        objects: The objects of one state.
        url: The URL of the state.
        small: The most bytes of a record that lies in the index.
        rewritten: Prefixes of the keys of which nearly every write replaces a record: such a record
            lies in the index up to `REWRITTEN` bytes. If all records of this size did, the index
            would grow with each write.
    """

    atomic = True
    conditional = True
    metered = False
    max_record = MOST
    owner_file: Path | None = None

    def __init__(
        self, objects: Objects, url: str, *, small: int = SMALL, rewritten: tuple[str, ...] = ()
    ) -> None:
        self.url: str = url
        self._small = small
        self._rewritten = rewritten
        self._objects = objects
        self._last: _Read | None = None
        self._swept = False
        self._closed = False

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return next(self.read_many([key], timeout=timeout))

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Store.read_many`."""
        index = self._load(timeout).content
        names = [index.large[key] for key in keys if key in index.large]
        found = self._objects.get_many(names, timeout) if names else iter(())
        for key in keys:
            data = index.small.get(key)
            if data is None and key in index.large:
                each = next(found)
                data = None if each is None else each.data
                if data is None and index.large[key] == self._load(timeout).content.large.get(key):
                    raise DamagedStoreError(
                        f"{self.url} lacks the object {index.large[key]}, which its index names: "
                        "somebody else has deleted it. Restore it from a copy"
                    )
            yield data

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        wanted = tuple(prefixes)
        index = self._load(timeout).content
        found = {key: data for key, data in index.small.items() if key.startswith(wanted)}
        large = [key for key in index.large if key.startswith(wanted)]
        if large:
            contents = self.read_many(large, timeout=timeout)
            found |= {k: data for k, data in zip(large, contents, strict=True) if data is not None}
        return found

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        index = self._load(timeout).content
        return sorted(key for key in {*index.small, *index.large} if key.startswith(prefix))

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records in one step; see `Store.write`."""
        self._check_open()
        small = {key: bytes(data) for key, data in puts.items() if self._is_small(key, data)}
        large = {
            key: f"{OBJECTS}{token_hex(16)}-{len(data)}"
            for key, data in puts.items()
            if key not in small
        }
        read = self._expected(self._last, expect, timeout)
        if large:
            self._objects.put_many({large[key]: bytes(puts[key]) for key in large}, timeout)
        gone = {*small, *large, *deletes}
        for _ in range(_ATTEMPTS):
            before = read.content
            index = _Index(
                token_hex(8),
                {**{k: v for k, v in before.small.items() if k not in gone}, **small},
                {**{k: v for k, v in before.large.items() if k not in gone}, **large},
            )
            self._last = None  # until the answer comes
            try:
                version = self._objects.replace(INDEX, index.encoded(), read.version, timeout)
            except ChangedError:
                read = self._load(timeout)
                if read.content.number != index.number:  # else it was this very write
                    read = self._expected(read, expect, timeout)
                    continue
            else:
                self._last = _Read(index, version)
            unnamed = {*before.large.values()} - {*index.large.values()}
            self._delete(unnamed, timeout)
            return
        raise StoreUnavailableError(
            f"{self.url} is changed by other processes again and again: end them, or try again"
        )

    def close(self) -> None:
        """Close what is open. Closing twice is no error."""
        self._closed = True
        self._objects.close()

    def _expected(
        self,
        read: _Read | None,
        expect: Mapping[str, bytes | None] | None,
        timeout: float | None,
    ) -> _Read:
        """Return an index that is as expected: the one at hand, or else the present one.

        Raises:
            FencedError: The present one is not.
        """
        if read is not None and self._differs(read.content, expect, timeout) is None:
            return read
        read = self._load(timeout)
        differs = self._differs(read.content, expect, timeout)
        if differs is not None:
            raise FencedError(f"{differs} in {self.url} is not what it was: nothing written")
        return read

    def _differs(
        self, index: _Index, expect: Mapping[str, bytes | None] | None, timeout: float | None
    ) -> str | None:
        """Name a record that is not as expected.

        The name of an object tells the size. Only an object of the size that is expected is read;
        it stays as it is while an index names it.
        """
        for key, data in (expect or {}).items():
            name = index.large.get(key)
            if name is None:
                if index.small.get(key) != data:
                    return key
                continue
            if data is None or size_of(name) != len(data):
                return key
            found = next(self._objects.get_many([name], timeout))
            if found is None or found.data != data:
                return key
        return None

    def _load(self, timeout: float | None) -> _Read:
        """Read the index."""
        self._check_open()
        found = self._objects.get(INDEX, timeout)
        if found is None:
            self._last = _EMPTY
        else:
            try:
                index = _decode(found.data)
            except msgspec.MsgspecError as error:
                raise self._damaged(f"does not read ({error})") from error
            if not index.is_sound(found.data):
                raise self._damaged("is damaged")
            if not all(map(_OBJECT.fullmatch, index.large.values())):  # or "../file" is deleted
                raise self._damaged("names an object as none is named")
            self._last = _Read(index, found.version)
        return self._last

    def _damaged(self, what: str) -> DamagedStoreError:
        return DamagedStoreError(
            f"the index of {self.url} {what}: somebody else has changed it. Restore it from a copy"
        )

    def _is_small(self, key: str, data: bytes) -> bool:
        """Tell whether a record lies in the index."""
        often = key.startswith(self._rewritten) if self._rewritten else False
        return len(data) <= (REWRITTEN if often else self._small)

    def _delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete objects that no index names; once in each process also those of earlier ones."""
        try:
            if names and not self._swept:
                self._swept = True
                named = {*self._load(timeout).content.large.values()}
                names = {*names, *self._objects.old(OBJECTS, ABANDONED, timeout)} - named
            if names:
                self._objects.delete(names, timeout)
        except StoreError as error:
            logger.debug("objects that are not needed any more are left: %s", error)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")


def size_of(name: str) -> int:
    """Give the size of an object that the index names, which its name tells; of others 0."""
    return int(name.rpartition("-")[2]) if name.startswith(OBJECTS) else 0


def check_size(url: str, name: str, size: int) -> None:
    """Refuse an object that is larger than any of this library.

    Raises:
        DamagedStoreError: It is.
    """
    if size > MOST:
        raise DamagedStoreError(
            f"the object {name} of {url} has {size:,} bytes, more than any has: somebody else has "
            "changed it. Restore it from a copy"
        )
