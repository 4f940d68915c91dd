"""The error for a value that cannot be saved, before the path of the value is known."""

from __future__ import annotations

from typing import Any, Final

_LONGEST_PATH = 12
_NAMED: Final = 5


class Unsupported(Exception):  # noqa: N818 - becomes an UnsupportedTypeError once its path is known
    """A value that cannot be saved; `steps` grows from the inside out while it travels up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        """The way from the outermost value to the one that cannot be saved: `["pages"][3].lock`."""
        steps = self.steps[::-1]
        if len(steps) > _LONGEST_PATH:
            half = _LONGEST_PATH // 2
            steps = [*steps[:half], f"…({len(steps) - 2 * half} more)…", *steps[-half:]]
        return "".join(steps)


class TooDeep(Unsupported):
    """A value that is nested too deeply: no single place inside it is to blame."""


class Replaced:
    """The values inside an entry that cannot be saved, each replaced by a stand-in.

    Attributes:
        problems: The first few of them.
        more: The number of the others: a list of a million such values is no reason for a log of a
            million lines.
    """

    __slots__ = ("more", "problems")

    def __init__(self) -> None:
        self.problems: list[Unsupported] = []
        self.more: int = 0

    def clear(self) -> None:
        """Begin anew: the entry is encoded once more."""
        self.problems, self.more = [], 0

    def add(self, problem: Unsupported) -> None:
        """Note one more value."""
        if len(self.problems) < _NAMED:
            self.problems.append(problem)
        else:
            self.more += 1


def shown(cls: Any) -> str:
    """Give the name of a class or function, for messages."""
    return f"{cls.__module__}.{getattr(cls, '__qualname__', type(cls).__qualname__)}"
