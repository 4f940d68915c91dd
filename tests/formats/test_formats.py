"""What a released version has stored is read by this one, and goes on: docs/stability.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import autostate
from autostate import PersistedCounter
from autostate.stores.base import FORMAT
from tests import programs
from tests.formats import content

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "plain.db").exists())
STATES = ["plain", "signed", "encrypted", "folder"]


@pytest.fixture(params=VERSIONS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the states of a version."""
    return Path(shutil.copytree(HERE / request.param, tmp_path / "states"))


@pytest.mark.parametrize("number", range(len(STATES)), ids=STATES)
def test_a_state_of_an_older_version_is_read_and_goes_on(stored: Path, number: int) -> None:
    """All of it: kinds, types, classes, a loop in the midst, and its history."""
    url, settings = list(content.urls(stored).items())[number]
    content.check(url, **settings)
    with autostate.open(url, **settings):
        assert list(autostate.resume("loop", range(10))) == [4, 5, 6, 7, 8, 9]
        PersistedCounter[str]("words")["part"] -= 1
        autostate.flush()
        PersistedCounter[str]("words")["part"] += 1
    content.check(url, **settings)


def test_the_history_of_an_older_version_is_read(stored: Path) -> None:
    """Each commit is there, and can be opened."""
    url = f"sqlite:///{stored}/plain.db"
    commits = autostate.history(url)
    assert len(commits) >= 10
    with autostate.open(url, at=commits[3].number, readonly=True):
        assert PersistedCounter("words")["part"] in range(1, 10)


SHARES = """
import sys
sys.path.insert(0, {root!r})
import autostate
from tests.formats.content import check_shared

check_shared({url!r})
with autostate.open("memory:", shared={url!r}):
    autostate.SharedCounter("hits")["page"] += 1
"""
LOOKS = """
import autostate

with autostate.open({url!r}, readonly=True):
    print(autostate.SharedCounter("hits")["page"])
"""


@pytest.mark.usefixtures("forked_programs")
def test_shared_objects_of_an_older_version_are_read_and_go_on(stored: Path) -> None:
    """A process of this version shares with what is there."""
    url = f"sqlite:///{stored}/shared.db"
    done = programs.run(SHARES.format(root=str(HERE.parents[1]), url=url))
    assert done.returncode == 0, done.stderr
    done = programs.run(LOOKS.format(url=url))
    assert done.stdout == "4\n", done.stderr


def test_this_format_is_one_of_those_that_are_tested(stored: Path) -> None:
    """A new format comes with states of a version that writes it, beside the older ones."""
    index = (stored / "folder" / "crawl" / "autostate-index").read_bytes()
    assert b'{"autostate":%d,' % FORMAT in index
