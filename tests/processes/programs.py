"""What the tests of processes share: programs in one folder, and what they say."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from autostate.journal import Journal
from autostate.stores.sqlite import SqliteStore
from tests.peers.forked import ProgramServer

ROOT = Path(__file__).parent.parent.parent
WAIT = 60.0
HEADER = """
import os, signal, sys, time, warnings
import autostate
from autostate import PersistedCounter, PersistedDict, PersistedSet

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def say(*words):
    print(*words, flush=True)
"""
JOB = """
progress = PersistedDict("progress", page=0)
progress["page"] += 1
autostate.flush()
say("works")
sys.stdin.readline()
progress["page"] += 1
"""


class Processes:
    """Programs in one folder; forks of a server."""

    def __init__(self, folder: Path, server: ProgramServer) -> None:
        self.folder = folder
        self._server = server
        self._started: list[subprocess.Popen[str]] = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AUTOSTATE_")}
        self.env["PYTHONPATH"] = str(ROOT)

    def write(self, code: str, name: str = "job.py") -> str:
        """Write a program."""
        (self.folder / name).write_text(HEADER + textwrap.dedent(code))
        return name

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        process: subprocess.Popen[str] = self._server.popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def working(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start Python, and wait until it says that it works."""
        process = self.start(*command, **env)
        hear(process, "works")
        return process

    def run(self, *command: str, **env: str) -> tuple[int, str, str]:
        """Run Python to its end: exit code, output, errors."""
        process = self.start(*command, **env)
        output, error = process.communicate(timeout=WAIT)
        return process.returncode, output, error

    def close(self) -> None:
        """End what is left."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):  # children may live on
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def hear(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a program has said something."""
    assert process.stdout is not None
    heard = []
    for line in process.stdout:
        heard.append(line)
        if word in line:
            return
    pytest.fail(f"it never said {word!r} but {heard}, and {process.communicate()[1]}")


def tell(process: subprocess.Popen[str], word: str = "go on") -> None:
    """Send a program a line."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Let a program that waits for a line go on to its end."""
    output, error = process.communicate("go on\n", timeout=WAIT)
    return process.returncode, output, error


def stored(name: str = "progress", path: str = ".autostate/job.db") -> Any:
    """What the next run would find."""
    return next((node.content for node in recovered(path) if node.name == name), None)


def recovered(path: str = ".autostate/job.db") -> list[Any]:
    """The nodes that the next run would find."""
    store = SqliteStore(path)
    try:
        return list(Journal(store).recover().nodes.values())
    finally:
        store.close()


ORPHAN = """
import multiprocessing
progress = PersistedDict("progress", page=0)
def work():
    autostate.flush()
    say("works")
    parent = multiprocessing.parent_process().pid
    while os.getppid() == parent:
        time.sleep(0.01)
    progress["page"] += 1
    autostate.flush()
    say("saved")
"""
