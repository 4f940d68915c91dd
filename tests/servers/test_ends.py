"""Programs whose state is on a server: ends of either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.campaign import Tally, size
from tests.programs import run_python
from tests.servers.base import Server

ROOT = Path(__file__).parent.parent.parent
KILLS = size("STORES", 2)

PROGRAM = """
import sys
import autostate
from autostate import PersistedDict
autostate.configure(debounce=0.01, lease=0.5)
state = PersistedDict("state", page=0, big={str(n): n for n in range(2000)})
for line in sys.stdin:
    state["page"] += 1
    autostate.flush()
    print(state["page"], len(state["big"]), flush=True)
"""


class Job:
    """A program that counts a page for each line that it is sent."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "AUTOSTATE_URL": url, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def step(self) -> str:
        """Let it count, and save."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """Let it end; give what it has said on standard error."""
        return self.process.communicate(timeout=60)[1]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()


def test_an_emptied_server_gets_everything_again(server: Server, url: str) -> None:
    """Somebody has deleted everything, or the server has evicted it; it is said."""
    job = Job(url)
    assert job.step() == "1 2000"
    server.wipe()
    assert job.step() == "2 2000"
    assert "was emptied while this process used it, and everything is saved again" in job.end()
    job = Job(url)
    assert job.step() == "3 2000"
    job.end()


def test_a_restart_waits_out_the_lease_of_who_was_killed(url: str) -> None:
    """And goes on with what was acknowledged. A folder has a lock, which ends with its process."""
    job = Job(url)
    assert job.step() == "1 2000"
    job.kill()
    job = Job(url)
    assert job.step() == "2 2000"
    said = job.end()
    if not url.startswith("file:"):
        assert url.partition("state=")[2].partition("&")[0] in said
        assert "counts as gone if it shows no sign of life for" in said
        assert "as the setting lease says" in said


@pytest.mark.servers
def test_a_second_process_is_refused(url: str) -> None:
    """While the first one lives, even if it writes nothing."""
    first = Job(url)
    assert first.step() == "1 2000"
    second = Job(url)
    assert "belongs to process" in second.end()
    assert second.process.returncode == 75
    assert first.step() == "2 2000"
    first.end()


@pytest.mark.campaign(name="stores")
def test_what_was_acknowledged_survives_the_server(server: Server, url: str, tally: Tally) -> None:
    """The server is killed and started again while commits run, twenty times in the campaign."""
    job = Job(url)
    for page in range(1, 2 * KILLS + 1):
        if page % 2 == 0:
            server.kill()
            server.start()
        assert job.step() == f"{page} 2000"
    job.kill()
    job = Job(url)
    assert job.step() == f"{2 * KILLS + 1} 2000"
    job.end()
    tally.tried(KILLS)


@pytest.mark.servers
def test_a_server_that_went_back_gets_everything_again(server: Server, url: str) -> None:
    """A copy that has not received the last saves takes the place of the server; it is said."""
    state = str(parse_qs(urlsplit(url).query)["state"][0])
    job = Job(url)
    assert job.step() == "1 2000"
    server.remember(state)
    assert job.step() == "2 2000"
    server.go_back(state)
    assert job.step() == "3 2000"
    server.go_back(state)  # it has a record of this very process, from before it began anew
    assert job.step() == "4 2000"
    assert "went back to an earlier state while this process used it" in job.end()
    job = Job(url)
    assert job.step() == "5 2000"
    job.end()


SHORT = """
from autostate import PersistedDict
state = PersistedDict("state", page=0)
state["page"] += 1
print(state["page"])
"""


@pytest.mark.usefixtures("forked_programs")
def test_a_normal_end_saves_and_gives_the_state_back(url: str) -> None:
    """No thread can be begun any more then; the next process need not wait for the lease."""
    for page in (1, 2):
        done = run_python("-c", SHORT, env={**os.environ, "AUTOSTATE_URL": url})
        assert (done.stdout.split(), done.stderr) == ([str(page)], "")
