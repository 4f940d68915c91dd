"""States that are only read: nothing is made, nothing is changed, and nobody is disturbed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

import autostate
from autostate.errors import NotStoredError, ReadOnlyError, StoreError
from autostate.journal import Journal
from autostate.journal.head import SEGMENTS
from autostate.runtime.stored_state import read_state
from autostate.stores import open_store
from autostate.stores.sqlite_view import SqliteView
from autostate.testing.platform import LocalPlatform
from autostate.testing.wire import data_response

STORE: Final = Path("s.db")
LOOKS: Final = 300


@autostate.persisted
class Shop:
    """A state object of a class of the program."""

    page: int = 1
    tags: list[int] = []


def _files() -> list[str]:
    return sorted(each.name for each in Path().iterdir())


def _fill() -> None:
    with autostate.open(STORE):
        autostate.PersistedDict("d", a=1, nested={"x": [1, 2]})
        autostate.PersistedList("l", [1, 2, 3])
        autostate.PersistedSet("s", {1})
        autostate.PersistedCounter("c")["x"] += 1
        autostate.PersistedDeque("q").extend([1, 2])
        Shop().tags = [1]
        for _ in autostate.resume("loop", [1, 2, 3]):
            break


@pytest.fixture
def filled(isolated: Path) -> Path:
    """A folder with a state of all kinds."""
    _fill()
    assert _files() == [STORE.name]
    return isolated


@pytest.fixture
def view(filled: Path) -> Iterator[None]:
    """The same, opened to be read."""
    with autostate.open(STORE, readonly=True):
        yield


def _walk() -> None:
    for _ in autostate.resume("loop", [1, 2, 3]):
        pass


WRITES: Final[dict[str, Callable[[], Any]]] = {
    "dict": lambda: autostate.PersistedDict("d").update(a=2),
    "a nested list": lambda: autostate.PersistedDict("d")["nested"]["x"].append(3),
    "pop": lambda: autostate.PersistedDict("d").pop("a"),
    "list": lambda: autostate.PersistedList("l").sort(reverse=True),
    "set": lambda: autostate.PersistedSet("s").add(2),
    "counter": lambda: autostate.PersistedCounter("c").update(x=1),
    "deque": lambda: autostate.PersistedDeque("q").rotate(),
    "an attribute": lambda: setattr(Shop(), "page", 2),
    "an attribute that goes": lambda: delattr(Shop(), "page"),
    "in an attribute": lambda: Shop().tags.append(2),
    "delete by name": lambda: autostate.delete("d"),
    "delete of an object": lambda: autostate.delete(autostate.PersistedDict("d")),
    "delete of what is not there": lambda: autostate.delete("missing"),
    "adopt": lambda: autostate.adopt("RECORD"),
    "a loop": _walk,
    "a new loop": lambda: list(autostate.resume("other", [1])),
    "a new object": lambda: autostate.PersistedDict("new"),
    "a new object with defaults": lambda: autostate.PersistedDict("new", page=1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_whatever_would_write_is_refused(view: None, write: Callable[[], Any]) -> None:
    """Before anything changes, in memory too."""
    content = STORE.read_bytes()
    shown = autostate.export(autostate.PersistedDict("d")), vars(Shop())
    with pytest.raises(ReadOnlyError):
        write()
    assert (autostate.export(autostate.PersistedDict("d")), vars(Shop())) == shown
    autostate.flush()
    assert STORE.read_bytes() == content
    assert _files() == [STORE.name]


def test_a_flush_with_something_changed_is_refused(filled: Path) -> None:
    """What was changed past the methods of the container is told of, too."""
    manager = autostate.open(STORE, readonly=True)
    with manager:
        dict.__setitem__(autostate.PersistedDict("d"), "a", 2)
        with pytest.raises(ReadOnlyError):
            autostate.flush()
        with pytest.raises(autostate.FlushError, match="LOST"):
            manager.close()


def test_a_pickled_value_of_an_older_key_is_no_change(isolated: Path) -> None:
    """Only who may write signs it anew."""
    new, old = "the new key of the user", "the old key of the user"
    with autostate.open(f"sqlite:///{STORE}", key=old):
        autostate.PersistedDict("d")["value"] = autostate.pickled(complex(1, 2))
    with autostate.open(f"sqlite:///{STORE}", key=(new, old), readonly=True):
        assert autostate.PersistedDict("d") == {"value": complex(1, 2)}


def test_a_name_that_is_not_stored_lists_those_that_are(view: None) -> None:
    """Without the names of the library's own."""
    with pytest.raises(NotStoredError) as error:
        autostate.PersistedDict("dd")
    told = "It holds: 'Shop', 'c', 'd', 'l', 'loop', 'q', 's'"
    assert str(error.value).endswith(told)
    assert isinstance(error.value, LookupError)


