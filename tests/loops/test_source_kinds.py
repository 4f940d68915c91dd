"""What loops run over: where they go on in it, and what is read for that."""

from __future__ import annotations

import collections
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autostate
from autostate import PersistedList, resume
from autostate.containers.position import position
from autostate.runtime.api import current_manager
from tests.loops.loops import URL, leave, numbers, opened, process, take

pytestmark = pytest.mark.usefixtures("forked_actors")


def lines(mode: str) -> Any:
    """Open a file of nine lines, which is made at the first time."""
    path = Path("lines.txt")
    if not path.exists():
        path.write_bytes("".join(f"é{number}\n" for number in range(9)).encode())
    opened.append(path.open(mode))
    return opened[-1]


KINDS: dict[str, Callable[[], Iterable[Any]]] = {
    "list": lambda: list(range(9)),
    "tuple": lambda: tuple(range(9)),
    "range": lambda: range(9),
    "large range": lambda: range(2**70, 2**70 + 9),
    "str": lambda: "abcdefghé",
    "bytes": lambda: b"abcdefghi",
    "array": lambda: np.arange(18).reshape(9, 2).tolist(),
    "deque": lambda: collections.deque(range(9)),
    "dict": lambda: dict.fromkeys("abcdefghi"),
    "items": {str(number): number for number in range(9)}.items,
    "iterator": lambda: iter(range(9)),
    "generator": lambda: (number for number in range(9)),
    "map": lambda: map(str, range(9)),
    "UserList": lambda: collections.UserList(range(9)),
    "StringIO": lambda: io.StringIO("a\nb\nc\nd\ne\nf\ng\nh\ni"),
    "BytesIO": lambda: io.BytesIO(b"a\nb\nc\nd\ne\nf\ng\nh\ni"),
    "state object": lambda: PersistedList("queue", range(9)),
    "text file": lambda: lines("r"),
    "binary file": lambda: lines("rb"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_goes_on_over(kind: str) -> None:
    """Each kind of iterable, from process to process, to its end and not beyond."""
    make = KINDS[kind]
    everything = process(lambda: list(make()))
    found = leave(make, 3)[:2] + leave(make, 1)[:0] + leave(make, 4)[:3] + leave(make, 99)
    assert found == everything
    assert leave(make, 99) == []


def test_a_numpy_array_is_not_read_from_the_beginning() -> None:
    """Its rows are found by index."""
    rows = np.arange(18).reshape(9, 2)
    assert [row[0] for row in leave(lambda: rows, 3)] == [0, 2, 4]
    assert [row[0] for row in leave(lambda: rows, 99)] == [4, 6, 8, 10, 12, 14, 16]


def test_infinite_generators_work() -> None:
    """There is no need for an end."""
    assert leave(itertools.count, 5) == [0, 1, 2, 3, 4]
    assert leave(itertools.count, 2) == [4, 5]


class Looked(list[int]):
    """A list that notes which items were asked for, as a sequence without an iterator of C."""

    def __init__(self, end: int) -> None:
        super().__init__(range(end))
        self.asked: list[int] = []

    def __iter__(self) -> Iterator[int]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


def test_of_a_sequence_only_what_is_compared_is_asked_for() -> None:
    """The items before the position are not read again, however many there are."""
    leave(lambda: range(10_000), 10_000)
    found = Looked(10_002)
    assert leave(lambda: found, 99) == [9_999, 10_000, 10_001]
    assert len([index for index in found.asked if index < 9_999]) == 2


class Queue(collections.deque[int]):
    """A deque of which no item is asked for by index: in its middle that is slow."""

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError


def test_a_place_far_in_a_sequence_is_found_at_once() -> None:
    """To count up to it would not end."""
    position(current_manager(), "loop")["position"] = (10**15 - 2, None, None)
    assert list(resume("loop", range(10**15))) == [10**15 - 2, 10**15 - 1]
    assert leave(lambda: Queue(range(5)), 3) == [0, 1, 2]
    assert leave(lambda: Queue(range(5)), 9) == [2, 3, 4]


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_a_file_is_not_read_from_the_beginning(mode: str) -> None:
    """The next process seeks to a line that was remembered."""

    def make() -> Any:
        return lines(mode)

    assert len(leave(make, 9)) == 9
    before = process(lambda: position(current_manager(), "loop")["position"])
    assert before[:1] == (8,)
    assert before[2][0] == 7
    assert before[2][2] == len("é0\n".encode()) * 7
    with Path("lines.txt").open("r+b") as file:
        file.seek(len("é0\n".encode()) * 3 + 2)
        file.write(b"X")  # a line that is neither read nor compared
    assert leave(make, 9) == list(make())[8:]


def test_a_file_goes_on_after_its_header() -> None:
    """What was read before the loop is read before it in the next process too."""
    Path("table.csv").write_text("name\na\nb\nc\n")

    def run() -> list[str]:
        with Path("table.csv").open() as file:
            assert file.readline() == "name\n"
            return take(resume("loop", file), 2)

    def run_with_next() -> list[str]:
        with Path("table.csv").open() as file:
            assert next(file) == "name\n"  # from here on it does not tell where it is
            return take(resume("next", file), 2)

    assert process(run) == ["a\n", "b\n"]
    assert process(run) == ["b\n", "c\n"]
    assert process(run_with_next) == ["a\n", "b\n"]
    assert process(run_with_next) == ["b\n", "c\n"]


def test_what_is_added_at_the_end_is_gone_over_too() -> None:
    """A loop that came to its end gives what is new after it, and nothing else."""
    assert leave(lambda: [1, 2], 9) == [1, 2]
    assert leave(lambda: [1, 2, 3], 9) == [3]
    assert leave(lambda: (number for number in (1, 2, 3, 4)), 9) == [4]


async def test_an_asynchronous_iterable_goes_on() -> None:
    """And anything else can be gone over by `async for`."""
    found: list[int] = []
    for make in (lambda: numbers(6), lambda: range(6)):
        for stop in (2, 4, 99):
            async with autostate.open(URL):
                async for number in resume("loop", make()):
                    if number == stop:
                        break
                    found.append(number)
        assert found == [0, 1, 2, 3, 4, 5]
        found.clear()
        async with autostate.open(URL) as manager:
            manager.delete("loop")


@pytest.mark.parametrize("wrong", [{1, 2}, frozenset("ab"), 5, None])
def test_what_has_no_order_or_cannot_be_iterated_is_refused(wrong: Any) -> None:
    """A set's order is another one in each process."""
    with pytest.raises(TypeError, match="'loop'"):
        resume("loop", wrong)
