"""Programs that share state: real processes, which are killed and forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate.errors import (
    StateTypeError,
    StoreUnavailableError,
    UnknownTypeError,
    UnsupportedTypeError,
)
from autostate.shared.counter import SharedCounter
from autostate.shared.dict import SharedDict
from autostate.shared.home import homes
from autostate.shared.set import SharedSet
from autostate.stores import open_store
from tests.shared.sharing import hits_now

pytestmark = pytest.mark.usefixtures("shared_here")

IMPORTS: Final = """
import os, signal, sys, threading
import autostate
from autostate.shared import home
from autostate.shared.counter import SharedCounter
from autostate.shared.dict import SharedDict
from autostate.shared.set import SharedSet
hits = SharedCounter("hits")
"""


def start(body: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a program that shares state in the working directory."""
    code = IMPORTS + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "AUTOSTATE_SHARED_URL": "sqlite:///s.db"},
    )


def test_programs_count_and_collect_together() -> None:
    """Each also ends without a flush."""
    body = """
        seen, best = SharedSet("seen"), SharedDict("best", merge={"price": min})
        for number in range(300):
            hits["page"] += 1
            hits.update({"all": 2})
            seen.add(number % 50 + int(sys.argv[1]))
        best["price"] = int(sys.argv[1]) + 7
    """
    running = [start(body, number) for number in range(3)]
    assert [each.wait() for each in running] == [0, 0, 0]
    assert hits_now() == {"page": 900, "all": 1800}
    assert SharedSet[int]("seen") == set(range(52))
    best = SharedDict[str, int]("best", merge={"price": min})
    assert best == {"price": 7}


