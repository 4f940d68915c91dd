"""Classes of the programs whose state the tests of the commands look at."""

from __future__ import annotations

from typing import Final

CLASSES: Final = """
import collections, dataclasses, datetime, decimal, enum, pathlib, uuid, autostate

class Color(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    near: list

@autostate.persisted
class Shop:
    page: int = 1
    seen: set = set()
"""
