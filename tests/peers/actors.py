"""Actors in processes that start at once: forks of one that has imported apify.

`import apify` takes a second and a half of the processor, and hundreds of Actors are started. Such
a process is real: it has an environment, a session, an output and an end of its own, runs the
program as `__main__`, leaves by the ordinary end of the interpreter, and can be killed. It differs
in what was imported before the program began: apify, with all that it needs. So a program that
imports autostate before apify, or apify not at all, gets an interpreter of its own.

Each process has a nanny that waits for it and tells how it ended, as in `forkserver.py`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT = Path(__file__).parent.parent.parent
_FIRST_IMPORT: Final = re.compile(r"^\s*(?:from|import)\s+(apify|autostate)\b", re.MULTILINE)
_STATUS: Final = struct.Struct("i")


class ForkedProcess:
    """The part of `subprocess.Popen` that a container uses.

    Attributes:
        pid: The process.
        stdout: What it prints, on both streams.
        returncode: As of `Popen`; None while it runs.
    """

    def __init__(self, connection: socket.socket, stdout: IO[str]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.stdout = stdout
        self.returncode: int | None = None
        self.pid: int = _STATUS.unpack(connection.recv(_STATUS.size, socket.MSG_WAITALL))[0]

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, as long as it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        """Wait for the nanny's word; of several threads that wait, one reads it."""
        with self._lock:
            if self.returncode is not None:
                return self.returncode
            descriptor = os.dup(self._connection.fileno())  # another thread may close it
        try:
            select.select([descriptor], [], [], timeout)
        finally:
            os.close(descriptor)
        with self._lock:
            code: int | None = self.returncode  # another thread may have read it meanwhile
            if code is None and select.select([self._connection], [], [], 0)[0]:
                word = self._connection.recv(_STATUS.size, socket.MSG_WAITALL)
                self.returncode = _STATUS.unpack(word)[0]
                self._connection.close()
            return self.returncode


class ActorServer:
    """The process that has imported apify."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        foreign = ("APIFY_", "ACTOR_", "CRAWLEE_")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.peers.actors", str(theirs.fileno())],
                cwd=ROOT,
                env=clean,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, **options: Any
    ) -> Any:
        """Start a program in place of `subprocess.Popen`; in a fork if it begins with apify."""
        job = _job(command)
        if job is None:
            return subprocess.Popen(command, env=env, cwd=cwd, **options)
        job |= {"env": dict(env), "cwd": str(cwd or Path.cwd())}
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        with theirs, _file_with(job) as content:
            socket.send_fds(self._control, [b"job"], [theirs.fileno(), writing, content])
            os.close(writing)
        stdout = os.fdopen(reading, encoding="utf-8", errors="replace")
        return ForkedProcess(ours, stdout)

    def run(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> tuple[int, str]:
        """Run a program to its end; give its exit code, and what it printed on both streams."""
        process = self.popen(
            command,
            env=env,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        with process.stdout:
            output = process.stdout.read()
        return process.wait(), output

    def close(self) -> None:
        """Let it end; it does when nobody can talk to it any more."""
        self._control.close()
        self._process.wait()


@contextlib.contextmanager
def _file_with(job: dict[str, Any]) -> Any:
    """A file without a name that holds a job: the text of a program may be long."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(job).encode())
        file.flush()
        file.seek(0)
        yield file.fileno()


def _job(command: Sequence[str]) -> dict[str, Any] | None:
    """What is to be run, if a fork can; else None."""
    match list(command):
        case [sys.executable, "-c", code, *arguments]:
            name = None
        case [sys.executable, name, *arguments] if name.endswith(".py"):
            code = Path(name).read_text(encoding="utf-8")
        case _:
            return None
    first = _FIRST_IMPORT.search(code)
    if first is None or first[1] != "apify":
        return None
    return {"name": name, "code": code, "arguments": arguments}


def _serve(control: socket.socket) -> Callable[[], None] | None:
    """Fork for each job; return in the forked process with what it has to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for nannies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 3)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            control.close()
            return _nurse(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _nurse(connection: int, output: int, content: int) -> Callable[[], None]:
    """Fork the worker, which returns; the nanny never does."""
    os.setsid()  # signals to the process group of the tests are not for it
    with open(content, "rb") as file:
        job = json.load(file)
    worker = os.fork()
    if worker:
        os.close(output)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        with contextlib.suppress(OSError):  # nobody wants to know
            os.write(connection, _STATUS.pack(status))
        os._exit(0)
    os.setsid()
    os.write(connection, _STATUS.pack(os.getpid()))  # from now on its session can be killed
    os.close(connection)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    return lambda: _work(job)


def _work(job: dict[str, Any]) -> None:
    """Run the program as the interpreter would have."""
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    name = job["name"]
    sys.argv = [name or "-c", *job["arguments"]]
    sys.orig_argv = [sys.executable, *([name] if name else ["-c", job["code"]]), *job["arguments"]]
    paths = job["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[0:1] = [str(Path(name).absolute().parent) if name else "", *filter(None, paths)]
    main = types.ModuleType("__main__")
    if name:
        main.__file__ = name
    sys.modules["__main__"] = main
    vars(main)["__builtins__"] = __builtins__
    exec(compile(job["code"], name or "<string>", "exec"), vars(main))


def _main() -> None:
    """Import what is slow, then serve; a worker leaves by the ordinary end of the interpreter."""
    import apify.events  # noqa: F401

    gc.collect()
    gc.freeze()
    work = _serve(socket.socket(fileno=int(sys.argv[1])))
    if work is not None:
        work()


if __name__ == "__main__":
    _main()
