"""Changes that the last save could not write are picked up by the next start."""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict
from autostate.errors import FlushError, StoreUnavailableError
from autostate.journal import Journal
from autostate.saving import spill
from autostate.saving.thread import FlushThread
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore
from tests.runtime.unsteady import Full, Unsteady


def _leave_a_spill(**settings: Any) -> None:
    store = Full("s.db")
    with pytest.raises(FlushError, match="the next start picks them up"):  # noqa: SIM117
        with autostate.open(store, flush_timeout=0.3, **settings):
            made = PersistedDict("a", x=1)
            autostate.flush()
            store.full = True
            made["y"] = 2


def test_a_last_save_that_fails_is_picked_up_by_the_next_start(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From a private file beside the database, which is gone after that."""
    _leave_a_spill()
    [path] = isolated.glob("s.db.spill-*.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1, "y": 2}
    assert "picked up" in caplog.text
    assert not list(isolated.glob("*.jsonl"))
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1, "y": 2}


def test_a_spill_is_not_applied_over_later_work(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another incarnation has saved since: the file is renamed and named in an error."""
    _leave_a_spill()
    journal = Journal(SqliteStore("s.db"))
    journal.recover()
    journal.commit([b'{"id":1,"put":{"z":3}}'])
    journal._store.close()
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1, "z": 3}
    assert not list(isolated.glob("*.jsonl"))
    [kept] = isolated.glob("*.conflict")
    assert kept.name in caplog.text
    assert b'"y":2' in kept.read_bytes()


def test_a_damaged_spill_is_renamed(
    isolated: Path, caplog: pytest.LogCaptureFixture, rng: random.Random
) -> None:
    """Half a file, or one with another byte, is logged and kept; the state is resumed without."""
    _leave_a_spill()
    [path] = isolated.glob("*.jsonl")
    whole = path.read_bytes()
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a")["y"] = 3  # from here on no spill goes on from the state
    for _ in range(30):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(rng.choice([bytes(content), whole[: rng.randrange(len(whole))]]))
        path.chmod(0o600)
        caplog.clear()
        with autostate.open("sqlite:///s.db"):
            assert PersistedDict("a") == {"x": 1, "y": 3}
        assert not path.exists()
        if content != whole:
            assert "is kept as" in caplog.text or "not applied" in caplog.text


def test_a_spill_of_a_program_with_a_key_is_signed(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the signature, or with that of another key or store, it is renamed."""
    key, other = "a secret of at least sixteen bytes", "another secret of sixteen"
    forged: dict[str, bytes] = {}
    for sort, settings in {"unsigned": {}, "other": {"key": other}}.items():
        _leave_a_spill(**settings)
        [path] = isolated.glob("s.db.spill-*.jsonl")
        forged[sort] = path.read_bytes()
        for left in isolated.glob("s.db*"):
            left.unlink()
    for encrypt in (False, True):
        _leave_a_spill(key=key, encrypt=encrypt)
        [path] = isolated.glob("s.db.spill-*.jsonl")
        mine = path.read_bytes()
        assert (b'"y":2' in mine) != encrypt
        for content in (*forged.values(), mine[:-2] + b"!!", mine):
            path.write_bytes(content)
            caplog.clear()
            with autostate.open("sqlite:///s.db", key=(other + "!", key)):
                assert PersistedDict("a") == {"x": 1, **({"y": 2} if content == mine else {})}
            assert ("is not to be believed" in caplog.text) == (content != mine)
        assert len([*isolated.glob("*.bad")]) == 1  # all had one name
        for left in isolated.glob("s.db*"):
            left.unlink()


class Silent(SqliteStore):
    """The first write arrives, but no answer comes back; the later ones do not even arrive."""

    arrived = False

    def write(self, *args: Any, **kwargs: Any) -> None:
        """Write, and fail."""
        if not self.arrived:
            super().write(*args, **kwargs)
            self.arrived = True
        raise StoreUnavailableError("no answer")


@pytest.mark.parametrize("before", [False, True])
def test_a_spill_goes_on_from_a_commit_of_which_nobody_knew(
    isolated: Path, caplog: pytest.LogCaptureFixture, *, before: bool
) -> None:
    """The first of a process, on top of the state of another one or of none."""
    if before:
        with autostate.open("sqlite:///s.db"):
            PersistedDict("a", x=0)
    store = Silent("s.db")
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        PersistedDict("a")["x"] = 1
    assert store.arrived
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}
    assert "were picked up" in caplog.text
    assert not list(isolated.glob("*.conflict"))


def test_a_spill_goes_on_from_the_very_state(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not from one of another process that has the same epoch and number."""
    _leave_a_spill()
    [path] = isolated.glob("*.jsonl")
    kept = path.read_bytes()
    for left in isolated.glob("s.db*"):
        left.unlink()
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", x=7)
    path.write_bytes(kept)
    path.chmod(0o600)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 7}
    assert "The changes were not applied" in caplog.text


def _owned_by_another(path: Path) -> None:
    try:
        os.chown(path, 65534, 65534)
    except PermissionError:
        pytest.skip("only root can give a file away")


