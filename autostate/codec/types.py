"""The scalar types beyond JSON: how each becomes one JSON value, and comes back from it.

A type is known here by its exact class: a subclass may hold more than its base, and saving only
the base's part would be a silent loss. What is written depends on the value alone.
"""

from __future__ import annotations

import binascii
import datetime as dt
import decimal
import pathlib
import random
import re
import struct
import sys
import uuid
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from autostate.codec.signatures import Json, Stored
from autostate.errors import CorruptStateError

_Moment = dt.datetime | dt.time


class Scalar(NamedTuple):
    """One type of values that hold no other value.

    Attributes:
        tag: The key under which a value is stored.
        encode: Gives what stands under the tag; a TypeError says that this value cannot be saved.
        decode: Gives the value.
        classes: The exact classes of the values; none if another encoder writes the tag.
        mutable: Whether values can change.
    """

    tag: str
    encode: Callable[[Any], Json]
    decode: Callable[[Stored], Any]
    classes: tuple[type, ...] = ()
    mutable: bool = False


def _encode_bytes(value: bytes | bytearray) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _decode_bytes(json: Stored) -> bytes:
    return binascii.a2b_base64(json, strict_mode=True)


def zone_class() -> type | None:
    """Give `ZoneInfo`; None: the program has not loaded it, which takes a millisecond."""
    return getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None)


