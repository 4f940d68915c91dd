"""Programs in processes that start at once: forks of one that has imported what they need.

`import apify` takes a second and a half of the processor, autostate and pytest some tenths of one,
and hundreds of programs are started. Such a process is real: it has an environment, a session, an
output and an end of its own, runs the program as `__main__`, leaves by the ordinary end of the
interpreter, and can be killed. It differs in what was imported before the program began:

- `python -m pytest`: pytest, and neither its plugins nor autostate;
- `python -m autostate`: autostate and what its commands need;
- the crawl of the examples: apify, crawlee's crawlers and autostate;
- the Actors of the examples: what any of them imports;
- a program whose first import of the two is autostate: autostate, or what that needs, if the
  program does something before;
- a program whose first import of the two is apify: apify.

A program that begins with several of these imports is forked with all of them, and with crawlee's
crawlers, in its order. Any other one gets an interpreter of its own.

Each process has a nanny that waits for it and tells how it ended, as in `forkserver.py`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import re
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT = Path(__file__).parent.parent.parent
_FIRST_IMPORT: Final = re.compile(r"^\s*(?:from|import)\b.*?\b(apify|autostate)\b", re.MULTILINE)
_AT_ONCE: Final = re.compile(r"\s*(?:\"{3}[^\"]*\"{3}\n)?(?:(?:from|import)\b.*\n|#.*\n|\s*\n)*")
"""What a program begins with: its docstring and its first imports."""
_NAMED: Final = re.compile(r"(?<![.\w])(?:apify|autostate|crawlee\.crawlers)\b")
_CRAWLS: Final = ("examples.crawl.", "tests.in_step.")
_STATUS: Final = struct.Struct("i")
_JOB: Final = b"job"
_SMALL: Final = "import autostate; autostate.PersistedDict('small')['key'] = 1; autostate.flush()"
"""A program that shows by what it has imported what programs of its kind need."""
_EXAMPLES: Final = str(ROOT / "examples" / "actors")
_PLAIN: Final = {
    "actor": ["apify.events"],
    "crawler": ["crawlee.crawlers"],
    "autostate, apify": ["apify.events"],
    "autostate, crawler": ["crawlee.crawlers"],
    "example": [
        *("apify.scrapy", "bs4", "httpx", "scrapy.crawler"),
        # what they import while they run
        *("anyio._backends._asyncio", "autostate.apify.storage_client", "autostate.scrapy.units"),
        *("aiohttp", "httpcore", "tldextract"),
    ],
}
"""What servers import of which it is known without a try."""
_GROWN: Final = {
    "program with autostate": "program",
    "actor with autostate": "actor",
    "autostate": "program with autostate",
    "crawler": "actor with autostate",
    "example": "crawler",
    "autostate, apify": "program with autostate",
    "autostate, actor": "autostate, apify",
    "autostate, crawler": "autostate, actor",
}
"""Which kind of server is a fork of which other one, that has imported more."""


class ForkedProcess:
    """The part of `subprocess.Popen` that containers and programs use.

    Attributes:
        pid: The process.
        stdin: What it reads, if that was asked for; else it has nothing to read.
        stdout: What it prints, on both streams if there is no other.
        stderr: What it prints on that, if it was asked for.
        returncode: As of `Popen`; None while it runs.
    """

    def __init__(
        self,
        connection: socket.socket,
        stdout: IO[str],
        stderr: IO[str] | None = None,
        *,
        stdin: IO[str] | None = None,
    ) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
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

    def communicate(
        self,
        input: str | None = None,  # noqa: A002 - so it is called there
        timeout: float | None = None,
    ) -> tuple[str, str]:
        """Wait for its end, and give what it has printed: no more than a pipe can hold."""
        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError), self.stdin:  # as `Popen`
                self.stdin.write(input or "")
        self.wait(timeout)
        printed = []
        for stream in filter(None, (self.stdout, self.stderr)):
            printed.append("" if stream.closed else stream.read())
            stream.close()
        return printed[0], "".join(printed[1:])

    def send_signal(self, number: int) -> None:
        """Send a signal, as long as it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # its nanny is about to tell
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


