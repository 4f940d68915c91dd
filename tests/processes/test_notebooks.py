"""Notebooks in kernels of their own, beside a job that owns its state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autostate
from autostate import PersistedDict
from tests.peers.forked import ROOT

RUN = """
import json, os, sys
import nbformat
from nbclient import NotebookClient
cells = [nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
client = NotebookClient(notebook, kernel_name="python3", allow_errors=True)
client.execute(env={**os.environ, "JPY_SESSION_NAME": "/home/me/look.ipynb"})  # as Jupyter does
said = [
    "".join(out.get("text", "") or out["ename"] + ": " + out["evalue"] for out in cell.outputs)
    for cell in notebook.cells
]
json.dump(said, sys.stdout)
"""
JOB = """
import sys
from autostate import PersistedDict, flush
progress = PersistedDict("progress", page=0)
flush()
print("works", flush=True)
for line in sys.stdin:
    progress["page"] += 1
    flush()
"""
JOBS = "sqlite:///.autostate/job.db"
OWN = """
import autostate
from autostate import PersistedDict
mine = PersistedDict("progress", page=-1)
"""
SHOP = """
@autostate.persisted
class Shop:
    page: int = 0
    def next(self):
        self.page += {step}
shop = Shop()
shop.next()
print(shop.page)
"""
CELLS = [
    OWN,
    "import time; mine['page'] += 1; time.sleep(1.5); print(mine)",  # told of no blocked loop
    f"with autostate.open({JOBS!r}, readonly=True):\n    print(PersistedDict('progress'))",
    f"with autostate.open({JOBS!r}):\n    PersistedDict('progress')",
    SHOP.format(step=1),
    SHOP.format(step=10),  # the cell is changed, and run again
    "mine['last'] = True",
]


def run(folder: Path, *cells: str) -> list[str]:
    """Run a notebook in a folder, in a new kernel; give what each cell has printed."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture
def job(isolated: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that owns the state in `job.db`."""
    (isolated / "job.py").write_text(JOB)
    with subprocess.Popen(
        [sys.executable, "job.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        yield process


def test_a_notebook_beside_a_job(isolated: Path, job: subprocess.Popen[str]) -> None:
    """It has a state of its own, is told of the job's, may read that, and disturbs nobody."""
    told, own, look, refused, first, again, _ = run(isolated, *CELLS)
    assert "'progress' is new and empty in" in told
    assert "job.db holds a state object of that name" in told
    assert own == "{'page': 0}\n"
    assert look == "{'page': 0}\n"
    assert refused.startswith("StateInUseError: the state in")
    assert (first, again) == ("1\n", "11\n")
    with autostate.open(isolated / ".autostate" / "look.db", readonly=True):
        assert PersistedDict("progress") == {"page": 0, "last": True}  # saved at its end
    job.communicate("next\n")
    assert job.returncode == 0
    with autostate.open(isolated / ".autostate" / "job.db", readonly=True):
        assert PersistedDict("progress") == {"page": 1}
