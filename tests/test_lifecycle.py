"""Every end of a process saves what it can, in real processes; forks and children keep away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict
from autostate.journal import Journal
from autostate.process import lifecycle
from autostate.stores.sqlite import SqliteStore
from tests import programs

pytestmark = pytest.mark.usefixtures("forked_programs")

WAIT = 120.0
ROOT = Path(__file__).parent.parent

HEADER = """
import os, signal, sys, threading, time
import autostate
from autostate import PersistedDict
autostate.configure("sqlite:///s.db", debounce=3600)  # only an end saves
"""


class Program:
    """A script in a process of its own, in the test's working directory.

    It is a fork, as `programs.run` starts it, unless it needs an option of `Popen`'s.
    """

    def __init__(self, code: str, *, header: str = HEADER, **popen: Any) -> None:
        path = Path("program.py").absolute()
        path.write_text(header + textwrap.dedent(code))
        forked = programs.server if popen.keys() <= {"env"} else None
        start: Callable[..., Any] = forked.popen if forked else subprocess.Popen
        self.process = start(
            [sys.executable, str(path)],
            cwd=path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": {**os.environ, "PYTHONPATH": str(ROOT)}, **popen},
        )

    def wait_for(self, word: str) -> None:
        """Read the output up to a line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == word:
                return
        pytest.fail(f"it never said {word!r}: {self.process.communicate()[1]}")

    def end(self) -> tuple[int, str]:
        """Wait for the end; give exit status and standard error."""
        try:
            self.process.wait(WAIT)  # first: communicate() would close its standard input
            _, error = self.process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"it did not end: {self.process.communicate()}")
        return self.process.returncode, error


def run(code: str, **options: Any) -> tuple[int, str]:
    """Run a script to its end."""
    return Program(code, **options).end()


def stored(name: str = "a") -> dict[str, Any]:
    """What a next process would resume."""
    store = SqliteStore("s.db")
    nodes = Journal(store).recover().nodes.values()
    store.close()
    contents = [node.content for node in nodes if node.name == name]
    return dict(contents[0]) if contents else {}


def commits() -> int:
    """How many commits the store has taken since it was made."""
    store = SqliteStore("s.db")
    journal = Journal(store)
    journal.recover()
    [head] = [json.loads(store.read(key) or b"") for key in store.list("autostate-head-")][-1:]
    store.close()
    return int(head["sequence"])


# -- orderly ends -----------------------------------------------------------------------------

ENDS = {
    "return": ("", 0),
    "exception": ("raise ZeroDivisionError", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(600)", -signal.SIGINT),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)", -signal.SIGTERM),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(600)", -signal.SIGHUP),
}
PLACES = {
    "script": "{end}",
    "function in a loop": """
        import asyncio
        async def main():
            await asyncio.sleep(0)
            {end}
        asyncio.run(main())
    """,
    "beside a thread": """
        worker = threading.Thread(target=time.sleep, args=(0.2,))
        worker.start()
        {end}
    """,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ENDS)
def test_an_end_saves_exactly_once(isolated: Path, how: str, place: str) -> None:
    """And leaves the exit status as it would have been."""
    end, expected = ENDS[how]
    if "loop" in place:
        end = end.replace("time.sleep", "await asyncio.sleep")
    body = textwrap.dedent(PLACES[place]).format(end=end or "pass")
    status, error = run('PersistedDict("a")["x"] = 1\n' + body)
    assert status == expected, error
    assert stored() == {"x": 1}
    assert commits() == 1
    assert not list(isolated.glob("*.jsonl"))


def test_os_exit_and_sigkill_lose_only_what_was_not_saved(isolated: Path) -> None:
    """Nothing runs then; what flush() has confirmed is there."""
    for end in ("os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"):
        run(f"""
            a = PersistedDict("a")
            a["saved"] = True
            autostate.flush()
            a["unsaved"] = True
            {end}
        """)
        assert stored() == {"saved": True}


def test_the_programs_own_exit_handlers_are_still_saved(isolated: Path) -> None:
    """It registered when it was imported, so it comes after those registered later."""
    status, error = run("""
        import atexit
        a = PersistedDict("a")
        atexit.register(lambda: a.update(late=True))
        a["x"] = 1
    """)
    assert (status, error) == (0, "")
    assert stored() == {"x": 1, "late": True}
    assert commits() == 1


def test_non_daemon_threads_may_write_to_the_end(isolated: Path) -> None:
    """The interpreter waits for them, and autostate for both."""
    run("""
        a = PersistedDict("a")
        def work():
            threading.main_thread().join()
            a["thread"] = True
        threading.Thread(target=work).start()
    """)
    assert stored() == {"thread": True}


