"""Each mechanism is removed once, and the campaign that tries it notices.

A campaign that would find nothing says nothing when it finds nothing.
"""

from __future__ import annotations

import errno
import math
import random
import re
import shutil
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pytest

from autostate import files
from autostate.journal import compaction, record
from autostate.saving import spill
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from tests.campaign import Tally
from tests.crash import calls, test_disk_errors, test_forks, test_power_loss
from tests.crash.test_damage import Case, ended  # noqa: F401 - a fixture
from tests.peers.forked import ProgramServer


@pytest.fixture
def tally() -> Tally:
    """Figures that are no campaign's: here losses are what is expected."""
    return Tally()


@pytest.mark.parametrize("kind", test_power_loss.STORES)
def test_without_syncs_a_power_failure_loses_what_was_acknowledged(
    kind: str, tmp_path: Path, rng: random.Random, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite with synchronous=OFF; the folder without `fsync`."""
    execute: Callable[..., Any] = calls._Connection.execute

    def unsynced(connection: Any, sql: str, values: Iterable[Any] = ()) -> Any:
        return execute(connection, sql.replace("synchronous = FULL", "synchronous = OFF"), values)

    monkeypatch.setattr(calls._Connection, "execute", unsynced)
    monkeypatch.setattr(files, "sync", lambda _handle: None)
    monkeypatch.setattr(compaction, "FLOOR", 1)
    test_power_loss.campaign(tmp_path, test_power_loss.STORES[kind], rng, tally, 60)
    assert tally.lost > 5


class Fits(str):
    """A digest that fits whatever it is compared with."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class FittingHash:
    """A hash whose digests fit."""

    def __init__(self, data: bytes, *, digest_size: int) -> None:
        self._state = blake2b(data, digest_size=digest_size)
        self.update = self._state.update

    def hexdigest(self) -> str:
        """Return a digest that fits."""
        return Fits(self._state.hexdigest())


def test_without_digests_a_changed_bit_is_another_state(
    ended: Case,  # noqa: F811
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read as if it had been saved."""
    monkeypatch.setattr(record, "blake2b", FittingHash)
    texts = [*re.finditer(b"x{400}", ended.files["state.db"])]
    with pytest.raises(AssertionError, match="another state"):
        for text in texts:  # some are of the head before
            ended.flip("state.db", text.start() + rng.randrange(400), 0)
    assert ended.tally.silent


WITHOUT_OWNERS: Final = """
from autostate.runtime.claim import Claim
from autostate.runtime.incarnation import Incarnation
Claim.acquire = lambda *_: None
Incarnation._refuse_what_is_old = lambda *_: None
"""


def test_without_the_check_of_ownership_a_child_writes_beside_its_parent(
    isolated: Path, rng: random.Random, tally: Tally, forked_programs: ProgramServer
) -> None:
    """Without asking who lives, and what was saved since."""
    code = test_forks.WORKER.replace("rng = ", f"{WITHOUT_OWNERS}\nrng = ")
    test_forks.campaign("apify:forks", rng, forked_programs, tally=tally, code=code, forks=3)
    assert tally.silent


def disk_errors(folder: Path, error: int, tally: Tally, times: int, notices: str) -> None:
    """Let a disk fail from each call on, the last one first, until the campaign notices."""
    url = f"sqlite:///{folder}/state.db"
    with test_disk_errors.quickly():
        folder.mkdir()
        counting = test_disk_errors.Faults(error)
        test_disk_errors.trial(folder, url, counting)
        for first in range(counting.number - 1, 0, -1):
            shutil.rmtree(folder)
            folder.mkdir()
            faults = test_disk_errors.Faults(error, first, times)
            lost, silent, found = test_disk_errors.trial(folder, url, faults)
            tally.found(found, lost=lost, silent=silent)
            if silent and notices in found:
                return
    raise AssertionError(f"nothing is {notices}")


def test_without_retries_saving_does_not_go_on(
    isolated: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a save has failed, none is tried before somebody asks for it."""
    failed = FlushPolicy.failed

    def for_ever(policy: FlushPolicy, now: float) -> None:
        failed(policy, now)
        policy._not_before = math.inf

    monkeypatch.setattr(FlushPolicy, "failed", for_ever)
    monkeypatch.setattr(FlushJob, "_gives_up", lambda *_: True)
    monkeypatch.setattr(test_disk_errors, "PATIENCE", 0.5)
    disk_errors(isolated / "disk", errno.EROFS, tally, 1, "never saved")
    assert tally.silent


def test_without_spills_what_was_not_saved_at_the_end_is_missing(
    isolated: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are written, and nobody looks for them."""
    monkeypatch.setattr(spill, "find", lambda *_: [])
    monkeypatch.setenv("TMPDIR", str(isolated / "temporary"))
    monkeypatch.setattr(test_disk_errors, "PATIENCE", 1)  # it may fail before the end, and go on
    disk_errors(isolated / "disk", errno.ENOSPC, tally, 10_000, "not picked up")
    assert tally.silent
