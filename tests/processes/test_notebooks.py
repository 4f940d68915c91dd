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
from tests import programs
from tests.peers.forked import ROOT

RUN = """
import json, os, sys
import nbformat
from nbclient import NotebookClient
cells = [nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
client = NotebookClient(notebook, kernel_name="python3", allow_errors=True)
client.execute(env={**os.environ, "JPY_SESSION_NAME": "/home/me/look.ipynb"})  # as Jupyter does
def said_by(out):
    shown = out.get("data", {})
    text = out.get("text", "") or shown.get("text/html", "") or shown.get("text/plain", "")
    return text or out["ename"] + ": " + out["evalue"]
said = ["".join(map(said_by, cell.outputs)) for cell in notebook.cells]
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
SHOP_WITH_A_FIELD = """
@autostate.persisted
class Shop:
    page: int = 0
    def __init__(self):
        self.seen = [1]
Shop(), Shop() is shop, shop.page, shop.seen
"""
PAGE = """
import dataclasses
@dataclasses.dataclass
class Page:
    title: str
pages = PersistedDict("pages")
pages
"""
CELLS = [
    OWN,
    "import time; mine['page'] += 1; time.sleep(1.5); print(mine)",  # told of no blocked loop
    f"with autostate.open({JOBS!r}, readonly=True):\n    print(PersistedDict('progress'))",
    f"with autostate.open({JOBS!r}):\n    PersistedDict('progress')",
    SHOP.format(step=1),
    SHOP.format(step=10),  # the cell is changed, and run again
    SHOP_WITH_A_FIELD,
    f"{PAGE}\npages['a'] = Page('<first>')\npages",
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
    told, own, look, refused, first, again, field, table, _ = run(isolated, *CELLS)
    assert "'progress' is new and empty in" in told
    assert "job.db holds a state object of that name" in told
    assert own == "{'page': 0}\n"
    assert look == "{'page': 0}\n"
    assert refused.startswith("StateInUseError: the state in")
    assert (first, again) == ("1\n", "11\n")
    assert field.endswith("True, 11, [1])")
    assert table.startswith("<div><b>PersistedDict &#x27;pages&#x27;</b> <small>1 entry</small>")
    assert "&lt;first&gt;" in table
    with autostate.open(isolated / ".autostate" / "look.db", readonly=True):
        assert PersistedDict("progress") == {"page": 0, "last": True}  # saved at its end
    job.communicate("next\n")
    assert job.returncode == 0
    with autostate.open(isolated / ".autostate" / "job.db", readonly=True):
        assert PersistedDict("progress") == {"page": 1}


@pytest.mark.parametrize(
    ("session", "url", "told"),
    [("", "", True), ("look.ipynb", "", False), ("", "sqlite:///x.db", False)],
)
@pytest.mark.usefixtures("isolated")
def test_a_notebook_without_a_name_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    session: str,
    url: str,
    told: bool,
) -> None:
    """Its state is where that of every other such notebook is, unless it says where."""
    monkeypatch.setattr(sys, "argv", ["/usr/lib/ipykernel_launcher.py", "-f", "x.json"])
    monkeypatch.setenv("JPY_SESSION_NAME", session)
    monkeypatch.setenv("AUTOSTATE_URL", url)
    PersistedDict("d")
    PersistedDict("e")
    said = [line for line in caplog.messages if "which notebook" in line]
    assert len(said) == told
    assert all("interactive.db" in line and "autostate.configure(" in line for line in said)


FIRST = """
import autostate
from autostate import PersistedDict
from dataclasses import dataclass
autostate.configure("sqlite:///s.db")
other = PersistedDict("other", page=0)
other["page"] += 1
DEFINE = "@dataclass\\nclass Page:\\n    title: str"
"""
SECOND = """
for _ in range(2):
    try:
        PersistedDict("pages")
    except autostate.UnknownTypeError as error:
        print(error.name, "in a notebook run its cell" in str(error))
autostate.flush()
exec(DEFINE)
print(PersistedDict("pages"), other)
"""


@pytest.mark.usefixtures("isolated", "forked_programs")
def test_a_class_that_is_not_defined_yet_is_waited_for() -> None:
    """The error says to run its cell; the state is kept, and other state objects work meanwhile."""
    assert programs.run(f"{FIRST}exec(DEFINE)\nPersistedDict('pages', a=Page('x'))").stderr == ""
    done = programs.run(FIRST + SECOND)
    assert done.stdout.splitlines() == [
        *["__main__:Page True"] * 2,
        "{'a': Page(title='x')} {'page': 2}",
    ]
