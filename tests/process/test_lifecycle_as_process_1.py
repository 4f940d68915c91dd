"""Process 1 of a container is ended by no signal's default action: the library ends it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict

CONTAINER = ["unshare", "--pid", "--fork", "--kill-child"]
PROGRAM = """
import os, signal, subprocess, sys, time
import autostate
from autostate import PersistedDict

assert os.getpid() == 1
autostate.configure("sqlite:///one.db", debounce=60, max_delay=60)
pages = PersistedDict("pages", done=0)
pages["done"] = 1
other = f"import os; os.kill(1, {int(signal.SIGTERM)})"  # as from outside: to itself it is ignored
subprocess.run([sys.executable, "-c", other], check=True)
for _ in range(1000):
    time.sleep(0.01)
print("it went on")
"""


@functools.cache
def _namespaces() -> list[str] | None:
    """The command that runs a program as process 1, as far as this user may."""
    if shutil.which("unshare") is None:
        return None
    command = CONTAINER if os.geteuid() == 0 else [*CONTAINER, "--user", "--map-root-user"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return None if tried.returncode else command


def test_a_signal_ends_process_1_after_the_last_save(isolated: Path) -> None:
    """With the exit code that a shell gives; else it would go on, and save nothing any more."""
    command = _namespaces()
    if command is None:
        pytest.skip("this user may make no namespace of processes")
    program = [*command, sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + 15, ""), done.stderr
    with autostate.open("sqlite:///one.db", readonly=True):
        assert PersistedDict("pages") == {"done": 1}