def _zone(tz: dt.tzinfo) -> list[Any]:
    """Describe a time zone: a key of the IANA database, or an offset in microseconds and a name."""
    if type(tz) is zone_class():
        key: str | None = tz.key  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
        if key:
            return ["zone", key]
    if type(tz) is dt.timezone:
        offset, *name = tz.__getinitargs__()  # type: ignore[attr-defined]  # ty: ignore[missing-attribute]
        return ["offset", offset // dt.timedelta(microseconds=1), name[0] if name else None]
    raise TypeError(f"a time zone of type {type(tz).__qualname__}")


_KEY = r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*"


def _unzone(zone: Stored) -> dt.tzinfo:
    if zone[0] == "offset":
        offset = dt.timedelta(microseconds=zone[1])
        if zone[2] is not None:
            return dt.timezone(offset, zone[2])
        return dt.timezone(offset) if offset else dt.UTC
    if zone[0] != "zone" or not re.fullmatch(_KEY, zone[1]):  # a key is the path of a file
        raise ValueError
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(zone[1])
    except zoneinfo.ZoneInfoNotFoundError:
        raise CorruptStateError(
            f"a time zone is stored that is not known here: {zone[1]}; install tzdata"
        ) from None


def _encode_moment(value: _Moment) -> Json:
    """Write naive and UTC moments as an ISO string; other moments with zone and fold beside it."""
    if value.fold == 0 and (value.tzinfo is None or value.tzinfo is dt.UTC):
        return value.isoformat()
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return [naive, value.fold, None if value.tzinfo is None else _zone(value.tzinfo)]


def _decode_moment(cls: type[_Moment]) -> Callable[[Stored], _Moment]:
    def decode(json: Stored) -> _Moment:
        if isinstance(json, str):
            return cls.fromisoformat(json)
        naive, fold, zone = json
        tz = None if zone is None else _unzone(zone)
        return cls.fromisoformat(naive).replace(fold=fold, tzinfo=tz)

    return decode


def _encode_timedelta(value: dt.timedelta) -> Json:
    return [value.days, value.seconds, value.microseconds]


def _decode_complex(json: Stored) -> complex:
    real, imaginary = json
    return complex(float(real), float(imaginary))


_PATHS: Final = {
    cls.__name__: cls
    for cls in (
        *(pathlib.PurePosixPath, pathlib.PureWindowsPath),
        *(pathlib.PosixPath, pathlib.WindowsPath),
    )
}


def _encode_path(value: pathlib.PurePath) -> list[str]:
    return [type(value).__name__, str(value)]


def _decode_path(json: Stored) -> pathlib.PurePath:
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
        return ["bytes", _encode_bytes(pattern), flags]
    try:
        pattern.encode()
    except UnicodeEncodeError:
        return ["surrogates", _encode_text(pattern), flags]
    return ["str", pattern, flags]


def _decode_pattern(json: Stored) -> re.Pattern[Any]:
    form, stored, flags = json
    pattern: str | bytes = stored
    if form == "bytes":
        pattern = _decode_bytes(stored)
    elif form != "str":
        pattern = _decode_text(stored)
    with warnings.catch_warnings():  # a warning that is made an error would make it unreadable
        warnings.simplefilter("ignore")
        return re.compile(pattern, flags)


def _decode_int(json: Stored) -> int:
    if not isinstance(json, str):
        raise TypeError
    return int(json, 16)


def _encode_text(value: str) -> str:
    return _encode_bytes(value.encode("utf-8", "surrogatepass"))


def _decode_text(json: Stored) -> str:
    return _decode_bytes(json).decode("utf-8", "surrogatepass")


def _decode_constant(json: Stored) -> Any:
    return {"Ellipsis": ..., "NotImplemented": NotImplemented}[json]


def _encode_random(value: random.Random) -> Any:
    version, numbers, gauss = value.getstate()
    data = struct.pack(f"<{len(numbers)}I", *numbers)
    return [version, _encode_bytes(data), gauss]


def _decode_random(json: Stored) -> random.Random:
    version, data, gauss = json
    if not isinstance(gauss, float | None):
        raise TypeError
    numbers = _decode_bytes(data)
    value = random.Random()
    value.setstate((version, struct.unpack(f"<{len(numbers) // 4}I", numbers), gauss))
    return value


def _of_text(make: Callable[[str], Any]) -> Callable[[Stored], Any]:
    """Make a decoder that takes text alone, of a class that would take numbers, too."""

    def decode(json: Stored) -> Any:
        if type(json) is not str:
            raise TypeError
        return make(json)

    return decode


SCALARS: Final = (
    Scalar("$bytes", _encode_bytes, _decode_bytes, (bytes,)),
    Scalar("$datetime", _encode_moment, _decode_moment(dt.datetime), (dt.datetime,)),
    Scalar("$date", dt.date.isoformat, dt.date.fromisoformat, (dt.date,)),
    Scalar("$time", _encode_moment, _decode_moment(dt.time), (dt.time,)),
    Scalar("$timedelta", _encode_timedelta, lambda json: dt.timedelta(*json), (dt.timedelta,)),
    Scalar("$decimal", str, _of_text(decimal.Decimal), (decimal.Decimal,)),
    Scalar("$uuid", str, uuid.UUID, (uuid.UUID,)),
    Scalar("$complex", lambda z: [repr(z.real), repr(z.imag)], _decode_complex, (complex,)),
    Scalar("$timezone", _zone, _unzone, (dt.timezone,)),  # `registry.adopt` adds another class
    Scalar("$pattern", _encode_pattern, _decode_pattern, (re.Pattern,)),
    Scalar("$constant", repr, _decode_constant, (type(...), type(NotImplemented))),
    Scalar("$path", _encode_path, _decode_path, (*_PATHS.values(),)),
    Scalar(
        "$bytearray",
        _encode_bytes,
        lambda json: bytearray(_decode_bytes(json)),
        (bytearray,),
        mutable=True,
    ),
    Scalar("$random", _encode_random, _decode_random, (random.Random,), mutable=True),
    # Only floats that JSON lacks are tagged: see `tagged.py`.
    Scalar("$float", repr, _of_text(float)),
    # For ints and texts that JSON's readers refuse: `raw.escape` writes these.
    Scalar("$int", hex, _decode_int),
    Scalar("$str", _encode_text, _decode_text),
)

FIXED: Final = frozenset(cls for each in SCALARS if not each.mutable for cls in each.classes)
"""The classes whose values never change."""
