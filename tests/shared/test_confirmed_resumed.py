"""What a killed process has left in its own state is published by the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from autostate.shared import fold as folding
from autostate.shared.dict import SharedDict
from autostate.shared.kinds import COUNTER
from autostate.shared.replica import Replica
from autostate.stores import open_store
from tests.shared.sharing import hits_now

pytestmark = pytest.mark.usefixtures("shared_here")

IMPORTS: Final = """
import asyncio, os, signal, sys, threading
import autostate
from autostate import PersistedDict
from autostate.errors import StoreError, StoreUnavailableError
from autostate.shared import home
from autostate.shared.confirmed import Confirmed
from autostate.shared.replica import Replica
from autostate.shared.counter import SharedCounter
from autostate.shared.dict import SharedDict

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

autostate.configure("sqlite:///own/own.db", debounce=0.01, max_delay=0.05)
"""
KILLED: Final = """
Confirmed.deliver = kill
progress, hits = PersistedDict("progress", page=0), SharedCounter("hits")
with autostate.atomic():
    hits["page"] += 1
    progress["page"] += 1
autostate.flush()
"""


def run(body: str, url: str = "sqlite:///s.db", status: int = 0) -> str:
    """Run a program with a state of its own; return what it has written."""
    code = IMPORTS + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AUTOSTATE_SHARED_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


KILLED_LATER: Final = """
deliver = Confirmed.deliver
Confirmed.deliver = lambda *given: (deliver(*given), kill())
""" + KILLED.replace("Confirmed.deliver = kill", "")


def killed(url: str = "sqlite:///s.db") -> None:
    """Run a program that is killed with a change in its outbox."""
    run(KILLED, url, status=-signal.SIGKILL)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("autostate.flush(); kill()", -signal.SIGKILL),
        ("asyncio.run(autostate.durable()); kill()", -signal.SIGKILL),
        ("", 0),
    ],
)
def test_a_program_without_shared_objects_publishes_what_is_left(body: str, status: int) -> None:
    """By flush(), by durable(), and at its end."""
    killed()
    assert hits_now()["page"] == 0
    run(f"progress = PersistedDict('progress'); {body}", status=status)
    assert hits_now()["page"] == 1


def test_what_is_meant_for_another_shared_state_stays(isolated: Path) -> None:
    """With a warning; who shares something there gets an error; and nothing is lost."""
    killed()
    told = run(
        """
        progress = PersistedDict("progress")
        autostate.flush()
        try:
            SharedCounter("hits")
        except StoreError as error:
            print("refused:", error)
        """,
        url="sqlite:///other.db",
    )
    first = f"hits (1) that are meant for the shared state in sqlite:///{isolated}/s.db, and"
    assert "changes to the shared state are not published: " in told
    assert told.count(first) == 2
    assert "refused: " in told
    assert hits_now()["page"] == 0
    run("progress = PersistedDict('progress')")
    assert hits_now()["page"] == 1
    # Nothing is pending, so that another URL may be taken.
    run("PersistedDict('progress'); SharedCounter('hits')['page'] += 1", url="sqlite:///other.db")
    assert hits_now()["page"] == 1


def test_a_shared_state_beside_the_own_one_moves_with_it(isolated: Path) -> None:
    """A folder is renamed between two processes."""
    killed(url="")
    shutil.move(isolated / "own", isolated / "moved")
    (isolated / "own").symlink_to(isolated / "moved")
    told = run(
        """
        PersistedDict("progress")
        autostate.flush()
        print(dict(SharedCounter("hits")))
        """,
        url="",
    )
    assert "{'page': 1}" in told


def test_a_state_that_was_restored_goes_on_counting(isolated: Path) -> None:
    """The numbers of its changes, and its epoch, are lower than those that are published."""
    body = """
        progress, hits = PersistedDict("progress", page=0), SharedCounter("hits")
        for _ in range(3):
            progress["page"] += 1
            hits["page"] += 1
            autostate.flush()
    """
    run(body)
    shutil.copytree(isolated / "own", isolated / "copy")
    run(body)
    run(body)
    assert hits_now()["page"] == 9
    shutil.rmtree(isolated / "own")
    shutil.move(isolated / "copy", isolated / "own")
    run(body)
    assert hits_now()["page"] == 12


def test_a_shared_state_that_does_not_answer_loses_nothing() -> None:
    """Neither does the program wait for it, nor is a change set aside."""
    run(
        """
        progress, hits = PersistedDict("progress", page=0), SharedCounter("hits")
        read, failures = Replica._read, []

        def fail(self, timeout):
            if len(failures) < 3:
                failures.append(threading.current_thread() is threading.main_thread())
                raise StoreUnavailableError("no answer")
            return read(self, timeout)

        Replica._read = fail
        hits["page"] += 1
        progress["page"] += 1
        assert not any(failures)
        for _ in range(3):
            try:
                autostate.flush(0.01)
            except autostate.FlushError:
                pass
        autostate.flush()
        assert not home.home()._live()[0].outbox.aside()
        """
    )
    assert hits_now()["page"] == 1


def killed_merging(*prices: str) -> None:
    """Run a program that merges prices, and is killed with the last one in its outbox."""
    *published, left = [f'best["price"] = {price}; autostate.flush()' for price in prices]
    lines = ["progress, best = PersistedDict('progress'), SharedDict('best', merge=min)"]
    lines += [*published, "Confirmed.deliver = kill", left]
    run("\n".join(lines), status=-signal.SIGKILL)


def test_values_that_this_program_cannot_merge_are_published() -> None:
    """Whoever has the function merges them; nobody is told of what is no problem."""
    killed_merging("7", "5")
    told = run(
        """
        progress = PersistedDict("progress")
        autostate.flush()
        kill()
        """,
        status=-signal.SIGKILL,
    )
    assert told == ""
    best = SharedDict[str, int]("best", merge=min)
    assert best == {"price": 5}


def test_values_that_no_program_could_show_are_refused() -> None:
    """A key whose values are merged once, and once not: this program is told, and no other."""
    killed_merging("7")
    told = run(
        """
        progress = PersistedDict("progress")
        try:
            SharedDict("best")["price"] = 6
        except autostate.StateTypeError as error:
            print(error)
        """
    )
    assert "pass the same merge= to SharedDict in both" in told
    best = SharedDict[str, int]("best", merge=min)
    best.refresh()
    assert best == {"price": 7}


def forget(folder: Path) -> None:
    """Let so many others come and go that the base does not know the program any more."""
    made = None
    for _ in range(8):
        with contextlib.closing(Replica(open_store(f"sqlite:///{folder}/s.db"))) as other:
            other.open("others", COUNTER, lambda _: Counter())
            other.objects["others"].write({"page": 1})
            other.flush(5.0)
            made = folding.fold(other.shelf, other.kind_of, other._clock)
    assert made is not None
    assert not made.lasting


@pytest.mark.parametrize("body", [KILLED, KILLED_LATER], ids=["before it publishes", "after"])
def test_a_program_that_the_shared_state_has_forgotten_counts_once(
    body: str, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many others have come and gone until it goes on; the second time, too."""
    monkeypatch.setattr(folding, "REMEMBERED", 4)
    for round_ in range(2):
        run(body, status=-signal.SIGKILL)
        forget(isolated)
        run("progress = PersistedDict('progress')")
        assert hits_now()["page"] == round_ + 1


