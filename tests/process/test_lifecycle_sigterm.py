"""SIGTERM: what is written while the program shuts down is saved, and then it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import autostate
from tests.process.programs import HEADER, Program, run, stored

SERVER = """
import os, signal, sys, time
import autostate
from autostate import PersistedDict
autostate.configure("sqlite:///s.db", debounce=3600)  # only an end saves

arrived = []
found = {number: signal.signal(number, lambda number, _: arrived.append(number))
         for number in (signal.SIGTERM, signal.SIGINT)}
state = PersistedDict("a", started=1)
print("ready", flush=True)
while not arrived:
    time.sleep(0.01)
state["stopped"] = 1
for number, handler in found.items():
    signal.signal(number, handler)
"""

REPLAYS = {
    "raise_signal": "signal.raise_signal(arrived[0])",
    "kill": "os.kill(os.getpid(), arrived[0])",
    "kill the group": "os.kill(0, arrived[0])",
    "killpg": "os.killpg(os.getpgrp(), arrived[0])",
    "in a thread": "import threading; "
    "threading.Thread(target=signal.raise_signal, args=(arrived[0],)).start(); time.sleep(60)",
}


@pytest.mark.parametrize("replay", REPLAYS)
def test_what_is_written_before_the_signal_is_sent_again_is_saved(
    isolated: Path, replay: str
) -> None:
    """As uvicorn does: its handler is older than the state object, and gone at the end."""
    program = Program(REPLAYS[replay], header=SERVER, start_new_session=True)
    program.wait_for("ready")
    program.process.send_signal(signal.SIGTERM)
    status, error = program.end()
    assert status == -signal.SIGTERM, error
    assert stored() == {"started": 1, "stopped": 1}


@pytest.mark.parametrize(
    "work",
    [
        "autostate.flush()",
        "asyncio.run(autostate.durable())",
        "PersistedDict(f'more {len(autostate.names())}')",
    ],
)
def test_who_would_save_after_the_last_save_is_ended_without_a_traceback(
    isolated: Path, work: str
) -> None:
    """The signal may come to the main thread late: it is deep in a call."""
    program = Program(
        f"""
        import asyncio, threading
        from autostate.process import lifecycle
        send, saved = lifecycle._send, threading.Event()
        def send_late(number):
            saved.set()
            time.sleep(0.3)
            send(number)
        lifecycle._send = send_late
        state = PersistedDict("a", n=1)
        print("ready", flush=True)
        saved.wait(60)
        {work}
        """
    )
    program.wait_for("ready")
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == (-signal.SIGTERM, "")
    assert stored() == {"n": 1}


@pytest.mark.parametrize("sends", ["", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_receiver_whose_flush_fails_does_not_wait_for_the_signal(
    isolated: Path, sends: str
) -> None:
    """That comes after it, from its own thread: the grace period is short."""
    program = Program(
        f"""
        from autostate.process import lifecycle
        from autostate.errors import FlushError, StoreUnavailableError
        from autostate.stores.sqlite import SqliteStore
        lifecycle.SIGNAL_TIMEOUT = 3600
        state, write = PersistedDict("a", n=1), SqliteStore.write
        def fail(*args, **kwargs):
            raise StoreUnavailableError("for now")
        @autostate.hub.shutdown.connect
        def end(sender, **rest):
            SqliteStore.write = fail
            state["n"] = 2
            try:
                autostate.flush(timeout=0.2)
            except FlushError:
                state["n"] = 3
            SqliteStore.write = write
        print("ready", flush=True)
        {sends}
        time.sleep(600)
        """
    )
    program.wait_for("ready")
    if not sends:
        program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    assert stored() == {"n": 3}


def test_a_signal_to_itself_that_does_not_end_it_saves_nothing_for_good(isolated: Path) -> None:
    """Ignored, blocked, handled, or none at all: the state objects go on."""
    status, error = run("""
        state = PersistedDict("a")
        old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, old)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        try:
            os.kill()
        except TypeError as error:
            assert "kill" in str(error), error
        state["n"] = 1
        autostate.flush()
    """)
    assert status == 0, error
    assert stored() == {"n": 1}


def test_the_process_ends_under_gevent(isolated: Path) -> None:
    """There threads are greenlets, whose numbers are no threads'."""
    pytest.importorskip("gevent")  # has no wheels for each new Python
    header = (
        f"import sys\nsys.path[:] = {sys.path!r}\nfrom gevent import monkey\nmonkey.patch_all()\n"
    )
    program = Program(
        """
        state = PersistedDict("a")
        state["n"] = 1
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
        """,
        header=header + HEADER,
    )
    program.wait_for("ready")
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGTERM
    assert stored() == {"n": 1}


AGAIN: Final = """
import pathlib, signal, sys, time
import autostate

def stop(number, frame):
    signal.signal(number, signal.SIG_DFL)
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
autostate.configure("sqlite:///state.db", debounce=3600.0, max_delay=3600.0)
state = autostate.PersistedDict("state")

@autostate.hub.shutdown.connect
def last(_, **about):
    state["n"] = 2
    print("saving", flush=True)
    while not pathlib.Path("go").exists():
        time.sleep(0.01)

state["n"] = 1
print("running", flush=True)
while True:
    time.sleep(0.01)
"""


def test_a_second_sigterm_waits_for_the_last_save(isolated: Path) -> None:
    """Also where the program's handler has restored the default action after the first."""
    with subprocess.Popen(
        [sys.executable, "-c", AGAIN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "saving\n"
        process.send_signal(signal.SIGTERM)
        Path("go").touch()
        assert process.wait(60) in {0, -signal.SIGTERM}
    autostate.configure("sqlite:///state.db")
    assert autostate.PersistedDict("state") == {"n": 2}
