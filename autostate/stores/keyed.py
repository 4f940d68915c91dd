"""A store whose records are signed with a key, and encrypted if the user wants it.

With a key, every record is signed: nobody else can have written it. With `encrypt`, nobody else can
read it either:

    {"autostate":2,"signed":"crawl.db","key":"5be1c3d2a0f4e817","mac":"…","record":{…}}
    {"autostate":2,"encrypted":"crawl.db","key":"5be1c3d2a0f4e817","salt":"…","nonce":"…"}⏎…

The signature covers the name of the state, the key under which the record lies, and all bytes of
the record, which include epoch, sequence and predecessor. So a record is of no use under another
key or in another store. But anybody who can write the store can restore *all* of it to an earlier
state. The name of a state is that of its file, or of its key-value store, without the folders
around it: the folders differ from machine to machine.

A record that cannot be trusted is returned as `Unverified`; opening it is the error. Some readers
only list the content of a store and must go on, and only the journal knows which records it needs.

Signatures are blake2b-256 in its keyed mode. Encryption is AES-256-GCM (NIST SP 800-38D), which
authenticates, too. Each process derives its own key from the user's key and from 16 random bytes,
and counts its records: so no nonce is used twice with one key, however many processes there are. A
forked child begins with other random bytes.
"""

from __future__ import annotations

import builtins
import os
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final, Protocol

from autostate.errors import FencedError, StoreError
from autostate.stores.base import FORMAT, Store
from autostate.stores.urls import file_of

OVERHEAD: Final = 512
"""The most bytes that signing or encrypting adds to a record."""

_LONGEST_NAME: Final = 150
_ENVELOPE = re.compile(
    rb'\{"autostate":%d,"(signed|encrypted)":"([^"\\]{1,150})","key":"([0-9a-f]{16})",'
    rb'(?:"mac":"([0-9a-f]{64})","record":|"salt":"([0-9a-f]{32})","nonce":"([0-9a-f]{24})"\}\n)'
    % FORMAT
)
_OF_OTHERS = re.compile(rb'\{"autostate":(?!%d,)[0-9]{1,18},"(?:signed|encrypted)":' % FORMAT)
_PLAIN = b'{"autostate":%d,"record":' % FORMAT
_HOW = (
    "Set AUTOSTATE_KEY, or configure(key=…), to the key with which it was written; if that is "
    "lost, move the store away to begin anew"
)
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


class Unverified(bytes):
    """A record that cannot be trusted.

    Attributes:
        problem: The reason, to be read after the key of the record.
        advice: What the user can do; empty: the same as about a damaged record.
        intact: Whether the record may be undamaged: a key is missing, for example.
    """

    problem: str = ""
    advice: str = ""
    intact: bool = False


def _unverified(data: bytes, problem: str, advice: str = "") -> Unverified:
    marked = Unverified(data)
    marked.problem, marked.advice, marked.intact = problem, advice, bool(advice)
    return marked


def without_key(data: bytes) -> Unverified | None:
    """Mark a record that was signed or encrypted, where no key is set; None for any other."""
    found = _ENVELOPE.match(data)
    if found is not None:
        return _unverified(data, f"is {found[1].decode()}, and no key is set", _HOW)
    return _strange(data) if _OF_OTHERS.match(data) else None


def _strange(data: bytes) -> Unverified:
    """Mark a record that does not begin like a record of this version of autostate."""
    if _OF_OTHERS.match(data):
        return _unverified(data, "was written by another version of autostate, or is damaged")
    return _unverified(data, "is damaged: it does not begin like a record of autostate")


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


