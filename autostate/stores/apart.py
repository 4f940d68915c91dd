"""A store of which some records lie apart: each is an object of its own.

S3 can replace one object at once, so that each write replaces the index (`indexed.py`), and all
processes that share a state would wait for each other. What they write most, and each process
alone, need not be in it: a record whose key begins with one of `APART` is an object, which a write
simply overwrites. It is no part of the whole:

- A write puts such records before all others, and deletes them after all others. It takes them one
  by one, and `expect` cannot name them.
- A reading has such records first, and all others afterwards: these tell what was true when the
  former had been read.

The objects are listed, so they have to be strongly consistent, listings included: whoever lists or
reads after a PUT was answered finds what it has put. S3 promises that:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
"""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from autostate.errors import StoreError, StoreUnavailableError
from autostate.stores.base import Store
from autostate.stores.indexed import Found
from autostate.stores.wrapping import StoreAround

APART: Final = ("shared-0-", "shared-past-")
"""The prefixes of these records of a shared state: lineages, and what its base has forgotten."""
_ATTEMPTS: Final = 20
"""How often objects are listed anew because one has gone before it was read."""


class ListedObjects(Protocol):
    """Objects by name, of which those in a folder can be listed; see `indexed.Objects`."""

    def listed(self, folder: str, timeout: float | None) -> dict[str, Any]:
        """List the objects of a folder, each with its version.

        None is missing that was there all the time, also if it was overwritten meanwhile.
        """
        ...

    def get_many(self, names: Sequence[str], timeout: float | None) -> Iterator[Found | None]:
        """Return objects, at the same time where that saves time."""
        ...

    def put_many(self, contents: Mapping[str, bytes], timeout: float | None) -> None:
        """Make or overwrite objects, each as a whole; durable when it returns."""
        ...

    def delete(self, names: Collection[str], timeout: float | None) -> None:
        """Delete objects; a missing one is no error."""
        ...


class ApartStore(StoreAround):
    """A store around one that has all other records; see the docstring of the module.

    Args:
        store: The other store; it is closed with this one.
        objects: What has the records that lie apart; the other store closes it.

    Attributes:
        apart: The prefixes of the keys of records that lie apart; see `Store`.
    """

    def __init__(self, store: Store, objects: ListedObjects) -> None:
        super().__init__(store)
        self.apart: tuple[str, ...] = APART
        self._objects = objects
        self._known: dict[str, Found] = {}
        self._closed = False

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none."""
        return next(self.read_many([key], timeout=timeout))

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Store.read_many`."""
        apart, rest = self._divided(keys)
        found = self._get(apart, timeout)
        others = self.store.read_many(rest, timeout=timeout) if rest else iter(())
        for key in keys:
            if key.startswith(self.apart):
                each = next(found)
                yield None if each is None else each.data
            else:
                yield next(others)

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`.

        Of those that lie apart: all that were there when the call began, or later ones.
        """
        found = self._scan_apart(prefixes, timeout)
        rest = [each for each in prefixes if not each.startswith(self.apart)]
        if rest:
            found |= self.store.scan(rest, timeout=timeout)
        return found

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        found = [*self._list_apart([prefix], timeout)]
        if not prefix.startswith(self.apart):
            found += self._divided(self.store.list(prefix, timeout=timeout))[1]
        return sorted(found)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records; see the docstring of the module, and `Store.write`."""
        if any(key.startswith(self.apart) for key in expect or ()):
            raise ValueError("a record that lies apart cannot be expected")
        apart, others = self._divided(puts)
        gone, unneeded = self._divided(deletes)
        self._check_open()
        if apart:
            self._objects.put_many({_name(key): bytes(puts[key]) for key in apart}, timeout)
        if others or unneeded or expect:
            rest = {key: puts[key] for key in others}
            self.store.write(rest, unneeded, expect=expect, timeout=timeout)
        if gone:
            self._objects.delete([*map(_name, gone)], timeout)

    def close(self) -> None:
        """Close the other store, and with it the objects."""
        self._closed = True
        super().close()

    def _divided(self, keys: Iterable[str]) -> tuple[builtins.list[str], builtins.list[str]]:
        """Divide keys: those of records that lie apart, and all others."""
        apart: builtins.list[str] = []
        rest: builtins.list[str] = []
        for key in keys:
            (apart if key.startswith(self.apart) else rest).append(key)
        return apart, rest

    def _get(self, keys: Collection[str], timeout: float | None) -> Iterator[Found | None]:
        self._check_open()
        return self._objects.get_many([*map(_name, keys)], timeout) if keys else iter(())

    def _list_apart(self, prefixes: Sequence[str], timeout: float | None) -> dict[str, Any]:
        """List the keys with one of the prefixes of records that lie apart, with their versions."""
        self._check_open()
        found: dict[str, Any] = {}
        wanted = tuple(prefixes)
        for each in self.apart:
            if each.startswith(wanted) or any(prefix.startswith(each) for prefix in wanted):
                folder = _folder(each)
                for name, version in self._objects.listed(folder, timeout).items():
                    key = each + name.removeprefix(f"{folder}/")
                    if key.startswith(wanted) and "/" not in key:
                        found[key] = version
        return found

    def _scan_apart(self, prefixes: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        """Read the records that lie apart, those that are as they were from memory.

        One that has gone before it was read may be there under another key by now, to which its
        writer has moved. So it is not enough to leave it out.
        """
        others = {k: each for k, each in self._known.items() if not k.startswith(tuple(prefixes))}
        for _ in range(_ATTEMPTS):
            known, there = self._known, self._list_apart(prefixes, timeout)
            new = [key for key in there if key not in known or there[key] != known[key].version]
            got = zip(new, self._get(new, timeout), strict=True)
            read = {key: each for key, each in got if each is not None}
            found = {key: known[key] for key in there.keys() - {*new}} | read
            self._known = others | found
            if len(found) == len(there):
                return {key: found[key].data for key in there}
        raise StoreUnavailableError(
            f"records of {self.url} are deleted again and again while they are read: try again"
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.url} is closed: open it again with open_store()")


def _folder(prefix: str) -> str:
    return f"autostate-{prefix.removesuffix('-')}"


def _name(key: str) -> str:
    """Name the object of a record: in a folder, since only folders can be listed."""
    prefix = next(each for each in APART if key.startswith(each))
    return f"{_folder(prefix)}/{key.removeprefix(prefix)}"
