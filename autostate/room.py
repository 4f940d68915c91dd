"""Room in memory, so that a lack of it is a MemoryError and not the end of the process.

msgspec 0.22 reads through a null pointer where the system refuses it memory: for the buffer of
`encode`, and for a string in `decode` (`docs/msgspec-out-of-memory.md`). The process then ends with
SIGSEGV, in the midst of whatever it does. Nothing here would be needed if it raised.

`encode_into`, which fills a bytearray, raises; it costs 0.3 µs more for a small value, and a copy.
So everything is encoded with it but numbers, which fit into the first buffer; long texts in pieces,
since its buffer is larger by half than what is in it. Before decoding, as much as that may need is
asked for and given back.
"""

from __future__ import annotations

import mmap
import sys
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPAN: Final = 1 << 20
"""Bytes of JSON that are decoded before room is asked for again."""

_RESERVE: Final = 8 << 20
"""Bytes that so much may take as objects; asking for them takes some microseconds."""

_PIECE: Final = 1 << 20
"""Characters of a text that are encoded at once."""

_SHORT: Final = frozenset({int, float, bool, NoneType})
_encoder: Final = msgspec.json.Encoder()
_left = 0


def encode(value: Any) -> bytes:
    """Write a value as JSON, as `msgspec.json.encode` does.

    Raises:
        MemoryError: There is not enough memory.
    """
    cls = type(value)
    if cls in _SHORT:
        return _encoder.encode(value)
    if cls is str and len(value) > _PIECE:
        pieces = [encode(value[at : at + _PIECE])[1:-1] for at in range(0, len(value), _PIECE)]
        return b"".join((b'"', *pieces, b'"'))
    buffer = bytearray()
    _encoder.encode_into(value, buffer)
    return bytes(buffer)


class Pieces(list[Any]):
    """JSON in pieces, each bytes or `msgspec.Raw`: to be joined once, with what is around it."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Take an object apart, of which some values may be large and encoded.

        Raises:
            MemoryError: There is not enough memory.
        """
        pieces = cls()
        for name, value in fields.items():
            pieces.extend((b"," if pieces else b"{", encode(name), b":"))
            if type(value) is Pieces:
                pieces.extend(value)
            else:
                pieces.append(value if type(value) is msgspec.Raw else encode(value))
        pieces.append(b"}" if pieces else b"{}")
        return pieces

    def joined(self) -> bytes:
        """Give the JSON."""
        return b"".join(self)


def encode_each(values: list[Any]) -> Iterator[bytes]:
    """Write some values as JSON, each by itself, in a few calls of C.

    Raises:
        MemoryError: There is not enough memory.
    """
    ask_for(sum(map(sys.getsizeof, values)))
    return map(_encoder.encode, values)


def ask_for(size: int) -> None:
    """See that there is room to decode, or to encode, so many bytes of JSON.

    Another thread may take it meanwhile: this makes a crash unlikely, not impossible.

    Raises:
        MemoryError: There is not.
    """
    global _left
    _left -= size
    if _left < 0:
        try:
            mmap.mmap(-1, 2 * size + _RESERVE).close()  # never touched
        except OSError:
            raise MemoryError from None
        _left = _SPAN
