"""Changes that are larger than one record.

What a process contributes in one generation is one record, its lineage, and each store has a
largest record. Changes that would not fit are published in portions, each in a generation of its
own, since the lineage has all that is acknowledged in it. One entry cannot be divided: if it is too
large, the program is told when it writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autostate.errors import UnsupportedTypeError
from autostate.memory import encode
from autostate.shared.kinds import Entry, Objects

FRAME: Final = 256
"""The most bytes of a lineage beside its objects."""
PORTIONS: Final = 4
"""So many portions fit into a record."""
_LONGEST: Final = 8
"""No character of a text that is stored takes as many bytes."""


def size_of(objects: Objects) -> int:
    """Give the bytes that changes take in a record."""
    return len(encode(objects))


def divided(objects: Objects, most: int) -> tuple[Objects, Objects]:
    """Divide changes into a first portion and the rest.

    Args:
        objects: The changes.
        most: The most bytes of the portion; it has at least one entry.
    """
    portion: Objects = {}
    rest: Objects = {}
    for name, (kind_name, entries) in objects.items():
        for key, entry in entries.items():
            if not rest:
                most -= len(encode((key, entry)))
            into = rest if most < 0 and portion else portion
            into.setdefault(name, (kind_name, {}))[1][key] = entry
    return portion, rest


def check_size(entries: Mapping[str, Entry], most: int) -> None:
    """Check that each entry fits into a record.

    Args:
        entries: Entries of one object.
        most: The most bytes of one.

    Raises:
        UnsupportedTypeError: One does not.
    """
    for key, entry in entries.items():
        length = len(key)
        if type(entry) is list:
            length += sum(len(part) for part in entry if type(part) is str)
        if length * _LONGEST > most:
            size = len(encode((key, entry)))
            if size > most:
                raise UnsupportedTypeError(
                    "an entry",
                    f"key and value take {size:,} bytes as they are stored, and one entry of a "
                    f"shared object may have {most:,} in this store: keep large values elsewhere",
                )
