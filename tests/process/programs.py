"""What the tests of ends share: programs in processes of their own, and what they stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autostate.journal import Journal
from autostate.stores.sqlite import SqliteStore
from tests import programs

WAIT = 120.0
ROOT = Path(__file__).parent.parent.parent

HEADER = """
import os, signal, sys, threading, time
import autostate
from autostate import PersistedDict
autostate.configure("sqlite:///s.db", debounce=3600)  # only an end saves
"""


class Program:
    """A script in a process of its own, in the test's working directory.

    It is a fork, as `programs.run` starts it, unless it needs an option of `Popen`'s.
    """

    def __init__(self, code: str, *, header: str = HEADER, **popen: Any) -> None:
        path = Path("program.py").absolute()
        path.write_text(header + textwrap.dedent(code))
        forked = programs.server if popen.keys() <= {"env"} else None
        start: Callable[..., Any] = forked.popen if forked else subprocess.Popen
        self.process = start(
            [sys.executable, str(path)],
            cwd=path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": {**os.environ, "PYTHONPATH": str(ROOT)}, **popen},
        )

    def wait_for(self, word: str) -> None:
        """Read the output up to a line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        pytest.fail(f"it never said {word!r}: {self.process.communicate()[1]}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; give exit status and standard error."""
        try:
            self.process.wait(WAIT)  # first: communicate() would close its standard input
            _, error = self.process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"it did not end: {self.process.communicate()}")
        return self.process.returncode, error


def run(code: str, **options: Any) -> tuple[int, str]:
    """Run a script to its end."""
    return Program(code, **options).end()


def stored(name: str = "a") -> dict[str, Any]:
    """What a next process would resume."""
    store = SqliteStore("s.db")
    nodes = Journal(store).recover().nodes.values()
    store.close()
    contents = [node.content for node in nodes if node.name == name]
    return dict(contents[0]) if contents else {}


def commits() -> int:
    """How many commits the store has taken since it was made."""
    store = SqliteStore("s.db")
    journal = Journal(store)
    journal.recover()
    [head] = [json.loads(store.read(key) or b"") for key in store.list("autostate-head-")][-1:]
    store.close()
    return int(head["sequence"])
