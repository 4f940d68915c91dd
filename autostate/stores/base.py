"""The interface of a store: small, so that a new store is quickly written.

A store keeps bytes by key. It does not know what a state is, makes no decisions and keeps no order;
its attributes say what it can promise beyond that. The journal adds digests, ordering, ownership
and recovery, once for all stores. `tests/conformance/store_kit.py` checks a store against this
page.
"""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

FORMAT: Final = 2
"""The version of the format of everything that is stored: no other version is read."""


class Store(Protocol):
    """Bytes by key. Called from several threads, but never by two at once.

    Keys are at most 200 characters of `a-zA-Z0-9!-_.'()`.

    A timeout is for a store that does not answer: a call that needs several requests may wait this
    long for each of them. A listing, whose number of requests is unknown, waits this long in all.

    The content of a store may be anything: `read` returns no record that is larger than
    `max_record`, and finds this out without loading the record.

    Attributes:
        url: The URL under which `open_store` finds the same records again.
        atomic: Whether a `write` of several keys is all or nothing, whatever happens meanwhile.
        conditional: Whether `expect` is honoured: checked in the very instant in which the write
            takes effect. The journal can use this only together with `atomic`.
        metered: Whether every written record costs money, so that fewer, larger ones are better.
        max_record: The most bytes that one record may have.
        owner_file: The file in which the owner of the state, a process on this machine, holds a
            lock as long as it lives: see `autostate.ownership.lock`. None: nobody can tell
            whether it lives.

    A store that can find out whether an owner on another machine lives has a method
    `owner_lives(owner: Owner) -> bool | None`. It returns None if it cannot tell; then the owner
    has to show signs of life, see `autostate.runtime.claim`. Signatures are bound to the URL of a
    store; a store whose URL is not the same everywhere has an attribute `state_name` for that, see
    `keyed.py`. A store in which some records are no part of the whole has an attribute `apart`, the
    prefixes of their keys, see `apart.py`; only one process at a time writes such a record.
    """

    url: str
    atomic: bool
    conditional: bool
    metered: bool
    max_record: int
    owner_file: Path | None

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none.

        Args:
            key: The record's key.
            timeout: The most seconds to wait; None: the store's own default.

        Raises:
            StoreUnavailableError: The store did not answer; trying again may help.
            StoreError: Trying again will not help; the message says what will.
        """
        ...

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write some records and delete others; durable when it returns.

        A store that is not atomic writes the puts in the order given, then deletes. Deleting a
        missing key is no error. A write whose outcome became unknown must be reported as such,
        and the store must not repeat it by itself: a first copy that arrives late would
        overwrite later writes.

        Args:
            puts: Records by key, created or replaced.
            deletes: Keys to delete after that.
            expect: Write only if these keys now hold exactly these bytes (None: no record).
            timeout: The most seconds to wait; None: the store's own default.

        Raises:
            FencedError: `expect` did not hold; nothing was written.
            StoreUnavailableError: The store was not reached, or the outcome is unknown.
            StoreError: Trying again will not help; the message says what will.
        """
        ...

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        ...

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes, as of one moment.

        One trip, where the store can. If it is not atomic, each record is as of a moment of its
        own. Records that lie apart are so, too, and before the moment of all others.
        """
        ...

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another, in one trip where the store can.

        Not all of them are in memory at once. Other calls may come before the iterator is at its
        end; it may be left before that.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Closing twice is no error."""
        ...


class OneByOne:
    """`scan` and `read_many` in single calls, for a store that has no others."""

    def scan(
        self: Store, prefixes: Sequence[str], *, timeout: float | None = None
    ) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Store.scan`."""
        keys = [key for prefix in prefixes for key in self.list(prefix, timeout=timeout)]
        found = ((key, self.read(key, timeout=timeout)) for key in keys)
        return {key: data for key, data in found if data is not None}

    def read_many(
        self: Store, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Store.read_many`."""
        return (self.read(key, timeout=timeout) for key in keys)
