"""The names of state objects: those of programs, and those of the library's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

OWN: Final = "autostate."
"""The beginning of the names of the library's own state objects."""

_SHOWN: Final = 20


def of_programs(names: Iterable[str]) -> list[str]:
    """Leave out the library's own names, and sort the others."""
    return sorted(name for name in names if not name.startswith(OWN))


def listed(names: list[str]) -> str:
    """Make a sentence that lists the names."""
    if not names:
        return "It holds none at all"
    more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    return f"It holds: {', '.join(map(repr, names[:_SHOWN]))}{more}"
