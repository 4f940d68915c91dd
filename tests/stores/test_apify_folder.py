"""The store in the folder that the real SDK reads, off the platform."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from autostate.errors import DamagedStoreError, StoreError, StoreUnavailableError
from autostate.stores import open_store
from autostate.stores.apify import local_folder, purges_on_start
from autostate.stores.apify_folder import ApifyFolderStore
from autostate.stores.apify_record import read_record
from tests.campaign import LONG
from tests.conformance import store_kit
from tests.peers.forked import ProgramServer
from tests.stores.apify_stores import USES

pytestmark = pytest.mark.usefixtures("forked_actors")


@pytest.fixture
def folder() -> ApifyFolderStore:
    """The local default store."""
    store = open_store("apify:")
    assert isinstance(store, ApifyFolderStore)
    return store


def test_the_sdk_reads_the_local_records(
    folder: ApifyFolderStore, tmp_path: Path, sdk: Sdk
) -> None:
    """JSON comes back as JSON, other bytes as bytes, keys are listed, deleted ones are gone."""
    odd_key = "it's-(odd)!_.key"
    folder.write({"json": b'{"n":[1,2]}', "part": b'{"n":[1', odd_key: b"{}", "gone": b"{}"})
    folder.write({"json": b'{"n":3}'}, ["gone", "never-there"])
    read = sdk(
        f"""
        store = await Actor.open_key_value_store()
        keys = sorted([item.key async for item in store.iterate_keys()])
        print(keys, [await store.get_value(key) for key in keys])
        assert not await store.record_exists("gone")
        await store.set_value("theirs", {{"n": 4}})
        await store.set_value({odd_key!r}, {{"n": 5}})
        """
    )
    assert read == f"{sorted(['json', 'part', odd_key])} [{{}}, {{'n': 3}}, b'{{\"n\":[1']"
    assert json.loads(folder.read("theirs") or b"") == {"n": 4}
    assert json.loads(folder.read(odd_key) or b"") == {"n": 5}
    assert folder.list("") == sorted(["json", "part", odd_key, "theirs"])


@pytest.mark.parametrize("variable", ["APIFY_LOCAL_STORAGE_DIR", "CRAWLEE_STORAGE_DIR"])
def test_a_named_local_store_is_the_sdks(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sdk: Sdk
) -> None:
    """Folder and name are the SDK's, and the purge leaves it alone."""
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    open_store("apify:kept").write({"key": b'{"n":1}'})
    purged = sdk(
        """
        store = await Actor.open_key_value_store(name="kept")
        print(store.name, await store.get_value("key"))
        """,
        APIFY_PURGE_ON_START="1",
    )
    assert purged == "kept {'n': 1}"
    assert (tmp_path / "elsewhere" / "key_value_stores" / "kept" / "key").exists()


@pytest.mark.parametrize(
    ("variables", "purges"),
    [
        ({}, True),
        ({"APIFY_PURGE_ON_START": "0"}, False),
        ({"CRAWLEE_PURGE_ON_START": "false"}, False),
        ({"crawlee_purge_on_start": "off"}, False),
        ({"APIFY_PURGE_ON_START": "yes", "CRAWLEE_PURGE_ON_START": "0"}, True),
    ],
)
def test_the_purge_is_foretold(
    variables: dict[str, str],
    purges: bool,
    folder: ApifyFolderStore,
    monkeypatch: pytest.MonkeyPatch,
    sdk: Sdk,
) -> None:
    """The SDK wipes the default store exactly when we say so."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    folder.write({"key": b"{}", "INPUT": b"{}"})
    assert purges_on_start() == purges
    sdk("pass", **({"APIFY_PURGE_ON_START": "unset"} | variables))
    assert folder.list("") == (["INPUT"] if purges else ["INPUT", "key"])


def test_a_crash_between_any_two_steps_leaves_the_old_record_or_the_new(
    folder: ApifyFolderStore, monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    """The process ends before lines of a put and a delete in turn: each, in a long run."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a process ends here, not the power
    old, new = b'{"n":1}', b'{"n":2,"more":true}'
    seen = set()
    finished = False
    stride = 1 if LONG else 5
    for step in range(rng.randrange(stride), 5000, stride):
        shutil.rmtree(folder.folder, ignore_errors=True)
        folder.write({"replaced": old, "deleted": old})
        child = os.fork()
        if child == 0:
            crash_after(step)
            folder.write({"replaced": new, "made": new}, ["deleted"])
            os._exit(0)
        finished = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        found = [folder.read(key) for key in ("replaced", "made", "deleted")]
        seen.add(tuple(found))
        assert found[0] in {old, new}
        assert found[1] in {None, new}
        assert found[2] in {old, None}
        assert found[1] is None or found[0] == new, "a later put before an earlier one"
        assert found[2] is not None or found[1] == new, "a delete before a put"
        for metadata in folder.folder.glob("*.__metadata__.json"):
            value = metadata.with_name(metadata.name.removesuffix(".__metadata__.json"))
            assert value.exists(), "the SDK would list a record that is not there"
        if finished:
            break
    assert finished
    assert len(seen) == 4, "not every intermediate state was met"


