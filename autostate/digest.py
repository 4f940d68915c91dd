"""blake2b, without the cost of importing `hashlib`.

`hashlib` loads OpenSSL, 2 ms of the 20 ms in which a small state has to start, and its `blake2b` is
this one.
"""

from __future__ import annotations

__all__ = ["blake2b"]

try:
    from _blake2 import blake2b
except ImportError:  # another implementation of Python, or one that was built without it
    from hashlib import blake2b
