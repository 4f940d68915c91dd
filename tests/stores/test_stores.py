from __future__ import annotations

import itertools
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autostate.errors import StoreError, StoreUnavailableError
from autostate.settings import Settings
from autostate.stores import open_store
from autostate.stores.keyed import KeyedStore
from autostate.stores.memory import MemoryStore
from autostate.stores.sqlite import SqliteStore
from tests.conformance import store_kit

_numbers = itertools.count()


@pytest.fixture(params=["memory", "sqlite", "signed", "encrypted"])
def open_(request: pytest.FixtureRequest, tmp_path: Path) -> store_kit.Open:
    """Open the same records of one kind of store again and again."""
    if request.param in ("signed", "encrypted"):
        settings = Settings(key="k" * 16, encrypt=request.param == "encrypted")
        return lambda: KeyedStore(SqliteStore(tmp_path / "state.db"), settings, name="state.db")
    if request.param == "memory":
        name = f"kit-{next(_numbers)}"
        return lambda: MemoryStore(name)
    return lambda: SqliteStore(tmp_path / "state.db")


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
def test_conforms(check: store_kit.Check, open_: store_kit.Open) -> None:
    """Memory and SQLite keep every promise of a store; so do protected records."""
    check(open_)


def test_urls_open_what_they_name(tmp_path: Path) -> None:
    """Each kind of URL opens its store; a store's own URL finds the same records again."""
    for url in ("memory:urls", "sqlite:///state.db", f"sqlite:///{tmp_path}/deep/er/state.db"):
        with store_kit.opened(lambda url=url: open_store(url)) as store:  # type: ignore[misc]
            store.write({"record": url.encode()})
            with store_kit.opened(lambda store=store: open_store(store.url)) as again:  # type: ignore[misc]
                assert again.read("record") == url.encode()
    assert (tmp_path / "state.db").is_file()
    assert (tmp_path / "deep/er/state.db").is_file()


def test_a_nameless_memory_store_is_private() -> None:
    """Two stores at `memory:` share nothing."""
    open_store("memory:").write({"record": b"1"})
    assert open_store("memory:").list("") == []


@pytest.mark.parametrize("url", ["", "state.db", "ftp://host", "sqlite:state.db", "sqlite:///"])
def test_an_unknown_url_is_an_error_that_names_the_known(url: str) -> None:
    """Whoever mistypes a URL is told which there are."""
    with pytest.raises(ValueError, match=r"sqlite:///relative/path.*memory:.*apify:NAME"):
        open_store(url)


def test_the_folder_is_private_and_ignored(tmp_path: Path) -> None:
    """State may hold cookies: its folder is for the owner alone and not for version control."""
    SqliteStore(tmp_path / "new" / ".autostate" / "state.db").close()
    folder = tmp_path / "new" / ".autostate"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / "new" / ".gitignore").exists()


def test_a_folder_that_was_there_is_left_alone(tmp_path: Path) -> None:
    """A folder of the user's gets no .gitignore, and keeps its mode."""
    folder = tmp_path / ".autostate"
    folder.mkdir(mode=0o755)
    SqliteStore(folder / "state.db").close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert not (folder / ".gitignore").exists()


def test_closing_leaves_one_file(tmp_path: Path) -> None:
    """After close there is one file, which can be copied."""
    store = SqliteStore(tmp_path / "state.db")
    store.write({"record": b"1"})
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