def test_a_value_or_metadata_alone_is_no_record(folder: ApifyFolderStore, sdk: Sdk) -> None:
    """Half a record is none, for the SDK and for us, and writing it mends it."""
    folder.write({"a": b"{}", "b": b"{}"})
    (folder.folder / "a.__metadata__.json").unlink()
    (folder.folder / "b").unlink()
    assert (folder.read("a"), folder.read("b"), folder.list("")) == (None, None, [])
    assert sdk("print(await Actor.get_value('a'), await Actor.get_value('b'))").endswith(
        "None None"
    )
    folder.write({"a": b'{"n":1}'})
    assert folder.read("a") == b'{"n":1}'


def test_what_killed_processes_left_aside_is_removed(folder: ApifyFolderStore) -> None:
    """Old leftovers go at the first write; young ones may belong to a living process."""
    folder.write({"key": b"{}"})
    for name, age in ((".old.autostate-tmp", 7200), (".young.autostate-tmp", 60)):
        path = folder.folder / name
        path.write_bytes(b"left")
        os.utime(path, (time.time() - age, time.time() - age))
    open_store("apify:").write({"key": b"{}"})
    assert {path.name for path in folder.folder.glob(".*tmp")} == {".young.autostate-tmp"}


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    """A file where the folder should be: trying again will not help."""
    (tmp_path / "file").write_text("in the way")
    store = ApifyFolderStore(tmp_path / "file" / "default", "apify:", 9)
    for use in (USES["write"], USES["list"]):
        with pytest.raises(StoreError, match="make the folder") as refused:
            use(store)
        assert not isinstance(refused.value, StoreUnavailableError)


def plant_link(path: Path) -> None:
    """A symbolic link to a file that holds what a record could."""
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_bytes(b'{"secret":1}')
    path.symlink_to(elsewhere)


