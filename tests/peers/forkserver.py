"""Processes that start in milliseconds: forks of one that has imported the slow libraries.

A hundred processes are needed and `import apify` takes more than a second. `multiprocessing` has a
fork server too, but its processes leave out atexit, so that they end as no program does.

Each process has a nanny that waits for it and then tells how it ended: when the parent hears that,
all locks and files of the process are free.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {
    "APIFY_PURGE_ON_START": "0",  # what is stored has to be there for the next process
    "CRAWLEE_PURGE_ON_START": "0",
}
INTERVAL = "APIFY_PERSIST_STATE_INTERVAL_MILLIS"


class Process:
    """A program that runs with one library, seen from the test."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rb")
        connection.close()  # the stream keeps it open
        self.pid: int = pickle.load(self._stream)
        self.status: int | None = None

    def next_report(self) -> Any:
        """Wait for it."""
        for value in self.reports():
            return value
        raise RuntimeError(f"the program ended with {self.status} and reported nothing more")

    def reports(self) -> Iterator[Any]:
        """What the program reports, until it ends."""
        while self.status is None:
            kind, value = pickle.load(self._stream)
            if kind == "ended":
                self.status = value
                self._stream.close()
            else:
                yield value

    def kill(self) -> list[Any]:
        """SIGKILL, and what it had reported by then."""
        os.kill(self.pid, signal.SIGKILL)
        return list(self.reports())


class Forkserver:
    """The process that forks.

    Args:
        log: Where all its children write their standard error.
        preload: What to import besides the small libraries. Nothing that is not needed: tearing
            down what `import apify` has made takes longer than most programs here.
    """

    def __init__(self, log: Path, *preload: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("APIFY", "CRAWLEE"))}
        with theirs, log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.peers.forkserver", str(theirs.fileno()), *preload],
                cwd=ROOT,
                env=clean | ENVIRONMENT,
                pass_fds=[theirs.fileno()],
                stderr=stderr,
            )

    def start(self, program: str, column: str, folder: Path, **options: Any) -> Process:
        """Start one of `programs.py` with one of `columns.py` in a folder."""
        ours, theirs = socket.socketpair()
        with theirs:
            job = {"program": program, "column": column, "folder": str(folder), "options": options}
            socket.send_fds(self._control, [json.dumps(job).encode()], [theirs.fileno()])
        return Process(ours)

    def run(self, program: str, column: str, folder: Path, **options: Any) -> list[Any]:
        """Run a program to its end; an error in it is a RuntimeError here."""
        process = self.start(program, column, folder, **options)
        reports = list(process.reports())
        if process.status != 0:
            raise RuntimeError(f"{program} with {column} ended with {process.status}")
        return reports

    def close(self) -> None:
        """Let it end; it does when nobody can talk to it any more."""
        self._control.close()
        self._process.wait()


def _serve(control: socket.socket) -> Callable[[], None] | None:
    """Fork for each job; return in the forked process with what it has to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for nannies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 65_536, 1)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            return _nurse(json.loads(message), socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])


def _nurse(job: dict[str, Any], connection: socket.socket) -> Callable[[], None]:
    """Fork the worker, which returns; the nanny never does."""
    worker = os.fork()
    if worker:
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        connection.sendall(pickle.dumps(("ended", status)))
        os._exit(0)
    return lambda: _work(job, connection)


def _work(job: dict[str, Any], connection: socket.socket) -> None:
    from tests.peers import columns, programs

    connection.sendall(pickle.dumps(os.getpid()))
    os.chdir(job["folder"])
    if job["program"] == "never_save":  # large states are not saved so often: it may take longer
        os.environ[INTERVAL] = "500"  # a minute otherwise

    def report(value: Any) -> None:
        connection.sendall(pickle.dumps(("report", value)))

    column = columns.COLUMNS[job["column"]]()
    asyncio.run(programs.run(job["program"], column, report, job["options"]))


def _main() -> None:
    """Import what is slow, then serve; a worker leaves by the ordinary end of the interpreter."""
    for name in ("tests.peers.programs", *sys.argv[2:]):
        importlib.import_module(name)
    gc.freeze()
    work = _serve(socket.socket(fileno=int(sys.argv[1])))
    if work is not None:
        work()


if __name__ == "__main__":
    _main()