def test_the_environment_can_say_so(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a program that is not to be changed."""
    monkeypatch.setenv("AUTOSTATE_READONLY", "1")
    monkeypatch.setenv("AUTOSTATE_URL", f"sqlite:///{STORE}")
    with pytest.raises(ReadOnlyError):
        autostate.PersistedDict("d")["a"] = 2


def test_a_missing_file_is_an_error_and_is_not_made(isolated: Path) -> None:
    """The message names what lies there instead."""
    with pytest.raises(StoreError, match=r"no such file$"):
        autostate.open("sqlite:///folder/s.db", readonly=True)
    Path("other.db").touch()
    with pytest.raises(StoreError, match=r"there are: other\.db$"):
        autostate.open(STORE, readonly=True)
    assert _files() == ["other.db"]


def test_what_cannot_be_a_state_is_an_error(isolated: Path) -> None:
    """As for a store that is to be written."""
    Path("folder.db").mkdir()
    Path("empty.db").touch()
    Path("text.db").write_text("no database at all" * 100)
    sqlite3.connect("foreign.db").executescript("CREATE TABLE other (a)").connection.close()
    names = _files()
    for name in names:
        with pytest.raises(StoreError), autostate.open(Path(name), readonly=True):
            autostate.PersistedDict("d")
    assert _files() == names


READS: Final = """
import os, tempfile, autostate

def read(url):
    with autostate.open(url, readonly=True):
        return autostate.PersistedDict("d")["nested"]

if os.geteuid() == 0:  # has rights that nobody else has
    with tempfile.TemporaryDirectory() as folder:  # imports all that is needed
        with autostate.open(f"sqlite:///{folder}/s.db"):
            autostate.PersistedDict("d", nested=1)
        read(f"sqlite:///{folder}/s.db")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(read("sqlite:///s.db"))
"""


@pytest.fixture
def shared_folder(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that others can reach, with a state in it, and then not writable by anybody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.chdir(folder)
        _fill()
        yield folder
        folder.chmod(0o755)
        monkeypatch.undo()


def _read_as_somebody(folder: Path) -> subprocess.CompletedProcess[str]:
    """Read in a process that has no rights of root, in a folder that is not writable."""
    for each in folder.iterdir():
        each.chmod(0o444)
    folder.chmod(0o555)
    return subprocess.run(
        [sys.executable, "-c", READS], capture_output=True, text=True, check=False
    )


def test_a_file_that_is_not_writable_in_such_a_folder(shared_folder: Path) -> None:
    """Nothing has to be made to read it."""
    done = _read_as_somebody(shared_folder)
    assert done.stdout == "{'x': [1, 2]}\n", done.stderr
    assert _files() == [STORE.name]


def test_what_cannot_be_rolled_back_is_told(shared_folder: Path) -> None:
    """Where nothing may be written."""
    _kill_in_a_commit()
    done = _read_as_somebody(shared_folder)
    assert "can be read as soon as that is rolled back" in done.stderr
    assert _files() == ["s.db", "s.db-journal"]


KILLED: Final = """
import os, sqlite3
connection = sqlite3.connect("s.db", isolation_level=None)
connection.execute("PRAGMA journal_mode = TRUNCATE")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE records SET value = x'00'")
for i in range(300):
    connection.execute("INSERT INTO records VALUES (?, zeroblob(10000))", (f"autostate-{i}",))
os.kill(os.getpid(), 9)
"""


def _kill_in_a_commit() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Path("s.db-journal").stat().st_size


def test_what_a_killed_process_left_half_way_is_rolled_back(filled: Path) -> None:
    """Nothing is lost of what was acknowledged, and nothing is there of what was not."""
    _kill_in_a_commit()
    with autostate.open(STORE, readonly=True):
        assert autostate.PersistedDict("d")["nested"] == {"x": [1, 2]}


def test_a_process_is_killed_in_a_commit_while_another_one_reads(filled: Path) -> None:
    """The next read meets the journal that it has left."""
    store = open_store(STORE, readonly=True)
    keys = store.list("autostate-")
    _kill_in_a_commit()
    assert store.list("autostate-") == keys
    _kill_in_a_commit()
    Journal(store).recover()
    store.close()


def test_the_process_that_writes_may_read_beside(filled: Path) -> None:
    """It sees what was saved, as another process does."""
    with autostate.open(STORE):
        live = autostate.PersistedDict("d")
        live["a"] = 2
        autostate.flush()
        with autostate.open(STORE, readonly=True):
            seen = autostate.PersistedDict("d")
            assert seen is not live
            assert seen == {"a": 2, "nested": {"x": [1, 2]}}
        live["a"] = 3
        autostate.flush()
    with autostate.open(STORE, readonly=True):
        assert autostate.PersistedDict("d")["a"] == 3


JOB: Final = """
import logging, sys, autostate
logging.basicConfig(level=logging.WARNING)
autostate.configure("sqlite:///s.db", debounce=0, max_delay=0.01)
d, rows = autostate.PersistedDict("d"), autostate.PersistedDict("rows")
import select, time
number = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    number += 1
    with autostate.atomic():
        d["number"] = rows[number % 5000] = number
    rows["text"] = "x" * (number % 7 * 3000)
    if number == 1:
        autostate.flush()
        print("saved", flush=True)
autostate.flush()
found = autostate.statistics()
print(found.failures, number, flush=True)
"""


def test_hundreds_of_looks_beside_a_job_that_saves_all_the_time(isolated: Path) -> None:
    """None of its saves fails; each look sees one moment, never an earlier one than before."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "saved\n"
    before = 0
    for _ in range(LOOKS):
        with autostate.open(STORE, readonly=True):
            number = autostate.PersistedDict("d").get("number", 0)
            assert autostate.PersistedDict("rows").get(number % 5000, 0) == number
        assert number >= before
        before = number
    out, err = job.communicate("end\n", timeout=120)
    failures, number = map(int, out.split())
    assert (failures, err, job.returncode) == (0, "", 0)
    assert number >= before > 0
    with autostate.open(STORE, readonly=True):
        assert autostate.PersistedDict("d")["number"] == number


class TestReadOnlyStores:
    """Whatever kind of store it is, nothing can be written to it."""

    @pytest.mark.parametrize("url", ["sqlite:///s.db", "memory:readonly", "apify:"])
    def test_writes_are_refused(self, isolated: Path, url: str) -> None:
        """And nothing is there afterwards that was not before."""
        with autostate.open(url):
            autostate.PersistedDict("d", a=1)
        store = open_store(url, readonly=True)
        keys = store.list("autostate-")
        with pytest.raises(ReadOnlyError):
            store.write({"autostate-x": b"1"}, keys)
        assert store.list("autostate-") == keys
        assert [store.read(key) for key in keys] != [None] * len(keys)
        store.close()
        with autostate.open(url, readonly=True):
            assert autostate.PersistedDict("d") == {"a": 1}

    @pytest.mark.parametrize("url", ["sqlite:///s.db", "apify:shop"])
    def test_signed_records_are_those_of_the_same_state(self, isolated: Path, url: str) -> None:
        """Signatures are bound to a name that the reader knows, too."""
        with autostate.open(url, key="k" * 20):
            autostate.PersistedDict("d", a=1)
        with autostate.open(url, key="k" * 20, readonly=True):
            assert autostate.PersistedDict("d") == {"a": 1}

    def test_a_folder_of_apify_is_not_made(self, isolated: Path) -> None:
        """By a look at a store that is not there."""
        with autostate.open("apify:shop", readonly=True), pytest.raises(NotStoredError):
            autostate.PersistedDict("d")
        assert _files() == []


class TestOnThePlatform:
    """A named store is looked at as a folder is: nothing is made, and the owner is asked for."""

    @pytest.fixture
    def platform(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
        """The platform, with this process in a container of the run `mine`."""
        with LocalPlatform() as platform:
            for name, value in platform.environment().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("ACTOR_RUN_ID", "mine")
            yield platform

    def test_a_named_store_is_not_made(
        self, platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a look at one that is not there; one that is there is found among many."""
        monkeypatch.setattr("autostate.stores.apify_platform._PAGE", 2)
        for number in range(5):
            platform.stores.create(f"other-{number}")
        with autostate.open("apify:shop", readonly=True), pytest.raises(NotStoredError):
            autostate.PersistedDict("d")
        assert not any(store.name == "shop" for store in platform.stores.all())
        with autostate.open("apify:shop"):
            autostate.PersistedDict("d", a=1)
        with autostate.open("apify:shop", readonly=True):
            assert autostate.PersistedDict("d") == {"a": 1}
        assert "POST" not in {call.method for call in platform.traffic.calls_to("*")[-3:]}

    @pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", None])
    def test_the_owner_is_another_run(
        self, platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch, status: str | None
    ) -> None:
        """Whether it lives says the platform; if that says nothing, it does not count as alive."""
        run: Any = SimpleNamespace(
            answer=lambda *_: data_response({"status": status}), close=lambda: None
        )
        if status is not None:
            monkeypatch.setitem(platform.runs, "mine", run)
        with autostate.open("apify:shop"):
            autostate.PersistedDict("d", a=1)
            autostate.flush()
            state = read_state("apify:shop")
        assert state.alive
        monkeypatch.setattr("autostate.runtime.stored_state._owner", lambda *_: (None, False))
        state = read_state("apify:shop")  # as from another container
        assert state.alive == (status == "RUNNING")
        assert (state.owner is None) == (status is None)


def test_a_state_that_is_replaced_all_the_time_is_read_at_one_moment(isolated: Path) -> None:
    """Where reading in steps has failed again and again, the one that writes waits."""
    with autostate.open(STORE):
        live = autostate.PersistedDict("d", text="x" * 10_000, number=0)
        autostate.flush()
        view = open_store(STORE, readonly=True)
        assert isinstance(view, SqliteView)
        read = view.read

        def compacted(key: str, *, timeout: float | None = None) -> bytes | None:
            assert view._connection is not None
            if key.startswith(SEGMENTS) and not view._connection.in_transaction:
                live["number"] += 1
                autostate.flush()
                return None
            return read(key, timeout=timeout)

        view.read = compacted  # type: ignore[method-assign]
        assert len(Journal(view).recover().nodes) == 1
        assert live["number"] > 1
        view.close()
