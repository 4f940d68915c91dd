"""Programs in processes of their own: what tests of restarts run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.peers.forked import ProgramServer

server: ProgramServer | None = None
"""Of which the programs are forks, where a test asks for it by the fixture `forked_programs`."""


def run(
    code: str, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own to its end.

    Args:
        code: The program.
        folder: Where it runs, if not where the test does.
        env: Its environment, if it is not the test's.
    """
    return run_python("-c", code, folder=folder, env=env)


def run_python(
    *arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, and nothing to read, to its end."""
    command = [sys.executable, *arguments]
    if server is None:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder,
            env=env,
            check=False,
        )
    status, output, error = server.run(
        command, os.environ if env is None else env, folder or Path.cwd()
    )
    return subprocess.CompletedProcess(command, status, output, error)
