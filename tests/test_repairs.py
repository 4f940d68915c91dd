"""What once broke under attack: each test failed before its mend."""

from __future__ import annotations

import asyncio
import enum
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedDict, PersistedList, PersistedSet
from autostate.codec import registry
from tests.conformance.state_kit import Program


class Colour(enum.Enum):
    """An enum that a later version of a program may lack."""

    RED = 1


def test_a_restoration_that_fails_leaves_the_record_as_it_is(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails again, as often as it is tried, and what is stored waits for who can read it."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", keep=1, colour=Colour.RED)
        PersistedDict("b", n=1)
    with monkeypatch.context() as patch, autostate.open("sqlite:///s.db"):
        patch.setattr(registry, "enum_named", lambda _name: None)
        for _ in range(2):
            with pytest.raises(autostate.UnknownTypeError, match="Colour"):
                PersistedDict("a")
        other = PersistedDict[str, int]("b")
        other["n"] = 2
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"keep": 1, "colour": Colour.RED}
        assert PersistedDict("b") == {"n": 2}


def test_an_interrupted_restoration_loses_nothing(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle: the half-built object is not saved over the whole one."""
    with autostate.open("sqlite:///s.db"):
        PersistedDict("a", keep=1, colour=Colour.RED)

    def interrupt(_cls: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry, "enum_named", interrupt)
        with pytest.raises(KeyboardInterrupt), autostate.open("sqlite:///s.db"):
            PersistedDict("a")
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict[str, Any]("a")["keep"] == 1


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_is_taken_away_is_written_again(isolated: Path, how: str) -> None:
    """What flush() acknowledges is in the file of that name, with all the rest."""
    with autostate.open("sqlite:///folder/s.db", debounce=3600, max_delay=3600) as manager:
        state = PersistedDict("a", x=1)
        PersistedDict("b", y=1)
        manager.flush()
        if how == "deleted":
            shutil.rmtree("folder")
        else:
            Path("other").write_bytes(b"")
            os.replace("other", "folder/s.db")  # noqa: PTH105 - what is tested
        state["x"] = 2
        manager.flush()
        shutil.copytree("folder", "copy")
    with autostate.open("sqlite:///copy/s.db"):
        assert PersistedDict("a") == {"x": 2}
        assert PersistedDict("b") == {"y": 1}


def test_a_wiped_store_gets_back_what_nobody_has_asked_for() -> None:
    """A root that this program creates later, or never, is saved again too."""
    with autostate.open("memory:wiped"):
        PersistedDict("early", n=1)
        PersistedDict("late", n=1)
    with autostate.open("memory:wiped") as manager:
        early = PersistedDict[str, int]("early")
        incarnation = manager._incarnation
        assert incarnation is not None
        incarnation.store.write({}, incarnation.store.list(""))
        incarnation.store_wiped()
        early["n"] += 1
        late = PersistedDict[str, int]("late")
        late["n"] += 1
        manager.flush()
    with autostate.open("memory:wiped"):
        assert (PersistedDict("early"), PersistedDict("late")) == ({"n": 2}, {"n": 2})


def test_a_rollback_leaves_what_other_threads_assigned() -> None:
    """Only what the block itself assigned is undone."""
    with autostate.open("memory:"):
        state = PersistedDict("a", mine=0, others=0)

        def other() -> None:
            state["others"] += 1

        thread = threading.Thread(target=other)
        with pytest.raises(ValueError), autostate.atomic():
            state["mine"] = 1
            thread.start()
            thread.join()
            raise ValueError
        assert state == {"mine": 0, "others": 1}


def test_a_default_that_was_just_deleted_does_not_come_back() -> None:
    """Also when the object is asked for again before anything was saved."""
    with autostate.open("memory:"):
        state = PersistedDict("a", x=1, y=2)
        del state["y"]
        assert PersistedDict("a", y=9) == {"x": 1}


def test_flush_and_atomic_mean_all_state_objects(isolated: Path) -> None:
    """Wherever they were created: a thread does not inherit the body of `open()`."""
    with autostate.open("sqlite:///s.db", debounce=3600, max_delay=3600) as manager:
        state = PersistedDict("a", x=1)
        seen: list[Any] = []

        def work() -> None:
            state["x"] = 2
            autostate.flush()
            seen.append(manager.statistics().staleness)
            with pytest.raises(KeyError), autostate.atomic():
                state["x"] = 3
                raise KeyError
            seen.append(state["x"])

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert seen == [0.0, 2]


def test_writers_without_a_pause_do_not_keep_a_flush_from_its_cut() -> None:
    """What is listed while the flush prepares is left to the cut."""
    with autostate.open("memory:") as manager:
        big = PersistedDict("big", {i: {"n": 0} for i in range(2000)})
        manager.flush()
        stop = threading.Event()

        def write(start: int) -> None:
            i = start
            while not stop.is_set():
                i += 1
                big[i % 2000]["n"] = i

        threads = [threading.Thread(target=write, args=(i * 500,)) for i in range(3)]
        for thread in threads:
            thread.start()
        try:
            manager.flush(timeout=60)
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize("count", [1, 1000])
def test_a_value_nested_too_deeply_does_not_keep_the_rest_from_being_saved(
    isolated: Path, count: int
) -> None:
    """Nesting without end: the error names the path."""
    bad: Any = []
    for _ in range(100_000):
        bad = [bad]
    with pytest.raises(autostate.UnsupportedTypeError, match="bad"):  # noqa: SIM117
        with autostate.open("sqlite:///s.db") as manager:
            state = PersistedDict[str, Any]("a", {str(i): i for i in range(count)})
            state["bad"] = bad
            state["good"] = 2
            with pytest.raises(autostate.UnsupportedTypeError, match="bad"):
                manager.flush()
    with autostate.open("sqlite:///s.db"):
        again = PersistedDict[str, Any]("a")
        assert again["good"] == 2
        assert len(again) == count + 1
    while bad:  # or the interpreter would free it recursively
        [bad] = bad


@pytest.mark.parametrize("count", [1, 1000])
def test_an_int_of_more_digits_than_the_interpreter_takes_survives(
    isolated: Path, count: int
) -> None:
    """It is no JSON number: anywhere, also in a dict that msgspec would encode as it is."""
    with autostate.open("sqlite:///s.db") as manager:
        state = PersistedDict[str, Any]("a", {str(i): i for i in range(count)})
        state.update(huge=10**5000, inner={"x": 1, "huge": -(10**6000)}, items=[1, 10**5000])
        manager.flush()
        state["inner"]["x"] = 2
    with autostate.open("sqlite:///s.db"):
        again = PersistedDict[str, Any]("a")
        assert again["huge"] == again["items"][1] == 10**5000
        assert again["inner"] == {"x": 2, "huge": -(10**6000)}
        assert len(again) == count + 3


def test_keys_that_utf8_cannot_hold_survive_every_merge(isolated: Path) -> None:
    """A small state is merged into the head at each commit."""
    with autostate.open("sqlite:///s.db") as manager:
        state = PersistedDict[str, Any]("a")
        manager.flush()
        state.update({"\ud800": "\udfff", "x": ["\ud800", {"\ud800": 1}]})
        manager.flush()
        state["y"] = 1
        manager.flush()
        expected = dict(state)
    with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == expected


def test_a_nested_containers_type_makes_plain_ones() -> None:
    """`dataclasses.asdict` calls `type(value)(...)`."""
    with autostate.open("memory:") as manager:
        state = PersistedDict[str, Any]("a", items=[1], table={"x": 1})
        manager.flush()
        for _ in range(2):  # armed, then disarmed
            made = type(state["items"])(iter([1, 2]))
            assert type(made) is list
            assert type(type(state["table"])([("a", 1)])) is dict
            state["items"].append(1)
            state["table"]["y"] = 1


def test_a_writer_that_waits_while_its_store_is_closed_goes_on() -> None:
    """Its object is a plain one by then."""
    manager = autostate.open("memory:")
    with manager:
        items = PersistedList("a", range(1000))
        members = PersistedSet("b", range(1000))
        tracker: Any = items._node_.tracker  # type: ignore[union-attr]
        started = threading.Event()

        def write() -> None:
            started.set()
            items.pop()
            members.discard(5)

        thread = threading.Thread(target=write)
        manager.flush()
        with tracker.lock:
            thread.start()
            started.wait()
            tracker.close()
        thread.join()
    assert len(items) == len(members) == 999


def test_a_flush_after_the_end_does_not_pretend() -> None:
    """The manager of the process is not replaced by an empty one when the process ends."""
    manager = autostate.configure("memory:")
    state = PersistedDict("a", x=1)
    manager.finish(5.0)  # what the end of the process calls
    state["x"] = 2
    with pytest.raises(Exception, match="closed"):
        autostate.flush()


async def test_results_appended_across_a_save_are_saved(isolated: Path) -> None:
    """`append` is looked up before the await, and called after the cut."""

    async def page() -> int:
        await autostate.durable()
        return 1

    async with autostate.open("sqlite:///s.db"):
        state = PersistedDict[str, Any]("a", results=[])
        for _ in range(5):
            state["results"].append(await page())
        await asyncio.sleep(0)
    async with autostate.open("sqlite:///s.db"):
        assert PersistedDict("a") == {"results": [1] * 5}


@pytest.mark.parametrize("kind", ["set", "dict"])
def test_what_shrinks_while_it_is_being_saved_is_compared_with_what_was_saved(kind: str) -> None:
    """A large container, small again before the commit is acknowledged."""
    program = Program()
    made = program.root("a", kind, dict.fromkeys(range(10)))
    program.flush()
    made.update(dict.fromkeys(range(1000)))
    capture = program.tracker.cut()
    assert capture is not None
    changes = capture.encode()
    made.clear()
    program.journal.commit(changes)
    capture.saved()
    program.flush()
    assert len(program.restart().root("a", kind)) == 0
