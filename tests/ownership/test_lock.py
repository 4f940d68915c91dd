"""The lock by which one tells whether the owner of a state lives."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autostate.errors import StateInUseError
from autostate.journal import Journal
from autostate.ownership.lock import OF_FILES, OwnerLock
from autostate.ownership.owner import Owner, ancestors, is_dying
from autostate.runtime.claim import Claim
from autostate.settings import Settings
from autostate.stores.memory import MemoryStore
from tests.process.programs import ROOT
from tests.test_interrupted_load import Interrupt

ME = Owner.this()

OTHER = """
import sys
from pathlib import Path
from autostate.ownership.owner import Owner
from autostate.journal import Journal
from autostate.ownership.lock import OwnerLock
lock = OwnerLock(Path(sys.argv[1]))
for line in sys.stdin:
    word, *numbers = line.split()
    epoch = int(numbers[0]) if numbers else 0
    if word == "acquire":
        living = lock.acquire(epoch, Owner.this())
    elif word == "beside":
        living = lock.acquire(epoch, Owner.this(), beside=True)
    elif word == "living":
        living = lock.living(epoch)
    elif word == "move":
        living = lock.move_to(epoch, Owner.this())
    else:
        living = lock.release()
    print(lock.byte, None if living is None else living.pid, flush=True)
"""


class Other:
    """Another process that may have a lock."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def __call__(self, *words: object) -> tuple[int | None, int | None]:
        """Let it do something; gives the byte that it holds, and the owner that it has seen."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*words, file=self.process.stdin, flush=True)
        byte, pid = self.process.stdout.readline().split()
        return (None if byte == "None" else int(byte)), (None if pid == "None" else int(pid))

    def end(self, *, kill: bool = False) -> None:
        """End it, in order or not."""
        if kill:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock file is to be."""
    return tmp_path / "s.db-owner"


@pytest.fixture
def lock(path: Path) -> Iterator[OwnerLock]:
    """A lock of this process."""
    made = OwnerLock(path)
    yield made
    made.release()


@pytest.fixture
def other(path: Path) -> Iterator[Other]:
    """Another process."""
    made = Other(path)
    yield made
    made.end(kill=True)


def test_who_asks_makes_no_file(lock: OwnerLock, path: Path) -> None:
    """A look leaves nothing behind."""
    assert lock.living(0) is None
    assert not path.exists()


def test_one_is_the_owner_until_it_gives_back(lock: OwnerLock, other: Other, path: Path) -> None:
    """And then the file is gone."""
    assert lock.acquire(3, ME) is None
    assert lock.byte == 4
    assert other("acquire", 3) == (None, os.getpid())
    assert other("living", 3) == other("living", 4) == (None, os.getpid())
    assert other("living", 5) == (None, None)  # that state is of a later owner
    lock.release()
    assert not path.exists()
    assert other("acquire", 4) == (5, None)
    living = lock.acquire(4, ME)
    assert living is not None
    assert living.pid == other.pid
    assert living.program == "python -c"


@pytest.mark.parametrize("kill", [True, False])
def test_an_end_of_any_sort_gives_back(lock: OwnerLock, other: Other, *, kill: bool) -> None:
    """What a kill leaves behind is used by the next one."""
    assert other("acquire", 7) == (8, None)
    other.end(kill=kill)
    assert lock.acquire(7, ME) is None


def test_beside_a_living_owner(lock: OwnerLock, other: Other) -> None:
    """Each has a byte, and who comes later sees the later one."""
    assert lock.acquire(3, ME) is None
    assert other("beside", 3) == (5, None)
    assert lock.living(5) is not None
    lock.release()
    assert lock.acquire(5, ME) is not None


def test_the_file_stays_while_another_one_holds_it(
    lock: OwnerLock, other: Other, path: Path
) -> None:
    """Without its name nobody would find the lock."""
    assert lock.acquire(3, ME) is None
    assert other("beside", 3) == (5, None)
    assert other("release") == (None, None)
    assert path.exists()
    assert other("living", 4) == (None, 0 if OF_FILES else os.getpid())


def test_a_state_that_was_begun_anew_takes_the_lock_along(lock: OwnerLock, other: Other) -> None:
    """Its epoch is a later one."""
    assert lock.acquire(3, ME) is None
    lock.move_to(9, ME)
    assert lock.byte == 9
    assert other("living", 9) == (None, os.getpid())
    assert other("acquire", 9) == (None, os.getpid())


@pytest.mark.parametrize("take", [False, True])
def test_an_owner_that_has_not_said_yet_who_it_is(
    path: Path, other: Other, monkeypatch: pytest.MonkeyPatch, *, take: bool
) -> None:
    """It has the lock first: a child that looks just then has to know its parent."""
    other("acquire", 3)
    said = path.read_bytes()
    path.write_bytes(b"")
    monkeypatch.setattr("autostate.runtime.claim.time.sleep", lambda _: path.write_bytes(said))
    found = Claim("sqlite:///store", path, Settings()).living(3, take=take)
    assert found is not None
    assert found.pid == other.pid


def test_a_file_that_was_deleted_is_made_anew(lock: OwnerLock, other: Other, path: Path) -> None:
    """Its locks are on what nobody can open any more."""
    assert other("acquire", 3) == (4, None)
    path.unlink()
    assert lock.acquire(3, ME) is None
    assert other("living", 3)[1] is not None


