"""Fingerprints: a loop goes on over the same items only, and says what differs without values."""

from __future__ import annotations

import dataclasses
import io
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

import autostate
from autostate import PersistedList, ResumeError, resume
from autostate.containers.position import position as stored_position

URL = "sqlite:///loops.db"


def leave(items: Iterable[Any], count: int, **options: Any) -> list[Any]:
    """Take items from a loop, and leave it in the body of the last one, as a process would."""
    taken = []
    with autostate.open(URL, debounce=3600, max_delay=3600):
        for item in resume("loop", items, **options):
            taken.append(item)
            if len(taken) == count:
                break
    return taken


def position() -> Any:
    """What is stored."""
    with autostate.open(URL) as manager:
        return dict(stored_position(manager, "loop"))


KINDS: list[Callable[[list[str]], Any]] = [
    list,
    iter,
    lambda words: io.StringIO("".join(f"{word}\n" for word in words)),
    lambda words: io.BytesIO("".join(f"{word}\n" for word in words).encode()),
]


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (["new", "secret", "b", "c", "d"], "item 0"),
        (["secret", "new", "b", "c", "d"], "item 2"),
        (["secret", "b", "other", "d"], "item 2"),
        (["secret", "b", "d"], "item 2"),
        (["secret", "b"], r"fewer items \(2\) than were done|item 2"),
        ([], r"fewer items \(0\) than were done|item 0"),
    ],
)
def test_what_is_not_the_same_is_refused(kind: int, changed: list[str], what: str) -> None:
    """Items that were added, removed, replaced; the position stays, and no value is told."""
    make = KINDS[kind]
    same = ["secret", "b", "c", "d"]
    leave(make(same), 4)
    before = position()
    with pytest.raises(ResumeError, match=what) as caught:
        leave(make(changed), 1)
    assert "'loop'" in str(caught.value)
    assert not [word for word in ("secret", "new", "other") if word in str(caught.value)]
    assert position() == before
    assert len(leave(make(same), 9)) == 1


def test_there_are_ways_out() -> None:
    """`check=False` goes on after so many items; `restart=True` begins anew."""
    leave([1, 2, 3, 4], 3)
    assert leave([9, 9, 9, 9], 1, check=False) == [9]
    assert leave([9, 9, 8, 7], 9, check=False) == [8, 7]
    assert leave([5, 6], 9, restart=True) == [5, 6]


def test_check_false_counts_the_lines_of_a_file() -> None:
    """The place that was remembered may be anywhere in another file."""
    leave(io.StringIO("a\nb\nc\n"), 3)
    assert leave(io.StringIO("long line\nb\nanother\n"), 9, check=False) == ["another\n"]


def test_a_place_in_the_middle_of_a_character_is_refused() -> None:
    """And so is one beyond the end of the file."""

    def file(text: str) -> Any:
        return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")

    leave(file("a\nbb\nc\n"), 3)
    for text in ("a\néé\né\n", "a\n"):
        with pytest.raises(ResumeError, match=r"item 1|fewer items"):
            leave(file(text), 1)


@dataclasses.dataclass
class Row:
    """An item that a body changes."""

    id: int
    seen: bool = False


class Live:
    """An item that cannot be saved."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.__dict__["lock"] = sys.stdout


def test_a_body_may_change_its_item() -> None:
    """Whether it is read anew, as it was, or is part of the state, as it became."""
    with autostate.open(URL):
        for row in resume("loop", [Row(0), Row(1), Row(2)]):
            row.seen = True
            if row.id == 2:
                break
    assert leave([Row(0), Row(1), Row(2)], 1) == [Row(2)]
    for last in (2, 9):
        with autostate.open(URL):
            queue = PersistedList("queue", [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 3}])
            for item in resume("kept", queue):
                item["seen"] = 1
                if item["id"] == last:
                    break
    with autostate.open(URL):
        assert [item["seen"] for item in PersistedList("queue")] == [1, 1, 1, 1]


def test_key_says_what_identifies_an_item() -> None:
    """The rest may be another one in each process."""
    leave([Row(0), Row(1), Row(2)], 3, key=lambda row: row.id)
    other = [Row(0, seen=True), Row(1, seen=True), Row(2, seen=True)]
    assert leave(other, 1, key=lambda row: row.id) == [Row(2, seen=True)]
    with pytest.raises(ResumeError, match="item 0"):
        leave([Row(7), Row(1), Row(2)], 1, key=lambda row: row.id)


def test_items_that_cannot_be_saved_are_not_compared_unless_there_is_a_key() -> None:
    """Only their number counts."""
    leave([Live(0), Live(1), Live(2)], 3)
    assert [live.number for live in leave([Live(7), Live(8), Live(9)], 1)] == [9]
    options: dict[str, Any] = {"key": lambda live: live.number}
    leave([Live(0), Live(1), Live(2)], 3, restart=True, **options)
    with pytest.raises(ResumeError, match="item 0"):
        leave([Live(7), Live(1), Live(2)], 3, **options)


PROGRAM = """
import autostate
from autostate import resume
autostate.configure("sqlite:///loops.db")
for item in resume("loop", [{"b", "a", "c", f"{n}"} for n in range(5)]):
    if "2" in item:
        print("left")
        break
"""


def test_items_that_hold_sets_are_the_same_in_each_process() -> None:
    """Their order in memory is another one, their fingerprint is not."""
    for seed in ("1", "2", "3"):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.stdout, ran.returncode) == ("left\n", 0), ran.stderr


def test_the_last_item_of_a_long_loop_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was done within the last moment."""
    monkeypatch.setattr("autostate.loops.run._clock", itertools.count(0.0, 0.0001).__next__)
    leave(range(100_000), 100_000)
    done, _first, (number, _prints, _place) = position()["position"]
    assert done == 99_999
    assert done - 50_000 < number < done
    with pytest.raises(ResumeError, match=f"item {number} "):
        leave([0, *range(100_000)], 1)


async def test_an_asynchronous_iterable_is_compared() -> None:
    """As any other."""

    async def words(*given: str) -> AsyncIterator[str]:
        for word in given:
            yield word

    async def run(*given: str) -> list[str]:
        async with autostate.open(URL):
            return [word async for word in resume("loop", words(*given))]

    assert await run("a", "b") == ["a", "b"]
    assert await run("a", "b", "c") == ["c"]
    for given in (("x", "b", "c"), ("a", "b", "x"), ("a", "b")):
        with pytest.raises(ResumeError, match=r"item 0|item 2|fewer items \(2\)"):
            await run(*given)


def test_an_iterator_that_has_gone_further_is_refused() -> None:
    """Its items are gone; the loop was begun again, or another one has taken them."""
    items = iter(range(9))
    loop = resume("loop", items)
    for number in loop:
        if number == 3:
            break
    autostate.delete("loop")
    with pytest.raises(ResumeError, match="4 items were taken from this iterator already"):
        list(loop)
    for _ in resume("other", range(9)):
        break
    assert list(resume("other", range(9))) == list(range(9))