def test_what_was_flushed_survives_a_kill() -> None:
    """And the rest is not there twice."""
    body = """
        for number in range(10):
            hits["page"] += 1
            autostate.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    running = [start(body) for _ in range(3)]
    assert [each.wait() for each in running] == [-signal.SIGKILL] * 3
    assert hits_now() == {"page": 30}


def test_children_of_forks_count_for_themselves() -> None:
    """What the parent had not published yet is its own."""
    body = """
        hits["page"] += 1
        for _ in range(3):
            if not os.fork():
                for _ in range(100):
                    hits["page"] += 1
                sys.exit()
        for _ in range(3):
            os.wait()
        hits["page"] += 1
    """
    assert start(body).wait() == 0
    assert hits_now() == {"page": 302}


def test_threads_count_beside_refreshes() -> None:
    """Each increment is the difference to what its thread has read."""
    body = """
        def count():
            for _ in range(2000):
                hits["page"] += 1
        threads = [threading.Thread(target=count) for _ in range(4)]
        for each in threads:
            each.start()
        while any(each.is_alive() for each in threads):
            hits.refresh()
            autostate.flush()
        autostate.flush()
    """
    running = [start(body) for _ in range(2)]
    assert [each.wait() for each in running] == [0, 0]
    assert hits_now() == {"page": 16_000}


def test_a_name_is_of_one_kind() -> None:
    """In this program, and in others."""
    assert start("hits['page'] += 1").wait() == 0
    with pytest.raises(StateTypeError, match="give one of them another name"):
        SharedSet("hits")
    assert SharedCounter("hits") is SharedCounter("hits")
    with pytest.raises(StateTypeError, match="give one of them another name"):
        SharedSet("hits")


def test_what_others_publish_is_seen_after_a_refresh() -> None:
    """And not before; own changes at once."""
    mine = hits_now()
    mine["page"] += 5
    assert start("hits['page'] += 1").wait() == 0
    assert mine["page"] == 5
    autostate.flush()
    assert mine["page"] == 5
    mine.refresh()
    assert mine["page"] == 6


def test_a_dict_is_not_merged_by_two_functions() -> None:
    """The second one would merge nothing; without one, the live dict is given."""
    best = SharedDict("best", merge={"price": min})
    assert SharedDict("best") is best
    assert SharedDict("best", merge={"price": min}) is best
    for merge in (max, {"price": max}, {"price": min, "size": max}):
        with pytest.raises(StateTypeError, match="with another merge="):
            SharedDict("best", merge=merge)
    SharedDict[str, int]("last")
    with pytest.raises(StateTypeError, match="or none"):
        SharedDict("last", merge=min)
    longest = [SharedDict("longest", merge=lambda one, two: max(one, two, key=len)) for _ in "ab"]
    assert longest[0] is longest[1]


def test_a_value_of_an_unknown_class_is_told_at_each_refresh() -> None:
    """Its dict stays as it was, and no other object is kept back."""
    best, hits = SharedDict[str, object]("best"), SharedCounter[str]("hits")
    body = """
        import dataclasses
        @dataclasses.dataclass
        class UnheardOf:
            size: int
        best = SharedDict("best")
        if sys.argv[1] == "write":
            best.update(page=UnheardOf(1), last=2)
            hits["page"] += 1
        else:
            del best["page"]
    """
    assert start(body, "write").wait() == 0
    for _ in range(2):
        with pytest.raises(UnknownTypeError, match=r"shared dict 'best' holds .*UnheardOf") as told:
            hits.refresh()
        assert "on_unknown" not in str(told.value), "that is for a state"
        assert (best, hits) == ({}, {"page": 1})
    assert start(body, "delete").wait() == 0
    hits.refresh()
    assert best == {"last": 2}


def test_what_cannot_be_stored_names_the_object() -> None:
    """A program may have many."""
    with pytest.raises(UnsupportedTypeError, match=r"^shared dict 'best': the value\[0\]: a value"):
        SharedDict("best")["a"] = [object()]
    with pytest.raises(UnsupportedTypeError, match=r"^shared set 'seen': a key"):
        SharedSet("seen").add(True)
    with pytest.raises(UnsupportedTypeError) as told:
        SharedDict("best")["a"] = [object()]
    assert "pickled" not in str(told.value), "it would be refused"
    assert str(told.value).endswith("or keep it outside of a shared dict")
    with pytest.raises(UnsupportedTypeError, match="the value: pickled values are kept"):
        SharedDict("best")["a"] = autostate.pickled(object())


def test_a_merge_function_that_fails_keeps_only_its_dict_back() -> None:
    """A write raises and changes nothing; a refresh raises and says where; nothing is lost."""
    body = """
        best = SharedDict("best", merge={"price": min})
        best["price"] = int(sys.argv[1])
        hits["page"] += 1
    """
    assert start(body, 7).wait() == 0

    def fails(one: int, other: int) -> int:
        raise ZeroDivisionError

    best, hits = SharedDict[str, int]("best", merge={"price": fails}), SharedCounter[str]("hits")
    assert best == {"price": 7}
    with pytest.raises(ZeroDivisionError):
        best["price"] = 5
    assert best == {"price": 7}
    best["other"] = 1
    assert start(body, 9).wait() == 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as told:
            hits.refresh()
        assert [*told.value.__notes__] == [
            "in the function that merges the values of the key 'price'",
            "of the shared dict 'best'",
        ]
        assert (best, hits) == ({"price": 7, "other": 1}, {"page": 2})
    autostate.flush()
    assert start(body, 3).wait() == 0
    [home] = homes.values()
    home.finish(10.0)
    assert SharedDict("best", merge={"price": min}) == {"price": 3, "other": 1}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0?state=s", "foo:bar", "redis://h/0"])
def test_a_store_that_cannot_be_used_ends_a_script_with_one_line(url: str) -> None:
    """As for a state of its own: a traceback might show a password."""
    code = "from autostate import SharedCounter; SharedCounter('hits')"
    environment = {**os.environ, "AUTOSTATE_SHARED_URL": url, "AUTOSTATE_FLUSH_TIMEOUT": "0.05"}
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, env=environment, capture_output=True
    )
    assert run.returncode == 1
    assert run.stderr.startswith(b"autostate: ")
    assert run.stderr.count(b"\n") == 1


def test_a_store_that_does_not_answer_yet_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a file that a hundred processes open at once; as for a state of its own."""
    left = [StoreUnavailableError("locked")] * 2

    def opened(*given: Any, **how: Any) -> Any:
        if left:
            raise left.pop()
        return open_store(*given, **how)

    monkeypatch.setattr("autostate.shared.home.open_store", opened)
    SharedCounter[str]("hits")["page"] += 1
    assert not left
    assert caplog.text.count("cannot be read yet") == 1


def test_a_name_tells_of_a_shared_object() -> None:
    """As it does of a state object, which goes first."""
    hits = SharedCounter[str]("hits")
    hits["page"] += 1
    assert autostate.info("hits").kind == "counter"
    with pytest.raises(TypeError, match="a shared counter cannot be deleted"):
        autostate.delete("hits")
    for call in (autostate.info, autostate.delete):
        with pytest.raises(LookupError, match=r"no .*state object is called 'hit'"):
            call("hit")
    autostate.PersistedDict("hits")
    assert autostate.info("hits").kind == "dict"
    autostate.delete("hits")
    assert autostate.info("hits").kind == "counter"
    assert hits == {"page": 1}


def test_a_state_that_is_opened_later_shares_where_the_program_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not beside it; unless it names another shared state."""
    monkeypatch.delenv("AUTOSTATE_SHARED_URL")
    autostate.configure("sqlite:///one.db", shared="sqlite:///common/all.db", shared_refresh=50)
    hits = SharedCounter[str]("hits")
    with autostate.open("sqlite:///other/two.db"):
        progress = autostate.PersistedDict("progress", page=0)
        with autostate.atomic():
            progress["page"] += 1
            SharedCounter[str]("hits")["page"] += 1
        assert SharedCounter("hits") is hits
        autostate.flush()
    with autostate.open("sqlite:///other/three.db", shared="sqlite:///other/own.db"):
        assert SharedCounter("hits") == {}
    assert hits == {"page": 1}
    assert not Path("other/shared.db").exists()
