"""`autostate doctor`: how a store is found, and what may lose or hide a state."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

import autostate
from autostate.cli import checks, disk
from autostate.cli.disk import Mount, check_file_system, mount_of
from autostate.cli.findings import Finding
from autostate.saving import spill
from tests.cli.test_commands import _on_a_terminal, call, job, told  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("forked_programs")

URL: Final = "sqlite:///.autostate/crawl.db"
STORE: Final = Path(".autostate/crawl.db")
MOUNTS: Final = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
40 27 0:50 / /mnt/my\\040share rw,relatime shared:1 - nfs4 server:/export rw
41 27 0:51 / /mnt/my rw,relatime - fuse.sshfs host: rw
42 27 0:51 / /data rw,relatime - overlay overlay rw
a line that says nothing
"""


def found(*levels: str, arguments: tuple[str, ...] = ()) -> dict[str, str]:
    """The texts of the findings of these levels, by what they are about."""
    done = call("doctor", *arguments)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {about: text for level, about, text in rows if level in levels}


def texts(findings: Iterator[Finding], *levels: str) -> str:
    """The texts of the findings of these levels."""
    return "\n".join(each.text for each in findings if each.level in levels)


@pytest.fixture
def crawl(isolated: Path) -> Path:
    """The folder of a program that has ended."""
    with autostate.open(URL):
        autostate.PersistedDict("progress", page=1)
    return isolated


