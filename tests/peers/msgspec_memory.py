"""msgspec alone: what becomes of a process to which the system refuses memory.

Run it: each case is a process that may take so many bytes more, and tries to encode or decode. A
case that ends with a signal has met the fault. `docs/msgspec-out-of-memory.md` says where it is.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

SIZE = 20_000_000
ROOMS = (0, 100_000, 3_000_000, 12_000_000, 19_000_000, 40_000_000)
"""Bytes that the process may take beside what it has."""

Case = tuple[Callable[..., Any], tuple[Any, ...]]

CASES: dict[str, Callable[[], Case]] = {
    "encode(str)": lambda: (msgspec.json.encode, ("x" * SIZE,)),
    "encode(bytes)": lambda: (msgspec.json.encode, (b"x" * SIZE,)),
    "encode(list)": lambda: (msgspec.json.encode, ([12345678] * (SIZE // 9),)),
    "encode(dict)": lambda: (msgspec.json.encode, ({str(i): i for i in range(SIZE // 20)},)),
    "Encoder().encode_lines(list)": lambda: (
        msgspec.json.Encoder().encode_lines,
        (["x" * 1000] * (SIZE // 1000),),
    ),
    "msgpack.encode(str)": lambda: (msgspec.msgpack.encode, ("x" * SIZE,)),
    "Encoder().encode_into(str)": lambda: (
        msgspec.json.Encoder().encode_into,
        ("x" * SIZE, bytearray()),
    ),
    "decode: a string": lambda: (msgspec.json.decode, (b'"' + b"x" * SIZE + b'"',)),
    "decode: a string, not ASCII": lambda: (
        msgspec.json.decode,
        (b'"' + "é".encode() * (SIZE // 2) + b'"',),
    ),
    "decode: short strings": lambda: (
        msgspec.json.decode,
        (b"[" + b'"abcdef",' * (SIZE // 9) + b"1]",),
    ),
    "decode: lists": lambda: (msgspec.json.decode, (b"[" + b"[]," * (SIZE // 3) + b"1]",)),
}


def attempt(name: str, room: int) -> None:
    """Do what is to be done in a process of its own, with so much room."""
    act, arguments = CASES[name]()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    try:
        act(*arguments)
    except MemoryError:
        print("MemoryError")  # noqa: T201
    else:
        print("done")  # noqa: T201


def outcomes(name: str) -> Counter[str]:
    """How often a case ended in which way."""
    found: Counter[str] = Counter()
    for room in ROOMS:
        command = [sys.executable, __file__, name, str(room)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended = done.stdout.strip() or done.stderr.strip()[-60:]
        found[ended if done.returncode >= 0 else f"signal {-done.returncode}"] += 1
    return found


def main() -> None:
    """Print a table."""
    print(f"msgspec {msgspec.__version__}, Python {sys.version.split()[0]}")  # noqa: T201
    for name in CASES:
        told = ", ".join(f"{count} x {what}" for what, count in sorted(outcomes(name).items()))
        print(f"{name:30} {told}")  # noqa: T201


if __name__ == "__main__":
    attempt(sys.argv[1], int(sys.argv[2])) if len(sys.argv) == 3 else main()
