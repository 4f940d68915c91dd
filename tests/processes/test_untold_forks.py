"""A process that code in C has forked, as uWSGI does: Python's hooks are not called in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import programs

PROGRAM = """
import ctypes, os
import autostate
from autostate import PersistedDict, SharedCounter

progress, hits = PersistedDict("progress", page=0), SharedCounter("hits")
progress["page"] += 1
hits["page"] += 1
autostate.flush()

def page():
    progress["page"] += 1

def hit():
    hits["page"] += 1

works = [page, hit, autostate.flush, lambda: PersistedDict("other"), lambda: SharedCounter("new")]
fork = ctypes.PyDLL(None).fork
if not (child := fork()):
    for number, work in enumerate(works):
        try:
            work()
        except RuntimeError as error:
            assert "lazy-apps = true" in str(error), error
        else:
            os._exit(1 + number)
    END
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
with autostate.atomic():
    progress["page"] += 1
    hits["page"] += 1
autostate.flush()
print(dict(progress), dict(hits))
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "raise SystemExit", "os.execv('/bin/true', ['x'])"])
def test_it_can_write_nothing(end: str, isolated: Path) -> None:
    """It would write what its parent writes, and replace that; its end saves nothing, either."""
    done = programs.run(PROGRAM.replace("END", end))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'page': 2} {'page': 2}\n"
    assert "went back" not in done.stderr
