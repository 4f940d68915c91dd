"""What the tests of the plugin share: a program, its tests, and sessions that run them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import autostate
from autostate import PersistedDict
progress = PersistedDict("progress", page=1)
def work():
    progress["page"] += 1
    autostate.flush()
if __name__ == "__main__":
    work()
    print(progress["page"], autostate.configure().url)
"""
"""A program as its author wrote it, without a thought of tests."""

Session = Callable[..., "subprocess.CompletedProcess[str]"]


def stores(folder: Path) -> list[str]:
    """The files of stores in a project."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.db"))


def dedent(text: str) -> str:
    """The code of a test file, without the indentation that it has here."""
    lines = text.split("\n")
    least = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[least:] for line in lines)


SHOP = """
import dataclasses, random
from collections import OrderedDict, defaultdict, deque
from autostate import *

@persisted
class Shop:
    def __init__(self):
        self.page, self.tags, self.gone = 1, ["a"], None
@persisted
@dataclasses.dataclass(slots=True)
class Slotted:
    number: int = 1
    names: set = dataclasses.field(default_factory=lambda: {"a"})
@dataclasses.dataclass
class Point:
    x: int = 0
    around: list = dataclasses.field(default_factory=list)
register(Point, "point")
progress = PersistedDict("progress", page=1, deep={"a": {"b": [1, {2}]}}, point=Point(1, [2]))
progress["same"] = progress["deep"]["a"]
progress["order"] = OrderedDict(a=1, b=2)
progress["lists"] = defaultdict(list, a=[1])
progress["queue"] = deque([1, 2], 3)
progress["bytes"] = bytearray(b"abc")
big = PersistedDict("big", {number: [number] for number in range(1500)})
seen = PersistedSet("seen")
seen.update({1, "a", (1, 2)})
hits = PersistedCounter("hits", a=1)
items = PersistedList("items", [1, [2], {"c": 3}])
last = PersistedDeque("last", [1, 2])
dice = proxy("dice", random.Random(7))
shop, slotted = Shop(), Slotted()
everything = {
    "progress": progress, "big": big, "seen": seen, "hits": hits, "items": items, "last": last,
}
"""
