"""Signatures: code from a store is executed only if this program's user wrote it.

A pickle is code. It is therefore signed with a key when it is saved, and nothing of it is read
before its signature was verified. The key is the setting `key`. Without it, a user's own SQLite
file has a key beside it (`state.db.key`), which is made when it is first needed, and a state in
memory has a key that ends with the process. Every other store needs the setting: anybody who can
write to a store could read a key in the store.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autostate.files import sync_folder, write_new

_DOMAIN = b"autostate pickled 1\0"  # so that no other use of the same key gives such a signature
_LENGTH = 32

HOW = (
    "set key, or AUTOSTATE_KEY, to a secret of your own: for example what "
    '`python -c "import secrets; print(secrets.token_urlsafe(32))"` prints'
)


class NoKeyError(Exception):
    """There is no key for signing; the message says why, and how to set one."""


class BadSignatureError(Exception):
    """A signature was made by no key of this program; the message says what to do."""


class Signer:
    """The signer and verifier for one store.

    Args:
        url: The store's URL.
        configured: Gives the keys that the user has set; the first one signs.
    """

    def __init__(self, url: str, configured: Callable[[], Sequence[bytes]]) -> None:
        self._url = url
        self._configured = configured
        scheme, _, path = url.partition(":///")
        self._file = KeyFile(path) if scheme == "sqlite" else None

    def sign(self, data: bytes, place: str = "") -> str:
        """Sign some bytes.

        Args:
            data: The bytes.
            place: The place of the bytes: elsewhere the signature does not hold.

        Raises:
            NoKeyError: No key is set, and this store has none of its own.
        """
        keys = self._configured()
        if keys:
            return _signature(keys[0], data, place)
        if self._file is not None:
            return _signature(self._file.make(), data, place)
        if self._url.startswith("memory:"):
            return _signature(_key_of_process(), data, place)
        scheme = self._url.partition(":")[0]
        raise NoKeyError(
            f"a pickled value has to be signed, and there is no key for {scheme}: {HOW}"
        )

    def verify(self, data: bytes, signature: str, place: str = "") -> bool:
        """Check that the bytes were signed with one of the keys.

        Returns:
            Whether it was the key that signs now; else the bytes should be signed again.

        Raises:
            BadSignatureError: None of the keys has signed the bytes.
        """
        import hmac

        problems: list[str] = []
        given = signature.encode(errors="replace")
        for number, key in enumerate(self._keys(problems)):
            if hmac.compare_digest(_signature(key, data, place).encode(), given):
                return number == 0
        reason = (
            "; ".join(problems)
            or "it was signed with another key, or for another place, or changed since"
        )
        raise BadSignatureError(
            f"the signature of a pickled value does not hold ({reason}), so nothing of it was "
            "loaded: give the key with which it was saved (the setting key takes several)"
        )

    def _keys(self, problems: list[str]) -> Iterator[bytes]:
        """Give all keys with which a value may have been signed; add problems to the list."""
        configured = self._configured()
        yield from configured
        if self._file is not None:
            try:
                yield self._file.read()
            except FileNotFoundError:
                if not configured:
                    problems.append(f"no key is set, and {self._file.path} is not there")
            except (NoKeyError, OSError) as error:
                problems.append(str(error))
        elif self._url.startswith("memory:"):
            yield _key_of_process()
        elif not configured:
            problems.append("no key is set")


def _signature(key: bytes, data: bytes, place: str) -> str:
    import hmac

    made = hmac.new(key, _DOMAIN, "sha256")
    belongs = place.encode(errors="surrogatepass")
    made.update(len(belongs).to_bytes(8, "big") + belongs)
    made.update(data)
    return made.hexdigest()


_process_key: list[bytes] = []


def _key_of_process() -> bytes:
    """Give the key for state in memory, which no other process can see."""
    if not _process_key:
        _process_key.append(os.urandom(_LENGTH))
    return _process_key[0]


class KeyFile:
    """The key beside a SQLite file.

    Only the file's owner can read it, and the owner is this user: so nobody else has made the
    key, or can make such signatures. Nothing is assumed about who may write to the database.

    Args:
        database: The path of the SQLite file.

    Attributes:
        path: The path of the key's file, which need not exist yet.
    """

    def __init__(self, database: str) -> None:
        self._database = Path(database).resolve()
        self.path = self._database.with_name(f"{self._database.name}.key")
        self._identity: object = None
        self._key: bytes | None = None

    def read(self) -> bytes:
        """Read the key.

        Raises:
            FileNotFoundError: There is no key.
            NoKeyError: The key cannot be trusted; the message says why.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise NoKeyError(f"{self.path} cannot be read ({error.strerror}): {HOW}") from None
        try:
            found = os.fstat(handle)
            self._check(found)
            key = os.read(handle, 2 * _LENGTH)
        finally:
            os.close(handle)
        if len(key) != _LENGTH:
            raise NoKeyError(f"{self.path} is damaged: restore it, or move it away")
        self._identity, self._key = _identity(found), key
        return key

    def _check(self, found: os.stat_result) -> None:
        """Refuse a key that others may have made, or know."""
        if not stat.S_ISREG(found.st_mode):
            raise NoKeyError(f"{self.path} is not a file: {HOW}")
        if found.st_uid != os.geteuid():
            raise NoKeyError(f"{self.path} belongs to another user: {HOW}")
        if found.st_mode & 0o077:
            raise NoKeyError(
                f"{self.path} can be read or written by others: chmod 600 it if none of them has, "
                "else move it away"
            )

    def make(self) -> bytes:
        """Give the key; make it if there is none.

        If the key's file was deleted together with the database, the key in use is written again:
        the values that it signed are saved again into the new database.

        Raises:
            NoKeyError: There is no key that can be trusted, and none can be made.
        """
        with contextlib.suppress(FileNotFoundError):
            now = self.path.stat(follow_symlinks=False)
            if self._key is not None and self._identity == _identity(now):
                return self._key
            return self.read()
        self._check_owners()
        self.give(os.urandom(_LENGTH) if self._key is None else self._key)
        return self.read()  # another process may have been first

    def _check_owners(self) -> None:
        """Refuse a folder that another user controls; root could do anything anyway."""
        for path in (self._database, self._database.parent):
            try:
                owner = path.stat().st_uid
            except OSError as error:
                raise NoKeyError(f"{path} cannot be found ({error.strerror}): {HOW}") from None
            if owner not in (os.geteuid(), 0):
                raise NoKeyError(f"no key is made beside {path}, which is another user's: {HOW}")

    def give(self, key: bytes) -> None:
        """Set the key of a database, if there is none yet: in one step, complete and private.

        Raises:
            NoKeyError: The file cannot be made.
        """
        draft = self.path.with_name(f"{self.path.name}.{os.urandom(8).hex()}")
        try:
            try:
                write_new(draft, key)
                with contextlib.suppress(FileExistsError):
                    self.path.hardlink_to(draft)
            finally:
                draft.unlink(missing_ok=True)
            sync_folder(self.path.parent)  # else a power failure could lose the key alone
        except OSError as error:
            raise NoKeyError(f"{self.path} cannot be made ({error.strerror}): {HOW}") from None


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_mode, found.st_uid
