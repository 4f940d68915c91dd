"""gevent has to replace the threads before the library has locks and queues of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import programs

LATE = """
import signal
import autostate
from autostate import PersistedDict, SharedCounter
signal.alarm(20)
{before}
from gevent import monkey
monkey.patch_all()
for work in (lambda: PersistedDict("a"), lambda: SharedCounter("b"), write):
    try:
        work()
    except RuntimeError as error:
        assert "call monkey.patch_all() first" in str(error), error
    else:
        raise AssertionError
print("told")
"""
BEFORE = {
    "nothing is made": "write = lambda: SharedCounter('b')",
    "there are objects": "hits = SharedCounter('hits'); write = lambda: hits.update(a=1)",
}


@pytest.mark.parametrize("before", BEFORE)
def test_threads_that_are_replaced_too_late(before: str, isolated: Path) -> None:
    """Whoever would write is told; before, the process hung for good."""
    pytest.importorskip("gevent")  # has no wheels for each new Python
    done = programs.run(LATE.format(before=BEFORE[before]))
    assert (done.stdout, done.returncode) == ("told\n", 0), done.stderr
