"""The error for a value that cannot be saved, before the path of the value is known."""

from __future__ import annotations

from typing import Any

_LONGEST_PATH = 12


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


def shown(cls: Any) -> str:
    """Give the name of a class or function, for messages."""
    return f"{cls.__module__}.{getattr(cls, '__qualname__', type(cls).__qualname__)}"
