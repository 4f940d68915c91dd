"""What a killed process has left for a shared state that is gone can be given up."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import autostate
from autostate.saving import spill
from tests import programs
from tests.cli.test_commands import FULL
from tests.shared.sharing import hits_now
from tests.shared.test_confirmed_resumed import killed, run

pytestmark = pytest.mark.usefixtures("shared_here", "forked_programs")


def test_a_program_goes_on_with_another_shared_state(isolated: Path) -> None:
    """It is told what is left, and what to do; given up it is when it asks for that."""
    killed()
    told = run(
        """
        progress = PersistedDict("progress")
        try:
            SharedCounter("hits")
        except StoreError as error:
            print("refused:", error)
        print("given up:", autostate.discard_unpublished(), autostate.discard_unpublished())
        hits = SharedCounter("hits")
        hits["page"] += 5
        autostate.flush()
        print("shared:", dict(hits))
        """,
        url="sqlite:///other.db",
    )
    left = f"unpublished changes of hits (1) that are meant for the shared state in sqlite:///{isolated}/s.db"
    refused = next(line for line in told.splitlines() if line.startswith("refused:"))
    assert left in refused
    assert "call autostate.discard_unpublished() before" in refused
    assert f"{left} are given up" in told
    assert "given up: {'hits': 1} {}" in told
    assert "shared: {'page': 5}" in told
    run("PersistedDict('progress')")
    assert hits_now()["page"] == 0


def test_what_this_process_publishes_is_not_given_up() -> None:
    """It is shown already; and the next process publishes it."""
    killed()
    told = run(
        """
        from autostate.delivery.destination import UnreachedError

        def deliver(*_):
            raise UnreachedError("later")

        Confirmed.deliver = deliver
        hits = SharedCounter("hits")
        progress = PersistedDict("progress")
        try:
            autostate.discard_unpublished()
        except RuntimeError as error:
            print(error, flush=True)
        kill()
        """,
        status=-signal.SIGKILL,
    )
    assert "this process publishes" in told
    run("PersistedDict('progress')")
    assert hits_now()["page"] == 1


def test_a_state_of_a_program_that_does_not_run(isolated: Path) -> None:
    """By its URL, in Python and in a shell."""
    killed()
    assert autostate.discard_unpublished("sqlite:///own/own.db") == {"hits": 1}
    assert autostate.discard_unpublished("sqlite:///own/own.db") == {}
    killed()
    listed = programs.run_python("-m", "autostate", "ls", "--json", "--url", "own/own.db")
    left = json.loads(listed.stdout)["unpublished"]
    assert left == {"url": f"sqlite:///{isolated}/s.db", "entries": {"hits": 1}}
    asked = programs.run_python("-m", "autostate", "discard", "--url", "own/own.db")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    failed = programs.run_python("-c", FULL, "discard", "--url", "own/own.db", "--yes")
    assert failed.returncode == 1
    assert not spill.pending(f"sqlite:///{Path('own/own.db').absolute()}")
    done = programs.run_python("-m", "autostate", "discard", "--url", "own/own.db", "--yes")
    assert (done.returncode, done.stdout) == (0, "given up\n")
    assert "hits (1)" in done.stderr
    with autostate.open("sqlite:///own/own.db"):
        assert autostate.PersistedDict("progress") == {"page": 2}
        owned = programs.run_python("-m", "autostate", "discard", "--url", "own/own.db", "--yes")
        assert owned.returncode == 75
    again = programs.run_python("-m", "autostate", "discard", "--url", "own/own.db", "--yes")
    assert (again.returncode, again.stdout) == (1, "")
    assert "holds no changes for a shared state" in again.stderr
    assert hits_now()["page"] == 0
