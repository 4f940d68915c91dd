"""Paths into a state object: `pages.3.title`, or as messages write them: `["pages"][3].title`."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from autostate.cli.errors import CommandError
from autostate.cli.values import Fields

_STEP: Final = re.compile(
    r"""\[ (?: (?P<literal> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\[\]]* ) ) \]
      | \.? (?P<name> [^.\[]+ )""",
    re.VERBOSE,
)
_MISSING: Final = object()


def parsed(paths: Sequence[str]) -> list[Any]:
    """Give the steps of a path: names as text, literals in brackets as their values.

    Raises:
        CommandError: The text is no path.

    Example:
        >>> parsed(["pages.3", '["a.b"][-1]'])
        ['pages', '3', 'a.b', -1]
    """
    steps: list[Any] = []
    for path in paths:
        at = 0
        while at < len(path):
            found = _STEP.match(path, at)
            if found is None:
                raise CommandError(f"{path!r} is no path: write pages.3.title, for example")
            steps.append(found["name"] if found["literal"] is None else _literal(found["literal"]))
            at = found.end()
    return steps


def follow(name: str, value: Any, steps: Sequence[Any]) -> Any:
    """Give the value at a path.

    Raises:
        CommandError: There is no value.
    """
    path = name
    for step in steps:
        value = _inside(value, step)
        if value is _MISSING:
            raise CommandError(f"there is no {step!r} in {path}")
        path += f"[{step!r}]"
    return value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _inside(value: Any, step: Any) -> Any:
    if isinstance(value, Fields):
        return value.fields.get(step, _MISSING)
    if isinstance(value, dict):
        return _entry(value, step)
    if isinstance(value, (list, tuple, deque)):
        index = _number(step)
        if index is not None and -len(value) <= index < len(value):
            return value[index]
    return _MISSING


def _entry(entries: dict[Any, Any], step: Any) -> Any:
    """Give the entry under a key; a text also stands for a key that is shown like the text."""
    try:
        if step in entries:
            return entries[step]
    except TypeError:  # the step cannot be a key
        return _MISSING
    if not isinstance(step, str):
        return _MISSING
    return next(
        (value for key, value in entries.items() if step in (str(key), repr(key))), _MISSING
    )


def _number(step: Any) -> int | None:
    try:
        return int(step)
    except (TypeError, ValueError):
        return None