def test_every_write_is_synced(tmp_path: Path) -> None:
    """The journal is written and synced before the file, and truncated; also when reopened."""
    for _ in range(2):
        with store_kit.opened(lambda: SqliteStore(tmp_path / "state.db")) as store:
            connection = store._connection  # type: ignore[attr-defined]
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_file_that_is_no_database_is_refused_and_left(tmp_path: Path) -> None:
    """A wrong path is an error that says so; the file is not touched."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but something of value\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"notes\.txt is not an SQLite database: move it") as info:
        SqliteStore(path)
    assert not isinstance(info.value, StoreUnavailableError)
    assert path.read_bytes() == before


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """A path that is a folder is an error that says what to do."""
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A path below a file is an error that says what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        SqliteStore(tmp_path / "file" / "state.db")


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A database on which another connection holds the write lock."""
    path = tmp_path / "state.db"
    SqliteStore(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield path
    other.close()


def test_a_locked_database_is_unavailable(locked: Path) -> None:
    """A lock that is held for too long can be waited for again; reading goes on meanwhile."""
    with store_kit.opened(lambda: SqliteStore(locked)) as store:
        with pytest.raises(StoreUnavailableError, match="locked by another process"):
            store.write({"record": b"1"}, timeout=0)
        assert store.read("record", timeout=0) is None


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    """What does not fit is an error that may pass; what was there stays, and what fits goes in."""
    with store_kit.opened(lambda: SqliteStore(tmp_path / "state.db")) as store:
        store.write({"record": b"1"})
        connection = store._connection  # type: ignore[attr-defined]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")
        with pytest.raises(StoreUnavailableError, match="disk is full: free some space"):
            store.write({"small": b"2", "large": bytes(1 << 20)})
        assert store.list("") == ["record"]
        store.write({"small": b"2"})
        assert store.list("") == ["record", "small"]


_LIMITED = """
import resource, signal, sys
sys.dont_write_bytecode = True  # Python 3.11 would leave a part of it
from autostate.errors import StoreUnavailableError
from autostate.stores.sqlite import SqliteStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SqliteStore(sys.argv[1])
store.write({"record": b"1"})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    store.write({"large": bytes(1 << 20)})
except StoreUnavailableError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write({"later": b"2"})
print(store.list(""))
store.close()
"""


_PERMISSIONS_TAKEN = """
import fcntl, os, resource, signal, sys
sys.dont_write_bytecode = True  # Python 3.11 would leave a part of it
from pathlib import Path
from autostate.errors import StoreUnavailableError
from autostate.stores.sqlite import SqliteStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if os.getuid() == 0:
    os.setuid(65534)
path = Path(sys.argv[1])
store = SqliteStore(path)
store.write({"record": b"1"})
for each in (path, path.parent):
    each.chmod(0o555)
# A file that is open stays writable on most systems; some report it as the error of this limit.
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
try:
    store.write({"large": bytes(1 << 20)})
except StoreUnavailableError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limits on files here")
def test_permissions_that_are_taken_during_a_run_are_told() -> None:
    """Not the disk is to be looked at: SQLite has one error for both."""
    with tempfile.TemporaryDirectory() as name:  # not below tmp_path, which others cannot enter
        folder = Path(name)
        folder.chmod(0o777)
        run = subprocess.run(
            [sys.executable, "-c", _PERMISSIONS_TAKEN, str(folder / "own" / "state.db")],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent.parent,
        )
        (folder / "own").chmod(0o755)
    assert "own/state.db is not writable any more: check the permissions" in run.stdout


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limits on files here")
def test_a_file_that_cannot_grow_is_unavailable(tmp_path: Path) -> None:
    """The operating system refusing to write is an error that may pass, in a real process."""
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path / "state.db")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    error, listing = run.stdout.splitlines()
    assert "state.db" in error
    assert "disk" in error
    assert listing == "['later', 'record']"


_READ_ONLY = """
import os, sys
from autostate.errors import StoreError
from autostate.stores.sqlite import SqliteStore
if os.getuid() == 0:
    os.setuid(65534)
for path in sys.argv[1:]:
    try:
        SqliteStore(path).write({"record": b"1"})
    except StoreError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A folder and a database in it which nobody may write, reachable for every user."""
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, which other users cannot enter
    SqliteStore(folder / "state.db").close()
    (folder / "state.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_is_not_writable_is_refused_with_advice(unwritable: Path) -> None:
    """A folder or a file without write permission is an error that says where to look."""
    paths = [unwritable / "new.db", unwritable / "new" / "state.db", unwritable / "state.db"]
    run = subprocess.run(
        [sys.executable, "-c", _READ_ONLY, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    in_folder, new_folder, file = run.stdout.splitlines()
    told = f"cannot be made: the folder {unwritable} is not writable. Make it writable"
    assert in_folder.startswith(f"StoreError {paths[0]} {told}")
    assert new_folder.startswith(f"StoreError {paths[1]} {told}")
    assert file == f"StoreError {paths[2]} is not writable: check the permissions of the file"
