"""The form of records that are signed or encrypted, and the keys that make and open it.

    {"autostate":2,"signed":"crawl.db","key":"5be1c3d2a0f4e817","mac":"…","record":{…}}
    {"autostate":2,"encrypted":"crawl.db","key":"5be1c3d2a0f4e817","salt":"…","nonce":"…"}⏎…

Signatures are blake2b-256 in its keyed mode. Encryption is AES-256-GCM (NIST SP 800-38D), which
authenticates, too.
"""

from __future__ import annotations

import re
from typing import Any, Final

from autostate import steps
from autostate.digest import blake2b
from autostate.errors import StoreError
from autostate.stores.base import FORMAT

_LONGEST_NAME: Final = 150
ENVELOPE = (
    rb'\{"autostate":%d,"(signed|encrypted)":"([^"\\]{1,150})","key":"([0-9a-f]{16})",'
    rb'(?:"mac":"([0-9a-f]{64})","record":|"salt":"([0-9a-f]{32})","nonce":"([0-9a-f]{24})"\}\n)'
    % FORMAT
)
_OF_OTHERS = rb'\{"autostate":(?!%d,)[0-9]{1,18},"(?:signed|encrypted)":' % FORMAT
PLAIN = b'{"autostate":%d,"record":' % FORMAT


def right_key() -> str:
    """Say what to do about a key that is missing."""
    return (
        f"Set {steps.setting('key')} to the key with which it was written; if that is lost, move "
        "the store away to begin anew"
    )


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


def unverified(data: bytes, problem: str, advice: str = "") -> Unverified:
    """Mark a record that cannot be trusted; with advice, it may be undamaged."""
    marked = Unverified(data)
    marked.problem, marked.advice, marked.intact = problem, advice, bool(advice)
    return marked


def without_key(data: bytes) -> Unverified | None:
    """Mark a record that was signed or encrypted, where no key is set; None for any other."""
    found = re.match(ENVELOPE, data)
    if found is not None:
        return unverified(data, f"is {found[1].decode()}, and no key is set", right_key())
    return strange(data) if re.match(_OF_OTHERS, data) else None


def strange(data: bytes) -> Unverified:
    """Mark a record that does not begin like a record of this version of autostate."""
    if re.match(_OF_OTHERS, data):
        return unverified(data, "was written by another version of autostate, or is damaged")
    return unverified(data, "is damaged: it does not begin like a record of autostate")


def shown(name: str) -> str:
    """Give a name in its form for records; a name that records cannot hold becomes a digest."""
    shown = "".join(each if each.isalnum() or each in "._- " else "_" for each in name)
    if shown == name and len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{shown.encode()[-_LONGEST_NAME + 20 :].decode(errors='ignore')} {digest}"


class Key:
    """One key of the user's.

    Attributes:
        id: A text that tells which key it is, and nothing about it.
    """

    def __init__(self, secret: bytes) -> None:
        self._master = blake2b(secret, digest_size=32, person=b"autostate key").digest()
        self._signing = self._derived(b"sign")
        self.id: str = self._derived(b"id").hex()[:16]
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

    def opened(self, found: re.Match[bytes], key: str, data: bytes) -> bytes | None:
        """Give a record as it was before it was sealed with this key; None if it was changed."""
        if found[5] is None:
            record = memoryview(data)[found.end() : -1]
            mac = self.signature(found[2].decode(errors="replace"), key, record)
            from hmac import compare_digest

            fits = compare_digest(mac.encode(), found[4]) and data.endswith(b"}")
            return bytes(record) if fits else None
        cipher = self.cipher(found[5].decode())
        from cryptography.exceptions import InvalidTag

        nonce = bytes.fromhex(found[6].decode())
        try:
            return bytes(cipher.decrypt(nonce, data[found.end() :], found[0] + key.encode()))
        except InvalidTag:
            return None