class ProgramServer:
    """The processes that have imported something, each started when it is first asked for."""

    def __init__(self) -> None:
        kinds = {*_GROWN, *_GROWN.values(), "pytest"}
        self._pairs = {k: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for k in kinds}
        self._processes: dict[str, subprocess.Popen[bytes] | None] = {}

    def _control(self, kind: str) -> socket.socket:
        """Where a server takes its jobs."""
        ours, theirs = self._pairs[kind]
        if kind not in self._processes:
            with theirs:
                self._processes[kind] = self._begin(kind, theirs)
        return ours

    def _begin(self, kind: str, theirs: socket.socket) -> subprocess.Popen[bytes] | None:
        """Start a server, or let one fork that has imported the first half."""
        if kind in _GROWN:
            first = self._control(_GROWN[kind])
            socket.send_fds(first, [kind.encode()], [theirs.fileno()])
            return None
        foreign = ("APIFY_", "ACTOR_", "CRAWLEE_", "AUTOSTATE_")
        return subprocess.Popen(
            [sys.executable, "-m", "tests.peers.forked", str(theirs.fileno()), kind],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith(foreign)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, **options: Any
    ) -> Any:
        """Start a program in place of `subprocess.Popen`; in a fork if it suits the server."""
        job = self._job(command)
        if job is None:
            return subprocess.Popen(command, env=env, cwd=cwd, **options)
        pipes = [os.pipe() for _ in range(2 if options.get("stderr") == subprocess.PIPE else 1)]
        given: list[int] = []
        stdin = None
        if options.get("stdin") == subprocess.PIPE:
            reading, writing = os.pipe()
            given.append(reading)
            stdin = os.fdopen(writing, "w", encoding="utf-8")
        process = self._start(job, env, cwd, pipes[0][1], pipes[-1][1], *given)
        for descriptor in (*given, *(writing for _, writing in pipes)):
            os.close(descriptor)
        streams = [os.fdopen(one, encoding="utf-8", errors="replace") for one, _ in pipes]
        return ForkedProcess(process, *streams[:2], stdin=stdin)

    def run(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> tuple[int, str, str]:
        """Run a program to its end; give its exit code, its output and its errors."""
        job = self._job(command)
        if job is None:
            done = subprocess.run(
                command, env=env, cwd=cwd, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stdout, done.stderr
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            connection = self._start(job, env, cwd, output.fileno(), errors.fileno())
            code = ForkedProcess(connection, io.StringIO()).wait()
            output.seek(0)
            errors.seek(0)
            return code, output.read().decode(), errors.read().decode()

    def _start(
        self,
        job: dict[str, Any],
        env: Mapping[str, str],
        cwd: Path | None,
        output: int,
        errors: int,
        *given: int,
    ) -> socket.socket:
        """Hand a job to the process that forks."""
        job |= {"env": dict(env), "cwd": str(cwd or Path.cwd())}
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as content:
            content.write(json.dumps(job).encode())  # long: not in the message itself
            content.seek(0)
            descriptors = [theirs.fileno(), output, errors, content.fileno(), *given]
            socket.send_fds(self._control(job["kind"]), [_JOB], descriptors)
        return ours

    def _job(self, command: Sequence[str]) -> dict[str, Any] | None:
        """What is to be run, if a fork can; else None."""
        match list(command):
            case [sys.executable, "-m", ("pytest" | "autostate") as module, *arguments]:
                return {"kind": module, "name": module, "code": None, "arguments": arguments}
            case [sys.executable, "-m", module, *arguments] if module.startswith(_CRAWLS):
                kind = "actor" if "use_state" in module else "crawler"
                return {"kind": kind, "name": module, "code": None, "arguments": arguments}
            case [sys.executable, path, *arguments] if path.startswith(_EXAMPLES):
                text = Path(path).read_text(encoding="utf-8")
                return {"kind": "example", "name": path, "code": text, "arguments": arguments}
            case [sys.executable, "-c", code, *arguments]:
                name = None
            case [sys.executable, name, *arguments] if name.endswith(".py"):
                code = Path(name).read_text(encoding="utf-8")
            case _:
                return None
        first = _FIRST_IMPORT.search(code)
        if first is None:
            return None
        kind = _kind(first[1], _NAMED.findall(_at_once(code)))
        return {"kind": kind, "name": name, "code": code, "arguments": arguments}

    def close(self) -> None:
        """Let them end; they do when nobody can talk to them any more."""
        for pair in self._pairs.values():
            for control in pair:
                control.close()
        for process in filter(None, self._processes.values()):
            process.wait()


def _at_once(code: str) -> str:
    """The imports with which a program begins."""
    found = _AT_ONCE.match(code)
    return found[0] if found else ""


def _kind(first: str, at_once: Sequence[str]) -> str:
    """Choose the server of a program by its first import, and by those with which it begins."""
    if "autostate" not in at_once:
        return "actor" if first == "apify" else "program"
    if first == "apify":
        return "crawler" if "crawlee.crawlers" in at_once else "actor with autostate"
    if "apify" not in at_once:
        return "program with autostate"
    return "autostate, crawler" if "crawlee.crawlers" in at_once else "autostate, actor"


def _serve(control: socket.socket) -> Callable[[], None] | None:
    """Fork for each job; return in the forked process with what it has to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for nannies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 5)
        if not message:
            return None
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if message != _JOB:
                _import(message.decode())
                return _serve(socket.socket(fileno=descriptors[0]))
            return _nurse(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _nurse(
    connection: int, output: int, errors: int, content: int, *given: int
) -> Callable[[], None]:
    """Fork the worker, which returns; the nanny never does."""
    os.setsid()  # signals to the process group of the tests are not for it
    with open(content, "rb") as file:
        job = json.load(file)
    worker = os.fork()
    if worker:
        for descriptor in (output, errors, *given):
            os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        with contextlib.suppress(OSError):  # nobody wants to know
            os.write(connection, _STATUS.pack(status))
        os._exit(0)
    os.setsid()
    os.write(connection, _STATUS.pack(os.getpid()))  # from now on its session can be killed
    os.close(connection)
    for descriptor, place in ((output, 1), (errors, 2), *((one, 0) for one in given)):
        os.dup2(descriptor, place)
        os.close(descriptor)
    return lambda: _work(job)


def _work(job: dict[str, Any]) -> None:
    """Run the program as the interpreter would have."""
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    tempfile.tempdir = None  # each container has temporary files of its own
    if job["env"].get("PYTHONUNBUFFERED"):
        out, err = _unbuffered(1, sys.stdout), _unbuffered(2, sys.stderr)
        vars(sys).update(stdout=out, __stdout__=out, stderr=err, __stderr__=err)
    name, code = job["name"], job["code"]
    sys.argv = [name or "-c", *job["arguments"]]
    paths = [path for path in job["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    if code is None:
        sys.orig_argv = [sys.executable, "-m", name, *job["arguments"]]
        sys.path[0:1] = [job["cwd"], *paths]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        return
    sys.orig_argv = [sys.executable, *([name] if name else ["-c", code]), *job["arguments"]]
    sys.path[0:1] = [str(Path(name).absolute().parent) if name else "", *paths]
    main = types.ModuleType("__main__")
    if name:
        main.__file__ = name
    sys.modules["__main__"] = main
    vars(main)["__builtins__"] = __builtins__
    exec(compile(code, name or "<string>", "exec"), vars(main))


def _wait_for_foreign_threads() -> None:
    """Let threads that are no threads of Python's leave the interpreter before it ends.

    The SDK's HTTP client (impit, in Rust) wakes the event loop from a thread of its own. On a
    busy machine an Actor is done before this thread has come back from that: up to Python 3.13 the
    interpreter then unwinds it, which Rust takes for a reason to abort. One in 16 Actors that do
    not import autostate ended so, with exit code -6, where three times as many ran as there are
    processors.
    """
    known = {thread.ident for thread in threading.enumerate()}
    for _ in range(5_000):  # a program may have threads that stay
        if not sys._current_frames().keys() - known:
            break
        time.sleep(0.001)


def _unbuffered(descriptor: int, like: Any) -> io.TextIOWrapper:
    """A stream as `python -u` makes it."""
    raw: Any = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, like.encoding, like.errors, write_through=True)


def _import(kind: str) -> None:
    """Import what programs of this kind are forked with."""
    for name in _PLAIN.get(kind) or _needed(kind):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _needed(kind: str) -> list[str]:
    """What a small program of this kind imports, found out in a fork: it leaves nothing here."""
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if not child:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.chdir(folder)
                _try(kind)
                os.write(writing, " ".join(sys.modules).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, encoding="ascii") as names:
            found = names.read().split()
        os.waitpid(child, 0)
    own = {"__main__", "test_small", "xdist", "execnet", "pytest_asyncio"}
    own |= {"autostate"} if kind in ("program", "pytest") else set()
    return [name for name in found if name.partition(".")[0] not in own]


def _try(kind: str) -> None:
    """Run a small program of this kind in the working directory."""
    if kind == "pytest":
        import pytest

        Path("test_small.py").write_text(f"def test():\n    {_SMALL}\n")
        pytest.main(["-qc/dev/null", "-pno:autostate", "-pno:hypothesispytest", "test_small.py"])
        return
    os.environ["AUTOSTATE_URL"] = "apify:" if "actor" in kind else "sqlite:///state.db"
    exec(_SMALL, {})
    if kind == "autostate":
        from autostate.cli import main

        sys.argv[1:] = ["get", "small", "key"]
        with contextlib.suppress(SystemExit):
            main()


def _main() -> None:
    """Import what is slow, then serve; a worker leaves by the ordinary end of the interpreter."""
    atexit.register(_wait_for_foreign_threads)  # before autostate does, and so after its last save
    _import(sys.argv[2])
    work = _serve(socket.socket(fileno=int(sys.argv[1])))
    if work is not None:
        work()


if __name__ == "__main__":
    _main()
