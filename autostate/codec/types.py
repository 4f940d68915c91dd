"""The scalar types beyond JSON: how each becomes one JSON value, and comes back from it.

A type is known here by its exact class: a subclass may hold more than its base, and saving only
the base's part would be a silent loss. What is written depends on the value alone.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import pathlib
import random
import re
import struct
import uuid
import warnings
import zoneinfo
from collections.abc import Callable
from typing import Any

from autostate.errors import CorruptStateError

Encode = Callable[[Any], Any]


def _zone(tz: dt.tzinfo) -> list[Any]:
    """Describe a time zone: a key of the IANA database, or an offset in microseconds and a name."""
    if type(tz) is zoneinfo.ZoneInfo and tz.key:
        return ["zone", tz.key]
    if type(tz) is dt.timezone:
        offset, *name = tz.__getinitargs__()  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
        return ["offset", offset // dt.timedelta(microseconds=1), name[0] if name else None]
    raise TypeError(f"a time zone of type {type(tz).__qualname__}")


_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def _zone_of(key: Any) -> zoneinfo.ZoneInfo:
    if not _KEY.fullmatch(key):
        raise ValueError
    try:
        return zoneinfo.ZoneInfo(key)
    except zoneinfo.ZoneInfoNotFoundError:
        raise CorruptStateError(
            f"a time zone is stored that is not known here: {key}; install tzdata"
        ) from None


def _unzone(zone: list[Any]) -> dt.tzinfo:
    if zone[0] == "zone":
        return _zone_of(zone[1])
    if zone[0] != "offset":
        raise ValueError
    offset = dt.timedelta(microseconds=zone[1])
    if zone[2] is not None:
        return dt.timezone(offset, zone[2])
    return dt.timezone(offset) if offset else dt.UTC


def _encode_moment(value: dt.datetime | dt.time) -> Any:
    """Write naive and UTC moments as an ISO string; other moments with zone and fold beside it."""
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


def _encode_complex(value: complex) -> list[str]:
    return [repr(value.real), repr(value.imag)]


def _decode_complex(json: Any) -> complex:
    real, imaginary = json
    return complex(float(real), float(imaginary))


_PATHS: dict[str, type[pathlib.PurePath]] = {
    cls.__name__: cls
    for cls in (
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}


def _encode_path(value: pathlib.PurePath) -> list[str]:
    return [type(value).__name__, str(value)]


def _decode_path(json: Any) -> pathlib.PurePath:
    name, path = json
    try:
        return _PATHS[name](path)
    except NotImplementedError:
        raise CorruptStateError(
            f"a stored {name} cannot be made on this platform: store a Pure{name}, which can be "
            "made everywhere"
        ) from None


def _encode_pattern(value: re.Pattern[Any]) -> list[Any]:
    """Write the form of the text (str, bytes, not UTF-8), the text, and the flags but DEBUG."""
    flags = value.flags & ~re.DEBUG  # DEBUG prints the compiled pattern
    pattern = value.pattern
    if isinstance(pattern, bytes):
        return ["bytes", base64.b64encode(pattern).decode("ascii"), flags]
    try:
        pattern.encode()
    except UnicodeEncodeError:
        data = pattern.encode("utf-8", "surrogatepass")
        return ["surrogates", base64.b64encode(data).decode("ascii"), flags]
    return ["str", pattern, flags]


def _decode_pattern(json: Any) -> re.Pattern[Any]:
    form, stored, flags = json
    pattern: Any = stored
    if form != "str":
        pattern = base64.b64decode(stored, validate=True)
        if form != "bytes":
            pattern = pattern.decode("utf-8", "surrogatepass")
    with warnings.catch_warnings():  # a warning that is made an error would make it unreadable
        warnings.simplefilter("ignore")
        return re.compile(pattern, flags)


def _decode_int(json: Any) -> int:
    if not isinstance(json, str):
        raise TypeError
    return int(json, 16)


def _decode_constant(json: Any) -> Any:
    return {"Ellipsis": ..., "NotImplemented": NotImplemented}[json]


SCALARS: dict[type, tuple[str, Encode]] = {
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode("ascii")),
    dt.datetime: ("$datetime", _encode_moment),
    dt.date: ("$date", dt.date.isoformat),
    dt.time: ("$time", _encode_moment),
    dt.timedelta: ("$timedelta", _encode_timedelta),
    decimal.Decimal: ("$decimal", str),
    uuid.UUID: ("$uuid", str),
    complex: ("$complex", _encode_complex),
    dt.timezone: ("$timezone", _zone),
    zoneinfo.ZoneInfo: ("$timezone", _zone),
    re.Pattern: ("$pattern", _encode_pattern),
    type(...): ("$constant", repr),
    type(NotImplemented): ("$constant", repr),
    **dict.fromkeys(_PATHS.values(), ("$path", _encode_path)),
}


def _encode_random(value: random.Random) -> Any:
    version, numbers, gauss = value.getstate()
    data = struct.pack(f"<{len(numbers)}I", *numbers)
    return [version, base64.b64encode(data).decode("ascii"), gauss]


def _decode_random(json: Any) -> random.Random:
    version, data, gauss = json
    if not isinstance(gauss, float | None):
        raise TypeError
    numbers = base64.b64decode(data, validate=True)
    value = random.Random()
    value.setstate((version, struct.unpack(f"<{len(numbers) // 4}I", numbers), gauss))
    return value


MUTABLE: dict[type, Callable[[Any, Any], Any]] = {
    bytearray: lambda value, _: {"$bytearray": base64.b64encode(value).decode("ascii")},
    random.Random: lambda value, _: {"$random": _encode_random(value)},
}
"""Types that can change, but hold nothing else that can."""

MUTABLE_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$bytearray": lambda json: bytearray(base64.b64decode(json, validate=True)),
    "$random": _decode_random,
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
    "$complex": _decode_complex,
    "$timezone": _unzone,
    "$constant": _decode_constant,
    "$path": _decode_path,
    "$pattern": _decode_pattern,
    "$int": _decode_int,  # hexadecimal; for ints with more digits than JSON's readers accept
    # A str with lone surrogates has no UTF-8 form: its bytes are kept as `surrogatepass` has them.
    "$str": lambda json: base64.b64decode(json, validate=True).decode("utf-8", "surrogatepass"),
}
