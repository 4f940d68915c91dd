"""Memory: a lack of it is a MemoryError, and the memory of a large save returns to the system.

**Too little.** msgspec 0.22 reads through a null pointer where the system refuses it memory: for
the buffer of `encode`, and for a string in `decode` (`docs/msgspec-out-of-memory.md`). The process
then ends with SIGSEGV, in the middle of its work. None of this would be needed if msgspec raised.

`encode_into`, which fills a bytearray, raises; it costs 0.3 µs more for a small value, and a copy.
So everything is encoded with it except numbers, which fit into the first buffer. Long texts are
encoded in pieces, since the buffer is larger by half than its content. Before decoding, as much
memory as that may need is requested and released.

**Too much.** A first save of a million entries encodes 100 MB, in pieces of some ten KiB and,
joined, of two MiB. glibc keeps the freed memory for the next save, in the heap of the flush thread,
and there may be no next save: the process then stays at almost twice the size of the program's own
objects.

`malloc_trim` returns the free pages, in 20 to 30 ms after such a save, outside the interpreter's
lock, and no allocation of another thread was seen to wait for it.

Alternatives that were rejected: larger buffers would be mapped one by one, but glibc raises the
limit above which it does so with each freed buffer, and fixing that limit would change the whole
process for good. Writing segments while others are still being encoded would need less memory at
the peak, but a commit that fails half-way could then not be repeated byte by byte.
"""

from __future__ import annotations

import functools
import mmap
import sys
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, Final, Self

import msgspec

LARGE: Final = 8 << 20
"""The least bytes of a commit whose memory is returned, which takes some milliseconds."""

_PIECE: Final = 1 << 20
"""Characters of a text that are encoded at once."""

_SHORT: Final = frozenset({int, float, bool, NoneType})
_encoder: Final = msgspec.json.Encoder()


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
    """JSON in pieces, each bytes or `msgspec.Raw`: joined once, with the JSON around them."""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Take an object apart, some of whose values may be large and already encoded.

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
    ask_to_encode(sum(map(sys.getsizeof, values)))
    return map(_encoder.encode, values)


class Budget:
    """Memory that is requested, and released at once, before some of it is needed.

    Another thread may take it meanwhile: this makes a crash unlikely, not impossible.

    Args:
        span: Bytes of JSON that are handled before memory is requested again.
        reserve: Bytes that this much JSON may take; requesting them takes some microseconds.
    """

    __slots__ = ("_left", "_reserve", "_span")

    def __init__(self, span: int, reserve: int) -> None:
        self._left = 0
        self._span = span
        self._reserve = reserve

    def ask(self, size: int) -> None:
        """Check that there is memory for `size` bytes of JSON.

        Raises:
            MemoryError: There is not enough memory.
        """
        self._left -= size
        if self._left < 0:
            try:
                mmap.mmap(-1, 2 * size + self._reserve).close()  # never touched
            except OSError:
                raise MemoryError from None
            self._left = self._span


ask_for: Final = Budget(1 << 20, 8 << 20).ask
"""Check that there is memory to decode JSON: as objects it takes several times as much."""

ask_to_encode: Final = Budget(1 << 17, 1 << 19).ask
"""Check that there is memory to encode values, so that a save needs no more than it has to."""


def trim_heap(used: int) -> bool:
    """Return free memory to the operating system after a large save.

    Args:
        used: Bytes that were encoded and freed; below `LARGE` nothing is done.

    Returns:
        Whether the allocator was asked to. Only glibc can be.
    """
    trim = _find_trim() if used >= LARGE else None
    if trim is None:
        return False
    trim(0)
    return True


@functools.cache
def _find_trim() -> Callable[[int], Any] | None:
    """Find glibc's `malloc_trim`; other C libraries have none, and seldom need one."""
    try:
        import ctypes

        trim = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, TypeError, AttributeError):  # no ctypes, Windows, musl, macOS
        return None
    trim.argtypes = [ctypes.c_size_t]
    return trim
