"""The fixtures that a project chooses for the tests of its Actor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ACTOR = """
import asyncio
import autostate
from apify import Actor

autostate.configure(debounce=0.05, max_delay=0.05)

async def main():
    async with Actor:
        given = await Actor.get_input() or {}
        progress = autostate.PersistedDict("progress", page=0)
        while progress["page"] < given.get("pages", 5):
            progress["page"] += 1
            print("page", progress["page"])
            await asyncio.sleep(0.02)

asyncio.run(main())
"""

TESTS = """
import pytest

@pytest.mark.actor(input={"pages": 20})
def test_kills(run):
    assert run.kill_at_random(seed=1, kills=2, between=(0.0, 0.3)) == 0
    assert run.state("progress") == {"page": 20}

def test_the_default_command(run, local_platform):
    assert run.wait() == 0
    assert local_platform.runs[run.id] is run

def test_the_output_is_shown(run):
    run.wait()
    assert run.status == "FAILED"
"""


def _run(folder: Path, tests: str, ini: str = "") -> str:
    """Run the tests of a project; give what pytest has printed."""
    (folder / "conftest.py").write_text('pytest_plugins = ["autostate.testing.fixtures"]\n')
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers\n{ini}")
    (folder / "test_mine.py").write_text(tests)
    cmd = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(cmd, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    return done.stdout + done.stderr


def test_a_project_tests_its_actor(tmp_path: Path) -> None:
    """`python -m src` is run, as the mark says; the output is shown when a test fails."""
    package = tmp_path / "src"
    package.mkdir()
    (package / "__main__.py").write_text(ACTOR)
    printed = _run(tmp_path, TESTS)
    assert "1 failed, 2 passed" in printed, printed
    assert "Output of run" in printed
    assert "page 5" in printed


def test_the_configured_command(tmp_path: Path) -> None:
    """A project whose Actor starts in another way says so once, or in a mark, as a text too."""
    tests = """
import pytest

def test_mine(run):
    assert run.wait() == 0
    assert run.output == "mine\\n"

@pytest.mark.actor("python -c 'print(1)'")
def test_another(run):
    assert run.wait() == 0
    assert run.output == "1\\n"

def test_a_run_takes_words(local_platform):
    with pytest.raises(TypeError, match="a list of words: .'node', 'main.js'., not"):
        local_platform.start_run("node main.js")
"""
    printed = _run(tmp_path, tests, "autostate_actor = python -c 'print(\"mine\")'\n")
    assert "3 passed" in printed, printed
