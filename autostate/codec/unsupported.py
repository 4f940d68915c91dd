"""What is raised where a value cannot be saved, before it is known where that value is."""

from __future__ import annotations

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
    """A value that is nested too deeply: no place inside it can stand for it, all are as deep."""
