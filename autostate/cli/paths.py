"""Paths into a state object: `pages.3.title`, or as messages write them: `["pages"][3].title`."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, Final

from autostate.cli import plain
from autostate.cli.errors import CommandError
from autostate.cli.escapes import printable
from autostate.cli.values import Fields

_STEP: Final = re.compile(
    r"""\[ (?: (?P<literal> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\[\]]* ) ) \]
      | \.? (?P<name> [^.\[]+ )""",
    re.VERBOSE,
)
LITERAL_ERRORS: Final = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""What `ast.literal_eval` raises of a text that is no literal; TypeError: as `{[]}`."""
MISSING: Final = object()
"""What stands for a value or a key that is not there."""


class Keys:
    """The keys of a mapping, as a path or JSON names them.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: Collection[Any]) -> None:
        self._keys = keys

    def find(self, step: Any) -> Any:
        """Give the key that is meant: the one that is given, or that is shown like it.

        A date, an int or a tuple is known as `get` prints it, as `str` gives it, and as messages
        write it.

        Raises:
            CommandError: Several keys are shown like it.
        """
        try:
            if step in self._keys:
                return step
        except TypeError:  # it cannot be a key
            return MISSING
        if not isinstance(step, (str, tuple)):
            return MISSING
        found = self._by_text.get(step if isinstance(step, str) else plain.key_text(step), [])
        if len(found) > 1:
            raise CommandError(
                f"{len(found)} keys are shown as {step!r}, so that none of them is meant"
            )
        return found[0] if found else MISSING

    @cached_property
    def _by_text(self) -> dict[str, list[Any]]:
        """The keys that are no texts, by what each is shown as."""
        found: dict[str, list[Any]] = {}
        for key in self._keys:
            if not isinstance(key, str):
                texts = {plain.key_text(key), plain.shown(key), plain.in_brackets(key)}
                for text in texts if isinstance(key, int) else {*texts, str(key)}:
                    found.setdefault(text, []).append(key)
        return found


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
    except LITERAL_ERRORS:
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
    key = Keys(entries).find(step)
    return MISSING if key is MISSING else entries[key]


def extended(path: str, key: Any, *, of_object: bool = False) -> str:
    """Give the path to what is under a key, as messages write it."""
    if of_object:
        return f"{path}.{printable(str(key))}"
    shown = plain.in_a_line(key) if isinstance(key, str) else plain.shown(key)
    return f"{path}[{printable(shown)}]"


def number(step: Any) -> int | None:
    """Give the index that a step means; None if it means none."""
    if isinstance(step, (bool, float)):
        return None
    try:
        return int(step)
    except (TypeError, ValueError):
        return None
