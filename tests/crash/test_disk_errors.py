"""A disk that refuses any of its calls: told, nothing is lost, and saving goes on by itself.

Full, broken, read-only, or the process has too many open files: at each call that the store makes
while a program begins, saves, compacts and ends; once, or for a while. `CAMPAIGN_DISK` says how
many failures are tried for each store and error; 0 means one at every call.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

import autostate
from autostate import PersistedDict, deadline
from autostate.errors import AutostateError, StoreError, StoreGoneError
from autostate.journal import compaction
from autostate.saving import policy, spill
from autostate.stores.sqlite import SqliteStore
from tests.campaign import Tally, size
from tests.crash.calls import Calls

T = TypeVar("T")
TRIALS: Final = size("DISK", 6)
PATIENCE: Final = 30.0
"""Seconds after which a program that has not saved counts as one that never does."""
MAKES: Final = frozenset({"make", "mkdir", "write", "cut", "rename", "link"})
OPENS: Final = frozenset({"open", "make", "list"})
READS: Final = frozenset({"open", "read", "list", "stat"})
REFUSED: Final = {
    errno.ENOSPC: MAKES,
    errno.EIO: MAKES | READS | {"sync", "sync_folder", "remove"},
    errno.EMFILE: OPENS,
    errno.EROFS: MAKES | {"remove"},
}
"""Which calls end with which error."""


class Faults:
    """Lets calls fail.

    Args:
        error: With which error.
        first: The first call that fails, of those that can; None: only count them.
        times: How many fail.

    Attributes:
        number: How many calls there were that could have failed.
        struck: The calls that failed.
    """

    def __init__(self, error: int, first: int | None = None, times: int = 1) -> None:
        self.error, self.first, self.times = error, first, times
        self.number = 0
        self.struck: list[str] = []
        self._lock = threading.Lock()

    def call(self, name: str, do: Callable[[], T], path: Path, *rest: Any) -> T:
        """Make a call, or let it fail; of a write that fails some may have been done."""
        if name not in REFUSED[self.error]:
            return do()
        with self._lock:
            number, self.number = self.number, self.number + 1
        if self.first is None or not self.first <= number < self.first + self.times:
            return do()
        self.struck.append(f"{name} {path.name}")
        raise OSError(self.error, os.strerror(self.error), str(path))


def saved(state: PersistedDict[str, Any]) -> None:
    """Wait until the library has saved everything by itself."""
    end = time.monotonic() + PATIENCE
    while autostate.info(state).dirty:
        assert time.monotonic() < end, "it is never saved"
        time.sleep(0.001)  # it is told that a save is done before nothing is unsaved any more


class Program:
    """Goes on with a state, saves it some times, and ends with something unsaved.

    Args:
        url: Its store.

    Attributes:
        acknowledged: What was saved last.
        last: What was there at the end.
        told: What the library has logged as errors.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.told = Told()
        self.count = 0

    def run(self) -> None:
        """Live once.

        Raises:
            AssertionError: Something was lost.
            AutostateError: The program was told that it cannot begin, or end.
        """
        settings: dict[str, Any] = {"debounce": 0, "max_delay": 0.01, "duty_cycle": 1}
        with self.told.heard(), autostate.open(self.url, flush_timeout=3600, **settings):
            state: PersistedDict[str, Any] = PersistedDict("state")
            if state != self.last:
                assert state == self.acknowledged, "what was acknowledged is missing"
                kept = any("picks them up" in told for told in self.told.errors)
                assert self.told.errors, "what was not saved at the end is missing without a word"
                assert not kept, "what was kept in a file was not picked up"
            for number in range(4):
                self.count += 1  # else there would be nothing to save
                state[f"key{number}"] = [self.count, "x" * 5_000 * (number % 2)]
                self.last = dict(state)
                saved(state)
                self.acknowledged = self.last
            state["at the end"] = state.get("at the end", 0) + 1
            self.last = dict(state)


