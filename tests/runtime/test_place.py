"""Where the state is that a program shares with others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import autostate
from autostate import SharedCounter
from autostate.errors import StoreError
from autostate.ownership import program
from autostate.runtime.manager import StateManager
from autostate.runtime.place import shared_url


@pytest.mark.parametrize(
    ("own", "url"),
    [
        ("sqlite:////a/b.db", "sqlite:////a/shared.db"),
        ("memory:x", "memory:x-shared"),
        ("memory:", "memory:shared"),
        ("file:///a/b?state=worker-1", "file:///a/b?state=shared"),
    ],
)
def test_it_is_beside_the_own_one(own: str, url: str) -> None:
    """On one machine, where programs that run in a folder belong together."""
    assert shared_url(own, None) == url


@pytest.mark.parametrize(
    ("own", "url"),
    [
        ("apify:", "apify:NAME"),
        ("apify:mine", "apify:NAME"),
        ("redis://h/0?state=worker-1", r"redis://h/0\?state=NAME"),
        ("postgresql://h/db?state=a", r"postgresql://h/db\?state=NAME"),
        ("s3://bucket/prefix?state=a", r"s3://bucket/prefix\?state=NAME"),
        ("mine:", "sqlite:///shared.db"),
    ],
)
def test_elsewhere_it_has_to_be_named(own: str, url: str) -> None:
    """Nobody else can know who shares it."""
    told = rf'autostate.configure\(shared="{url}"\), or AUTOSTATE_SHARED_URL'
    with pytest.raises(StoreError, match=told):
        shared_url(own, None)
    assert shared_url(own, "redis://h/0?state=s") == "redis://h/0?state=s"


@pytest.mark.parametrize(
    "url", ["redis://h/0", "postgresql://h/db?schema=s", "s3://bucket/state=a", "file:///a/b"]
)
def test_programs_of_different_names_do_not_share_by_their_names(url: str) -> None:
    """They would share nothing, and not be told."""
    with pytest.raises(StoreError, match=r"names no state.*\?state=NAME"):
        shared_url("sqlite:////a/b.db", url)
    joined = url + ("&" if "?" in url else "?") + "state=s"
    assert "state=s" in shared_url("sqlite:////a/b.db", joined)


def test_a_named_file_stays_where_it_is(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the program changes its working directory."""
    autostate.configure("memory:", shared="sqlite:///s.db")
    SharedCounter("hits")["page"] += 1
    monkeypatch.chdir("/")
    SharedCounter("pages")["page"] += 1
    autostate.flush()
    assert StateManager("memory:", shared=isolated / "s.db").shared_url() == (
        f"sqlite:///{isolated}/s.db"
    )
    assert not Path("/s.db").exists()


def test_shared_objects_do_not_move(isolated: Path) -> None:
    """Where the first one is, there are all of them; what would change that is refused."""
    autostate.configure(isolated / "own.db")
    assert (
        autostate.configure(shared=isolated / "s.db").shared_url() == f"sqlite:///{isolated}/s.db"
    )
    SharedCounter("hits")["page"] += 1
    autostate.configure(shared=isolated / "s.db", debounce=0.5)
    autostate.configure(isolated / "other.db")  # the own state may still move
    told = f"shared objects live in sqlite:///{isolated}/s.db already"
    with pytest.raises(RuntimeError, match=told):
        autostate.configure(shared="memory:")
    with pytest.raises(RuntimeError, match=told):
        autostate.configure(shared=None)
    assert autostate.configure().shared_url() == f"sqlite:///{isolated}/s.db"


def test_shared_objects_do_not_move_with_the_own_state(isolated: Path) -> None:
    """They are beside the own state of the moment at which the first of them was made."""
    autostate.configure(isolated / "one" / "own.db")
    SharedCounter("hits")
    with pytest.raises(RuntimeError, match=r"live in sqlite:///.*/one/shared.db already"):
        autostate.configure(isolated / "two" / "own.db")
    autostate.configure(isolated / "one" / "another.db")


def test_an_error_keeps_nothing(isolated: Path) -> None:
    """A shared state that could not be opened may be another one."""
    autostate.configure("memory:", shared=isolated / "s.db")
    (isolated / "s.db").mkdir()
    with pytest.raises(StoreError, match="folder"):
        SharedCounter("hits")
    autostate.configure(shared="memory:")
    assert SharedCounter("hits") == {}


def test_settings_of_the_program_are_those_of_what_it_shares(isolated: Path) -> None:
    """What is encrypted is so in both."""
    key = "a secret of the user's own"
    autostate.configure(isolated / "own.db", key=key, encrypt=True, flush_timeout=5)
    SharedCounter("visitors")["ann"] += 1
    autostate.flush()
    data = (isolated / "shared.db").read_bytes()
    assert b"encrypted" in data
    assert b"visitors" not in data
    assert b"ann" not in data
    from autostate.shared.home import homes

    [home] = homes.values()
    assert home.settings.flush_timeout == 5


def test_a_notebook_without_a_name_is_told_what_to_write(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the warning tells to write is a store of its own."""
    monkeypatch.setattr(program, "is_notebook", lambda: True)
    monkeypatch.setenv("AUTOSTATE_URL", f"sqlite:///.autostate/{program.INTERACTIVE}.db")
    autostate.PersistedDict("hits", n=1)
    [told] = re.findall(r"autostate\.configure\((.*)\)", caplog.text)
    with autostate.open(json.loads(told)):
        autostate.PersistedDict("hits", n=1)
    assert (isolated / ".autostate" / "NAME.db").exists()
