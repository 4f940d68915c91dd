"""Members of enums, which are saved by their names."""

from __future__ import annotations

import enum
from typing import Any

from autostate.codec.names import name_of
from autostate.errors import CorruptStateError


def is_enum(cls: type) -> bool:
    """Tell whether a class is an enum."""
    return issubclass(cls, enum.Enum)


def member_of(value: enum.Enum) -> Any:
    """Give the stored form of an enum's member: its name; of a combination of flags, its value."""
    name = value._name_ or ""
    return name if type(value)._member_map_.get(name) is value else value._value_


def member(cls: type[enum.Enum], stored: Any) -> enum.Enum:
    """Find a member of an enum."""
    if isinstance(stored, str) and stored in cls._member_map_:
        return cls._member_map_[stored]
    if type(stored) is int and issubclass(cls, enum.Flag):
        try:
            return cls(stored)
        except ValueError:
            pass
    # The name of a member, or the value of flags, is no secret.
    shown = f"{stored!r:.60}" if isinstance(stored, str | int) else "?"
    raise CorruptStateError(
        f"the stored enum {name_of(cls)} has the member {shown}, which the program's enum does not "
        "have: add it again"
    )
