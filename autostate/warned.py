"""Warnings that a program has turned into errors: shown, while state is read or encoded.

`python -W error`, `warnings.simplefilter("error")` and pytest make an exception of every warning. A
warning of a class's `decode`, of a value's library, or of the interpreter would then count as a
failure of the call: the state would be "corrupt", or would not be saved. Reading and saving state
must not depend on the wish to see warnings.

`warnings.catch_warnings` replaces the filters of all threads: if two threads leave it in another
order than they entered it, the wrong filters remain. So one filter is put in front, which matches
nothing outside of the library's own calls, and inside only warnings that would be raised.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from operator import itemgetter
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_action = itemgetter(0)
"""What a filter of `warnings` does, such as "error"."""


class _Protected(threading.local):
    """Whether this thread is inside of the library's own calls."""

    depth = 0


_protected = _Protected()


class _Matching(type):
    def __subclasscheck__(cls, category: type) -> bool:
        """Tell whether a warning would be raised, and is shown: `warnings` asks each filter."""
        return _protected.depth > 0 and _would_be_raised(category)


class _Shown(Warning, metaclass=_Matching):
    """The category of the filter in front."""


def _would_be_raised(category: type) -> bool:
    """Tell whether a warning may be an error by the other filters; some need its text, too."""
    for action, message, wanted, module, _ in tuple(warnings.filters):
        if wanted is _Shown or not issubclass(category, wanted):
            continue
        if action == "error":
            return True
        if message is None and module is None:
            return False
    return False


def shows_warnings(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function show, in its thread, warnings that would be raised as errors."""

    @functools.wraps(function)
    def showing(*args: P.args, **kwargs: P.kwargs) -> R:
        filters = warnings.filters  # the program may have set others since
        if filters and filters[0][2] is not _Shown and "error" in map(_action, filters):
            warnings.simplefilter("always", _Shown)
        _protected.depth += 1
        try:
            return function(*args, **kwargs)
        finally:
            _protected.depth -= 1

    return showing
