"""The examples of servers: workers and machines that are killed, and count exactly."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers import need
from tests.servers.kinds import PACKAGES
from tests.servers.valkey import Valkey

ROOT: Final = Path(__file__).parent.parent.parent
README: Final = ROOT / "examples" / "servers" / "README.md"
ENV: Final = {
    **{name: value for name, value in os.environ.items() if not name.startswith("AUTOSTATE_")},
    "PYTHONPATH": str(ROOT),
}
WAIT: Final = 60.0


class App:
    """The server with four workers."""

    def __init__(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port: int = taken.getsockname()[1]
        app = ["-m", "uvicorn", "examples.servers.hits:app", "--log-level", "warning"]
        command = [sys.executable, *app, "--workers", "4", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=ENV, start_new_session=True)

    def ask(self, method: str, path: str) -> Any:
        """Send a request; give the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def begin(self) -> None:
        """Wait for the first answer."""
        end = time.monotonic() + WAIT
        while True:
            try:
                self.ask("GET", "/")
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)  # nothing announces that the server listens
            else:
                return


@pytest.fixture
def app(isolated: Path) -> Iterator[App]:
    """The server, in a folder of the test's own."""
    made = App()
    yield made
    with contextlib.suppress(ProcessLookupError):
        os.killpg(made.process.pid, signal.SIGKILL)
    made.process.wait()


def test_workers_count_each_answered_request_once(app: App, rng: random.Random) -> None:
    """Workers are killed while requests are under way; what got no answer counts once or not."""
    app.begin()
    sent = 120
    kills = sorted(rng.sample(range(20, 100), 2))

    def visit(number: int) -> int | None:
        try:
            worker: int = app.ask("POST", "/page")["worker"]
        except (OSError, http.client.HTTPException):
            return None
        if number in kills:
            os.kill(worker, signal.SIGKILL)
        return worker

    with ThreadPoolExecutor(4) as pool:
        answered = [worker for worker in pool.map(visit, range(sent)) if worker is not None]
    assert len({*answered}) > 1
    assert len(answered) <= app.ask("GET", "/")["page"] <= sent
    app.process.terminate()
    app.process.wait(WAIT)
    assert len(answered) <= counted("hits")["page"] <= sent


def counted(name: str) -> dict[str, int]:
    """What a process sees that begins now, in the working directory."""
    program = "import json, sys; from autostate import SharedCounter as C; "
    program += "print(json.dumps(C(sys.argv[1])))"
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, env=ENV, capture_output=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_machines_count_each_page_once(tmp_path: Path, rng: random.Random) -> None:
    """Two, on one server; both are killed and go on."""
    need(*PACKAGES["valkey"])
    pages = 200
    with ExitStack() as ends:
        valkey = Valkey(tmp_path / "valkey")
        ends.callback(valkey.remove)
        valkey.start()
        machines = []
        for number in range(2):
            folder = tmp_path / f"machine-{number}"
            folder.mkdir()
            part = [str(number * pages // 2), str((number + 1) * pages // 2)]
            command = [sys.executable, "-m", "examples.servers.machine", valkey.url("shop"), *part]
            machines.append((command, folder))
        running = [start(*machine) for machine in machines]
        for each in running:
            listen(each, rng.randrange(20, pages // 2))
            each.kill()
            each.communicate()
        running = [start(*machine) for machine in machines]
        last = [each.communicate(timeout=WAIT)[0].splitlines()[-1] for each in running]
        assert [each.returncode for each in running] == [0, 0]
        assert f"{pages} pages of 40 shops" in last


def start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a machine, which publishes at once."""
    env = {**ENV, "AUTOSTATE_DEBOUNCE": "0.01"}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)


def listen(process: subprocess.Popen[str], lines: int) -> None:
    """Wait until it has worked on so many pages."""
    assert process.stdout is not None
    for _ in range(lines):
        assert process.stdout.readline()


def test_each_server_is_listed() -> None:
    """With a link to its program."""
    text = README.read_text(encoding="utf-8")
    programs = [each.name for each in README.parent.glob("[a-z]*.py")]
    assert programs
    assert [name for name in programs if f"({name})" not in text] == []
