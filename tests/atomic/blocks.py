"""What the tests of `atomic()` share: tasks that begin and end blocks in contexts of their own."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable
from typing import Any

import autostate

WAIT = 120.0
LARGE = 300


class Actor:
    """One task of a program: what it does happens in a context of its own."""

    def __init__(self, make: Callable[[], Any] = autostate.atomic) -> None:
        self._make = make
        self._context = contextvars.copy_context()
        self._blocks: list[contextlib.ExitStack] = []

    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function as this task."""
        return self._context.run(function, *args)

    def begin(self) -> None:
        """Enter a block."""
        stack = contextlib.ExitStack()
        self.do(stack.enter_context, self._make())
        self._blocks.append(stack)

    def end(self, *, fails: bool = False) -> None:
        """Leave the innermost block."""
        error = (ValueError, ValueError(), None) if fails else (None, None, None)
        self.do(self._blocks.pop().__exit__, *error)

    @property
    def depth(self) -> int:
        """How many blocks it is in."""
        return len(self._blocks)
