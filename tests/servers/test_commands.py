"""Each command on a state on a server, or in a folder: of a program that lives, and was killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import autostate
from tests import programs

pytestmark = pytest.mark.usefixtures("forked_programs")

PROGRAM: Final = """
import sys, autostate
with autostate.open(sys.argv[1], history=10, lease=0.5, debounce=1000, max_delay=1000):
    progress = autostate.PersistedDict("progress", page=1)
    autostate.flush()
    progress["page"] = 2
    autostate.PersistedSet("seen", ["a"])
    autostate.flush()
    print("saved", flush=True)
    sys.stdin.readline()
    progress["page"] = 3
    autostate.flush()
    print("again", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def program(url: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has saved, and does so again for each line."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "saved\n"
            yield process
        finally:
            process.kill()


BATCH: Final = """
import contextlib, io, json, sys
from autostate.cli import commands
done = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    output, error, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            commands.run()
        except SystemExit as end:
            code = end.code or 0
    done.append([code, output.getvalue(), error.getvalue()])
print(json.dumps(done))
"""
"""Commands one after another in one process: it takes a while to load the client of a server."""


def batch(url: str, *lines: str) -> list[str]:
    """What commands print that succeed, or the error of one that is refused."""
    commands = [[*line.split(), "--url", url] for line in lines]
    done = programs.run_python("-c", BATCH, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    return [error if code else output for code, output, error in json.loads(done.stdout)]


def test_beside_a_live_program_and_after_its_kill(isolated: Path, url: str) -> None:
    """What reads does not disturb it, and what writes is refused while it lives."""
    Path("rows.json").write_text("[1]")
    with program(url) as process:
        listed, page, seen, log, diff, verified, watched, doctor, *_, refused, not_imported = batch(
            url,
            *("ls --json", "get progress page", "show seen", "log --json", "diff @1", "verify"),
            *("watch --count 1", "doctor --json", "export all.json", "backup copy.db"),
            *("set progress page 9", "import rows.json"),
        )
        found = json.loads(listed)
        assert [each["name"] for each in found["objects"]] == ["progress", "seen"]
        assert found["owner_pid"] == process.pid
        assert (page, seen) == ("2\n", "{'a'}\n")
        assert [each["number"] for each in json.loads(log)] == [1, 2]
        assert diff.startswith('~\tprogress["page"]\t1\t2\n')
        assert "nothing is damaged" in verified
        assert "\t2 entries\t" in watched
        assert json.loads(doctor)["problems"] == 0
        assert "nothing was changed: the state belongs to process" in refused
        assert "nothing was changed: the state belongs to process" in not_imported
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "again\n"
    was, _, _, rows, diff, *_, page, deleted = batch(
        url,
        *("set progress page 9 --json", "import rows.json", "reset seen -y", "get rows"),
        *("diff copy.db .", "restore --at 1 -y", "import all.json --replace"),
        *("get progress page", "delete progress -y"),
    )
    assert json.loads(was)["was"] == 3
    assert rows == "[1]\n"
    assert diff.splitlines() == [
        '~\tprogress["page"]\t2\t9',
        "+\trows\t\t[1]",
        '-\tseen\t["a"]\t',
    ]
    assert (page, deleted) == ("2\n", "progress was deleted\n")
    with autostate.open(url):
        assert autostate.names() == ["seen"]


def test_a_new_state(isolated: Path, url: str) -> None:
    """An import begins one; nothing else does."""
    Path("rows.json").write_text("[1]")
    *_, said = batch(url, "ls", "set a b c", "export x.json a", "import rows.json")
    assert said.endswith("rows (list)\n")
    with autostate.open(url):
        assert autostate.PersistedList("rows") == [1]
