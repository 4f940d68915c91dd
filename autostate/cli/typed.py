"""A value that was typed in, as tagged JSON of the type that the present value has."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import decimal
import json
import pathlib
import uuid
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from autostate.cli.errors import CommandError
from autostate.cli.forms import MAPPINGS, form_of, mapping, pairs_of, plain_json
from autostate.codec import decode_key
from autostate.codec.raw import is_tagged
from autostate.codec.types import SCALARS
from autostate.codec.unsupported import Unsupported
from autostate.journal.commit import NodeState

MISSING: Final = object()
"""What stands for the present value if there is none."""
WAYS: Final = ("json", "python", "text")
"""How a value can be given that is to have a type of its own."""

_DECODE: Final = {scalar.tag: scalar.decode for scalar in SCALARS}
_ONLY_PROGRAMS: Final = frozenset(
    {"$enum", "$pickled", "$ndarray", "$npscalar", "$unsaved", "$pattern", "$random"}
)
_OTHER_TYPE: Final = "--as json, --as python or --as text give it another type"


def as_given(text: str, way: str) -> Any:
    """Give the JSON of a value whose type the user has chosen.

    Args:
        text: The value.
        way: One of `WAYS`.

    Raises:
        CommandError: It cannot be read, or not be saved.
    """
    value: Any = text
    if way == "json":
        value = _json(text)
    elif way == "python":
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise CommandError(
                f"{text!r} is no literal of Python, such as (1, 2) or {{'a'}} or b'\\x00'"
            ) from None
    try:
        return plain_json(value)
    except Unsupported as problem:
        raise CommandError(f"this value cannot be saved: {problem.problem}") from None


class Typed:
    """Values of the types that others have.

    Args:
        nodes: The nodes to which the others may refer.
    """

    def __init__(self, nodes: dict[int, NodeState]) -> None:
        self._nodes = nodes

    def like(self, text: str, old: Any) -> Any:
        """Give the JSON of a typed value, of the type of the present one.

        Args:
            text: What was typed.
            old: The JSON of the present value; or MISSING.

        Raises:
            CommandError: It is of another type.
        """
        old = self._resolved(old)
        if old is MISSING or old is None:
            try:
                return plain_json(json.loads(text))
            except (ValueError, RecursionError):
                return text
        tag = _tag(old) if isinstance(old, dict) and is_tagged(old) else ""
        if tag == "$secret":
            return {tag: self._hidden(text, old[tag])}
        if type(old) is str or tag in _READ:
            return self._like(text, old, "the value")
        if type(old) is float or tag == "$float":
            with contextlib.suppress(ValueError):  # else it is told what the value is
                return plain_json(float(text))
        if tag in _ONLY_PROGRAMS:
            raise _only_its_program(tag, "the value")
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            raise CommandError(
                f"{text!r} is no JSON, such as 7 or [1, 2], and the present value is no text: "
                f"{_OTHER_TYPE}"
            ) from None
        return self._like(given, old, "the value")

    def _hidden(self, text: str, old: Any) -> Any:
        """Give what a secret holds; no message quotes it."""
        try:
            return self.like(text, old)
        except CommandError:
            raise CommandError(
                f"the value is a secret, of another type than what was given: {_OTHER_TYPE}, which "
                "is no secret then"
            ) from None

    def _resolved(self, old: Any) -> Any:
        while isinstance(old, dict) and len(old) == 1 and "$ref" in old:
            old = form_of(self._nodes[old["$ref"]])
        return old

    def _like(self, given: Any, old: Any, where: str) -> Any:
        old = self._resolved(old)
        if old is MISSING or old is None:
            return plain_json(given)
        if isinstance(old, bool | int | float | str):
            return _scalar(given, old, where)
        if isinstance(old, list):
            return plain_json(_checked(given, list, "a list", where))
        tag = _tag(old) if is_tagged(old) else "$dict"
        if tag in _READ:
            return _READ[tag](_checked(given, str, f"a {tag[1:]}", where), _DECODE[tag](old[tag]))
        if tag in {"$tuple", "$set", "$frozenset", "$deque"}:
            return self._items(given, old, tag, where)
        if tag == "$object":
            return self._object(given, old[tag], where)
        if tag in MAPPINGS:
            return self._mapping(given, old, tag, where)
        if tag == "$float":
            return plain_json(float(_checked(given, (float, int), "a float", where)))
        raise _only_its_program(tag, where)

    def _items(self, given: Any, old: Any, tag: str, where: str) -> Any:
        items = _checked(given, list, f"a {tag[1:]}", where)
        if tag in {"$set", "$frozenset"}:
            try:
                return plain_json({*items} if tag == "$set" else frozenset(items))
            except TypeError:
                raise CommandError(
                    f"{where} is a set, of which lists and dicts cannot be members"
                ) from None
        made = plain_json(items)
        if tag == "$tuple":
            return {tag: made}
        limit = old[tag][1]
        if limit is not None and len(made) > limit:
            raise CommandError(f"{where} is a deque of at most {limit} items, not {len(made)}")
        return {tag: [made, limit]}

    def _mapping(self, given: Any, old: Any, tag: str, where: str) -> Any:
        """Keep the types of the keys and values that stay."""
        _checked(given, dict, f"a {tag[1:]}", where)
        present = old if tag == "$dict" else old[tag]
        present = present[1] if tag == "$defaultdict" else present
        keys = {_shown(key): (key, value) for key, value in pairs_of(present)}
        pairs = []
        for name, value in given.items():
            key, before = keys.get(name, (name, MISSING))
            pairs.append((key, self._like(value, before, f"{where}[{name!r}]")))
        made = mapping(pairs)
        if tag == "$defaultdict":
            return {tag: [old[tag][0], made]}
        return made if tag == "$dict" else {tag: made}

    def _object(self, given: Any, old: tuple[str, Any], where: str) -> Any:
        """Replace the fields that are given."""
        name, payload = old
        shown = name.rpartition(":")[2]
        if not isinstance(payload, dict):
            raise CommandError(
                f"{where} is a {shown}, whose stored form only its program knows: give a part of it"
            )
        _checked(given, dict, f"a {shown}", where)
        fields = dict(pairs_of(payload))
        for field, value in given.items():
            if field not in fields:
                known = ", ".join(map(str, fields))
                raise CommandError(f"{where} is a {shown}, whose fields are {known}: not {field}")
            fields[field] = self._like(value, fields[field], f"{where}.{field}")
        return {"$object": [name, mapping(fields.items())]}


def _only_its_program(tag: str, where: str) -> CommandError:
    return CommandError(f"{where} is a {tag[1:]}, which only its program can make: {_OTHER_TYPE}")


def _tag(json: dict[str, Any]) -> str:
    return next(iter(json))


def _shown(key: Any) -> str:
    """Give the text that stands for a key in JSON."""
    return key if isinstance(key, str) else str(decode_key(key))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise CommandError(f'{text!r} is no JSON, such as 7, true, [1, 2] or "text"') from None


def _checked(given: Any, cls: type | tuple[type, ...], kind: str, where: str) -> Any:
    if not isinstance(given, cls) or isinstance(given, bool):
        raise CommandError(f"{where} is {kind}, and {given!r} is not: {_OTHER_TYPE}")
    return given


def _scalar(given: Any, old: Any, where: str) -> Any:
    if isinstance(old, bool):
        if not isinstance(given, bool):
            raise CommandError(f"{where} is true or false, not {given!r}: {_OTHER_TYPE}")
        return given
    if isinstance(old, float):
        return plain_json(float(_checked(given, (float, int), "a float", where)))
    return _checked(given, type(old), "an int" if isinstance(old, int) else "a text", where)


def _reader(kind: str, read: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Make a function that reads a text as a value of a type, like the present value."""

    def made(text: str, old: Any) -> Any:
        try:
            return plain_json(read(text, old))
        except (ValueError, ArithmeticError):
            raise CommandError(f"the present value is {kind}, and {text!r} is none") from None

    return made


def _moment(text: str, old: Any) -> Any:
    found = type(old).fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=old.tzinfo)


_READ: Final[dict[str, Callable[[str, Any], Any]]] = {
    "$bytes": _reader("bytes, as base64", lambda text, _: _DECODE["$bytes"](text)),
    "$bytearray": _reader("bytes, as base64", lambda text, _: _DECODE["$bytearray"](text)),
    "$datetime": _reader("a time, as 2026-03-01T12:00", _moment),
    "$time": _reader("a time of day, as 12:00", _moment),
    "$date": _reader("a date, as 2026-03-01", lambda text, _: dt.date.fromisoformat(text)),
    "$timedelta": _reader("a number of seconds", lambda text, _: dt.timedelta(seconds=float(text))),
    "$decimal": _reader("a decimal number", lambda text, _: decimal.Decimal(text)),
    "$uuid": _reader("a UUID", lambda text, _: uuid.UUID(text)),
    "$complex": _reader("a complex number", lambda text, _: complex(text)),
    "$fraction": _reader("a fraction, as 2/3", lambda text, _: Fraction(text)),
    "$path": _reader("a path", lambda text, old: type(old)(pathlib.PurePath(text))),
}
"""Readers of types that a text can give, by tag."""