def test_state_objects_made_at_exit_are_saved(isolated: Path) -> None:
    """Although no thread can be started any more then (Python 3.12)."""
    status, error = run("""
        import atexit
        atexit.register(lambda: PersistedDict("a", made="late"))
    """)
    assert status == 0, error
    assert stored() == {"made": "late"}


def test_what_receivers_of_shutdown_change_is_saved(isolated: Path) -> None:
    """They run after a first save and before the last."""
    status, error = run("""
        a = PersistedDict("a", x=1)
        @autostate.hub.shutdown.connect
        def receive(sender, **rest):
            a["receiver"] = not autostate.info(a).dirty
    """)
    assert status == 0, error
    assert stored() == {"x": 1, "receiver": True}


def test_several_managers_are_saved_by_one_end(isolated: Path) -> None:
    """The default one, and one that was opened and never left."""
    run("""
        PersistedDict("a", x=1)
        autostate.open("sqlite:///other.db", debounce=3600).__enter__()
        PersistedDict("b", x=1)
        sys.exit()
    """)
    assert stored() == {"x": 1}
    with autostate.open("sqlite:///other.db"):
        assert PersistedDict("b") == {"x": 1}


# -- signals ----------------------------------------------------------------------------------


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
    program.process.send_signal(signal.SIGTERM)
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
        print("ready", flush=True)
        while True:
            with autostate.atomic():
                a["x"] = a.get("x", 0) + 1
                a["y"] = a["x"]
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


# -- forks and children -----------------------------------------------------------------------


def test_a_forked_child_cannot_write_while_its_parent_lives(isolated: Path) -> None:
    """It can read; its first write raises before anything has changed, and the parent saves on."""
    status, error = run("""
        a = PersistedDict("a", x=1, nested={"y": [1]})
        autostate.flush()
        a["unsaved"] = True
        pid = os.fork()
        if pid == 0:
            before = repr(a)
            assert PersistedDict("a") is a and a["unsaved"]
            autostate.flush()  # there is nothing to save
            for write in (
                lambda: a.update(x=2),
                lambda: a.__setitem__("child", True),
                lambda: a["nested"]["y"].append(2),
                lambda: autostate.PersistedCounter("new").update("a"),
            ):
                try:
                    write()
                except autostate.StateInUseError as error:
                    assert f"process {os.getppid()}" in str(error)
                    assert error.owner.pid == os.getppid()
                else:
                    sys.exit(6)
            assert repr(a) == before
            with autostate.open("sqlite:///child.db"):  # a state of its own
                PersistedDict("b")["child"] = True
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        a["parent"] = True
        autostate.flush()
    """)
    assert status == 0, error
    assert stored() == {"x": 1, "nested": {"y": [1]}, "unsaved": True, "parent": True}


@pytest.mark.parametrize("forks", [1, 2])
def test_a_forked_child_goes_on_when_its_parent_has_ended(isolated: Path, forks: int) -> None:
    """As a daemon does; while the parent is about to end, the first write waits for that."""
    status, error = run(f"""
        a = PersistedDict("a", x=1, nested={{"y": [1]}})
        autostate.flush()
        a["unsaved"] = True
        for _ in range({forks}):
            if os.fork():
                time.sleep(0.2)
                os._exit(0)
            os.setsid()
        a["daemon"] = True
        a["nested"]["y"].append(2)
        autostate.flush()
        a["end"] = True
    """)
    assert status == 0, error
    expected = {"x": 1, "nested": {"y": [1, 2]}, "unsaved": True, "daemon": True, "end": True}
    assert stored() == expected


def test_a_forked_child_does_not_go_on_from_what_its_parent_has_replaced(isolated: Path) -> None:
    """The parent has saved since the fork: what the child holds is old."""
    status, error = run("""
        a = PersistedDict("a", x=1)
        autostate.flush()
        if os.fork():
            a["parent"] = True
            sys.exit(0)
        try:
            a["child"] = True
        except autostate.StateInUseError as error:
            assert "has changed" in str(error) or "belongs to" in str(error), str(error)
            assert a == {"x": 1}
            os._exit(0)
        os.write(2, b"it wrote")
    """)
    assert status == 0, error
    assert "it wrote" not in error
    assert stored() == {"x": 1, "parent": True}


def test_a_forked_child_can_be_ended_by_sigterm(isolated: Path) -> None:
    """The handler that it inherited has no thread to save with any more."""
    status, error = run("""
        import multiprocessing
        PersistedDict("a", x=1)
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join(20)
        assert child.exitcode == -signal.SIGTERM, child.exitcode
    """)
    assert status == 0, error
    assert stored() == {"x": 1}


