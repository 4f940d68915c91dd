"""A store that loses its records while a program uses it: deleted, emptied, or purged."""

from __future__ import annotations

import datetime
import enum
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, PersistedList
from autostate.codec import registry
from autostate.errors import FlushError, StoreError
from tests import programs


class Colour(enum.Enum):
    """An enum that a later version of a program may lack."""

    RED = 1


@pytest.mark.parametrize("opened", [False, True])
def test_a_wiped_store_gets_back_what_this_program_has_not_loaded(
    isolated: Path, opened: bool
) -> None:
    """Kinds of state objects whose modules nothing has imported; it may open them afterwards."""
    former = """
import datetime
import os
import autostate
autostate.configure("sqlite:///s.db")
autostate.outbox("mails", lambda _items: 1 / 0).put("kept")
autostate.proxy("day", datetime.date(2000, 1, 1))
for _ in autostate.resume("pages", [1, 2, 3]):
    autostate.PersistedDict("a", n=1)
    autostate.flush()
    os._exit(0)
"""
    assert programs.run(former).returncode == 0
    arrived: list[Any] = []
    later = """
        autostate.outbox("mails", lambda _items: None).drain()
        autostate.proxy("day", datetime.date(2001, 1, 1))
    """
    code = f"""
import datetime
import os
import autostate
with autostate.open("sqlite:///s.db") as manager:
    state = autostate.PersistedDict("a")
    os.remove("s.db")
    state["n"] += 1
    manager.flush()
    if {opened}:
        {later.strip()}
        manager.flush()
    print(state, autostate.statistics().failures)
"""
    done = programs.run(code)
    assert "{'n': 2} 0" in done.stdout, done.stderr
    assert "has lost" not in done.stderr
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"n": 2}
        assert autostate.proxy("day", datetime.date(2001, 1, 1)).year == 2000
        assert [*autostate.resume("pages", [1, 2, 3])] == [1, 2, 3]
        assert autostate.outbox("mails", arrived.extend).drain()
        assert [item.value for item in arrived] == ([] if opened else ["kept"])


def test_what_cannot_be_restored_when_the_store_is_wiped_is_saved_once_it_can(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever raises, the others are saved at once; what is opened later is saved as a whole."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", keep=1, colour=Colour.RED, inner={"x": list(range(1000))})
        PersistedDict("b", n=1)
        PersistedDict("c", n=1)
    with autostate.open("sqlite:///s.db") as manager:
        b = PersistedDict[str, int]("b")
        Path("s.db").unlink()
        b["n"] = 2
        with monkeypatch.context() as patch:
            patch.setattr(registry, "enum_named", lambda _name: None)
            manager.flush()
        assert "has lost a" in caplog.text
        a = PersistedDict[str, Any]("a")
        a["new"] = 1
        a["inner"]["y"] = 1
        manager.flush()
    with autostate.open("sqlite:///s.db"):
        expected = {"x": list(range(1000)), "y": 1}
        assert PersistedDict("a") == {
            "keep": 1,
            "colour": Colour.RED,
            "inner": expected,
            "new": 1,
        }
        assert (PersistedDict("b"), PersistedDict("c")) == ({"n": 2}, {"n": 1})


def test_what_raises_when_the_store_is_wiped_costs_the_others_nothing(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody has opened is rebuilt, which may fail in any way."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", colour=Colour.RED)
        PersistedDict("b", n=1)
        PersistedDict("c", n=1)

    def fail(_name: str) -> None:
        raise MemoryError("not yet")

    with autostate.open("sqlite:///s.db") as manager:
        b = PersistedDict[str, int]("b")
        Path("s.db").unlink()
        b["n"] = 2
        monkeypatch.setattr(registry, "enum_named", fail)
        manager.flush()
        assert "has lost a" in caplog.text
        assert "not yet" in caplog.text
        b["n"] += 1
        manager.flush()
    with autostate.open("sqlite:///s.db"):
        assert (PersistedDict("b"), PersistedDict("c")) == ({"n": 3}, {"n": 1})


def test_a_purge_leaves_what_is_held(isolated: Path) -> None:
    """What nobody has opened is gone, as is what was deleted; a name of it can be used anew."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", n=1)
        PersistedDict("b", n=1)
        PersistedDict("deleted", n=1)
    with autostate.open("sqlite:///s.db") as manager:
        a = PersistedDict[str, int]("a")
        autostate.delete("deleted")
        incarnation = manager._incarnation
        assert incarnation is not None
        with incarnation.flush_thread.exclusive():
            incarnation.store.write({}, incarnation.store.list(""))
            incarnation.store_wiped(purged=True)
        a["n"] += 1
        manager.flush()
        b = PersistedList("b", [1])
        manager.flush()
        b.append(2)
    with autostate.open("sqlite:///s.db") as manager:
        assert manager._tracker().names == ["a", "b"]
        assert PersistedDict("a") == {"n": 2}
        assert PersistedList("b") == [1, 2]


def test_what_is_spilled_after_the_store_was_wiped_is_picked_up(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has counted its commits, and finds no number of them in an empty store."""
    with (
        pytest.raises(FlushError, match="picks them up"),
        autostate.open("sqlite:///s.db") as manager,
    ):
        state = PersistedDict[str, int]("a", n=0)
        for _ in range(3):
            state["n"] += 1
            manager.flush()
        incarnation = manager._incarnation
        assert incarnation is not None
        incarnation.store.write({}, incarnation.store.list(""))
        incarnation.store_wiped()

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise StoreError("full")

        state["n"] += 1
        monkeypatch.setattr(incarnation.store, "write", refuse)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"n": 4}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_claims_the_state_leaves_what_it_has_not_opened(isolated: Path) -> None:
    """Nothing was lost: what is only stored is neither rebuilt nor reported."""
    left = """
import os
import autostate
autostate.configure("sqlite:///s.db")
autostate.outbox("mails", lambda _items: 1 / 0).put("kept")
autostate.PersistedDict("a", n=1)
autostate.flush()
os._exit(0)
"""
    assert programs.run(left).returncode == 0
    code = """
import os, time
import autostate
autostate.configure("sqlite:///s.db")
state = autostate.PersistedDict("a")
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:  # which owns the state
    time.sleep(0.01)
state["n"] += 1
autostate.flush()
autostate.outbox("mails", lambda items: print(items[0].value)).drain()
print(state)
"""
    # Not by `programs.run`, which may wait for the parent alone, and not for whoever prints.
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "kept\n{'n': 2}\n", done.stderr
    assert "has lost" not in done.stderr
