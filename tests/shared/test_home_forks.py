"""Children of forks show what their parents had in view, and count for themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest

from tests.shared.sharing import hits_now

pytestmark = pytest.mark.usefixtures("shared_here")

IMPORTS: Final = """
import os, signal, sys, threading
import autostate
from autostate import PersistedDict, SharedCounter, SharedDict, SharedSet
from autostate.shared import fold, home

autostate.configure("sqlite:///own.db", debounce=100.0, max_delay=100.0)
progress = PersistedDict("progress", page=0) if "own" in sys.argv else {"page": 0}
hits, seen = SharedCounter("hits"), SharedSet("seen")

class Turn:
    def __init__(self):
        self.ends = os.pipe()
    def give(self):
        os.write(self.ends[1], b"x")
    def take(self):
        os.read(self.ends[0], 1)

def fold_now():
    replica = home.home().replica
    fold.fold(replica.shelf, replica.kind_of, replica._clock)

def wait(child, status=0):
    found = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert found == status, found
"""


def run(body: str, *arguments: str) -> None:
    """Run a program that shares state in the working directory."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + textwrap.dedent(body), *arguments],
        env={**os.environ, "AUTOSTATE_SHARED_URL": "sqlite:///s.db"},
        check=False,
        timeout=100,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("state", ["own", "none"])
def test_a_child_shows_what_its_parent_had_changed(state: str) -> None:
    """Published or not, saved or not; once, whoever publishes and folds it when."""
    run(
        """
        hits.update({"a": 1, "b": 1})
        seen.update([1, 2])
        autostate.flush()
        hits["a"] += 2
        seen.add(3)
        seen.discard(1)
        progress["page"] += 1
        published, counted, folded, looked = Turn(), Turn(), Turn(), Turn()
        child = os.fork()
        if not child:
            assert (hits, seen) == ({"a": 3, "b": 1}, {2, 3}), (hits, seen)
            hits["a"] += 10
            hits.refresh()
            assert (hits, seen) == ({"a": 13, "b": 1}, {2, 3}), (hits, seen)
            autostate.flush()
            counted.give()
            published.take()
            hits.refresh()
            assert (hits, seen) == ({"a": 13, "b": 1}, {2, 3}), (hits, seen)
            looked.give()
            folded.take()
            hits.refresh()
            assert (hits, seen) == ({"a": 14, "b": 1}, {2, 3}), (hits, seen)
            hits["a"] += 100
            sys.exit()
        counted.take()
        autostate.flush()
        published.give()
        looked.take()
        hits["a"] += 1
        autostate.flush()
        fold_now()
        folded.give()
        wait(child)
        hits.refresh()
        assert (hits, seen) == ({"a": 114, "b": 1}, {2, 3}), (hits, seen)
        """,
        state,
    )
    assert hits_now() == {"a": 114, "b": 1}


@pytest.mark.parametrize("state", ["own", "none"])
def test_a_block_around_a_fork_is_published_once(state: str) -> None:
    """By the parent; the child publishes what it has written in the block itself."""
    run(
        """
        with autostate.atomic():
            hits["parent"] += 1
            child = os.fork()
            if not child:
                hits["child"] += 1
        if not child:
            assert hits == {"child": 1}, hits
            sys.exit()
        wait(child)
        autostate.flush()
        """,
        state,
    )
    assert hits_now() == {"parent": 1, "child": 1}


@pytest.mark.parametrize("state", ["own", "none"])
def test_workers_of_a_server_that_are_killed_and_replaced(state: str) -> None:
    """Objects are made before the forks, as by gunicorn with --preload."""
    run(
        """
        def work(number):
            for _ in range(20):
                hits["all"] += 1
                hits[f"worker {number}"] += 1
            autostate.flush()
            if number % 2:
                hits["all"] += 1000
                os.kill(os.getpid(), signal.SIGKILL)
            hits["all"] += 5

        hits["all"] += 1
        for number in range(5):
            hits["all"] += 1
            child = os.fork()
            if not child:
                work(number)
                sys.exit()
            wait(child, -signal.SIGKILL if number % 2 else 0)
            hits.refresh()
        assert hits["all"] == 6 + 100 + 15, hits
        """,
        state,
    )
    assert hits_now()["all"] == 6 + 100 + 15


def test_pools_of_multiprocessing_count_exactly(isolated: Path) -> None:
    """By fork, by a server of forks and by spawn; beside a state of the parent's own."""
    program = isolated / "pool.py"
    program.write_text(
        IMPORTS
        + textwrap.dedent(
            """
            import multiprocessing

            def count(number):
                hits["all"] += 1
                autostate.flush()
                return number

            if __name__ == "__main__":
                hits["all"] += 1
                for method in ("fork", "forkserver", "spawn"):
                    context = multiprocessing.get_context(method)
                    with context.Pool(2) as pool:
                        assert sorted(pool.map(count, range(10))) == [*range(10)]
                        pool.close()
                        pool.join()
            """
        ),
        encoding="utf-8",
    )
    subprocess.run([sys.executable, str(program), "own"], check=True, timeout=100)
    assert hits_now()["all"] == 31


def test_a_daemon_goes_on_with_what_its_parent_had_not_saved() -> None:
    """The parent is killed; its child becomes the owner of the state, and publishes both."""
    run(
        """
        over = Turn()
        if child := os.fork():
            wait(child, -signal.SIGKILL)
            over.take()
            os._exit(0)
        progress = PersistedDict("progress", page=0)
        for _ in range(2):
            with autostate.atomic():
                progress["page"] += 1
                hits["page"] += 1
            if progress["page"] == 1:
                autostate.flush()
        parent = os.getpid()
        if os.fork():
            os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            pass
        with autostate.atomic():
            progress["page"] += 1
            hits["page"] += 1
        assert hits == {"page": 3}, hits
        autostate.flush()
        hits.refresh()
        assert hits == {"page": progress["page"]} == {"page": 3}, hits
        over.give()
        """
    )
    assert hits_now() == {"page": 3}


def test_a_fork_in_the_midst_of_a_change_hangs_nobody() -> None:
    """Another thread holds the lock of the shared objects, and does not exist in the child."""
    run(
        """
        from autostate.process import lifecycle
        lifecycle.FORK_TIMEOUT = 0.05
        hits["a"] += 1
        held, over = threading.Event(), threading.Event()
        def hold():
            with home.home().replica.lock:
                held.set()
                over.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            signal.alarm(20)
            hits["a"] += 1
            autostate.flush()
            assert hits == {"a": 2}, hits
            os._exit(0)
        wait(child)
        over.set()
        thread.join()
        """
    )
    assert hits_now() == {"a": 2}


def test_a_fork_opens_no_store() -> None:
    """The child does when it publishes. What cannot be opened at the fork makes no difference."""
    run(
        """
        hits["a"] += 1
        autostate.flush()
        hits["a"] += 1
        os.rename("s.db", "away.db")
        os.mkdir("s.db")
        begun, there = Turn(), Turn()
        child = os.fork()
        if not child:
            begun.give()
            there.take()
            hits["a"] += 10
            autostate.flush()
            os._exit(0)
        begun.take()
        os.rmdir("s.db")
        os.rename("away.db", "s.db")
        hits["a"] += 100
        autostate.flush()
        there.give()
        wait(child)
        """
    )
    assert hits_now() == {"a": 112}
