"""Copies of a state in stores of all kinds."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import autostate
from autostate.cli.signing import sign
from autostate.errors import StateInUseError, StoreError
from autostate.stores import open_store

URLS: Final = ("memory:{folder}/{}", "sqlite:///{}.db", "apify:{}", "file://{folder}?state={}")
KEY: Final = "a secret of the user's own"
ROWS: Final = {str(number): "x" * 1000 for number in range(3000)}
CODE: Final = """
import sys, autostate
autostate.copy(*sys.argv[1:], progress=True)
"""


def _url(form: str, name: str) -> str:
    return form.format(name, folder=Path.cwd())


def _raw(url: str) -> dict[str, bytes]:
    store = open_store(url)
    try:
        return store.scan(("autostate-",))
    finally:
        store.close()


@pytest.mark.parametrize("to", URLS)
@pytest.mark.parametrize("from_", URLS)
def test_from_any_store_to_any_other(isolated: Path, from_: str, to: str) -> None:
    """In use or not; with what was written just now; and nothing is overwritten."""
    source, target, second = _url(from_, "from"), _url(to, "to"), _url(to, "second")
    with autostate.open(source):
        progress = autostate.PersistedDict("progress", page=1)
        autostate.PersistedDict[str, str]("rows").update(ROWS)
        progress["page"] = 2
        copy = autostate.copy(source, target)
        progress["page"] = 3
    with autostate.open(copy):
        again = autostate.PersistedDict("progress")
        assert again == {"page": 2}
        assert autostate.PersistedDict("rows") == ROWS
        again["page"] = 4
    assert autostate.copy(target, second).endswith(second[-10:])
    with autostate.open(second, readonly=True):
        assert autostate.PersistedDict("progress") == {"page": 4}
    with pytest.raises((StoreError, FileExistsError), match=r"holds a state|is there already"):
        autostate.copy(source, second)
    with autostate.open(second, readonly=True):
        assert autostate.PersistedDict("progress") == {"page": 4}


@pytest.mark.parametrize("to", URLS[1:])
@pytest.mark.parametrize("encrypt", [False, True])
def test_what_is_protected_stays_so(isolated: Path, to: str, encrypt: bool) -> None:
    """For the name of the copy, with the same key."""
    target = _url(to, "to")
    with autostate.open("sqlite:///from.db", key=KEY, encrypt=encrypt):
        autostate.PersistedDict("d")["value"] = autostate.pickled(complex(1, 2))
        autostate.PersistedDict("rows").update(ROWS)
        autostate.copy("sqlite:///from.db", target)
    for data in _raw(target).values():
        assert data.startswith(b'{"autostate":2,"%b":' % (b"encrypted" if encrypt else b"signed"))
    with autostate.open(target, key=KEY, readonly=True):
        assert autostate.PersistedDict("d") == {"value": complex(1, 2)}
        assert autostate.PersistedDict("rows") == ROWS


class Opaque:
    """Is pickled."""


def test_pickled_values_need_their_key(isolated: Path) -> None:
    """The key beside a file goes to another file only."""
    with autostate.open("sqlite:///from.db"):
        autostate.PersistedDict("d")["value"] = autostate.pickled(Opaque())
    with pytest.raises(StoreError, match="holds pickled values"):
        autostate.copy("sqlite:///from.db", f"memory:{isolated}/to")
    assert autostate.names(f"memory:{isolated}/to") == []
    with autostate.open(autostate.copy("sqlite:///from.db", "sqlite:///to.db"), readonly=True):
        assert isinstance(autostate.PersistedDict("d")["value"], Opaque)


def test_another_key_that_is_set_does_not_open_pickled_values(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the program has saved them with it: `sign` signs the records alone."""
    monkeypatch.setenv("AUTOSTATE_KEY", KEY.replace(" ", "-"))
    target = f"file://{isolated}?state=to"
    with autostate.open("sqlite:///from.db", key=()):
        autostate.PersistedDict("d")["value"] = autostate.pickled(Opaque())
    sign("sqlite:///from.db")
    with pytest.raises(StoreError, match="holds pickled values"):
        autostate.copy("sqlite:///from.db", target)
    assert autostate.names(target) == []
    with autostate.open("sqlite:///from.db"):
        autostate.PersistedDict("d")
    with autostate.open(autostate.copy("sqlite:///from.db", target), readonly=True):
        assert isinstance(autostate.PersistedDict("d")["value"], Opaque)


def test_a_target_in_use(isolated: Path) -> None:
    """Here, or in another process, which may not have saved anything yet."""
    with autostate.open(f"memory:{isolated}/from"):
        autostate.PersistedDict("d", page=1)
    with autostate.open(f"memory:{isolated}/to", debounce=1000):
        autostate.PersistedDict("d")
        with pytest.raises(StoreError, match="is in use in this process"):
            autostate.copy(f"memory:{isolated}/from", f"memory:{isolated}/to")
        with pytest.raises(ValueError, match="cannot be copied to itself"):
            autostate.copy(f"memory:{isolated}/from", f"memory:{isolated}/from")
    code = """
import autostate
with autostate.open("apify:to", debounce=1000):
    autostate.PersistedDict("d")
    print("ready", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        with pytest.raises(StateInUseError, match="belongs to process"):
            autostate.copy(f"memory:{isolated}/from", "apify:to")
        job.communicate("\n")


def test_there_is_nothing_to_copy(isolated: Path) -> None:
    """And nothing is left at the target."""
    for source in (f"memory:{isolated}/nothing", "apify:nothing"):
        for target in ("sqlite:///to.db", "apify:to"):
            with pytest.raises(StoreError, match="nothing to copy"):
                autostate.copy(source, target)
            assert not Path("to.db").exists()
            with autostate.open(f"memory:{isolated}/from"):
                autostate.PersistedDict("d", page=1)
    autostate.copy(f"memory:{isolated}/from", "apify:to")
    assert autostate.names("apify:to") == ["d"]


def test_the_progress_is_shown_on_a_terminal(isolated: Path) -> None:
    """Both halves of it."""
    with autostate.open("sqlite:///from.db"):
        autostate.PersistedDict("rows").update(ROWS)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", CODE, "sqlite:///from.db", "apify:to"],
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        check=True,
    )
    os.close(theirs)
    told = b""
    try:
        while data := os.read(ours, 65536):
            told += data
    except OSError:  # the end of a terminal
        pass
    os.close(ours)
    assert b"kB copied" in told
    assert b"kB compared" in told
    assert len(re.findall(rb"m(\d{4})/\1\x1b", told)) >= 2, told
