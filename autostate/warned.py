"""Warnings that a program has turned into errors: shown, while state is read or encoded.

`python -W error`, `warnings.simplefilter("error")` and pytest make an exception of every warning.
That of a class's `decode`, of a library that a value belongs to, or of the interpreter would then
count as the failure of whatever it came from: the state would be "corrupt", or not be saved. What
may fail or succeed by itself must not depend on who wants to see warnings.

`warnings.catch_warnings` replaces the filters of all threads, and two threads that leave it in
another order than they entered it leave the wrong ones behind. So one filter is put in front that
matches nothing outside of the library's own calls, and there only what would be raised.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _Protected(threading.local):
    """Whether this thread is inside of the library's own calls."""

    depth = 0


_protected = _Protected()


class _Matching(type):
    def __subclasscheck__(cls, category: type) -> bool:
        """Whether a warning is to be shown that would be raised: `warnings` asks each filter."""
        return _protected.depth > 0 and _would_be_raised(category)


class _Shown(Warning, metaclass=_Matching):
    """What the filter in front is for."""


def _would_be_raised(category: type) -> bool:
    """Whether a warning may be an error by the other filters; some ask for its text, too."""
    for action, message, wanted, module, _ in tuple(warnings.filters):
        if wanted is _Shown or not issubclass(category, wanted):
            continue
        if action == "error":
            return True
        if message is None and module is None:
            return False
    return False


@contextmanager
def warnings_shown() -> Generator[None]:
    """Show what would be raised as a warning, instead of raising it, in this thread."""
    filters = warnings.filters
    if filters and filters[0][2] is not _Shown and any(one[0] == "error" for one in filters):
        warnings.simplefilter("always", _Shown)
    _protected.depth += 1
    try:
        yield
    finally:
        _protected.depth -= 1


def shows_warnings(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function show what would be raised as a warning."""

    @functools.wraps(function)
    def method(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings_shown():
            return function(*args, **kwargs)

    return method
