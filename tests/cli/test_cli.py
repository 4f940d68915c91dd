"""The entry point of the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import autostate
from tests.cli.test_commands import call, told

pytestmark = pytest.mark.usefixtures("forked_programs")


def test_the_version() -> None:
    """Of the library."""
    assert told("--version") == f"{autostate.__version__}\n"


def test_the_library_does_not_load_the_commands() -> None:
    """Nor what they need."""
    code = (
        "import autostate.containers, sys; sys.exit({'argparse', 'rich'} & {*sys.modules} != set())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_entry_point_is_there() -> None:
    """`autostate` and `python -m autostate` are the same."""
    import tomllib

    project = tomllib.loads((Path(__file__).parent.parent.parent / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"autostate": "autostate.cli:main"}
    for arguments in ([], ["--help"]):
        done = call(*arguments)
        assert done.returncode in {0, 2}
        assert "Usage: autostate " in done.stdout + done.stderr