def test_a_fork_while_another_thread_holds_a_lock_does_not_hang_the_child(isolated: Path) -> None:
    """Locks of threads that do not exist in the child are not waited for."""
    status, error = run("""
        a = PersistedDict("a", x=1)
        autostate.flush()
        manager = autostate.runtime.api.current_manager()
        lifecycle = autostate.process.lifecycle
        locks = [manager._lock, manager._incarnation.tracker.lock, lifecycle._lock]
        held, release = threading.Event(), threading.Event()
        def hold():
            for lock in locks:
                lock.acquire()
            held.set()
            release.wait()
            for lock in reversed(locks):
                lock.release()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(120)
            try:
                a["child"] = [1, 2]
            except autostate.StateInUseError:
                os._exit(0 if PersistedDict("a") == {"x": 1} else 3)
            os._exit(4)
        assert os.waitpid(pid, 0)[1] == 0
        release.set()
        thread.join()
        a["parent"] = True
    """)
    assert status == 0, error
    assert stored() == {"x": 1, "parent": True}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_does_not_fence_its_parent(isolated: Path, method: str) -> None:
    """Children that import the main module, with its state objects, take over nothing."""
    status, error = run(f"""
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        autostate.configure(debounce=3600 if __name__ == "__main__" else 0)
        a = PersistedDict("a", x=1, done=0)
        def work(number):
            return number * 2
        if __name__ == "__main__":
            with ProcessPoolExecutor(2, multiprocessing.get_context("{method}")) as pool:
                for number in pool.map(work, range(4)):
                    time.sleep(0.1)  # a child that is going to take over does it now
                    a["done"] += 1
            autostate.flush()
            a["end"] = True
    """)
    assert status == 0, error
    assert "taken over" not in error
    assert stored() == {"x": 1, "done": 4, "end": True}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_saves_its_own_state_at_its_end(
    isolated: Path, method: str
) -> None:
    """Although such a child ends without atexit."""
    status, error = run(f"""
        import multiprocessing
        def work():
            autostate.configure("sqlite:///s.db", debounce=3600)
            PersistedDict("a")["child"] = True
        if __name__ == "__main__":
            child = multiprocessing.get_context("{method}").Process(target=work)
            child.start()
            child.join()
            sys.exit(child.exitcode)
    """)
    assert status == 0, error
    assert stored() == {"child": True}


def test_a_block_after_the_last_save_is_one_of_plain_writes(isolated: Path) -> None:
    """As writes outside of blocks are; what is begun only then says that it is not kept."""
    program = Program(
        """
        with autostate.atomic():
            state["n"] += 1
        """,
        header="""
import atexit

def late():
    with autostate.atomic():
        state["n"] += 1
    print(state["n"], flush=True)
    try:
        autostate.PersistedDict("other")
    except RuntimeError as error:
        print("for the last time" in str(error), flush=True)

atexit.register(late)
import autostate
state = autostate.PersistedDict("state", n=0)
""",
    )
    program.wait_for("2")
    program.wait_for("True")
    assert program.end() == (0, "")
    with autostate.open("sqlite:///.autostate/program.db"):
        assert PersistedDict("state") == {"n": 1}


def test_blocks_of_other_threads_go_on_while_the_process_ends(isolated: Path) -> None:
    """They are saved whole or not at all, and raise nothing."""
    program = Program(
        """
        import threading
        state = PersistedDict("state", n=0, m=0)
        begun = threading.Event()

        def work():
            while True:
                with autostate.atomic():
                    state["n"] += 1
                    begun.set()
                    state["m"] += 1

        threading.Thread(target=work, daemon=True).start()
        begun.wait()
        """
    )
    assert program.end() == (0, "")
    with autostate.open("sqlite:///s.db"):
        state = PersistedDict[str, int]("state")
        assert state["n"] == state["m"] > 0


@pytest.mark.parametrize("how", ["exit", "SIGTERM"])
def test_a_block_that_does_not_end_costs_only_what_it_wrote(isolated: Path, how: str) -> None:
    """The rest of the program's state is in the last save."""
    program = Program(
        f"""
        import autostate.saving.job
        autostate.saving.job.LONGEST_LAST_HOLD = 0.2
        state = PersistedDict("state", n=0, items=[])
        begun = threading.Event()

        def work():
            with autostate.atomic():
                state["n"] += 1
                state["half"] = True
                begun.set()
                time.sleep({WAIT})

        threading.Thread(target=work, daemon=True).start()
        begun.wait()
        state["items"].append("saved")
        if {how!r} != "exit":
            signal.raise_signal(signal.{"SIGTERM" if how == "exit" else how})
            time.sleep({WAIT})
        """
    )
    status, error = program.end()
    assert status == (0 if how == "exit" else -signal.SIGTERM)
    assert "a block of atomic() did not end before the last save" in error
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("state") == {"n": 0, "items": ["saved"]}
