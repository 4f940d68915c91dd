"""A store in a folder, whose files may be anything."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import autostate
from autostate.errors import DamagedStoreError, FencedError, StoreError
from autostate.files import sync_folder
from autostate.stores import Store, folder as folder_store, open_store
from autostate.stores.indexed import ABANDONED, INDEX, MOST, OBJECTS


def opened(folder: Path) -> Store:
    """The state `s` in a folder."""
    return open_store(f"file://{folder}?state=s")


def write_index(folder: Path, large: dict[str, str]) -> None:
    """Write an index as somebody else would."""
    content = ["autostate-index-1", "0", {}, large]
    (folder / INDEX).write_bytes(msgspec.msgpack.encode(content))


def test_a_large_record_may_be_expected(isolated: Path) -> None:
    """A takeover expects the head, whose size has no limit."""
    head, other = b"1" * 100_000, b"2" * 100_000
    with closing(opened(isolated)) as store:
        store.write({"head": head})
    with closing(opened(isolated)) as store:
        for wrong in (other, other[1:], None):
            with pytest.raises(FencedError):
                store.write({"head": b"3"}, expect={"head": wrong})
        store.write({"head": other}, expect={"head": head})
        assert store.read("head") == other


def test_a_bit_that_flips_in_the_index_hides_no_record(isolated: Path) -> None:
    """The digest of a record does not tell whether its key is still there."""
    with closing(opened(isolated)) as store:
        store.write({"shared-0-00000001-a": b"1", "shared-0-00000002-b": b"2"})
        index = isolated / "s" / INDEX
        sound = index.read_bytes()
        for place in range(len(sound)):
            damaged = bytearray(sound)
            damaged[place] ^= 1 << place % 8
            index.write_bytes(damaged)
            with pytest.raises(DamagedStoreError):
                store.list("")
        index.write_bytes(sound)
        assert len(store.list("")) == 2


def test_no_file_outside_of_the_folder_is_read_or_deleted(isolated: Path) -> None:
    """The index may name any."""
    outside = isolated / "outside"
    outside.write_bytes(b"precious")
    (isolated / "s").mkdir()
    write_index(isolated / "s", {"record": "../outside"})
    with closing(opened(isolated)) as store:
        with pytest.raises(DamagedStoreError, match="names an object"):
            store.read("record")
        with pytest.raises(DamagedStoreError, match="names an object"):
            store.write({"record": b"1"})
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("name", [INDEX, f"{OBJECTS}{'0' * 32}-9"])
def test_nothing_is_read_that_is_too_large_or_no_file(isolated: Path, name: str) -> None:
    """A sparse file of a terabyte, a named pipe, a link, or a folder, in the place of a file."""
    folder = isolated / "s"
    folder.mkdir()
    write_index(folder, {"record": f"{OBJECTS}{'0' * 32}-9"})
    file = folder / name
    with closing(opened(isolated)) as store:
        with file.open("wb") as sparse:
            sparse.truncate(MOST + 1)
        with pytest.raises(DamagedStoreError, match="bytes, more than any has"):
            store.read("record")
        other = isolated / "other"
        other.write_bytes(b"of somebody else")
        for make in (os.mkfifo, lambda path: path.symlink_to(other), Path.mkdir):
            file.unlink()
            make(file)
            with pytest.raises(StoreError):
                store.read("record")


def test_what_a_killed_process_has_left_is_deleted(isolated: Path) -> None:
    """A day later than it was written, whatever the clock says."""
    folder = isolated / "s"
    folder.mkdir()
    left, aside, young = f"{OBJECTS}{'1' * 32}-9", ".x.autostate-tmp", f"{OBJECTS}{'2' * 32}-9"
    with closing(opened(isolated)) as store:
        store.write({"record": b"x" * 10_000})
        for name, age in ((left, ABANDONED + 10), (aside, ABANDONED + 10), (young, 10)):
            (folder / name).write_bytes(b"")
            newest = max(each.stat().st_mtime for each in folder.glob(f"{OBJECTS}*"))
            os.utime(folder / name, (newest - age, newest - age))
        store.write({"record": b"y" * 10_000})
        store.write({}, ["record"])
    assert not {left, aside} & {each.name for each in folder.iterdir()}
    assert young in {each.name for each in folder.iterdir()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_child_that_is_forked_meanwhile_keeps_no_lock(
    is_killed: bool, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long-lived worker of a server would keep all others out for good."""
    children: list[int] = []

    def fork_now(folder: Path) -> None:
        sync_folder(folder)
        if not (child := os.fork()):
            os.close(ends)
            os.read(lives, 1)
            os._exit(0)
        children.append(child)
        if is_killed:
            os.kill(os.getpid(), signal.SIGKILL)

    lives, ends = os.pipe()
    with closing(opened(isolated)) as store:
        store.write({"a": b"1"})
        monkeypatch.setattr(folder_store, "sync_folder", fork_now)
        if is_killed and (parent := os.fork()):
            os.waitpid(parent, 0)
        else:
            store.write({"a": b"2"})
    monkeypatch.undo()
    with closing(opened(isolated)) as store:
        store.write({"b": b"3"}, timeout=0.2)
        assert store.read("a") == b"2"
    os.close(ends)
    os.close(lives)
    for child in children:
        os.waitpid(child, 0)


def test_a_folder_that_cannot_be_made_is_refused_at_the_start(isolated: Path) -> None:
    """Not at the first save; and who only reads makes nothing."""
    (isolated / "file").write_bytes(b"")
    for folder in (isolated / "file", Path("/proc/none"), Path("/proc")):
        with pytest.raises(StoreError, match=r"cannot be made|and writable"):
            opened(folder)
    with pytest.raises(StoreError, match="is no folder"):
        open_store(f"file://{isolated}?state=file")
    with (
        pytest.raises(StoreError, match="cannot be made"),
        autostate.open(f"file://{isolated}/file?state=s"),
    ):
        pytest.fail("it is told before anything is done")
    open_store(f"file://{isolated}?state=s", readonly=True).close()
    assert [*isolated.iterdir()] == [isolated / "file"]


@pytest.mark.parametrize("link", [False, True], ids=["a file", "a dangling link"])
def test_what_is_no_folder_is_told(isolated: Path, link: bool) -> None:
    """It may take the folder's place while a program runs; rights have nothing to do with it."""
    with closing(opened(isolated)) as store:
        (isolated / "s").rmdir()
        if link:
            (isolated / "s").symlink_to(isolated / "nowhere")
        else:
            (isolated / "s").write_text("")
        with pytest.raises(StoreError, match=r"no folder lies there\. Move it away"):
            store.write({"record": b"1"})
        (isolated / "s").unlink()
        store.write({"record": b"1"})
        assert store.read("record") == b"1"