def _become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


NOT_OWN: dict[str, Callable[[Path], object]] = {
    "another user's": _owned_by_another,
    "a link": lambda path: path.symlink_to(path.rename("elsewhere")),
    "another name of a file": lambda path: Path("elsewhere").hardlink_to(path),
    "writable for others": lambda path: path.chmod(0o622),
    "a pipe": _become_a_pipe,
    "nested without an end": lambda path: path.write_text("[" * 100_000),
}


@pytest.mark.parametrize("how", NOT_OWN)
def test_a_spill_that_somebody_else_may_have_written_is_not_believed(
    isolated: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """It would become state; and whatever it is, the program starts."""
    _leave_a_spill()
    [path] = isolated.glob("s.db.spill-*.jsonl")
    NOT_OWN[how](path)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}
    assert not os.path.lexists(path)
    assert os.path.lexists(path.with_suffix(".bad"))
    assert path.name in caplog.text


def test_a_spill_is_found_whatever_the_name_of_the_database(tmp_path: Path) -> None:
    """One with characters that stand for others in patterns."""
    url = f"sqlite:///{tmp_path}/jobs[1]?.db"
    written = spill.write(url, spill.Base((None,)), [b"{}"])
    assert [one.path for one in spill.find(url)] == [written]


def test_a_spill_of_another_store_is_not_taken(isolated: Path) -> None:
    """The file's name says for which database it is."""
    spill.write("apify:one", spill.Base((None,)), [b"{}"])
    assert spill.find("apify:other") == []
    assert len(spill.find("apify:one")) == 1


def test_changes_that_a_first_incarnation_never_saved_are_picked_up(isolated: Path) -> None:
    """Also when not even its first commit went through."""
    store = Full("s.db")
    store.full = True
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        PersistedDict("a", x=1)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"x": 1}


def test_nothing_is_spilled_for_a_store_in_memory(isolated: Path) -> None:
    """It would never be asked for."""
    with pytest.raises(FlushError), autostate.open(Unsteady("m", writes=1000), flush_timeout=0.3):
        PersistedDict("a", x=1)
    assert list(isolated.iterdir()) == []


def test_what_was_written_is_not_called_lost(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last save went through; the store only did not say who owns the state."""
    stop = FlushThread.stop

    def stop_in_doubt(flush_thread: FlushThread, timeout: float) -> None:
        stop(flush_thread, timeout)
        raise FlushError("nobody knows")

    monkeypatch.setattr(FlushThread, "stop", stop_in_doubt)
    with (
        pytest.raises(FlushError, match=r"nobody knows$") as raised,
        autostate.open("sqlite:///s.db"),
    ):
        PersistedDict("a", x=1)
    assert type(raised.value) is FlushError
    assert not list(isolated.glob("*.jsonl"))


def test_a_failed_end_of_the_default_manager_is_loud(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log and on standard error, with the place of the file."""
    store = Full("s.db")
    store.full = True
    manager = autostate.open(store, flush_timeout=0.3)
    manager.create("a", "dict", lambda: PersistedDict.__new__(PersistedDict))
    with caplog.at_level(logging.CRITICAL, logger="autostate"):
        manager.finish(0.3)
    assert "the disk is full" in capsys.readouterr().err
    assert ".jsonl" in caplog.text


class Platform(MemoryStore):
    """A store as Apify's: no conditional writes, each write paid for."""

    atomic = False
    conditional = False
    metered = True


def test_a_new_container_fences_the_old_one_before_it_saves_itself() -> None:
    """What the old one saves after the new one has read cannot fence the new one."""
    fenced = pytest.raises(autostate.FencedError)
    with fenced, autostate.open(Platform("run")) as old:  # leaving it cannot save either
        state = PersistedDict("progress", page=1)
        old.flush()
        with autostate.open(Platform("run")) as new:
            resumed = PersistedDict[str, int]("progress")
            state["page"] = 2
            with pytest.raises(autostate.FencedError):
                old.flush()
            resumed["page"] = 10
            new.flush()
    with autostate.open(Platform("run")):
        assert PersistedDict("progress") == {"page": 10}


def test_changes_that_were_not_saved_go_on_from_no_backup(
    isolated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an older state of the same process: with them it would be a mixture."""
    store = Full("s.db")
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        state = PersistedDict("a", number=0)
        autostate.flush()
        shutil.copy("s.db", "backup.db")
        state["number"] = 1
        autostate.flush()
        store.full = True
        state["late"] = True
    shutil.copy("backup.db", "s.db")
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"number": 0}
    assert "The changes were not applied" in caplog.text
    assert [*isolated.glob("*.conflict")]


def test_changes_that_were_not_saved_are_found_under_any_name(isolated: Path) -> None:
    """A link to the file is the same store."""
    (isolated / "other").mkdir()
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", number=0)
    (isolated / "other" / "link.db").symlink_to(isolated / "s.db")
    store = Full("other/link.db")
    with pytest.raises(FlushError), autostate.open(store, flush_timeout=0.3):
        store.full = True
        PersistedDict("a")["number"] = 1
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"number": 1}
