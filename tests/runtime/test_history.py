"""The history of a state: its commits are listed, opened and restored, in stores of all kinds."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedDict
from autostate.errors import ReadOnlyError, StateInUseError, StoreError

URLS: Final = ("memory:{folder}", "sqlite:///s.db", "apify:s", "file://{folder}?state=s")
KEY: Final = "a-secret-of-the-user"


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, isolated: Path) -> str:
    """A store of each kind."""
    return str(request.param).format(folder=isolated)


def _at(url: str, at: Any, name: str = "d", **settings: Any) -> dict[Any, Any]:
    with autostate.open(url, at=at, readonly=True, **settings):
        return dict(PersistedDict(name))


def _run(url: str, pages: range, **settings: Any) -> None:
    """A process that saves so many pages; each dozen commits there is a compaction."""
    with autostate.open(url, debounce=1000, **settings):
        d = PersistedDict[str, Any]("d")
        for page in pages:
            d["page"] = page
            d[f"p{page % 7}"] = f"{page}" * 2000
            autostate.flush()


def _content(page: int) -> dict[str, Any]:
    first = max(1, page - 6)
    return {"page": page, **{f"p{each % 7}": f"{each}" * 2000 for each in range(first, page + 1)}}


def _pages(url: str) -> dict[int, int]:
    """The page at each commit; its content is checked, too."""
    found = {each.number: _at(url, each.number) for each in autostate.history(url)}
    assert all(one == _content(one["page"]) for one in found.values())
    return {number: one["page"] for number, one in found.items()}


def test_a_history_that_begins_again_knows_nothing_of_the_former_one(url: str) -> None:
    """Its commits have the numbers from 1 on, also after a compaction."""
    for pages, history in ((range(1, 6), 1000), (range(6, 9), 0), (range(9, 11), 1000)):
        _run(url, pages, history=history)
    assert [each.number for each in autostate.history(url)] == [1, 2]
    assert _at(url, 1)["page"] == 9
    _run(url, range(11, 36))
    numbers = [each.number for each in autostate.history(url)]
    assert numbers == [*range(1, 28)]
    assert [_at(url, number)["page"] for number in (1, 2, 27)] == [9, 10, 35]


def test_every_commit_is_listed_and_can_be_opened(url: str) -> None:
    """By its number, and by a time; with what it has changed; over processes and compactions."""
    _run(url, range(1, 20), history=1000)
    _run(url, range(20, 36))  # what the state has kept so far is kept on
    commits = autostate.history(url)
    assert _pages(url) == {number: number for number in range(1, 36)}
    assert {each.objects for each in commits} == {("d",)}
    assert all(2000 < each.size < 4200 for each in commits)
    times = [each.time for each in commits]
    assert times == sorted(times)
    assert timedelta() < datetime.now(UTC) - times[-1] < timedelta(minutes=5)
    assert _at(url, times[-1] + timedelta(seconds=1))["page"] == 35
    assert _at(url, times[-1].timestamp() + 1.0)["page"] == 35
    with pytest.raises(StoreError, match=r"kept no commit 36: its history holds commits 1 \("):
        _at(url, 36)
    with pytest.raises(StoreError, match="kept no commit"):
        _at(url, times[0] - timedelta(days=1))


def test_a_history_can_end(url: str) -> None:
    """With the first commit of a process that says so."""
    _run(url, range(1, 20), history=1000)
    _run(url, range(20, 22), history=0)
    assert autostate.history(url) == []
    with pytest.raises(StoreError, match="has no history"):
        _at(url, 1)
    _run(url, range(22, 24))
    assert autostate.history(url) == []
    with autostate.open(url, readonly=True):
        assert PersistedDict("d") == _content(23)


def test_a_history_can_begin_at_any_time(url: str) -> None:
    """What was before belongs to no commit."""
    _run(url, range(1, 9))
    assert autostate.history(url) == []
    _run(url, range(9, 25), history="30d")
    commits = autostate.history(url)
    assert _pages(url) == {number: number + 8 for number in range(1, 17)}
    assert commits[0].size < 4200


def test_a_restore_is_a_commit_that_can_be_undone(url: str) -> None:
    """Containers of all kinds come back, nested and shared ones, too."""
    with autostate.open(url, history=1000, debounce=1000):
        d = PersistedDict[str, Any]("d", page=1, tree={str(n): [n] for n in range(1000)})
        d["same"] = d["tree"]["7"]
        items = autostate.PersistedList[int]("items")
        items.extend([1, 2, 3])
        autostate.flush()
        d["page"] = 2
        d["tree"]["7"].append(8)
        del items[1]
        autostate.flush()
        autostate.delete("items")
        d.clear()
        PersistedDict("new", a=1)
    assert [each.objects for each in autostate.history(url)] == [
        ("d", "items"),
        ("d", "items"),
        ("d", "items", "new"),
    ]
    assert autostate.restore(url, at=1) == 4
    with autostate.open(url):
        d, items = PersistedDict("d"), autostate.PersistedList("items")
        assert autostate.names() == ["d", "items"]
        assert d["tree"] == {str(n): [n] for n in range(1000)}
        assert d["same"] is d["tree"]["7"]
        assert (d["page"], items) == (1, [1, 2, 3])
        d["tree"]["7"].append(9)
        items.append(4)
    assert autostate.restore(url, at=3) == 6
    assert autostate.names(url) == ["d", "new"]
    assert _at(url, 6) == {}
    assert autostate.restore(url, at=6) == 6
    assert autostate.restore(url, at=5) == 7
    with autostate.open(url):
        assert PersistedDict("d")["same"] == [7, 9]
        assert autostate.PersistedList("items") == [1, 2, 3, 4]


def test_a_commit_is_only_read(isolated: Path) -> None:
    """It is not the live state, even in the process that has that open."""
    with autostate.open("sqlite:///s.db", history=1000, debounce=1000):
        live = PersistedDict("d", page=1)
        autostate.flush()
        live["page"] = 2
        autostate.flush()
        with autostate.open("sqlite:///s.db", at=1, readonly=True):
            old = PersistedDict("d")
            assert old == {"page": 1}
            with pytest.raises(ReadOnlyError):
                old["page"] = 3
        assert live == {"page": 2}
        with pytest.raises(ValueError, match="can only be read"):
            autostate.open("sqlite:///s.db", at=1)
        with pytest.raises(TypeError, match="at is the number"):
            autostate.open("sqlite:///s.db", at="1", readonly=True)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="in use in this process"):
            autostate.restore("sqlite:///s.db", at=1)
    assert _at("sqlite:///s.db", 2) == {"page": 2}


def test_a_state_in_use_elsewhere_is_not_restored(isolated: Path) -> None:
    """Its owner would be fenced."""
    code = """