def plant_socket(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(os.path.relpath(path))


def plant_much(path: Path) -> None:
    """A file of a terabyte, which takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (plant_link, "is a symbolic link, which is not followed"),
    "loop": (lambda path: path.symlink_to(path.name), "is a symbolic link"),
    "pipe": (os.mkfifo, "is no file"),
    "socket": (plant_socket, "is no file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link"),
    "folder": (Path.mkdir, "is no file"),
    "much": (plant_much, "has 1,099,511,627,776 bytes"),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("suffix", ["", ".__metadata__.json"])
def test_what_is_planted_for_a_record_is_not_opened(
    folder: ApifyFolderStore, kind: str, suffix: str
) -> None:
    """No link is followed, nothing waits for a pipe, nothing is read that is too large."""
    plant, message = PLANTED[kind]
    folder.write({"key": b"{}", "other": b"{}"})
    path = folder.folder / f"key{suffix}"
    path.unlink()
    plant(path)
    for read in (folder.read, lambda key: read_record(None, key)):
        if suffix and read != folder.read:
            continue  # a value is one without metadata, too
        with pytest.raises(DamagedStoreError, match=message) as refused:
            read("key")
        assert str(path) in str(refused.value)
        assert "move it away" in str(refused.value)
    assert folder.read("other") == b"{}"
    if kind == "folder":
        return
    folder.write({"key": b'{"new":1}'})
    assert folder.read("key") == b'{"new":1}'
    assert stat.S_ISREG(path.lstat().st_mode)
    elsewhere = folder.folder.parent / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == b'{"secret":1}'
    folder.write({}, ["key"])
    assert folder.list("") == ["other"]


def test_the_folder_of_a_store_may_be_a_link(folder: ApifyFolderStore, tmp_path: Path) -> None:
    """Users put `storage` on another disk."""
    other = tmp_path / "disk"
    other.mkdir()
    folder.folder.parent.mkdir(parents=True)
    folder.folder.symlink_to(other)
    folder.write({"key": b"{}"})
    assert (folder.read("key"), folder.list("")) == (b"{}", ["key"])
    assert (other / "key").exists()


def test_names_of_files_that_are_no_keys_are_not_listed(folder: ApifyFolderStore) -> None:
    """Each record is listed once, under the key by which it is read."""
    folder.write({"autostate-a": b"{}"})
    for name in (b"%61utostate-a", b"autostate-\xff", b"autostate-%FF"):
        for suffix in (b"", b".__metadata__.json"):
            (folder.folder / os.fsdecode(name + suffix)).write_bytes(b"{}")
    assert folder.list("autostate-") == ["autostate-a"]


def test_a_full_disk_is_unavailable_and_leaves_the_old_record() -> None:
    """What a full disk refuses may work later; nothing half-written is left."""
    script = """
        import resource, signal, sys
        sys.dont_write_bytecode = True  # Python 3.11 would leave a part of it
        from autostate.errors import StoreUnavailableError
        from autostate.stores import open_store
        store = open_store("apify:")
        store.write({"key": b"{}"})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            store.write({"key": b"x" * 100_000})
        except StoreUnavailableError:
            print("unavailable")
        assert store.read("key") == b"{}"
        assert not list(store.folder.glob(".*tmp"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "unavailable\n", done.stderr


def test_the_local_folder_is_fixed_when_the_store_is_opened(
    folder: ApifyFolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its working directory goes on saving where it began."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder.write({"key": b"{}"})
    assert (tmp_path / "storage" / "key_value_stores" / "default" / "key").exists()
    assert local_folder("x") == elsewhere / "storage" / "key_value_stores" / "x"


@pytest.mark.parametrize("check", store_kit.CHECKS, ids=store_kit.name)
def test_the_folder_conforms(check: store_kit.Check) -> None:
    """The local store keeps every promise of a store."""
    check(lambda: open_store("apify:"))


Sdk = Callable[..., str]
"""Runs something with the real SDK in a process of its own, and gives its last line."""


@pytest.fixture
def sdk(program_server: ProgramServer) -> Sdk:
    """The SDK, with variables of the environment; "unset" stands for one that is not there."""

    def run(body: str, **variables: str) -> str:
        main = textwrap.indent(textwrap.dedent(body), "        ")
        script = (
            "import asyncio\nfrom apify import Actor\nasync def main():\n"
            f"    async with Actor:\n{main}\nasyncio.run(main())\n"
        )
        env = {**os.environ, "APIFY_PURGE_ON_START": "0", **variables}
        if env["APIFY_PURGE_ON_START"] == "unset":
            del env["APIFY_PURGE_ON_START"]
        status, output, errors = program_server.run([sys.executable, "-c", script], env, Path.cwd())
        assert status == 0, errors
        lines = output.strip().splitlines()
        return lines[-1] if lines else ""

    return run


def crash_after(lines: int) -> None:
    """End this process before the nth line that it runs in the store or below it."""
    left = lines

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        code = frame.f_code
        changes = code.co_name in {"write_bytes", "replace", "unlink", "mkdir"}
        if not (code.co_filename.endswith("apify_folder.py") or changes):
            return None
        left -= 1
        if left < 0:
            os._exit(1)
        return trace

    sys.settrace(trace)
