"""A disk that is full: told at once, never waited for at the end, and never without a word.

The disks are real: a small file system in memory where this process may mount one, and a limit for
the size of files, which needs no privileges and answers each write that is too long with an error.
"""

from __future__ import annotations

import os
import queue
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, hub
from tests.test_lifecycle import Program

FULL = """
import logging, os, resource, signal, sys, threading, time
from pathlib import Path
import autostate
from autostate import PersistedDict

def fill(disk):
    with open(f"{disk}/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass

def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

autostate.configure(URL, debounce=0.05)
a = PersistedDict("a", x=1)
autostate.flush()
MAKE_FULL
a["text"] = "y" * 100_000
"""


@pytest.fixture(params=["mounted", "limited"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The first lines of a program whose state is on a disk that is full by then."""
    folder = tmp_path / "disk"
    folder.mkdir()
    begin = FULL.replace("URL", repr(f"sqlite:///{folder}/s.db"))
    if request.param == "limited":
        yield begin.replace("MAKE_FULL", "limit()")
        return
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or mount is None or subprocess.run(command, check=False).returncode:
        pytest.skip("this process may not mount a file system; the limited disk is tested")
    yield begin.replace("MAKE_FULL", f"fill({str(folder)!r})")
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_at_once(disk: str, isolated: Path) -> None:
    """While the program runs, before any flush has given up, in each place where one may look."""
    program = Program(
        """
        while "last_error" not in globals() or not last_error:
            time.sleep(0.01)
            last_error = autostate.info(a).last_error
        told = autostate.statistics()
        assert told.failing and told.last_error and told.unsaved_bytes and told.staleness
        assert autostate.info(a).dirty
        try:
            autostate.flush(timeout=0.2)
        except autostate.FlushError as error:
            assert last_error in str(error), error
        print("told", flush=True)
        time.sleep(600)
        """,
        header=disk,
    )
    program.wait_for("told")
    program.process.kill()
    assert "saving failed: StoreUnavailableError" in program.end()[1]


def test_a_locked_file_is_told_before_its_time_is_over(isolated: Path) -> None:
    """SQLite waits for locks by itself: for an hour here, and without a word."""
    failed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def note(sender: object, *, error: Exception, **rest: object) -> None:
        failed.put(error)

    with autostate.open("sqlite:///s.db", debounce=0, flush_timeout=3600):
        state = PersistedDict("a", x=1)
        autostate.flush()
        other = sqlite3.connect("s.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        hub.flush_failed.connect(note)
        try:
            state["x"] = 2
            assert "locked by another process" in str(failed.get(timeout=60))
        finally:
            hub.flush_failed.disconnect(note)
            other.close()
