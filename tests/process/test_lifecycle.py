"""Every orderly end of a process saves what it can, once."""

from __future__ import annotations

import signal
import textwrap
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict
from tests.process.programs import WAIT, Program, commits, run, stored

pytestmark = pytest.mark.usefixtures("forked_programs")


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
        import autostate.saving.patient_cut
        autostate.saving.patient_cut.LONGEST_LAST_HOLD = 0.2
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
