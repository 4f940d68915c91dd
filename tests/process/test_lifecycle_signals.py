"""Signals from outside, and the handlers of the program."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict
from autostate.process import lifecycle
from tests.process.programs import HEADER, Program, commits, run, stored

pytestmark = pytest.mark.usefixtures("forked_programs")


@pytest.mark.parametrize(
    "waits",
    ["time.sleep(600)", "threading.Event().wait()", "input()", "import queue; queue.Queue().get()"],
)
def test_sigterm_from_outside_ends_by_the_signal(isolated: Path, waits: str) -> None:
    """Whatever the main thread waits for; supervisors see -15."""
    program = Program(
        f"""
        a = PersistedDict("a", x=1)
        print("ready", flush=True)
        {waits}
        """,
        stdin=subprocess.PIPE,
    )
    program.wait_for("ready")
    # Again and again: a signal that arrives just before a wait begins does not end it in Python.
    while program.process.poll() is None:
        program.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(1.0)
    assert program.end()[0] == -signal.SIGTERM
    assert stored() == {"x": 1}


def test_who_does_not_wait_for_the_last_save_is_told_where_its_changes_are(isolated: Path) -> None:
    """Ctrl-C ends the program, and once more the wait for a store that somebody keeps locked."""
    program = Program("""
        a = PersistedDict("a", x=1)
        autostate.flush()
        a["x"] = 2
        print("ready", flush=True)
        time.sleep(600)
    """)
    program.wait_for("ready")
    with contextlib.closing(sqlite3.connect("s.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        program.process.send_signal(signal.SIGINT)
        assert program.process.stderr is not None
        told = next(line for line in program.process.stderr if line.startswith("saving failed"))
        assert "locked" in told
        program.process.send_signal(signal.SIGINT)
        status, error = program.end()
    assert status == -signal.SIGINT
    assert error.startswith("autostate: the last save was interrupted. The unsaved changes are in ")
    assert "Traceback" not in error
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 2}


def test_a_signal_that_the_main_thread_does_not_notice_is_sent_again(isolated: Path) -> None:
    """As one that arrives just before it begins to wait: then nothing wakes it."""
    program = Program("""
        a = PersistedDict("a", x=1)
        kill, lost = signal.pthread_kill, [1, 2]

        def unnoticed(thread, number):
            lost.pop() if lost else kill(thread, number)

        signal.pthread_kill = unnoticed
        print("ready", flush=True)
        time.sleep(600)
    """)
    program.wait_for("ready")
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    assert stored() == {"x": 1}


def test_sigterm_during_a_write_does_not_deadlock(isolated: Path) -> None:
    """The main thread holds the tracker's lock again and again while signals come."""
    program = Program("""
        a = PersistedDict("a")
        while True:
            with autostate.atomic():
                a["x"] = a.get("x", 0) + 1
                a["y"] = a["x"]
            if a["x"] == 1:
                print("ready", flush=True)
    """)
    program.wait_for("ready")
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    assert stored()["x"] == stored()["y"]


def test_a_handler_that_was_there_is_called(isolated: Path) -> None:
    """It decides about the end, and there is one save."""
    status, error = run(
        """
        PersistedDict("a")["x"] = 1
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
        """,
        header="import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        + HEADER,
    )
    assert status == 7, error
    assert stored() == {"x": 1}
    assert commits() == 1


def test_a_long_shutdown_of_the_programs_own_is_saved_before_the_kill(isolated: Path) -> None:
    """Told of SIGTERM, the flush thread hurries: the grace period may end with SIGKILL."""
    program = Program(
        """
        PersistedDict("a")["x"] = 1
        @autostate.hub.flushed.connect
        def receive(sender, **rest):
            print("saved", flush=True)
        signal.alarm(120)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(1)
        """,
        header="import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n" + HEADER,
    )
    program.wait_for("saved")
    program.process.kill()
    program.end()
    assert stored() == {"x": 1}


def test_a_handler_set_later_is_left_alone(isolated: Path) -> None:
    """Even by the re-check at flush()."""
    status, error = run("""
        a = PersistedDict("a", x=1)
        def handler(*_):
            sys.exit(9)
        signal.signal(signal.SIGTERM, handler)
        autostate.flush()
        assert signal.getsignal(signal.SIGTERM) is handler
        a["y"] = 2
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    """)
    assert status == 9, error
    assert stored() == {"x": 1, "y": 2}


def test_an_ignored_signal_stays_ignored(isolated: Path) -> None:
    """As under nohup."""
    status, error = run(
        """
        PersistedDict("a", x=1)
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        sys.exit(4)
        """,
        header="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + HEADER,
    )
    assert status == 4, error


def test_a_handler_that_asyncio_removed_is_put_back(isolated: Path) -> None:
    """A loop leaves the default action behind; the next flush() in the main thread mends that."""
    status, error = run("""
        import asyncio
        a = PersistedDict("a", x=1)
        async def main():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: None)
            loop.remove_signal_handler(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            await autostate.durable()
        asyncio.run(main())
        a["y"] = 2
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    """)
    assert status == -signal.SIGTERM, error
    assert stored() == {"x": 1, "y": 2}


def test_a_store_that_hangs_does_not_make_a_process_immortal(isolated: Path) -> None:
    """SIGTERM ends it when the time for the save is over, and says so."""
    status, error = run("""
        from autostate.process import lifecycle
        from autostate.stores.sqlite import SqliteStore
        lifecycle.SIGNAL_TIMEOUT = 0.5
        SqliteStore.write = lambda *args, **kwargs: time.sleep(600)
        PersistedDict("a", x=1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    """)
    assert status == -signal.SIGTERM
    assert "the last save failed" in error
    assert list(isolated.glob("s.db.spill-*.jsonl"))


def test_handlers_and_thread_are_gone_with_the_last_manager() -> None:
    """What was there before is there again."""
    before = signal.getsignal(signal.SIGTERM)
    with autostate.open("memory:"):
        PersistedDict("a")
        assert signal.getsignal(signal.SIGTERM) is lifecycle._on_signal
    assert signal.getsignal(signal.SIGTERM) is before
    assert not [one for one in threading.enumerate() if one.name == "autostate-signals"]


def test_a_last_save_that_fails_is_told_and_picked_up(isolated: Path) -> None:
    """On standard error; the exit status stays, and the next start has the changes."""
    status, error = run("""
        from autostate.errors import StoreUnavailableError
        from autostate.stores.sqlite import SqliteStore
        autostate.configure(flush_timeout=0.5)
        a = PersistedDict("a", x=1)
        autostate.flush()
        def refuse(*args, **kwargs):
            raise StoreUnavailableError("the disk is full")
        SqliteStore.write = refuse
        a["y"] = 2
    """)
    assert status == 0
    assert error.count("the last save failed") == 1
    assert stored() == {"x": 1}
    run('assert PersistedDict("a") == {"x": 1, "y": 2}')
    assert stored() == {"x": 1, "y": 2}