def test_nothing_is_wrong(crawl: Path) -> None:
    """All that was checked is told, and the exit code is 0."""
    before = {each: each.read_bytes() for each in Path().rglob("*") if each.is_file()}
    done = call("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told_of = json.loads(done.stdout)
    assert told_of["problems"] == 0
    abouts = [each["about"] for each in told_of["findings"]]
    assert {*abouts} - {"environment"} == {
        *("versions", "store", "file", "disk", "file system", "state", "owner", "clock")
    }
    assert {each: each.read_bytes() for each in Path().rglob("*") if each.is_file()} == before


def test_there_is_no_store_here(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But one in a folder above, or below."""
    (crawl / "scripts").mkdir()
    monkeypatch.chdir(crawl / "scripts")
    done = call("doctor")
    assert done.returncode == 1
    assert f"problem\tstore\tthere is no state in {crawl}/scripts" in done.stdout
    assert f"stores there: {crawl}/.autostate/crawl.db" in done.stdout
    (crawl / "other").mkdir()
    monkeypatch.chdir(crawl / "other")
    (crawl / ".autostate").rename(crawl / "other" / ".autostate")
    monkeypatch.chdir(crawl)
    assert f"stores there: {crawl}/other/.autostate/crawl.db" in found("note")["store"]


def test_the_environment(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that decide, that set nothing, and that keep a program from saving."""
    monkeypatch.setenv("AUTOSTATE_URL", "sqlite:///other.db")
    monkeypatch.setenv("AUTOSTATE_DEBOUNC", "1")
    monkeypatch.setenv("AUTOSTATE_READONLY", "1")
    monkeypatch.setenv("AUTOSTATE_KEY", "a-secret-of-the-user")
    warnings, notes = found("warning"), found("note")
    assert "AUTOSTATE_DEBOUNC sets nothing: did you mean" in warnings["environment"]
    assert "programs save nothing" in warnings["settings"]
    assert "Write the whole path: sqlite:////" in warnings["store"]
    assert "AUTOSTATE_URL leaves unused: crawl" in notes["store"]
    assert "a-secret" not in call("doctor").stdout
    assert "no such file" in found("problem")["state"]
    monkeypatch.setenv("AUTOSTATE_DEBOUNCE", "x")
    assert "AUTOSTATE_DEBOUNCE" in found("problem")["settings"]
    monkeypatch.setenv("AUTOSTATE_URL", "redis://me:password@127.0.0.1:1/0?state=a")
    assert "password" not in call("doctor").stdout


def test_takeover_and_memory(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the settings say is told without a process."""
    monkeypatch.setenv("AUTOSTATE_TAKEOVER", "1")
    assert "takes the state from a living one" in texts(checks.check_settings(URL), "warning")
    assert "ends with the process" in texts(checks.check_place("memory:"), "warning")


def test_apify(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK empties the default store of local runs; a container has no disk of its own."""
    with autostate.open("apify:"):
        autostate.PersistedDict("progress")
    told_of = found("warning", arguments=("--url", "apify:"))
    assert "set APIFY_PURGE_ON_START=0" in told_of["apify"]
    assert "warning" not in {each.level for each in checks.check_place("apify:kept")} or (
        "tmpfs" in texts(checks.check_place("apify:kept"), "warning")
    )
    monkeypatch.setenv("APIFY_PURGE_ON_START", "0")
    assert "PURGE" not in texts(checks.check_place("apify:"), "warning")
    monkeypatch.setenv("APIFY_IS_AT_HOME", "1")
    assert "gone after a migration" in texts(checks.check_place("sqlite:///a.db"), "warning")
    assert "has a default store of its own" in texts(checks.check_place("apify:"), "ok")


@pytest.mark.parametrize(
    ("path", "mount", "problem"),
    [
        ("/srv/a.db", Mount("/", "ext4"), None),
        ("/dev/shm/a.db", Mount("/dev/shm", "tmpfs"), "which is memory"),
        ("/mnt/my share/x/a.db", Mount("/mnt/my share", "nfs4"), "locks may not hold"),
        ("/mnt/my/a.db", Mount("/mnt/my", "fuse.sshfs"), "locks may not hold"),
        ("/mnt/mys/a.db", Mount("/", "ext4"), None),
        ("/data/a.db", Mount("/data", "overlay"), "the layer of a container"),
    ],
)
def test_file_systems(path: str, mount: Mount, problem: str | None) -> None:
    """Of networks, in memory, and of containers."""
    assert mount_of(Path(path), MOUNTS) == mount
    made = check_file_system(Path(path), mount)
    assert (made.level == "warning") == (problem is not None)
    assert (problem or "is on ext4") in made.text


def test_an_unknown_file_system() -> None:
    """Where the system does not tell."""
    assert mount_of(Path("/a"), "") is None
    assert check_file_system(Path("/a"), None).level == "note"


def test_the_file(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mode and names, its journal, the folder, the room on the disk."""
    STORE.chmod(0o644)
    os.link(STORE, "second.db")
    Path("link.db").symlink_to(STORE)
    STORE.with_name("crawl.db-journal").write_bytes(b"x")
    STORE.parent.chmod(0o777)
    os.utime(STORE, (time.time() + 1000,) * 2)
    monkeypatch.setattr(disk, "_LITTLE", 1 << 60)
    seen = list(disk.check_file(Path("link.db").absolute()))
    warnings = texts(iter(seen), "warning")
    assert f"mode 644), and a state may hold cookies and tokens: chmod 600 {crawl}" in warnings
    assert "has 2 names (hard links)" in warnings
    assert "written in the future" in warnings
    assert "MiB are free on the disk" in warnings
    assert "it is a link to" in texts(iter(seen), "note")
    assert "crawl.db-journal belongs to a commit" in texts(iter(seen), "note")
    seen = list(disk.check_file(STORE.absolute()))
    assert "everybody can replace files in" in texts(iter(seen), "warning")
    assert "is a folder" in texts(disk.check_file(crawl), "problem")
    assert "is not there yet" in texts(disk.check_file(crawl / "new.db"), "note")
    with closing(sqlite3.connect("wal.db")) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE a (b)")
    assert "is in SQLite's WAL mode" in texts(disk.check_file(crawl / "wal.db"), "warning")


def test_clocks(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save in the future, and a clock that was never set."""
    now = time.time()
    monkeypatch.setattr("autostate.cli.checks.time.time", lambda: now - 3600)
    assert re.search(r"3,\d\d\d s in the future", texts(checks.check_state(URL), "warning"))
    monkeypatch.setattr("autostate.cli.checks.time.time", lambda: 100.0)
    assert "set the clock" in texts(checks.check_state(URL), "warning")


def test_keys(crawl: Path) -> None:
    """Of pickled values, whose key lies beside the file."""
    with autostate.open(URL):
        autostate.PersistedDict("p")["a"] = autostate.pickled(Path)
    assert "copy it with the file" in texts(checks.check_state(URL), "ok")
    STORE.with_name("crawl.db.key").chmod(0o644)
    assert "can be read or written by others" in texts(checks.check_state(URL), "problem")
    STORE.with_name("crawl.db.key").unlink()
    assert "crawl.db.key is not there" in texts(checks.check_state(URL), "problem")


def test_what_a_process_left(crawl: Path) -> None:
    """Changes that it could not save."""
    made = spill.write(URL, spill.Base((None,)), [b"{}"])
    assert f"{made} holds changes" in texts(checks.check_state(URL), "warning")


def test_a_damaged_state(crawl: Path) -> None:
    """Is a problem, and told as elsewhere."""
    data = STORE.read_bytes()
    STORE.write_bytes(data.replace(b'"page":1', b'"page":2'))
    assert "is damaged" in found("problem")["state"]
    assert call("doctor").returncode == 1


def test_live_and_killed_owners(job: subprocess.Popen[str], isolated: Path) -> None:  # noqa: F811
    """It is named, and the folder in which it runs if that is another one."""
    assert f"process {job.pid} (job.py)" in found("note")["owner"]
    (isolated / "sub").mkdir()
    os.chdir(isolated / "sub")
    notes = call("doctor", "--url", "../.autostate/job.db").stdout
    assert f"note\towner\tits working directory is {isolated}\n" in notes
    os.chdir(isolated)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert found("ok")["owner"].endswith("has ended without releasing it")


@pytest.mark.parametrize("width", [80, 200])
def test_on_a_terminal(crawl: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are wrapped, and paths stay whole."""
    monkeypatch.setenv("AUTOSTATE_READONLY", "1")
    code, seen = _on_a_terminal("doctor", width=width)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in seen.splitlines()]
    assert code == 0
    assert lines[0].startswith("ok       versions      autostate ")
    assert any(line.startswith("WARNING  settings      AUTOSTATE_READONLY") for line in lines)
    assert re.fullmatch(r"problems: 0; warnings: \d", lines[-1])
    assert all(len(line) <= width or "/" in line for line in lines)
