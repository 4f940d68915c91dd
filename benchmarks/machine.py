"""The machine on which it was measured, and how busy it was."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = (
    *("msgspec", "apify", "rocksdict", "lmdb", "ZODB", "diskcache", "sqlitedict", "psygnal"),
    "sqlalchemy-json",
)
TURNS: Final = 300_000


@dataclass
class Load:
    """How busy the machine was before and after something was measured.

    Attributes:
        before: The load average, and milliseconds of a loop that always does the same.
        after: The same afterwards.
        minutes: How long it took.
    """

    before: tuple[float, float] = (0.0, 0.0)
    after: tuple[float, float] = (0.0, 0.0)
    minutes: float = 0.0

    def __str__(self) -> str:
        (load, loop), (later_load, later_loop) = self.before, self.after
        return (
            f"Load {load:.1f} before and {later_load:.1f} after; a loop that always does the same "
            f"took {loop:.1f} and {later_loop:.1f} ms; {self.minutes:.1f} minutes in all."
        )


@contextmanager
def observed() -> Iterator[Load]:
    """Observe the machine while something is measured."""
    load, began = Load(before=_now()), time.monotonic()
    yield load
    load.after, load.minutes = _now(), (time.monotonic() - began) / 60


def _now() -> tuple[float, float]:
    return os.getloadavg()[0], min(_loop() for _ in range(5)) * 1000


def _loop() -> float:
    began, total = time.perf_counter(), 0
    for number in range(TURNS):
        total += number
    return time.perf_counter() - began


def described() -> list[str]:
    """Describe the machine and what runs on it, a line each."""
    folder = Path(tempfile.gettempdir())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return [
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        f"{platform.system()} {platform.release()}, files on {_filesystem(folder)}",
        f"commit {_commit()}",
        ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    ]


def available() -> float:
    """Give the bytes of memory that are free; without end if nobody tells."""
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return float("inf")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _filesystem(folder: Path) -> str:
    found = ("", "an unknown file system")
    path = Path("/proc/mounts")
    for line in path.read_text().splitlines() if path.exists() else ():
        _, mounted, kind, *_ = line.split()
        if folder.is_relative_to(mounted) and len(mounted) >= len(found[0]):
            found = mounted, kind
    return found[1]


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "autostate")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
