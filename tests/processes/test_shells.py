"""A look from a shell or an interpreter beside a job."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

from tests.processes.programs import HEADER, JOB, Processes, end, stored


def test_a_look_from_a_shell_beside_a_job(processes: Processes) -> None:
    """It has a store of its own; on that of the job it can look, and is refused to create."""
    job = processes.write(JOB)
    first = processes.working(job)
    look = HEADER + "say(dict(PersistedDict('progress')))"
    code, output, error = processes.run("-c", look)
    assert (code, output) == (0, "{}\n")
    assert "job.db holds a state object of that name" in error
    url = "sqlite:///.autostate/job.db"
    code, output, error = processes.run("-c", look, AUTOSTATE_URL=url)
    assert (code, output) == (75, "")
    assert "job.py" in error
    code, output, _ = processes.run("-c", look, AUTOSTATE_URL=url, AUTOSTATE_READONLY="1")
    assert (code, output) == (0, "{'page': 1}\n")
    assert end(first) == (0, "", "")
    assert stored() == {"page": 2}


def test_an_interpreter_in_a_terminal_beside_a_job(processes: Processes) -> None:
    """It has a store of its own; is refused that of the job, and goes on; and may read it."""
    job = processes.working(processes.write(JOB))
    url = "sqlite:///.autostate/job.db"
    lines = [
        "import autostate",
        "dict(autostate.PersistedDict('progress'))",
        f"shared = autostate.open('{url}')",
        "with shared: print(autostate.PersistedDict('progress'))",
        "",
        f"with autostate.open('{url}', readonly=True): print(autostate.PersistedDict('progress'))",
        "",
        "exit()",
    ]
    seen = interactive(processes, lines)
    assert "{}" in seen
    assert "autostate: the state in sqlite:///" in seen
    assert "{'page': 1}" in seen
    assert end(job) == (0, "", "")
    assert stored() == {"page": 2}
    assert stored(path=".autostate/interactive.db") == {}


def interactive(processes: Processes, lines: list[str]) -> str:
    """What an interpreter in a terminal shows for these lines."""
    ours, theirs = pty.openpty()
    env = processes.env | {"TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    with subprocess.Popen(
        [sys.executable, "-q"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=processes.folder,
        env=env,
    ) as process:
        os.close(theirs)
        os.write(ours, "".join(f"{line}\n" for line in lines).encode())
        seen = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                seen += data
        os.close(ours)
    assert process.returncode == 0
    return seen.decode()
