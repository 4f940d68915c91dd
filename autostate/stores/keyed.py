"""A store whose records are signed with a key, and encrypted if the user wants it.

With a key, every record is signed: nobody else can have written it. With `encrypt`, nobody else can
read it either. `envelope.py` has the form of such records.

The signature covers the name of the state, the key under which the record lies, and all bytes of
the record, which include epoch, sequence and predecessor. So a record is of no use under another
key or in another store. But anybody who can write the store can restore *all* of it to an earlier
state. The name of a state is that of its file, or of its key-value store, without the folders
around it: the folders differ from machine to machine.

A record that cannot be trusted is returned as `Unverified`; opening it is the error. Some readers
only list the content of a store and must go on, and only the journal knows which records it needs.

Each process derives its own key from the user's key and from 16 random bytes,
and counts its records: so no nonce is used twice with one key, however many processes there are. A
forked child begins with other random bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from autostate.errors import FencedError
from autostate.stores.base import FORMAT, Store
from autostate.stores.envelope import (
    ENVELOPE,
    PLAIN,
    Key,
    Unverified,
    right_key,
    shown,
    strange,
    unverified,
)
from autostate.stores.urls import file_of
from autostate.stores.wrapping import StoreAround

OVERHEAD: Final = 512
"""The most bytes that signing or encrypting adds to a record."""
_SMALL: Final = 65_536
"""The most bytes of a record that is remembered, since a write may expect it."""
_FEW: Final = 8
"""So many are remembered."""

_SIGN = "If you trust what is there, let `autostate sign` sign it"


class Protection(Protocol):
    """The settings that protect a store."""

    @property
    def keys(self) -> Sequence[bytes]:
        """The user's keys; without any, records are not protected."""
        ...

    @property
    def encrypt(self) -> bool | None:
        """Whether to encrypt; None: like the stored records."""
        ...


def keyed(
    store: Store,
    settings: Protection,
    *,
    name: str | None = None,
    trusting: bool = False,
    like: Store | None = None,
) -> Store:
    """Give a store whose records are protected as the settings say.

    Args:
        store: The store of the records. A store in memory is protected by the process.
        settings: The settings with the keys.
        name: The name of the state; by default that of the store.
        trusting: Accept unsigned records, and records that were signed for another state.
        like: The store of which this one gets copies: encrypt if its records are encrypted.

    Raises:
        StoreError: Records are to be encrypted, and the extra `crypto` is not installed.
    """
    if not settings.keys or store.url.startswith("memory:"):
        return store
    known = name_of(store) if name is None else name
    made = KeyedStore(store, settings, name=known, trusting=trusting)
    made.like = like
    return made


def name_of(store: Store) -> str:
    """Give the name of the state in a store: of its file, or of its key-value store."""
    path = file_of(store.url)
    if path is not None:
        return Path(os.path.realpath(path)).name
    return str(getattr(store, "state_name", store.url))