def test_a_write_is_later_than_what_a_former_process_has_left() -> None:
    """Although its clock was a year ahead, and the dict was there before."""
    run(
        """
        import time
        now = time.time
        time.time = lambda: now() + 365 * 24 * 3600
        from autostate.shared import clock
        clock.HybridClock.__init__.__defaults__ = (time.time,)
        Replica.__init__.__kwdefaults__["now"] = time.time
        progress, last = PersistedDict("progress", page=0), SharedDict("last")
        autostate.flush()
        Confirmed.deliver = kill
        last["k"] = "former"
        autostate.flush()
        """,
        status=-signal.SIGKILL,
    )
    told = run(
        """
        autostate.configure("memory:")
        last = SharedDict("last")
        with autostate.open("sqlite:///own/own.db"):
            PersistedDict("progress")
            print(dict(last))
            last["k"] = "later"
            print(dict(last))
        """
    )
    assert told.splitlines() == ["{'k': 'former'}", "{'k': 'later'}"]
    last = SharedDict[str, str]("last")
    last.refresh()
    assert last == {"k": "later"}


UNREACHED: Final = """
    from autostate.shared import resuming
    signal.alarm(30)
    resuming.FIRST_PAUSE = {pause}
    left = [StoreUnavailableError("locked")] * {times}
    open_store = home.open_store

    def opened(*given, **how):
        if left:
            raise left.pop()
        return open_store(*given, **how)

    def is_published():
        return [len(each.outbox) for each in home.home()._live()] == [0]

    home.open_store = opened
    progress = PersistedDict("progress", page=0)
"""


RAISES: Final = """
    try:
        {call}
    except autostate.FlushError as error:
        print(error, flush=True)  # before it is killed
"""


@pytest.mark.parametrize(
    ("times", "body"),
    [
        (2, RAISES.format(call="autostate.flush()") + "    autostate.flush()"),
        (2, RAISES.format(call="asyncio.run(autostate.durable())") + "    autostate.flush()"),
        (5, "    while left or not home.homes or not is_published(): os.sched_yield()"),
    ],
    ids=["flush", "durable", "thread"],
)
def test_a_shared_state_that_cannot_be_opened_yet_is_tried_again(times: int, body: str) -> None:
    """A flush says so, and does not return as if all were published."""
    killed()
    pause = 60 if times == 2 else 0.01  # of the thread, which tries, too
    program = UNREACHED.format(times=times, pause=pause) + body + "\n    kill()"
    told = run(program, status=-signal.SIGKILL)
    assert told.count("not published yet: locked") == 1
    assert ("could not be published: locked" in told) is (times == 2)
    assert hits_now()["page"] == 1


def test_what_cannot_be_published_at_the_end_stays() -> None:
    """For the next process, and with a warning."""
    killed()
    told = run(UNREACHED.format(times="1_000", pause=0.01))
    assert "it stays in the program's own state, for the next process" in told
    assert hits_now()["page"] == 0
    run("PersistedDict('progress')")
    assert hits_now()["page"] == 1


def test_a_restored_state_goes_on_counting_where_it_was_forgotten(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if shared objects were there before the state was opened."""
    monkeypatch.setattr(folding, "REMEMBERED", 4)
    body = """
        hits = SharedCounter("hits")
        progress = PersistedDict("progress", page=0)
        for _ in range(3):
            progress["page"] += 1
            hits["page"] += 1
            autostate.flush()
    """
    run(body)
    shutil.copytree(isolated / "own", isolated / "copy")
    run(body)
    forget(isolated)
    shutil.rmtree(isolated / "own")
    shutil.move(isolated / "copy", isolated / "own")
    run(body)
    assert hits_now()["page"] == 9