class Told(logging.Handler):
    """What is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.errors.append(record.getMessage())

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen, and let nobody else hear."""
        logger = logging.getLogger("autostate")
        logger.addHandler(self)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = True


def trial(folder: Path, url: str, faults: Faults) -> tuple[bool, bool, str]:
    """Let one program fail at some calls; the next ones, which nothing fails, look and go on.

    Returns:
        Whether something was lost, whether that was silent, and what was found.
    """
    program = Program(url)
    program.run()  # so that there is something to lose
    try:
        try:
            with Calls(folder, faults).watched():
                program.run()
        except AutostateError as error:
            program.told.errors.append(str(error))
        program.run()
        program.told.errors.clear()
        program.run()
    except AssertionError as error:
        return "acknowledged" in str(error), "acknowledged" not in str(error), str(error)
    except AutostateError as error:
        return True, False, str(error)
    return False, False, "it goes on"


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Let a failure be tried again at once, and the journal be compacted soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline, "backoff", lambda *_, **__: 0.001)
        patch.setattr(policy, "backoff", lambda *_, **__: 0.001)
        patch.setattr(compaction, "FLOOR", 1)
        patch.setattr("sys.stderr", io.StringIO())  # what is told at an end, many times
        yield


def campaign(
    folder: Path, url: str, error: int, rng: random.Random, *, tally: Tally, trials: int
) -> None:
    """Let calls fail, each in a store of its own."""
    with quickly():
        counting = Faults(error)
        folder.mkdir()
        trial(folder, url, counting)
        shutil.rmtree(folder)
        numbers = range(counting.number)
        chosen = rng.sample(numbers, min(trials, len(numbers))) if trials else numbers
        for first in chosen:
            faults = Faults(error, first, rng.choice([1, 1, 2, 7, 40]))
            folder.mkdir()
            lost, silent, found = trial(folder, url, faults)
            tally.found(f"{first} {faults.struck}: {found}", lost=lost, silent=silent)
            shutil.rmtree(folder)


URLS: Final = {"SQLite": "sqlite:///disk/state.db", "folder": "apify:"}


@pytest.mark.campaign(name="disk")
@pytest.mark.parametrize("error", REFUSED, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("kind", URLS)
def test_a_disk_that_refuses_a_call_costs_nothing(
    kind: str,
    error: int,
    *,
    isolated: Path,
    rng: random.Random,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What could not be saved is saved when it can be; what was saved stays."""
    folder = isolated / "disk"
    monkeypatch.setenv("TMPDIR", str(isolated / "temporary"))  # of what is kept there
    monkeypatch.setenv("CRAWLEE_STORAGE_DIR", str(folder / "storage"))
    campaign(folder, URLS[kind], error, rng, tally=tally, trials=TRIALS)
    tally.check()


def refuse(*_: object, **__: object) -> Any:
    """Fail, as a broken disk does."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_that_cannot_be_looked_at_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the process would begin a new state beside its own, and fence itself."""
    store = SqliteStore(tmp_path / "state.db")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        with pytest.raises(StoreError) as raised:
            store.write({"key": b"1"})
        assert not isinstance(raised.value, StoreGoneError)
    store.write({"key": b"2"})
    assert store.read("key") == b"2"
    store.close()


def test_a_file_that_comes_back_is_written_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was gone for a while, in which no other one could be made."""
    path, aside = tmp_path / "state.db", tmp_path / "aside"
    store = SqliteStore(path)
    path.rename(aside)
    with monkeypatch.context() as patch:
        patch.setattr("autostate.stores.sqlite.open_database", refuse)
        with pytest.raises(StoreError):
            store.write({"key": b"1"})
    aside.rename(path)
    store.write({"key": b"1"})
    assert store.read("key") == b"1"
    store.close()


def test_a_folder_of_spills_that_cannot_be_read_is_an_error(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spill that is missed would be outdated by the next save."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        with pytest.raises(StoreError, match="holds unsaved changes"):
            spill.find(f"sqlite:///{isolated}/state.db")
