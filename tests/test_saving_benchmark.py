"""In which order the benchmark of saving measures what, and of whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import pytest

from benchmarks import machine, saving
from benchmarks.measure import FULL, USUAL, Figures
from benchmarks.peers import AUTOMATIC, LIMIT, OWN


class Recorder:
    """Stands for a worker process, and records what it is told to do."""

    done: ClassVar[list[tuple[str, str, str, int]]]
    open: ClassVar[set[str]]

    def __init__(self, participant: str, shape: str) -> None:
        self.name, self.shape = participant, shape

    def __enter__(self) -> Self:
        self.open.add(self.name)
        return self

    def ready(self) -> None:
        """Start at once."""

    def do(self, operation: str, number: int) -> Figures:
        """Take a second."""
        self.done.append((self.name, self.shape, operation, number))
        if number >= saving.HUGE:
            assert self.open == {self.name}
        return {"seconds": 1.0, "saving": 0.5}

    def __exit__(self, *error: object) -> None:
        self.open.remove(self.name)


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    """Replace all worker processes, on a machine with enough memory."""
    Recorder.done, Recorder.open = [], set()
    monkeypatch.setattr(saving, "Session", Recorder)
    monkeypatch.setattr(machine, "available", lambda: float("inf"))
    yield Recorder
    assert not Recorder.open


def test_changes_of_everything_come_last(recorder: type[Recorder]) -> None:
    """After them a set has room for a few members at most, and a small change may resize it."""
    list(saving.rows(USUAL))
    found = [
        (operation, number)
        for name, shape, operation, number in recorder.done
        if name == LIMIT and shape == "members"
    ]
    fills = [index for index, (operation, _) in enumerate(found) if operation == "fill"]
    for begin, end in zip(fills, [*fills[1:], None], strict=True):
        _, size = found[begin]
        whole = [number == size for _, number in found[begin + 1 : end]]
        assert whole == sorted(whole)
    assert ("add", 10_000) in found
    assert ("add", 100) in found


def test_huge_states_are_measured_one_after_another(recorder: type[Recorder]) -> None:
    """Of autostate by `flush()`, the limit, and those that are fast; the page compares all."""
    rows = list(saving.rows(FULL))
    names = {name for name, *_ in recorder.done}
    assert {LIMIT, OWN} <= names <= {LIMIT, OWN, "rocksdict", "lmdb"}
    assert AUTOMATIC not in names
    changed = [(shape, operation) for name, shape, operation, _ in recorder.done if name == OWN]
    for operation in ("fill", "replace", "alter", "add", "remove"):
        assert ("dicts", operation) in changed
    assert {"100,000: objects", "10,000,000: set"} <= {row.group for row in rows}
    assert all(row.figure == 1 for row in rows if row.unit == "×")


def test_a_state_that_may_not_fit_into_memory_is_left_out(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects, of which there are few, remain."""
    monkeypatch.setattr(machine, "available", lambda: 4e9)
    assert {row.group for row in saving.rows(FULL)} == {"100,000: objects"}
    assert {shape for _, shape, *_ in recorder.done} == {"objects"}
