"""Large saves and loads, and the memory that they take.

What a save leaves behind goes back to the operating system.

A first save of a million entries encodes 100 MB, in pieces of some ten KiB and, joined, of two
MiB. glibc keeps what is freed of it for the next time, in the heap of the flusher's thread, and
there may be none: the process then stays at almost twice the size of the program's own objects.
`malloc_trim` hands the free pages back, in 20 to 30 ms after such a save, outside the
interpreter's lock, and no allocation of another thread was seen to wait for it.

What else was thought of: larger buffers would be mapped one by one, but glibc raises the limit
above which it does so with each that is freed, and fixing that limit would change the whole
process for good; writing segments while others are still being encoded would need less at the
peak, but a commit that fails half-way could then not be repeated byte by byte.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

LARGE = 8 << 20
"""Bytes of a commit from which on its memory is worth giving back: some milliseconds of work."""


def give_back(used: int) -> bool:
    """Return free memory to the operating system after so many bytes were in use.

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


@contextmanager
def no_collections() -> Generator[None]:
    """Keep the cyclic garbage collector from looking at each new container again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
