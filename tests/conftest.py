"""Fixtures of every test: a clean place to work in, a printed seed, and leak checks.

A test that leaves a thread or a file handle behind fails, as in zict: a library that owns a thread
and a database must be able to give both back.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from autostate import hub
from autostate.settings import VARIABLES
from tests import hypothesis_profile, programs  # noqa: F401 - the profile before any test
from tests.campaign import LONG as LONG_RUN, Tally, summed
from tests.conformance.types_kit import registrations_kept
from tests.peers.forked import ProgramServer

if TYPE_CHECKING:
    from autostate.testing import LocalPlatform

MEMORY: Final = Path("/dev/shm")
ROOM: Final = 1 << 32
"""Bytes that have to be free there."""


def _keep_files_in_memory() -> None:
    """Keep the files of tests and of their processes in memory, where there is room.

    They are synced thousands of times, and removed at once: on a disk most of the time is spent
    waiting for that. What a kill leaves behind is the same. `TMPDIR=/tmp make test` uses a disk.
    """
    there = MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)
    if there and "TMPDIR" not in os.environ and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # asks again


_keep_files_in_memory()

SEED = int(os.environ.get("AUTOSTATE_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
os.environ["AUTOSTATE_SEED"] = str(SEED)  # the processes of pytest-xdist have the same
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # nobody has any: to look costs 0.1 s
GRACE = 5.0
"""Seconds that a thread or handle which is already closing has to be gone."""

PLATFORM_VARIABLES = ("ACTOR_", "APIFY_", "CRAWLEE_", "AUTOSTATE_URL", *VARIABLES.values())


LONG: Final = (
    "test_feature_table.py::test_a_cell",
    "test_crawl_example.py::test_a_killed",
    "test_benchmarks.py::test_the_benchmark",
    "crash/test_loops.py",
    "crash/test_kills.py",
    "examples/test_actors.py",
    "scrapy/test_scheduler_kills.py",
    "scrapy/test_events_actor.py",
    "scrapy/test_events_faults.py",
    "scrapy/test_units.py",
    "properties/",
    "test_patterns.py::test_shared",
    "actor/test_off_the_platform.py",
    "test_docs.py::test_python_blocks",
    "cpython/test_suites.py",
    "classes/test_changes.py",
    "test_stress.py",
)
"""What takes longest, in that order: begun last, it would run while others are done."""
LAST: Final = "test_typing.py::test_a_checker_refuses_what_is_marked_and_nothing_else[mypy"
"""By then the check of all types that runs beside the tests has left what this one needs, too."""


DRAWN: Final = (
    "crash/test_clocks.py",
    "in_step/test_costs.py",
    "in_step/test_crawls.py",
    "test_depth.py",
    "crash/test_disk_errors.py",
    "crash/test_ends.py",
    "test_entry_log.py",
    "test_fold_growth.py",
    "test_full_disk.py",
    "test_interrupted_loops.py",
    "test_journal.py",
    "test_journal_crashes.py",
    "stores/test_keyed.py",
    "test_ownership_model.py",
    "test_parity.py",
    "test_refcount.py",
    "test_sequence_growth.py",
    "test_sequence_log.py",
    "test_sequences.py",
    "hostile/test_servers.py",
    "test_shared_crowd.py",
    "test_sharing_model.py",
    "cpython/test_suites.py",
    "test_typed_states.py",
    "scrapy/test_units.py",
)
"""Files that try each of many things in each of many forms. A run of the whole suite draws half of
the cases of each test, others each time; `make fuzz` and a run of the file have all of them."""
DRAWS: Final = "TESTS_ARE_DRAWN"
"""Set in the environment of such a run, for the processes of pytest-xdist."""


def pytest_configure(config: pytest.Config) -> None:
    """Find out what kind of run this is."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and not LONG_RUN:
        os.environ[DRAWS] = "yes"


