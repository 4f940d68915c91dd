"""Fixtures of pytest for tests of an Actor.

A project chooses them, in its `conftest.py`: `pytest_plugins = ["autostate.testing.fixtures"]`.

@pytest.mark.actor(input={"pages": 100})
def test_every_page_is_counted_once(run):
    assert run.kill_at_random(seed=1) == 0
    assert run.state("progress")["page"] == 100
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Generator, Iterator
from typing import Final

import pytest

from autostate.testing.platform import LocalPlatform
from autostate.testing.run import Run

_COMMAND_HELP: Final = (
    "the command that starts the Actor under test; by default python -m src, as in templates"
)
_MARK: Final = (
    "actor(cmd=None, **options): the Actor of the fixture `run`: its command, a text or a list, "
    "and options of LocalPlatform.start_run, such as input"
)
_USUAL: Final = "python -m src"
_RUNS: Final = pytest.StashKey[LocalPlatform]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the configuration of pytest."""
    parser.addini("autostate_actor", _COMMAND_HELP, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def local_platform(request: pytest.FixtureRequest) -> Iterator[LocalPlatform]:
    """A platform of the test's own; all its runs are killed after the test."""
    with LocalPlatform() as platform:
        request.node.stash[_RUNS] = platform
        yield platform


@pytest.fixture
def run(request: pytest.FixtureRequest, local_platform: LocalPlatform) -> Run:
    """A run of the Actor, which has just been started.

    The mark `actor` says how: `@pytest.mark.actor(input={"pages": 100})`.
    """
    mark = request.node.get_closest_marker("actor")
    options = {} if mark is None else dict(mark.kwargs)
    cmd = options.pop("cmd", None) or (mark.args[0] if mark is not None and mark.args else None)
    options.setdefault("cwd", request.config.rootpath)
    cmd = cmd or str(request.config.getini("autostate_actor")) or _USUAL
    return local_platform.start_run(_words(cmd) if isinstance(cmd, str) else cmd, **options)


def _words(command: str) -> list[str]:
    """Divide a command as a shell does; `python` is the Python that runs pytest."""
    words = shlex.split(command) or shlex.split(_USUAL)
    return [sys.executable, *words[1:]] if words[0] == "python" else words


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the Actors have printed, below the traceback of a test that fails."""
    report = yield
    platform = item.stash.get(_RUNS, None)
    if report.failed and call.when == "call" and platform is not None:
        for each in platform.runs.values():
            report.sections.append((f"Output of run {each.id} of {each.actor_id}", each.output))
    return report
