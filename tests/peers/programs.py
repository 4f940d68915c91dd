"""What is run with each library: small programs, the same for all of them."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import logging
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

from tests.peers.columns import Column

Report = Callable[[Any], None]

VALUES = {
    "set": {1, 2},
    "tuple": (1, (2, "three")),
    "int keys": {1: "one", 2: {3: "three"}},
    "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "Decimal": Decimal("1.10"),
}
LARGE = 10_000
FILLER = "x" * 50_000
"""Makes a save last, so that a kill at a random moment meets it."""


async def run(name: str, column: Column, report: Report, options: Mapping[str, Any]) -> None:
    """Run a program in the store that is found in the working directory."""
    async with column.opened():
        await globals()[name](column, report, **options)


def _plain(value: Any) -> Any:
    """The same with plain containers, to be compared."""
    if isinstance(value, (dict, PersistentMapping)):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, PersistentList)):
        return [_plain(item) for item in value]
    return value


async def read(column: Column, report: Report, names: list[str]) -> None:
    """Report everything that these mappings hold."""
    found = {}
    for name in names:
        root = await column.root(name)
        found[name] = {key: _plain(value) for key, value in root.items()}
    report(found)


async def be_a_dict(column: Column, report: Report) -> None:
    """Report whether code for dicts takes it for one."""
    state = await column.root("state", page=3)
    match state:
        case {"page": 3}:
            matches = True
        case _:
            matches = False
    try:
        dumped = json.loads(json.dumps(state))
    except TypeError:
        dumped = None
    report(isinstance(state, dict) and matches and dumped == {"page": 3})


async def change_inside(column: Column, report: Report) -> None:
    """Change a saved value deep inside, and do not assign it back."""
    state = await column.root("state")
    state["shops"] = column.nested({"one": {"sold": [1]}})
    await column.save()
    state["shops"]["one"]["sold"].append(2)
    await column.save()


async def change_an_alias(column: Column, report: Report) -> None:
    """Change a saved list by another reference to it."""
    state = await column.root("state")
    queue = column.nested([1])
    state["queue"] = queue
    await column.save()
    queue.append(2)
    await column.save()


async def keep_types(column: Column, report: Report) -> None:
    """Save values that JSON has no word for."""
    state = await column.root("state")
    state["values"] = VALUES
    await column.save()


class _Reports(logging.Handler):
    """Counts what is logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


async def save_what_cannot_be(column: Column, report: Report, *, assign: bool) -> None:
    """Change two entries and put between them what no library can save; report complaints."""
    complaints = _Reports()
    logging.getLogger().addHandler(complaints)
    state = await column.root("state")
    state["first"] = column.nested({"n": 1})
    state["last"] = column.nested({"n": 1})
    await column.save()
    _change(column, state, "first", assign=assign)
    try:
        state["lock"] = threading.Lock()
    except Exception:
        complaints.count += 1
    _change(column, state, "last", assign=assign)
    try:
        await column.save()
    except Exception:
        complaints.count += 1
    report(complaints.count)


def _change(column: Column, state: Any, key: str, *, assign: bool) -> None:
    """Set its n to 2: inside, or by assigning a new value."""
    if assign:
        state[key] = column.nested({"n": 2})
    else:
        state[key]["n"] = 2


def _written() -> int:
    """Bytes that this process has given to write() so far."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise LookupError("the system does not count what is written")


def _page(number: int) -> dict[str, Any]:
    return {"status": 200, "title": f"Page {number}", "depth": 3, "seconds": 0.25}


async def _many(column: Column, number: int) -> tuple[Any, int, list[Any]]:
    """Save many entries; their size in JSON; each tenth, which a program may hold elsewhere too."""
    pages = {f"https://example.com/{n}": column.nested(_page(n)) for n in range(number)}
    size = len(json.dumps(_plain(pages)))
    held = list(pages.values())[5::10]
    state = await column.root("state")
    state.update(pages)
    del pages
    await column.save()
    return state, size, held


async def change_one_of_many(column: Column, report: Report) -> None:
    """Report the bytes of a large mapping in JSON, and those written for one changed entry.

    The median of some, because libraries tidy up now and then.
    """
    state, size, held = await _many(column, LARGE)
    assert held
    written = []
    for number in range(9):
        start = _written()
        state[f"https://example.com/{number * 1_000}"] = column.nested(_page(-1))
        await column.save()
        written.append(_written() - start)
    report((size, statistics.median(written)))


async def change_nothing(column: Column, report: Report) -> None:
    """Report the bytes written when all is read, nothing changed, and saved three times."""
    state, _, held = await _many(column, 1_000)
    assert held
    start = _written()
    for _ in range(3):
        assert len([_plain(value) for value in state.values()]) == 1_000
        await column.save()
    report(_written() - start)


async def never_save(column: Column, report: Report, *, assign: bool, blocked: bool) -> None:
    """Change a saved entry, and go on without saving until the kill."""
    state = await column.root("state")
    state["entry"] = column.nested({"n": 1})
    await column.save()
    _change(column, state, "entry", assign=assign)
    report("changed")
    while blocked:
        time.sleep(1)
    await asyncio.Event().wait()


async def save_and_wait(column: Column, report: Report) -> None:
    """Save, say so, and wait for the kill."""
    state = await column.root("state")
    state["entry"] = column.nested({"n": 1})
    await column.save()
    state["entry"] = column.nested({"n": 2})
    await column.save()
    report("saved")
    await asyncio.Event().wait()


async def change_together(column: Column, report: Report, *, roots: list[str]) -> None:
    """Report what two objects count, then count on in both, and report each number saved."""
    first, second = [await column.root(name) for name in roots]
    found = [first.get("first", {}).get("n"), second.get("second", {}).get("n")]
    report(found)
    for number in itertools.count((found[0] or 0) + 1):
        first["first"] = column.nested({"n": number, "filler": FILLER})
        second["second"] = column.nested({"n": number, "filler": FILLER})
        await column.save()
        report(number)


async def first_version(column: Column, report: Report) -> None:
    """Delete what was a default."""
    state = await column.root("state", page=1, old=True)
    del state["old"]
    await column.save()


async def second_version(column: Column, report: Report) -> None:
    """Report what is there when the program has one default more."""
    state = await column.root("state", page=1, old=True, new=True)
    report({key: state[key] for key in sorted(state)})


async def save_words(column: Column, report: Report, *, words: list[str]) -> None:
    """Save some text."""
    state = await column.root("state")
    for number, word in enumerate(words):
        state[f"key {number}"] = column.nested({"word": word})
    await column.save()


class Payload:
    """What an attacker puts into a store: pickle makes a folder when it loads it."""

    def __init__(self, flag: str) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.flag,)


async def save_payload(column: Column, report: Report, *, flag: str) -> None:
    """Store it the easy way, where the library pickles."""
    state = await column.root("state")
    state["page"] = 1
    await column.save()
    try:
        state["payload"] = Payload(flag)
        await column.save()
    except Exception:
        report("refused")