class KeyedStore(StoreAround):
    """A wrapper of another store, whose records are authenticated, and encrypted if wanted.

    Args:
        store: The other store; it is closed with this one.
        settings: The user's keys, at least one: the first signs, all are accepted.
        name: The name of the state.
        trusting: Accept unsigned records, and records that were signed for another state.

    Attributes:
        like: The store of which this one gets copies: a copy of an encrypted record is encrypted.
        mixed: Whether a record was read that differs from a new one: it has an older key, for
            example. Written again, it is like the others.
    """

    def __init__(
        self,
        store: Store,
        settings: Protection,
        *,
        name: str,
        trusting: bool = False,
    ) -> None:
        super().__init__(store)
        self.max_record: int = store.max_record - OVERHEAD
        self.mixed: bool = False
        self._name = shown(name)
        self._first, *_ = made = [*map(Key, settings.keys)]
        self._keys = {key.id: key for key in reversed(made)}
        self._encrypts = bool(settings.encrypt)
        self.like: Store | None = None
        self._erases = False
        self._follows = settings.encrypt is None
        self._trusting = trusting
        self._salt, self._count, self._process = "", 0, 0
        self._known: dict[str, tuple[bytes, bytes]] = {}  # plain and stored, of what is expected
        if settings.encrypt:
            self._first.cipher("0" * 32)  # a missing extra raises now, not at the first save

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none; see `Unverified`."""
        data = self.store.read(key, timeout=timeout)
        return None if data is None else self._opened(key, data)

    def scan(self, prefixes: Sequence[str], *, timeout: float | None = None) -> dict[str, bytes]:
        """Return all records whose key begins with one of the prefixes; see `Unverified`."""
        found = self.store.scan(prefixes, timeout=timeout)
        self._known.clear()
        return {key: self._opened(key, data) for key, data in found.items()}

    def read_many(
        self, keys: Sequence[str], *, timeout: float | None = None
    ) -> Iterator[bytes | None]:
        """Read records one after another; see `Unverified`."""
        found = self.store.read_many(keys, timeout=timeout)
        return (
            None if data is None else self.opened(key, data)
            for key, data in zip(keys, found, strict=True)
        )

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records; see `Store.write`."""
        expected, is_certain = self._stored(expect or {}, timeout)
        sealed = {key: self.sealed(key, data) for key, data in puts.items()}
        try:
            self.store.write(sealed, deletes, expect=expected, timeout=timeout)
        except FencedError:
            if is_certain:
                raise
            # Perhaps the same record was sealed again, with another key for example.
            self._known.clear()
            expected, _ = self._stored(expect or {}, timeout)
            self.store.write(sealed, deletes, expect=expected, timeout=timeout)
        for key in expected:
            self._known.pop(key, None)
            if key in puts:
                self._known[key] = puts[key], sealed[key]

    def _stored(
        self, expect: Mapping[str, bytes | None], timeout: float | None
    ) -> tuple[dict[str, bytes | None], bool]:
        """Find the bytes that the other store has to hold: each encryption gives other bytes.

        Returns:
            The bytes by key, and whether all of them are in the store at this moment.
        """
        stored: dict[str, bytes | None] = {}
        is_certain = True
        for key, plain in expect.items():
            known, data = self._known.get(key, (None, None))
            if plain is not None and known == plain:
                stored[key], is_certain = data, False
                continue
            found = None
            if plain is not None:  # the other store finds out what should not be there
                found = self.store.read(key, timeout=timeout)
            if (None if found is None else self.opened(key, found)) != plain:
                raise FencedError(f"{key} in {self.url} is not what it was: nothing written")
            stored[key] = found
        return stored, is_certain

    def _opened(self, key: str, data: bytes) -> bytes:
        """Open a record, and remember how it is stored: perhaps a write will expect it."""
        plain = self.opened(key, data)
        if len(data) <= _SMALL:
            if len(self._known) == _FEW:
                self._known.clear()
            self._known[key] = plain, data
        return plain

    @property
    def encrypts(self) -> bool:
        """Whether new records are encrypted; by default like the records that were read so far."""
        follows = self._follows and isinstance(self.like, KeyedStore) and self.like.encrypts
        return self._encrypts or follows

    def sealed(self, key: str, data: bytes) -> bytes:
        """Give the stored form of a record; an untrusted record stays as it is."""
        if isinstance(data, Unverified):
            return data
        kind = "encrypted" if self.encrypts else "signed"
        start = f'{{"autostate":{FORMAT},"{kind}":"{self._name}","key":"{self._first.id}",'
        if self.encrypts:
            self._let_deleted_be_erased()
            salt, nonce = self._next()
            start += f'"salt":"{salt}","nonce":"{nonce}"}}\n'
            bound = start.encode() + key.encode()
            cipher = self._first.cipher(salt)
            return bytes(start.encode() + cipher.encrypt(bytes.fromhex(nonce), data, bound))
        mac = self._first.signature(self._name, key, data)
        return b"".join((f'{start}"mac":"{mac}","record":'.encode(), data, b"}"))

    def opened(self, key: str, data: bytes) -> bytes:
        """Give a record as it was before it was sealed, or an `Unverified`."""
        found = re.match(ENVELOPE, data)
        if found is None:
            if not data.startswith(PLAIN):
                return strange(data)
            unsigned = unverified(data, "is not signed, and a key is set", _SIGN)
            return data if self._trusting else unsigned
        is_encrypted = found[5] is not None
        name, mine = found[2].decode(errors="replace"), self._keys.get(found[3].decode())
        if mine is None:
            others = " or ".join(self._keys)
            return unverified(
                data,
                f"was written with the key {found[3].decode()}, and what is set is {others}",
                f"{right_key()}. Several keys are separated by blanks. Nobody else can tell who "
                f"has written it{', or read it' if is_encrypted else ''}",
            )
        plain = mine.opened(found, key, data)
        if plain is None:
            return unverified(data, "was changed, by a fault or by somebody without the key")
        if name != self._name and not self._trusting:
            problem = f"was written for the state {name}, not for {self._name}"
            return unverified(data, problem, f"{_SIGN} for its new name")
        if self._follows:
            self._encrypts |= is_encrypted
        self.mixed |= mine is not self._first or self.encrypts != is_encrypted
        return plain

    def believed(self, key: str, data: bytes) -> bytes:
        """Give a record as it was before it was sealed.

        Raises:
            ValueError: The record cannot be trusted.
        """
        plain = self.opened(key, data)
        if isinstance(plain, Unverified):
            raise ValueError(f"it {plain.problem}")  # noqa: TRY004 - not a matter of types
        return plain

    def _let_deleted_be_erased(self) -> None:
        """Let the store overwrite deleted records: they may be from before encryption."""
        erase = None if self._erases else getattr(self.store, "erase_deleted", None)
        self._erases = True
        if erase is not None:
            erase()

    def holds_encrypted(self) -> bool:
        """Tell whether there is a record that was encrypted."""
        found = (self.store.read(key) for key in self.store.list(""))
        return any((match := re.match(ENVELOPE, data or b"")) and match[5] for data in found)

    def _next(self) -> tuple[str, str]:
        """Give the salt of this process, and a nonce that was never used with it."""
        if self._process != os.getpid():
            self._salt, self._count, self._process = os.urandom(16).hex(), 0, os.getpid()
        self._count += 1
        return self._salt, f"{os.urandom(4).hex()}{self._count:016x}"
