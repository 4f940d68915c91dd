"""Files and folders are private, whatever the umask is; data is on the drive, on macOS too."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from autostate.files import create, make_folder, sync
from autostate.stores.sqlite import SqliteStore

RUN = """
import os, sys
os.umask(int(sys.argv[1], 8))
import autostate
from autostate import PersistedDict, pickled
modes = set()
def look(*_):
    for folder, folders, files in os.walk("."):
        for each in [*folders, *files]:
            path = os.path.join(folder, each)
            try:
                modes.add((oct(os.lstat(path).st_mode & 0o7777), path.replace(os.sep, "/")))
            except FileNotFoundError:
                pass
sys.addaudithook(lambda event, _: look() if event in ("sqlite3.connect", "os.link") else None)
"""

PRINT = """
print(*(f"{mode} {path}" for mode, path in modes), sep="\\n")
"""

SQLITE = """
state = PersistedDict("state", f=pickled(len))
autostate.flush()
look()
import sqlite3
other = sqlite3.connect(".autostate/state.db")
other.execute("BEGIN IMMEDIATE")
other.execute("UPDATE records SET value = value")
look()
other.execute("ROLLBACK")
other.close()
autostate.flush()
autostate.backup("copy.db")
autostate.open("sqlite:///deep/er/state.db").__enter__()
PersistedDict("deep")["n"] = 1
look()
from autostate.saving import spill
spill.write("apify:", spill.Base((None,)), [b"{}"])
spill.write("sqlite:///spilled/state.db", spill.Base((None,)), [b"{}"])
look()
"""

FOLDER = """
state = PersistedDict("state", n=1)
autostate.flush()
look()
"""


def found(tmp_path: Path, umask: str, code: str, url: str) -> dict[str, str]:
    """The modes of what a program makes in an empty folder; a file may be seen under two modes."""
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "AUTOSTATE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    environment["TMPDIR"] = str(work)
    done = subprocess.run(
        [sys.executable, "-c", RUN + code + PRINT, umask],
        cwd=work,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        mode, path = line.split(" ", 1)
        made.setdefault(path, set()).add(mode)
    assert all(len(modes) == 1 for modes in made.values()), made
    return {path: min(modes) for path, modes in made.items()}


@pytest.mark.parametrize("umask", ["0", "777", "277"])
def test_all_that_belongs_to_a_database_is_private(tmp_path: Path, umask: str) -> None:
    """The file, before it has its name too; journal, lock, key, copies, spills; the folders."""
    made = found(tmp_path, umask, SQLITE, "sqlite:///.autostate/state.db")
    folders = {path for path in made if (tmp_path / "work" / path).is_dir()}
    assert {made[path] for path in folders} == {"0o700"}
    assert {made[path] for path in made.keys() - folders} == {"0o600"}
    kinds = ("state.db", "-owner", ".key", ".gitignore", "copy.db", ".jsonl", "/.autostate")
    for kind in kinds:
        assert any(path.endswith(kind) for path in made), kind
    assert any(".new-" in path for path in made)
    assert {"./deep", "./deep/er", "./spilled"} <= folders


SHARED = """
from autostate import SharedCounter
SharedCounter("pages")["done"] += 1
autostate.flush()
look()
"""

AGAIN = """
state = PersistedDict("state", n=1)
autostate.flush()
os.rename(".autostate", "moved")
state["n"] = 2
autostate.flush()
look()
"""


@pytest.mark.parametrize("code", [SHARED, AGAIN], ids=["shared objects alone", "moved away"])
def test_each_folder_of_the_library_is_private(tmp_path: Path, code: str) -> None:
    """Also of a program with shared objects alone, and one that is made anew during a run."""
    made = found(tmp_path, "22", code, "sqlite:///.autostate/state.db")
    assert made["./.autostate"] == "0o700"
    assert made["./.autostate/.gitignore"] == "0o600"


@pytest.mark.parametrize("umask", ["0", "22", "777", "277"])
def test_records_in_a_folder_are_private(tmp_path: Path, umask: str) -> None:
    """So is the folder; those above it hold the program's datasets, too."""
    made = found(tmp_path, umask, FOLDER, "apify:")
    store = "./storage/key_value_stores/default"
    assert made.pop(store) == "0o700"
    above = {made.pop("./storage"), made.pop("./storage/key_value_stores")}
    assert above == {"0o755" if umask in {"0", "22"} else "0o700"}
    assert len(made) > 3
    assert set(made.values()) == {"0o600"}


def test_what_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """Users share a database by a group: its lock file is shared as well."""
    work = tmp_path / "shared"
    work.mkdir(mode=0o770)
    work.chmod(0o2770)
    code = """
        import os, sys, autostate
        with autostate.open("sqlite:///state.db") as manager:
            autostate.PersistedDict("state", n=1)
            manager.flush()
        os.chmod("state.db", 0o660)
        with autostate.open("sqlite:///state.db") as manager:
            autostate.PersistedDict("state")["n"] = 2
            manager.flush()
            print(*sorted(f"{each.name} {each.stat().st_mode & 0o777:o}" for each in os.scandir()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "state.db 660 state.db-journal 660 state.db-owner 660\n"
    assert stat.S_IMODE(work.stat().st_mode) == 0o2770


def test_nothing_is_followed_or_replaced(tmp_path: Path) -> None:
    """A link that somebody has put there is no place for a file."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        create(tmp_path / "link")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "link")
    assert [each.name for each in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize("refused", [False, True])
def test_macos_is_asked_for_more_than_fsync(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `fsync` is called where a drive does not know that."""
    calls: list[Any] = []

    def control(_handle: int, command: int) -> int:
        calls.append(command)
        if refused:
            raise OSError
        return 0

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _handle: calls.append("fsync"))
    with (tmp_path / "file").open("wb") as file:
        sync(file.fileno())
    assert calls == ([51, "fsync"] if refused else [51])


def test_elsewhere_it_is_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `fsync` means it."""
    calls: list[int] = []
    monkeypatch.delattr(fcntl, "F_FULLFSYNC", raising=False)
    monkeypatch.setattr(os, "fsync", calls.append)
    sync(5)
    assert calls == [5]


def test_sqlite_asks_for_it_too(tmp_path: Path) -> None:
    """The setting is there on every system, and means something on macOS."""
    store = SqliteStore(str(tmp_path / "state.db"))
    assert store._connection is not None
    assert store._connection.execute("PRAGMA fullfsync").fetchone() == (1,)
    store.close()