def test_a_lock_that_nobody_refers_to_is_given_back(path: Path, other: Other) -> None:
    """Ctrl-C may strike before whoever acquired it could note that."""
    forgotten = OwnerLock(path)
    assert forgotten.acquire(3, ME) is None
    del forgotten
    gc.collect()
    assert other("acquire", 3) == (4, None)


def test_a_forked_child_does_not_keep_it(lock: OwnerLock, other: Other) -> None:
    """Nor does it take it away, whatever it does with its own copy."""
    assert lock.acquire(3, ME) is None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        lock.release()
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    assert other("living", 3) == (None, os.getpid())
    lock.release()
    assert other("acquire", 3) == (4, None)
    os.close(writing)
    os.waitpid(child, 0)


def test_what_a_file_says_is_not_believed_of_what_is_gone(
    lock: OwnerLock, other: Other, path: Path
) -> None:
    """Whatever is in it. Where the system tells who holds a lock, that counts."""
    assert other("acquire", 3) == (4, None)
    gone = subprocess.Popen(["true"])
    gone.wait()
    told = 0 if OF_FILES else other.pid
    old = f'{{"pid": {gone.pid}, "program": "old.py"}}'
    for content in ("", "{", "[1]", '{"pid": "x"}', old):
        path.write_text(content)
        assert lock.living(3) == Owner(pid=told)


@pytest.mark.skipif(not OF_FILES, reason="the process has dropped its lock")
def test_whoever_copies_the_folder_keeps_the_lock(
    lock: OwnerLock, other: Other, path: Path, tmp_path: Path
) -> None:
    """A backup by the program itself reads the lock file, too."""
    assert lock.acquire(3, ME) is None
    shutil.copytree(path.parent, tmp_path.parent / "copy")
    path.read_bytes()
    assert other("acquire", 3) == (None, os.getpid())


def test_the_processes_of_which_one_descends() -> None:
    """Parents and their parents."""
    code = "from autostate.ownership.owner import ancestors; print(*ancestors())"
    shell = f'{sys.executable} -c "{code}"; true'
    done = subprocess.run(
        ["/bin/sh", "-c", shell],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {os.getpid(), *ancestors()} <= set(map(int, done.stdout.split()))


def test_an_owner_whose_lock_file_cannot_be_made_anew_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was deleted, and from now on nobody can tell that this process lives."""
    path = tmp_path / "store-owner"
    claim, journal = Claim("sqlite:///store", path, Settings()), Journal(MemoryStore())
    journal.recover()
    claim.acquire(3, None)
    assert claim.check(journal)
    path.unlink()

    def fails(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fails)
        assert not claim.check(journal)
    assert claim.check(journal)
    assert "its lock file was deleted, and cannot be made anew" in caplog.text
    claim.release()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_what_a_link_in_its_place_leads_to_stays_as_it_is(
    path: Path, link: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody may have put it there; it is said that nobody can tell who owns the state."""
    other = path.with_name("letters.txt")
    other.write_text("Dear Sir")
    link(path, other)
    claim = Claim(f"sqlite:///{path}", path, Settings())
    assert claim.living(0, take=True) is None
    assert "nobody can tell whether another process uses the state" in caplog.text
    claim.release()
    assert other.read_text() == "Dear Sir"


def test_ctrl_c_leaves_no_file_open(lock: OwnerLock, path: Path) -> None:
    """Wherever it strikes: the program goes on, and takes the lock when it tries again."""

    def open_files() -> int:
        return len([*Path("/dev/fd").iterdir()])

    before = open_files()
    number = 0
    while True:
        number += 1
        with contextlib.suppress(KeyboardInterrupt), Interrupt(number, KeyboardInterrupt) as left:
            lock.acquire(0, ME)
        if left.left > 0:
            break
        lock.release()
        assert open_files() == before, number
    assert number > 5
    assert lock.byte == 1


def test_no_pipe_or_folder_is_a_lock_file(path: Path) -> None:
    """Nor does anybody wait for whoever would write to the pipe."""
    for make in (os.mkfifo, os.mkdir):
        make(path)
        with pytest.raises(OSError, match=r"no file of its own|Is a directory"):
            OwnerLock(path).acquire(0, ME)
        (path.unlink if path.is_fifo() else path.rmdir)()


@pytest.mark.parametrize("since", [1e12, 1e300, -1e300, float("nan"), "yesterday", True])
def test_an_owner_of_no_date(since: object) -> None:
    """A clock may be wrong: who it is counts."""
    found = Owner.from_json({"pid": 1, "host": "h", "program": "p.py", "since": since})
    assert found is not None
    assert "process 1" in str(found)


def test_an_owner_that_is_being_killed_is_waited_for(
    other: Other, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its locks a moment longer than whoever kills it may wait before starting anew."""
    claim = Claim(f"sqlite:///{path}", path, Settings())
    assert other("acquire", 0)[1] is None
    with pytest.raises(StateInUseError):
        claim.acquire(0, None)
    asked: list[Owner] = []

    def dies(owner: Owner) -> bool:
        asked.append(owner)
        if len(asked) == 3:
            other.process.kill()
        return True

    monkeypatch.setattr("autostate.runtime.claim.is_dying", dies)
    assert claim.acquire(0, None) == 1
    assert {owner.pid for owner in asked} == {other.pid}
    claim.release()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_that_is_dying() -> None:
    """One that has exited, and was not waited for; none that lives, or is not of this machine."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner(child.pid, Owner.this().host)
    assert not is_dying(owner)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dying(owner)
    assert not is_dying(Owner(child.pid, "elsewhere"))
    child.communicate()
    assert not is_dying(owner)
    assert not is_dying(ME)
