"""A disk that is full: told at once, never waited for at the end, and never without a word.

The disks are real: a small file system in memory where this process may mount one, and a limit for
the size of files, which needs no privileges and answers each write that is too long with an error.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, hub
from tests.process.programs import ROOT, Program, stored

pytestmark = pytest.mark.usefixtures("forked_programs")

FULL = """
import logging, os, resource, signal, sys, threading, time
sys.dont_write_bytecode = True  # Python 3.11 would leave a part of it
from pathlib import Path
import autostate
from autostate import PersistedDict

def fill(disk):
    with open(f"{disk}/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass

def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

autostate.configure(URL, debounce=0.05)
a = PersistedDict("a", x=1)
autostate.flush()
MAKE_FULL
a["text"] = "y" * 100_000
"""


@pytest.fixture(params=["mounted", "limited"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The first lines of a program whose state is on a disk that is full by then."""
    folder = tmp_path / "disk"
    folder.mkdir()
    begin = FULL.replace("URL", repr(f"sqlite:///{folder}/s.db"))
    if request.param == "limited":
        yield begin.replace("MAKE_FULL", "limit()")
        return
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or mount is None or subprocess.run(command, check=False).returncode:
        pytest.skip("this process may not mount a file system; the limited disk is tested")
    yield begin.replace("MAKE_FULL", f"fill({str(folder)!r})")
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_at_once(disk: str, isolated: Path) -> None:
    """While the program runs, before any flush has given up, in each place where one may look."""
    program = Program(
        """
        while "last_error" not in globals() or not last_error:
            time.sleep(0.01)
            last_error = autostate.info(a).last_error
        told = autostate.statistics()
        assert told.failing and told.last_error and told.unsaved_bytes and told.staleness
        assert autostate.info(a).dirty
        try:
            autostate.flush(timeout=0.2)
        except autostate.FlushError as error:
            assert last_error in str(error), error
        print("told", flush=True)
        time.sleep(600)
        """,
        header=disk,
    )
    program.wait_for("told")
    program.process.kill()
    assert "saving failed: StoreUnavailableError" in program.end()[1]


ENDS = {
    "return": ("", 0),
    "exception": ("raise ZeroDivisionError", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "sys.exit with a text": ("sys.exit('no')", 1),
    "sys.exit without a code": ("sys.exit()", 0),
    "raise SystemExit": ("raise SystemExit(5)", 5),
    "a watchdog": ("import faulthandler; faulthandler.dump_traceback_later(600); sys.exit(6)", 6),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)", -signal.SIGTERM),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(600)", -signal.SIGINT),
}
SILENT = """
import logging.config
logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
logging.disable(logging.CRITICAL)
logging.lastResort = None
"""


@pytest.fixture
def limited() -> str:
    """The first lines of a program that can write no file of more than 40 kB, wherever."""
    return FULL.replace("URL", "'sqlite:///s.db'").replace("MAKE_FULL", "limit()")


@pytest.mark.parametrize("how", ENDS)
def test_what_is_lost_shows_in_the_exit_status(limited: str, how: str, isolated: Path) -> None:
    """Unless the program has something else to say; and on standard error, whatever logging does.

    No flush gives up within the test: the end does not wait until there is room.
    """
    end, status = ENDS[how]
    header = limited.replace("URL,", "URL, flush_timeout=3600,")
    program = Program(f"{SILENT}\n{end}", header=header)
    found, error = program.end()
    assert found == (status or 74)
    assert error.count("LOST") == 1
    assert not list(isolated.glob("*spill*")), "half of a file is of no use"


def test_the_rest_of_the_process_ends_as_usual(limited: str, isolated: Path) -> None:
    """Other exit handlers run once, what was printed comes out once, in the order of always."""
    header = "import atexit; atexit.register(print, 'registered first')" + limited
    program = Program(
        """
        atexit.register(print, 'registered last')
        sys.stdout.write("begun, ")
        threading.Thread(target=lambda: (time.sleep(0.1), sys.stdout.write("a thread\\n"))).start()
        """,
        header=header,
    )
    output, error = program.process.communicate(timeout=120)
    assert output == "begun, a thread\nregistered last\nregistered first\n"
    assert program.process.returncode == 74, error


