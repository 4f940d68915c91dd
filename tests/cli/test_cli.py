"""The entry point of the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import autostate
from tests.cli.test_commands import call, told
from tests.programs import run_python

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


DAMAGED: Final = (
    *("ls", "show d", "get d page", "watch --count 1", "diff .", "log", "set d page 2"),
    *("export -", "import rows.json rows", "backup copy.db", "reset d -y", "restore --at 1 -y"),
    *("verify", "doctor", "discard -y"),
)
NEXT: Final = "run `autostate delete NAME`"
BATCH: Final = """
import sys
from autostate.cli import commands
for line in sys.argv[1:]:
    sys.argv[1:] = line.split()
    try:
        commands.run()
    except SystemExit as end:
        print(line, "→", end.code)
"""


def test_a_damaged_state(isolated: Path) -> None:
    """Each command says so in one line, ends with 1, and leaves it as it is."""
    with autostate.open("sqlite:///.autostate/crawl.db", history=10):
        autostate.PersistedDict("d", page=1)
    path = Path(".autostate/crawl.db")
    path.write_bytes(path.read_bytes().replace(b'"page":1', b'"page":7'))
    Path("rows.json").write_text("[1]")
    before = path.read_bytes()
    done = run_python("-c", BATCH, *DAMAGED)
    assert [line for line in done.stdout.splitlines() if "→" in line] == [
        f"{line} → 1" for line in DAMAGED
    ]
    told_of = done.stderr.splitlines()
    assert all(line.startswith("autostate: ") and "is damaged" in line for line in told_of)
    assert len(told_of) >= len(DAMAGED) - 1  # `doctor` tells on standard output
    assert not [line for line in told_of if "autostate.delete" in line or "on_corrupt=" in line]
    assert all((NEXT in line) == ("begin anew" in line) for line in told_of)
    assert done.stderr.count(NEXT) > len(DAMAGED) / 2
    assert path.read_bytes() == before
    assert {each.name for each in Path().iterdir()} == {".autostate", "rows.json"}
