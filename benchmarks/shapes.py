"""States of every shape, of any size, and how a program changes a share of them.

Nothing else holds what is in them, as in a program that builds its state where it lies.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from itertools import count
from typing import Any, ClassVar

import autostate
from benchmarks.entries import entries


class Shape(ABC):
    """A state of some size.

    Attributes:
        what: Its name in the table.
        root: The state object.
        size: Its entries when it was made.
    """

    what: ClassVar[str]
    root: Any

    def __init__(self, size: int) -> None:
        self.size = size
        self._rng = random.Random(4)
        self._new = count()
        self.make(size)

    @abstractmethod
    def make(self, size: int) -> None:
        """Make the state object with so many entries."""

    @abstractmethod
    def change(self, number: int) -> None:
        """Change so many entries."""

    def content(self) -> Any:
        """The same as plain JSON can hold it."""
        return self.root


class NestedDicts(Shape):
    """URL → four small fields; in some entries one field changes."""

    what = "dict of dicts"

    def make(self, size: int) -> None:
        """Make the dict."""
        self.root = autostate.PersistedDict[str, Any]("pages")
        self.root.update(entries(size))
        self._urls = list(self.root)

    def change(self, number: int) -> None:
        """Change one field in each."""
        for url in self._rng.sample(self._urls, number):
            self.root[url]["depth"] += 1


class DeepSet(Shape):
    """`state["shops"]["s1"]["seen"]` is a set; members are added."""

    what = "set, three deep"

    def make(self, size: int) -> None:
        """Make the set."""
        self.root = autostate.PersistedDict[str, Any]("state")
        self.root["shops"] = {"s1": {"seen": set()}}
        self.change(size)

    def change(self, number: int) -> None:
        """Add so many members."""
        self.root["shops"]["s1"]["seen"].update([f"item-{next(self._new)}" for _ in range(number)])


class ListTail(Shape):
    """A list of dicts that grows."""

    what = "list, tail"

    def make(self, size: int) -> None:
        """Make the list."""
        self.root = autostate.PersistedList[Any]("items")
        self.change(size)

    def change(self, number: int) -> None:
        """Append so many items."""
        self.root.extend([{"id": next(self._new), "seen": 0} for _ in range(number)])


class ListMiddle(ListTail):
    """A list of dicts; some of them change, the first in the middle."""

    what = "list, middle"

    def change(self, number: int) -> None:
        """Fill the list at first; then change one field in each."""
        if not self.root:
            super().change(number)
            return
        middle = len(self.root) // 2
        others = self._rng.sample(range(len(self.root)), number - 1)
        for index in [middle, *others]:
            self.root[index]["seen"] += 1


class Counts(Shape):
    """A counter; some of its keys count on."""

    what = "counter"

    def make(self, size: int) -> None:
        """Make the counter."""
        self.root = autostate.PersistedCounter[str]("hits")
        self._keys = [f"key-{number}" for number in range(size)]
        self.root.update(self._keys)

    def change(self, number: int) -> None:
        """Count each once."""
        for key in self._rng.sample(self._keys, number):
            self.root[key] += 1


class DequeEnds(Shape):
    """A deque of dicts, a queue that moves on at either end."""

    what = "deque, both ends"

    def make(self, size: int) -> None:
        """Make the deque."""
        self.root = autostate.PersistedDeque[Any]("queue")
        self.root.extend([self._item() for _ in range(size)])

    def change(self, number: int) -> None:
        """Put items in at both ends in turn, and take as many out."""
        for turn in range(number):
            if turn % 2:
                self.root.appendleft(self._item())
                self.root.pop()
            else:
                self.root.append(self._item())
                self.root.popleft()

    def content(self) -> Any:
        """Make it a list."""
        return list(self.root)

    def _item(self) -> dict[str, int]:
        return {"id": next(self._new), "seen": 0}


SHAPES: tuple[type[Shape], ...] = (
    NestedDicts,
    DeepSet,
    ListTail,
    ListMiddle,
    DequeEnds,
    Counts,
)
