"""Calls that run in threads, so that one that hangs holds up nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from autostate.errors import StoreError, StoreUnavailableError
from autostate.stores.calls import Calls

HUNG = """
import sys, threading
from autostate.errors import StoreError, StoreUnavailableError
from autostate.stores.calls import Calls
began = threading.Event()
def hang():
    began.set()
    sys.stdin.read()
calls = Calls(lambda _: StoreUnavailableError("late"))
begun = calls.begin(hang)
began.wait()
try:
    calls.result(begun, 0.0)
except StoreUnavailableError as error:
    print(error, calls.run(lambda: "again", 60.0), flush=True)
"""


@pytest.fixture
def calls() -> Iterator[Calls]:
    """Two at a time."""

    def told(error: BaseException) -> StoreError:
        return StoreUnavailableError(type(error).__name__)

    with closing(Calls(told, 2)) as made:
        yield made


def test_the_end_of_the_process_does_not_wait_for_a_call_that_hangs() -> None:
    """What it waits for never comes; another call after it has its own thread."""
    with subprocess.Popen(
        [sys.executable, "-c", HUNG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.wait(60) == 0
            assert process.stdout is not None
            assert process.stdout.read() == "late again\n"
        finally:
            process.kill()


def test_calls_run_at_the_same_time_and_not_too_many(calls: Calls) -> None:
    """Each is answered, or fails as the client's error says."""
    assert calls.run(lambda: 7, 60) == 7
    meet = threading.Barrier(2)
    begun = [calls.begin(lambda: meet.wait(60)) for _ in range(6)]
    assert sorted(calls.result(each, 60) for each in begun) == [0, 0, 0, 1, 1, 1]
    assert sum(each.name == "autostate-store" for each in threading.enumerate()) == 2
    with pytest.raises(StoreUnavailableError, match="ZeroDivisionError"):
        calls.run(lambda: 1 // 0, 60)


def test_closing_drops_what_has_not_begun(calls: Calls) -> None:
    """What runs goes on; a later call is carried out by its caller."""
    began, go_on = threading.Semaphore(0), threading.Event()

    def call() -> str:
        began.release()
        go_on.wait(60)
        return threading.current_thread().name

    begun = [calls.begin(call) for _ in range(3)]
    began.acquire()
    began.acquire()
    calls.close()
    go_on.set()
    assert [calls.result(each, 60) for each in begun[:2]] == ["autostate-store"] * 2
    assert begun[2].cancelled()
    assert calls.run(call, 60) == threading.current_thread().name
