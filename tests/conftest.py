"""Fixtures of every test: a clean place to work in, a printed seed, and leak checks.

A test that leaves a thread or a file handle behind fails, as in zict: a library that owns a thread
and a database must be able to give both back.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from autostate.settings import VARIABLES
from tests.conformance.types_kit import registrations_kept

settings.register_profile(
    "autostate",
    deadline=None,  # no test judges how long something takes
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("autostate"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "autostate"))

SEED = int(os.environ.get("AUTOSTATE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
os.environ["AUTOSTATE_SEED"] = str(SEED)  # the processes of pytest-xdist have the same
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # nobody has any: to look costs 0.1 s
GRACE = 5.0
"""Seconds that a thread or handle which is already closing has to be gone."""

PLATFORM_VARIABLES = ("ACTOR_", "APIFY_", "CRAWLEE_", "AUTOSTATE_URL", *VARIABLES.values())


def pytest_report_header() -> str:
    """Say how to run the same tests with the same random numbers again."""
    return f"random numbers: AUTOSTATE_SEED={SEED}"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the printed seed and the name of the test alone."""
    return random.Random(f"{SEED} {request.node.nodeid}")


def _handles() -> set[str]:
    """What this process has open, by descriptor; empty where the system does not tell."""
    folder = Path("/proc/self/fd")
    found = set()
    for descriptor in list(folder.iterdir()) if folder.is_dir() else ():
        try:
            found.add(f"{descriptor.name} → {descriptor.readlink()}")
        except OSError:  # the handle that listed the folder is gone again
            continue
    return found


def _left_over(before: tuple[set[threading.Thread], set[str]]) -> list[str]:
    """What is there now and was not before."""
    threads, handles = before
    leaks = [f"thread {thread.name}" for thread in set(threading.enumerate()) - threads]
    return leaks + [f"file handle {handle}" for handle in _handles() - handles]


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves threads or file handles behind."""
    before = set(threading.enumerate()), _handles()
    yield
    leaks = _left_over(before)
    end = time.monotonic() + GRACE
    while leaks and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)  # nothing announces that a thread is gone from the list
        leaks = _left_over(before)
    if leaks:
        pytest.fail(f"left behind: {', '.join(sorted(leaks))}")


@pytest.fixture(autouse=True)
def isolated(no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, types and a manager of the test's own, and no platform around it."""
    for name in list(os.environ):
        if name.startswith(PLATFORM_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with registrations_kept():
        yield tmp_path
    _close_default_manager()


def _close_default_manager() -> None:
    """Give the next test a process in which autostate was never used."""
    manager = sys.modules.get("autostate.manager")
    if manager is not None:
        manager.close_default()