def _draw(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out half of the cases of each test in `DRAWN`."""
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        name, bracket, _ = item.nodeid.partition("[")
        if bracket and any(each in name for each in DRAWN):
            cases[name].append(item)
    left_out: set[pytest.Item] = set()
    for name, found in cases.items():
        left_out.update(random.Random(f"{SEED} {name}").sample(found, len(found) // 2))
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=[*left_out])


def _length(item: pytest.Item) -> int:
    """Where a test stands in `LONG`."""
    found = (place for place, name in enumerate(LONG) if name in item.nodeid)
    return next(found, len(LONG))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the long tests out to the processes, so that each begins with some.

    pytest-xdist gives each process a part of the list in one piece. The cells of the feature table
    stay together: what they say is found out by the first process that runs one.
    """
    if DRAWS in os.environ:
        _draw(config, items)
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if workers == 1:
        return
    cells = [item for item in items if _length(item) == 0]
    long = sorted((item for item in items if 0 < _length(item) < len(LONG)), key=_length)
    rest = [item for item in items if _length(item) == len(LONG)]
    rest.sort(key=lambda item: LAST in item.nodeid)
    hands = [long[worker::workers] for worker in range(workers)]
    hands[0] = cells + hands[0]
    size = len(items) // workers
    dealt: list[pytest.Item] = []
    for hand in hands[:-1]:
        room = max(size - len(hand), 0)
        dealt += hand + rest[:room]
        del rest[:room]
    items[:] = dealt + hands[-1] + rest


def pytest_collection_finish() -> None:
    """Let the collector look at what tests make, and not at every module that they import.

    Hundreds of tests call `gc.collect`.
    """
    gc.collect()
    gc.freeze()


_TALLY: Final = pytest.StashKey[Tally]()
_FIGURES: Final = "campaign"


@pytest.fixture
def platform() -> Iterator[LocalPlatform]:
    """A platform of the test's own."""
    from autostate.testing import LocalPlatform  # loads websockets, which few tests need

    with LocalPlatform() as platform:
        yield platform


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """What a test that is a part of a campaign has tried and found."""
    made: Tally = request.node.stash.setdefault(_TALLY, Tally())
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the figures of a campaign to its report, and to the file of results."""
    report = yield
    mark = item.get_closest_marker("campaign")
    if mark is not None and call.when == "call" and not report.skipped:
        figures = item.stash.get(_TALLY, Tally()).record(
            mark.kwargs["name"], failed=report.failed, seconds=call.duration, seed=SEED
        )
        report.user_properties.append((_FIGURES, figures))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures of campaigns."""
    reports = (one for found in terminalreporter.stats.values() for one in found)
    calls = (one for one in reports if getattr(one, "when", "") == "call")
    parts = (value for one in calls for name, value in one.user_properties if name == _FIGURES)
    for figures in summed(parts):
        terminalreporter.write_line(
            f"campaign {figures['campaign']}: {figures['trials']} trials, "
            f"{figures['lost']} lost, {figures['silent']} silent"
        )
        for line in sorted(figures["notes"]):
            terminalreporter.write_line(f"  {line}")


def pytest_report_header() -> str:
    """Say how to run the same tests with the same random numbers again."""
    drawn = f"; half of the cases of {len(DRAWN)} files" if DRAWS in os.environ else ""
    return f"random numbers: AUTOSTATE_SEED={SEED}{drawn}"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the printed seed and the name of the test alone."""
    return random.Random(f"{SEED} {request.node.nodeid}")


def _handles() -> set[str]:
    """What this process has open, by descriptor; empty where the system does not tell."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - each test does: be quick
            with contextlib.suppress(OSError):  # the handle that listed the folder is gone again
                found.add(f"{descriptor} → {os.readlink(f'/proc/self/fd/{descriptor}')}")  # noqa: PTH115
    return found


Resources = tuple[set[threading.Thread], set[str], int]
"""Threads, file handles, and the number of incarnations that listen to the hub."""


def _resources() -> Resources:
    """What this process has now."""
    return set(threading.enumerate()), _handles(), len(hub.migrating._own)


def _left_over(before: Resources) -> list[str]:
    """What is there now and was not before."""
    threads, handles, listening = _resources()
    leaks = [f"thread {thread.name}" for thread in threads - before[0]]
    leaks += [f"file handle {handle}" for handle in handles - before[1]]
    return leaks + ["handlers of signals"] * (listening > before[2])


@pytest.fixture(scope="session")
def program_server() -> Iterator[ProgramServer]:
    """The processes of which programs, Actors, commands and sessions of pytest are forks."""
    server = ProgramServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def forked_programs(program_server: ProgramServer) -> Iterator[ProgramServer]:
    """Let `programs.run` use them."""
    programs.server = program_server
    yield program_server
    programs.server = None


@pytest.fixture
def forked_actors(program_server: ProgramServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let containers on the local platform use them."""
    monkeypatch.setattr("autostate.testing.container.Popen", program_server.popen)


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Let threads overtake each other wherever they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves threads, file handles or handlers of signals behind."""
    before = _resources()
    yield
    leaks = _left_over(before)
    end = time.monotonic() + GRACE
    collected = bool(leaks)
    while leaks and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)  # nothing announces that a thread is gone from the list
        leaks = _left_over(before)
    if leaks:
        pytest.fail(f"left behind: {', '.join(sorted(leaks))}")
    if collected:
        gc.freeze()  # what is there lasts: the next collection need not look at it


@pytest.fixture(autouse=True)
def isolated(no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, types and a manager of the test's own, and no platform around it."""
    for name in list(os.environ):
        if name.startswith(PLATFORM_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setattr("autostate.apify.events._entry_points_in_step", False)
    monkeypatch.delitem(sys.modules, "apify", raising=False)  # with it each program is an Actor
    monkeypatch.chdir(tmp_path)
    with registrations_kept():
        yield tmp_path
    _close_default_manager()
    _end_traces()


def _end_traces() -> None:
    """End what a page of the documentation begins: it would count calls of other tests."""
    otel = sys.modules.get("autostate.otel")
    if otel is not None:
        otel.uninstrument()


def _close_default_manager() -> None:
    """Give the next test a process in which autostate was never used."""
    manager = sys.modules.get("autostate.runtime.api")
    if manager is not None:
        manager.close_default()
