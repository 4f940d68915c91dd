"""Workers of pools count together, also those that are ended at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from autostate.shared.set import SharedSet
from tests import programs

PROGRAM = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from autostate import SharedCounter, SharedSet

hits = SharedCounter("hits")

def work(number):
    hits["done"] += 1
    SharedSet("seen").add(number)

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "executor":
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(work, range(50)))
    else:
        with multiprocessing.get_context(how).Pool(2) as pool:
            pool.map(work, range(50))  # and then its workers get SIGTERM
    hits.refresh()
    print(hits["done"], len(SharedSet("seen")))
"""


def _children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parent = each.read_text().rpartition(")")[2].split()[1]
            found += [int(each.parent.name)] * (int(parent) == pid)
    return found


@pytest.mark.parametrize("how", ["fork", "spawn", "executor"])
def test_each_task_counts_once(how: str, isolated: Path) -> None:
    """However the workers were started, and end."""
    (isolated / "pool.py").write_text(PROGRAM)
    command = [sys.executable, "pool.py", how]
    with subprocess.Popen(command, text=True, env={**os.environ}, stdout=subprocess.PIPE) as pool:
        try:
            told, _ = pool.communicate(timeout=60)
        except subprocess.TimeoutExpired:  # Python overlooks a signal just before it waits
            for worker in _children_of(pool.pid):
                os.kill(worker, signal.SIGTERM)
            told, _ = pool.communicate(timeout=60)
    assert told == "50 50\n"


def test_a_task_may_be_pickled_with_its_code(isolated: Path) -> None:
    """As joblib does: the worker gets the class, and imports nothing else."""
    task = cloudpickle.dumps(lambda: SharedSet("seen").add(7))
    look = "import autostate\nprint(autostate.SharedSet('seen'))"
    done = programs.run(f"import pickle\npickle.loads({task!r})()\n{look}")
    assert done.stdout == "SharedSet({7})\n", done.stderr