import autostate
with autostate.open("sqlite:///s.db", history=10):
    autostate.PersistedDict("d", page=1)
    autostate.flush()
    print("ready", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        assert _at("sqlite:///s.db", 1) == {"page": 1}
        with pytest.raises(StateInUseError, match="belongs to process"):
            autostate.restore("sqlite:///s.db", at=1)
        job.communicate("\n")
    assert autostate.restore("sqlite:///s.db", at=1) == 1


@pytest.mark.parametrize("encrypt", [False, True])
def test_with_a_key(url: str, encrypt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are protected as the state is, and read with its key; so are pickled values."""
    monkeypatch.setenv("AUTOSTATE_KEY", KEY)
    with autostate.open(url, history=100, encrypt=encrypt):
        PersistedDict("d")["value"] = autostate.pickled(complex(1, 2))
    _run(url, range(1, 16))
    assert _at(url, 1) == {"value": complex(1, 2)}
    assert autostate.restore(url, at=1) == 17


def test_pickled_values_with_the_key_beside_the_file(isolated: Path) -> None:
    """The signature is checked against the file of the state."""
    with autostate.open("sqlite:///s.db", history=100):
        PersistedDict("d")["value"] = autostate.pickled(complex(1, 2))
    assert _at("sqlite:///s.db", 1) == {"value": complex(1, 2)}


def test_a_copy_has_no_history(url: str, isolated: Path) -> None:
    """The marks are not copied; a history may begin there."""
    _run(url, range(1, 16), history=100)
    copy = autostate.copy(url, "sqlite:///copy.db")
    assert autostate.history(copy) == []
    _run(copy, range(16, 21), history=100)
    assert _pages(copy) == dict(enumerate(range(16, 21), 1))
    assert len(autostate.history(url)) == 15


def test_a_new_key_ends_the_history_unless_it_is_signed(
    isolated: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records under an old key are not kept: that is said."""
    _run("sqlite:///s.db", range(1, 16), history=100, key=KEY)
    _run("sqlite:///s.db", range(16, 26), key=("another-secret-of-the-user", KEY))
    assert "the history of sqlite" in caplog.text
    _run("sqlite:///s.db", range(26, 29), key="another-secret-of-the-user")
    monkeypatch.setenv("AUTOSTATE_KEY", "another-secret-of-the-user")
    pages = _pages("sqlite:///s.db")
    assert 15 < min(pages) <= 17
    assert pages == {number: number for number in range(min(pages), 29)}