@pytest.mark.parametrize("code", ["", "os._exit(7)", "sys.exit(3)", "1 / 0"])
def test_a_handler_of_the_programs_own_may_still_decide(
    limited: str, isolated: Path, code: str
) -> None:
    """It runs after the library's when it was registered before; only `os._exit` counts there."""
    header = f"import atexit\n@atexit.register\ndef end():\n    {code or 'pass'}\n{limited}"
    assert Program("", header=header).end()[0] == (7 if "_exit" in code else 74)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(("code", "status"), [("", 74), ("sys.exit(3)", 3), ("1 / 0", 1)])
def test_a_child_of_multiprocessing_tells_its_parent(
    limited: str, isolated: Path, code: str, status: int, method: str
) -> None:
    """Its end is another: without exit handlers."""
    program = Program(
        f"""
        import multiprocessing
        def work():
            limit()
            autostate.configure("sqlite:///child.db")
            PersistedDict("b")["text"] = "y" * 100_000
            {code}
        if __name__ == "__main__":
            child = multiprocessing.get_context({method!r}).Process(target=work)
            child.start(); child.join()
            print(child.exitcode, flush=True)
            os._exit(0)
        """,
        header=limited.split("autostate.configure", maxsplit=1)[0],
    )
    output, error = program.process.communicate(timeout=120)
    assert output == f"{status}\n", error
    assert "LOST" in error


def test_an_actor_that_has_lost_something_fails(limited: str, isolated: Path) -> None:
    """The SDK calls `sys.exit(0)` itself."""
    program = Program(
        """
        import asyncio
        from apify import Actor
        async def main():
            async with Actor:
                a["more"] = 1
        asyncio.run(main())
        """,
        header=limited,
    )
    status, error = program.end()
    assert status == 74
    assert "autostate: the last save failed" in error


def test_what_does_not_fit_beside_the_state_is_kept_elsewhere(
    disk: str, isolated: Path, tmp_path: Path
) -> None:
    """A full disk is often one of several: the exit status stays, and a line says where."""
    if "fill" not in disk.splitlines()[-2]:
        pytest.skip("the limit holds everywhere")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "TMPDIR": str(elsewhere), "PYTHONPATH": str(ROOT)}
    program = Program("", header=disk, env=environment)
    status, error = program.end()
    [path] = elsewhere.rglob("*.jsonl")
    assert status == 0
    assert error.count(f"The unsaved changes are in {path}") == 1
    (tmp_path / "disk" / "filler").unlink()
    again = disk.splitlines()[:-2]
    look = Program("\nassert a['text'] == 'y' * 100_000", header="\n".join(again), env=environment)
    status, error = look.end()
    assert status == 0, error
    assert not list(elsewhere.rglob("*.jsonl"))


def test_a_start_says_at_once_that_the_disk_is_still_full(
    disk: str, isolated: Path, tmp_path: Path
) -> None:
    """What was kept elsewhere stays there, and is picked up when there is room."""
    if "fill" not in disk.splitlines()[-2]:
        pytest.skip("the limit holds everywhere")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "TMPDIR": str(elsewhere), "PYTHONPATH": str(ROOT)}
    assert Program("", header=disk, env=environment).end()[0] == 0
    [path] = elsewhere.rglob("*.jsonl")
    again = "\n".join(disk.splitlines()[:-2]).replace("debounce", "flush_timeout=3600, debounce")
    status, error = Program("", header=again, env=environment).end()
    assert status == 1
    assert f"They stay in {path}" in error.splitlines()[-1]
    (tmp_path / "disk" / "filler").unlink()
    look = Program("\nassert a['text'] == 'y' * 100_000", header=again, env=environment)
    status, error = look.end()
    assert status == 0, error
    assert not list(elsewhere.rglob("*.jsonl"))


def test_a_store_that_cannot_be_written_to_does_not_hold_up_the_end(isolated: Path) -> None:
    """A folder that became read-only: for root, too, by a flag of the file."""
    status, error = Program(
        """
        from autostate.stores.sqlite import SqliteStore
        import sqlite3
        def refuse(*args, **kwargs):
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        SqliteStore._ready = refuse
        """,
        header=FULL.replace("URL", "'sqlite:///s.db', flush_timeout=3600").replace("MAKE_FULL", ""),
    ).end()
    assert status == 0
    assert "s.db is not writable" in error
    assert list(isolated.glob("s.db.spill-*.jsonl"))


# -- another program in place of this one ---------------------------------------------------------

