"""Plain JSON of a state object, as `JSON.stringify` makes it of the same object in JavaScript.

A value that JSON can hold stays as it is. A value with a counterpart in JavaScript becomes the JSON
of that counterpart. Any other value has no form that a reader would take for the same value: it is
an error that names the path, or is replaced by the result of the caller's `default`. A nan, for
which `JSON.stringify` silently writes `null`, is such a value.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from autostate.codec import classes, registry
from autostate.codec.introspection import attributes_by_name
from autostate.codec.options import is_persisted
from autostate.codec.transparent import Transparent
from autostate.codec.unsupported import Unsupported, shown
from autostate.errors import UnsupportedTypeError
from autostate.runtime.names import name_of
from autostate.warned import shows_warnings

LARGEST: Final = 2**53 - 1
"""The largest integer that JavaScript keeps exactly: `Number.MAX_SAFE_INTEGER`."""

_TEXTS: Final = (uuid.UUID, decimal.Decimal, pathlib.PurePath)
_ARRAYS: Final = (list, tuple, deque, range)
_SETS: Final = (set, frozenset)

_DO: Final = "give export() a function default=, which says what is to stand for it"


@shows_warnings
def export(obj: Any, *, default: Callable[[Any], Any] | None = None) -> Any:
    """Give a state object as plain JSON, as the JavaScript SDK's `useState` would keep it.

    The result is a new object, made of dict, list, str, int, float, bool and None alone: pass it
    to `Actor.set_value`, `Actor.push_data` or `json.dumps`. It shows the object as it is now.

    Args:
        obj: A state object, something nested in one, or any value that can be saved.
        default: Called with each value that has no form in JSON, or that JavaScript would not read
            as the same value; returns the replacement. Without it, such a value is an error.

    Returns:
        A dict for dicts and objects, a list for lists, sets, tuples and deques.

    Raises:
        UnsupportedTypeError: There is such a value, or a value that holds itself; the message
            names its path.

    Example:
        >>> import autostate
        >>> state = autostate.PersistedDict("state", page=1, seen={"a"}, span=(1, 2))
        >>> autostate.export(state)
        {'page': 1, 'seen': ['a'], 'span': [1, 2]}
    """
    try:
        return _Export(default).plain(obj)
    except Unsupported as problem:
        path = f"{_label(obj)}{problem.path}"
        raise UnsupportedTypeError(path, problem.problem) from problem.__cause__
    except RecursionError as error:
        raise UnsupportedTypeError(_label(obj), "it is nested too deeply for JSON") from error


def _label(obj: Any) -> str:
    """Give the beginning of a path: the name of a state object, else its class."""
    with contextlib.suppress(TypeError):  # no state object, or a nested one
        if type(obj) is not str:
            return name_of(obj)
    return type(obj).__name__


class _Export:
    """One call of `export`.

    Args:
        default: The program's function for values without a form.
    """

    def __init__(self, default: Callable[[Any], Any] | None) -> None:
        self._default = default
        self._asked = False
        self._open: set[int] = set()

    def plain(self, value: Any) -> Any:
        """Give a value as JSON."""
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Transparent):  # first: it looks like its wrapped object
            return self.plain(value.__wrapped__)
        if isinstance(value, enum.Enum):
            return self.plain(value.value)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (int, float)):
            return self._number(value)
        if isinstance(value, (dt.date, dt.time)):
            return self._moment(value)
        if isinstance(value, _TEXTS):
            return str(value)
        if id(value) in self._open:
            raise Unsupported(
                "a container holds itself, and JSON has no references: take one of them out"
            )
        self._open.add(id(value))
        try:
            made = self._container(value)
        finally:
            self._open.discard(id(value))
        if made is None:
            problem = f"a value of the class {shown(type(value))} has no form in JSON"
            return self._instead(value, problem)
        return made

    def _container(self, value: Any) -> dict[str, Any] | list[Any] | None:
        if isinstance(value, dict):
            return self._object(list(dict.items(value)))
        if isinstance(value, _ARRAYS):
            return self._array(list(value))
        if isinstance(value, _SETS):
            return self._array(_in_order(value))
        fields = fields_of(value)
        return None if fields is None else self._object(list(fields.items()), dotted=True)

    def _object(self, items: list[tuple[Any, Any]], *, dotted: bool = False) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in items:
            try:
                name = self._key(key)
                if name in made:
                    raise Unsupported("two keys of this dict are the same text")
                made[name] = self.plain(value)
            except Unsupported as problem:
                problem.steps.append(f".{key}" if dotted else _step(key))
                raise
        return made

    def _array(self, items: list[Any]) -> list[Any]:
        made = []
        for index, value in enumerate(items):
            try:
                made.append(self.plain(value))
            except Unsupported as problem:
                problem.steps.append(f"[{index}]")
                raise
        return made

    def _key(self, key: Any) -> str:
        """Give the name of a property: JavaScript makes strings of integers, too."""
        if isinstance(key, enum.Enum):
            return self._key(key.value)
        if isinstance(key, str) and _is_text(key):
            return str.__str__(key)
        if isinstance(key, int) and not isinstance(key, bool):
            return int.__repr__(key)
        raise Unsupported(
            f"a {type(key).__name__} cannot be a key in JSON: keep such a dict out of what is "
            "exported, or export another one made of it"
            if not isinstance(key, str)
            else "a key with a lone surrogate has no form in JSON"
        )

    def _text(self, value: str) -> Any:
        if _is_text(value):
            return str.__str__(value)
        return self._instead(value, "a text with a lone surrogate cannot be written as UTF-8")

    def _number(self, value: float) -> Any:
        if isinstance(value, int):
            exact = int(value)
            if -LARGEST <= exact <= LARGEST:
                return exact
            return self._instead(value, "JavaScript would round an integer beyond 2**53 - 1")
        number = float(value)
        if math.isfinite(number):
            return number
        return self._instead(value, f"{number} is no number in JSON")

    def _moment(self, value: dt.date | dt.time) -> Any:
        """Write like `Date.toJSON`: UTC, milliseconds; a naive time stays without a zone."""
        if not isinstance(value, dt.datetime):
            return value.isoformat()
        if value.utcoffset() is None:
            return value.replace(tzinfo=None).isoformat(timespec="milliseconds")
        try:
            in_utc = value.astimezone(dt.UTC)
        except OverflowError:
            return self._instead(value, "this datetime is out of range in UTC")
        return in_utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"

    def _instead(self, value: Any, problem: str) -> Any:
        """Give the program's replacement for a value without a form."""
        if self._default is None:
            raise Unsupported(f"{problem}: {_DO}")
        if self._asked:
            raise Unsupported(f"{problem}, and default= has given it")
        self._asked = True
        try:
            return self.plain(self._default(value))
        finally:
            self._asked = False


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        str.encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _in_order(members: Iterable[Any]) -> list[Any]:
    """Sort members if they have an order, so that equal sets are exported alike."""
    listed = list(members)
    kinds = set(map(type, listed))
    return sorted(listed) if kinds <= {int, float} or kinds == {str} else listed


def fields_of(value: Any) -> dict[str, Any] | None:
    """Give the fields of an object whose class declares them; None for any other object."""
    if is_persisted(type(value)):
        from autostate.objects import decorator

        return decorator.fields_of(value)
    cls = type(value)
    entry = registry.entry_for(cls)
    if entry is None or entry.fields is None:
        return None
    found = classes.without_caches(cls, attributes_by_name(value))
    extra = found.get("__pydantic_extra__") or {}
    found = {name: v for name, v in found.items() if not name.startswith("__")} | extra
    known = classes.fields_of(cls)
    declared = () if known is None else known.defaults  # slots have no such order
    return {name: found[name] for name in declared if name in found} | found


def _step(key: Any) -> str:
    return f'["{key}"]' if type(key) is str else f"[{key!r}]"