class KeyedStore:
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
        self.store: Store = store
        self.url: str = store.url
        self.atomic: bool = store.atomic
        self.conditional: bool = store.conditional
        self.metered: bool = store.metered
        self.max_record: int = store.max_record - OVERHEAD
        self.owner_file: Path | None = store.owner_file
        self.mixed: bool = False
        self._name = _shown(name)
        self._first, *_ = made = [*map(_Key, settings.keys)]
        self._keys = {key.id: key for key in reversed(made)}
        self._encrypts = bool(settings.encrypt)
        self.like: Store | None = None
        self._erases = False
        self._follows = settings.encrypt is None
        self._trusting = trusting
        self._salt, self._count, self._process = "", 0, 0
        if settings.encrypt:
            self._first.cipher("0" * 32)  # a missing extra raises now, not at the first save

    def __getattr__(self, name: str) -> Any:
        """Give an attribute that only some stores have."""
        return getattr(self.store, name)

    def read(self, key: str, *, timeout: float | None = None) -> bytes | None:
        """Return the record under this key, None if there is none; see `Unverified`."""
        data = self.store.read(key, timeout=timeout)
        return None if data is None else self.opened(key, data)

    def write(
        self,
        puts: Mapping[str, bytes],
        deletes: Collection[str] = (),
        *,
        expect: Mapping[str, bytes | None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Write and delete records; see `Store.write`."""
        expected = None if expect is None else self._stored(expect, timeout)
        sealed = {key: self.sealed(key, data) for key, data in puts.items()}
        self.store.write(sealed, deletes, expect=expected, timeout=timeout)

    def list(self, prefix: str, *, timeout: float | None = None) -> builtins.list[str]:
        """Return all keys that begin with the prefix, sorted."""
        return self.store.list(prefix, timeout=timeout)

    def close(self) -> None:
        """Close the other store."""
        self.store.close()

    def _stored(
        self, expect: Mapping[str, bytes | None], timeout: float | None
    ) -> dict[str, bytes | None]:
        """Read the bytes that the other store has to hold: each encryption gives other bytes."""
        stored = {key: self.store.read(key, timeout=timeout) for key in expect}
        for key, data in stored.items():
            if (None if data is None else self.opened(key, data)) != expect[key]:
                raise FencedError(f"{key} in {self.url} is not what it was: nothing written")
        return stored

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
        found = _ENVELOPE.match(data)
        if found is None:
            if not data.startswith(_PLAIN):
                return _strange(data)
            unsigned = _unverified(data, "is not signed, and a key is set", _SIGN)
            return data if self._trusting else unsigned
        is_encrypted = found[5] is not None
        name, mine = found[2].decode(errors="replace"), self._keys.get(found[3].decode())
        if mine is None:
            others = " or ".join(self._keys)
            return _unverified(
                data,
                f"was written with the key {found[3].decode()}, and what is set is {others}",
                f"{_HOW}. Several keys are separated by blanks. Nobody else can tell who has "
                f"written it{', or read it' if is_encrypted else ''}",
            )
        plain = (_decrypted if is_encrypted else _verified)(mine, found, key, data)
        if plain is None:
            return _unverified(data, "was changed, by a fault or by somebody without the key")
        if name != self._name and not self._trusting:
            problem = f"was written for the state {name}, not for {self._name}"
            return _unverified(data, problem, f"{_SIGN} for its new name")
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
        return any((match := _ENVELOPE.match(data or b"")) and match[5] for data in found)

    def _next(self) -> tuple[str, str]:
        """Give the salt of this process, and a nonce that was never used with it."""
        if self._process != os.getpid():
            self._salt, self._count, self._process = secrets.token_hex(16), 0, os.getpid()
        self._count += 1
        return self._salt, f"{secrets.token_hex(4)}{self._count:016x}"


def _shown(name: str) -> str:
    """Give a name in its form for records; a name that records cannot hold becomes a digest."""
    shown = "".join(each if each.isalnum() or each in "._- " else "_" for each in name)
    if shown == name and len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{shown.encode()[-_LONGEST_NAME + 20 :].decode(errors='ignore')} {digest}"


class _Key:
    """One key of the user's."""

    def __init__(self, secret: bytes) -> None:
        self._master = blake2b(secret, digest_size=32, person=b"autostate key").digest()
        self._signing = self._derived(b"sign")
        self.id = self._derived(b"id").hex()[:16]  # tells which key it is, and nothing about it
        self._ciphers: dict[str, Any] = {}

    def _derived(self, purpose: bytes, salt: bytes = b"") -> bytes:
        return blake2b(salt, key=self._master, digest_size=32, person=purpose).digest()

    def signature(self, name: str, key: str, data: bytes | memoryview) -> str:
        """Sign a record with its name and key; neither of these contains a newline."""
        mac = blake2b(f"{name}\n{key}\n".encode(), key=self._signing, digest_size=32)
        mac.update(data)
        return mac.hexdigest()

    def cipher(self, salt: str) -> Any:
        """Give the cipher of the process that has drawn this salt.

        Raises:
            StoreError: The extra `crypto` is not installed.
        """
        if salt not in self._ciphers:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError:
                raise StoreError(
                    "to encrypt, and to read what is encrypted, autostate needs the package "
                    "cryptography: pip install 'autostate[crypto]'"
                ) from None
            self._ciphers[salt] = AESGCM(self._derived(b"encrypt", bytes.fromhex(salt)))
        return self._ciphers[salt]


def _verified(mine: _Key, found: re.Match[bytes], key: str, data: bytes) -> bytes | None:
    record = memoryview(data)[found.end() : -1]
    mac = mine.signature(found[2].decode(errors="replace"), key, record)
    fits = compare_digest(mac.encode(), found[4]) and data.endswith(b"}")
    return bytes(record) if fits else None


def _decrypted(mine: _Key, found: re.Match[bytes], key: str, data: bytes) -> bytes | None:
    cipher = mine.cipher(found[5].decode())
    from cryptography.exceptions import InvalidTag

    nonce = bytes.fromhex(found[6].decode())
    try:
        return bytes(cipher.decrypt(nonce, data[found.end() :], found[0] + key.encode()))
    except InvalidTag:
        return None
