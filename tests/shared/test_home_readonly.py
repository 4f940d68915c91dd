"""A program that only reads sees what others share, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import autostate
from autostate import SharedCounter, SharedDict, SharedSet
from autostate.errors import ReadOnlyError, StoreError
from autostate.shared.home import homes
from tests import programs

pytestmark = pytest.mark.usefixtures("ended_homes")

PROGRAM = """
import autostate
from autostate import SharedCounter, SharedDict, SharedSet
autostate.configure("memory:", shared="sqlite:///s.db")
SharedCounter("hits")["page"] += 1
SharedSet("seen").add("a")
SharedDict("best")["price"] = 9.5
"""


@pytest.mark.usefixtures("forked_programs")
def test_what_others_share_is_seen_and_not_changed(isolated: Path) -> None:
    """Every write raises; a refresh shows what is new; the file is as it was."""
    assert programs.run(PROGRAM).returncode == 0
    before = (isolated / "s.db").read_bytes()
    autostate.configure("memory:", shared="sqlite:///s.db", readonly=True)
    hits, seen = SharedCounter[str]("hits"), SharedSet[str]("seen")
    best = SharedDict[str, float]("best")
    assert (hits, seen, best) == ({"page": 1}, {"a"}, {"price": 9.5})
    writes: list[Callable[[], object]] = [
        lambda: hits.update({"page": 1}),
        lambda: seen.add("b"),
        lambda: best.update(price=1),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyError, match="without readonly=True"):
            write()
    autostate.flush()
    assert (hits, seen, best) == ({"page": 1}, {"a"}, {"price": 9.5})
    assert (isolated / "s.db").read_bytes() == before
    assert programs.run(PROGRAM).returncode == 0
    hits.refresh()
    assert hits == {"page": 2}
    assert autostate.info(hits).url.endswith("s.db")


def test_nothing_is_made(isolated: Path) -> None:
    """Where nobody shares anything yet, that is said."""
    autostate.configure("memory:", shared="sqlite:///s.db", readonly=True)
    with pytest.raises(StoreError, match="no such file"):
        SharedCounter("hits")
    assert list(isolated.iterdir()) == []


def test_a_reader_and_a_writer_in_one_process(isolated: Path) -> None:
    """Each has objects of its own, as two processes have."""
    with autostate.open("memory:", shared="sqlite:///s.db"):
        mine = SharedCounter[str]("hits")
        mine["page"] += 1
        autostate.flush()
    with autostate.open("memory:", shared="sqlite:///s.db", readonly=True):
        view = SharedCounter[str]("hits")
        assert view == {"page": 1}
        with pytest.raises(ReadOnlyError):
            view["page"] += 1
    mine["page"] += 1
    autostate.flush()
    view.refresh()
    assert view == mine == {"page": 2}


def test_settings_may_change_while_objects_are_shared(isolated: Path) -> None:
    """When they are published, but not how they were opened."""
    autostate.configure("memory:", shared="sqlite:///s.db")
    SharedCounter("hits")
    [home] = homes.values()
    autostate.configure(debounce=0.5, flush_timeout=7)
    assert (home.settings.debounce, home.settings.flush_timeout) == (0.5, 7)
    late = {"readonly": True, "key": "k" * 16, "encrypt": False, "shared_refresh": 5}
    for name, value in late.items():
        with pytest.raises(RuntimeError, match=f"{name} says how shared objects are opened"):
            autostate.configure(**{name: value})  # type: ignore[arg-type]