EXECS = {
    "execv": "os.execv(sys.executable, COMMAND)",
    "execve": "os.execve(sys.executable, COMMAND, os.environ)",
    "execl": "os.execl(sys.executable, *COMMAND)",
    "execlp": "os.execlp(sys.executable, *COMMAND)",
    "execvpe": "os.execvpe(sys.executable, COMMAND, os.environ)",
}
AGAIN = """
import os, sys
import autostate
from autostate import PersistedDict
autostate.configure("sqlite:///s.db", debounce=3600)
COMMAND = [sys.executable, "-c", "import sys; sys.exit(6)"]
a = PersistedDict("a", x=1)
a["y"] = 2
"""


@pytest.mark.parametrize("how", EXECS)
def test_what_is_replaced_is_saved_before(isolated: Path, how: str) -> None:
    """By any of the functions that do that."""
    assert Program(EXECS[how], header=AGAIN).end() == (6, "")
    assert stored() == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    "how", ["execv(sys.executable, COMMAND)", "execlp(sys.executable, *COMMAND)"]
)
def test_a_function_that_was_imported_before_there_was_state_saves(
    isolated: Path, how: str
) -> None:
    """`from os import execv` before the first state object."""
    header = AGAIN.replace("a = P", "from os import execv, execlp\na = P")
    assert Program(how, header=header).end() == (6, "")
    assert stored() == {"x": 1, "y": 2}


def test_a_process_that_is_not_replaced_goes_on(isolated: Path) -> None:
    """There is no such program."""
    status, error = Program(
        """
        try:
            os.execv("/no/such/program", ["x"])
        except FileNotFoundError:
            a["z"] = 3
        """,
        header=AGAIN,
    ).end()
    assert (status, error) == (0, "")
    assert stored() == {"x": 1, "y": 2, "z": 3}


def test_what_cannot_be_saved_before_is_kept_for_the_next(isolated: Path) -> None:
    """Which says so, and picks it up; nothing is kept if the process goes on after all."""
    refuse = """
        from autostate.errors import StoreUnavailableError
        from autostate.stores.sqlite import SqliteStore
        write = SqliteStore.write
        def refuse(*args, **kwargs):
            raise StoreUnavailableError("the disk is full", lasting=True)
        SqliteStore.write = refuse
        """
    fails = """
        try:
            os.execv("/no/such/program", ["x"])
        except FileNotFoundError:
            assert not list(Path(".").glob("*.jsonl"))
            SqliteStore.write = write
        """
    autostate_again = AGAIN + "\nfrom pathlib import Path\n"
    assert Program(refuse + fails, header=autostate_again).end()[0] == 0
    assert stored() == {"x": 1, "y": 2}
    status, error = Program(refuse + "a['z'] = 3\n        " + EXECS["execv"], header=AGAIN).end()
    assert status == 6
    assert error.count("The unsaved changes are in") == 1
    assert Program("", header=AGAIN).end()[0] == 0
    assert stored() == {"x": 1, "y": 2, "z": 3}


def test_what_was_written_while_a_save_hung_is_kept_too(isolated: Path) -> None:
    """The commit that hangs, and after it what has come since."""
    status, error = Program(
        """
        import autostate.stores.sqlite as stores
        hangs = threading.Event()
        def hang(*args, **kwargs):
            hangs.set()
            time.sleep(3600)
        stores.SqliteStore.write = hang
        a["x"] = 2
        flush_thread = autostate.runtime.api.current_manager()._incarnation.flush_thread
        flush_thread.flush_soon()
        hangs.wait()
        a["z"] = 3
        autostate.configure(flush_timeout=0.3)
        """,
        header=AGAIN + "\nimport threading, time\nautostate.flush()\n",
    ).end()
    assert status == 0
    assert "The unsaved changes are in" in error
    assert Program("assert a == {'x': 2, 'y': 2, 'z': 3}", header=AGAIN).end()[0] == 0


# -- something else that holds up a save -----------------------------------------------------------


def test_a_locked_file_is_told_before_its_time_is_over(isolated: Path) -> None:
    """SQLite waits for locks by itself: for an hour here, and without a word."""
    failed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def note(sender: object, *, error: Exception, **rest: object) -> None:
        failed.put(error)

    with autostate.open("sqlite:///s.db", debounce=0, flush_timeout=3600):
        state = PersistedDict("a", x=1)
        autostate.flush()
        other = sqlite3.connect("s.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        hub.flush_failed.connect(note)
        try:
            state["x"] = 2
            assert "locked by another process" in str(failed.get(timeout=120))
        finally:
            hub.flush_failed.disconnect(note)
            other.close()
