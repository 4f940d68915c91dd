"""The scalar types beyond JSON: how each becomes one JSON value, and comes back from it.

A type is known here by its exact class: a subclass may hold more than its base, and saving only
the base's part would be a silent loss. What is written depends on the value alone.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

from autostate.errors import CorruptStateError

Encode = Callable[[Any], Any]


def _zone(tz: dt.tzinfo) -> list[Any]:
    """Describe a time zone: a key of the IANA database, or an offset in microseconds and a name."""
    if type(tz) is zoneinfo.ZoneInfo and tz.key:
        return ["zone", tz.key]
    if type(tz) is dt.timezone:
        offset = tz.utcoffset(None) // dt.timedelta(microseconds=1)
        name = tz.tzname(None)
        return ["offset", offset, None if name == str(dt.timezone(tz.utcoffset(None))) else name]
    raise TypeError(f"a time zone of type {type(tz).__qualname__}")


def _unzone(zone: list[Any]) -> dt.tzinfo:
    if zone[0] == "zone":
        return zoneinfo.ZoneInfo(zone[1])
    offset = dt.timedelta(microseconds=zone[1])
    if zone[2] is not None:
        return dt.timezone(offset, zone[2])
    return dt.timezone(offset) if offset else dt.UTC


def _encode_moment(value: dt.datetime | dt.time) -> Any:
    """Naive and UTC moments are one ISO string; others carry zone and fold beside it."""
    if value.fold == 0 and (value.tzinfo is None or value.tzinfo is dt.UTC):
        return value.isoformat()
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return [naive, value.fold, None if value.tzinfo is None else _zone(value.tzinfo)]


def _decode_moment(cls: type[dt.datetime | dt.time]) -> Callable[[Any], Any]:
    def decode(json: Any) -> Any:
        if isinstance(json, str):
            return cls.fromisoformat(json)
        naive, fold, zone = json
        tz = None if zone is None else _unzone(zone)
        return cls.fromisoformat(naive).replace(fold=fold, tzinfo=tz)

    return decode


def _encode_timedelta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


SCALARS: dict[type, tuple[str, Encode]] = {
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode("ascii")),
    dt.datetime: ("$datetime", _encode_moment),
    dt.date: ("$date", dt.date.isoformat),
    dt.time: ("$time", _encode_moment),
    dt.timedelta: ("$timedelta", _encode_timedelta),
    decimal.Decimal: ("$decimal", str),
    uuid.UUID: ("$uuid", str),
}

DECODERS: dict[str, Callable[[Any], Any]] = {
    "$bytes": lambda json: base64.b64decode(json, validate=True),
    "$datetime": _decode_moment(dt.datetime),
    "$date": dt.date.fromisoformat,
    "$time": _decode_moment(dt.time),
    "$timedelta": lambda json: dt.timedelta(*json),
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
    "$float": float,
    # A str with lone surrogates has no UTF-8 form: its bytes are kept as `surrogatepass` has them.
    "$str": lambda json: base64.b64decode(json, validate=True).decode("utf-8", "surrogatepass"),
    "$enum": lambda json: _decode_enum(*json),
}


def encode_enum(value: enum.Enum) -> list[Any]:
    """Name a member by its class and name; a combination of flags by its value."""
    cls = type(value)
    by_name = cls.__members__.get(value.name or "") is value
    return [f"{cls.__module__}:{cls.__qualname__}", value.name if by_name else value.value]


def _decode_enum(name: str, member: Any) -> enum.Enum:
    cls = _enum_class(name)
    try:
        return cls[member] if isinstance(member, str) else cls(member)
    except (KeyError, ValueError):
        raise CorruptStateError(
            f"the stored enum {name} has a member that the program's has not: add it again"
        ) from None


def _enum_class(name: str) -> type[enum.Enum]:
    """Find the enum among the classes that the program has loaded: nothing is imported for it.

    The module may have been renamed since, or be `__main__`: then the name alone has to be unique.
    """
    module, _, qualname = name.partition(":")
    named = [cls for cls in _subclasses(enum.Enum) if cls.__qualname__ == qualname]
    exact = [cls for cls in named if cls.__module__ == module]
    found = exact or named
    if len(found) == 1 or exact:
        return found[-1]
    problem = "is not known to the program" if not found else "is the name of several enums"
    raise CorruptStateError(
        f"the stored enum {name} {problem}: import its module before the state object is created"
    )


def _subclasses(cls: type[enum.Enum]) -> Iterator[type[enum.Enum]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)
