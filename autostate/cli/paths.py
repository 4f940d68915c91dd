"""Paths into a state object: `pages.3.title`, or as messages write them: `["pages"][3].title`."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Final

from autostate.cli import plain
from autostate.cli.errors import CommandError
from autostate.cli.values import Fields

_STEP: Final = re.compile(
    r"""\[ (?: (?P<literal> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\[\]]* ) ) \]
      | \.? (?P<name> [^.\[]+ )""",
    re.VERBOSE,
)
MISSING: Final = object()
"""What stands for a value or a key that is not there."""


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
        if value is MISSING:
            raise CommandError(
                f"there is no {step!r} in {path}: `autostate show {name}` shows what is there"
            )
        path += f"[{step!r}]"
    return value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _inside(value: Any, step: Any) -> Any:
    if isinstance(value, Fields):
        return value.fields.get(step, MISSING)
    if isinstance(value, dict):
        return _entry(value, step)
    if isinstance(value, (list, tuple, deque)):
        index = number(step)
        if index is not None and -len(value) <= index < len(value):
            return value[index]
    return MISSING


def _entry(entries: dict[Any, Any], step: Any) -> Any:
    key = key_in(entries, step)
    return MISSING if key is MISSING else entries[key]


def key_in(entries: Collection[Any], step: Any) -> Any:
    """Give the key that a step means: a text also stands for one that is shown like the text."""
    try:
        if step in entries:
            return step
    except TypeError:  # the step cannot be a key
        return MISSING
    if not isinstance(step, str):
        return MISSING
    return next((key for key in entries if step in (str(key), repr(key))), MISSING)


def extended(path: str, key: Any, *, of_object: bool = False) -> str:
    """Give the path to what is under a key, as messages write it."""
    if of_object:
        return f"{path}.{key}"
    shown = plain.in_a_line(key) if isinstance(key, str) else repr(key)
    return f"{path}[{plain.printable(shown)}]"


def number(step: Any) -> int | None:
    """Give the index that a step means; None if it means none."""
    try:
        return int(step)
    except (TypeError, ValueError):
        return None
