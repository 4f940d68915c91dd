"""Rehydrating a state, in times of decoding the same content by msgspec from memory.

    python -m benchmarks.rehydration save|load PARTICIPANT CONTENT SIZE FOLDER

Each measurement is made in a process of its own. Peers that do not load a state are measured while
they read all of it into a plain dict.
"""

from __future__ import annotations

import importlib
import json
import pickle
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.entries import DICTS, entries, url
from benchmarks.measure import Plan, Row, in_process, in_turn, medians, seconds, spread
from benchmarks.peers import OWN, PEERS, RIVAL

TITLE: Final = "Rehydration"
GOAL: Final = 1.5

CONTENTS: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "dict of dicts of scalars": entries,
    "dict of scalars": lambda count: {url(number): number for number in range(count)},
    "containers in containers": lambda count: {
        url(number): {"meta": {"tags": ["new", number]}, "prices": [number / 100, 2.5]}
        for number in range(count)
    },
}
DECODED: Final = "msgspec, whole"
OTHERS: Final = (RIVAL, "lmdb", "ZODB, BTree")
FAST: Final = [name for name in (RIVAL, "lmdb") if PEERS[name].installed]


def rows(plan: Plan) -> Iterator[Row]:
    """Measure each content beside peers, and a large state without them."""
    names = [DECODED, OWN, "pickle", *(name for name in OTHERS if PEERS[name].installed)]
    for what in () if plan.brief else CONTENTS:
        yield _row(what, plan.medium, names, plan.long_rounds)
    some = [DECODED, OWN, *(FAST if plan.brief else ())]
    yield _row("dict of dicts of scalars", plan.large, some, plan.long_rounds)


def _row(what: str, size: int, names: list[str], count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
        for name in names:
            in_process("rehydration", "save", name, what, size, folder)
        loads = {name: ("rehydration", "load", name, what, size, folder) for name in names}
        found = in_turn(loads, count, "seconds")
    decode = statistics.median(found[DECODED])
    figures = {name: each / decode for name, each in medians(found).items() if name != DECODED}
    return Row(
        f"{size:,}: {what}",
        figures.pop(OWN),
        GOAL,
        peers=figures,
        spread=spread(found[OWN], decode),
        rounds={"decoding": found[DECODED], "autostate": found[OWN]},
    )


def _save(name: str, content: dict[str, Any], folder: Path) -> None:
    """Let a participant save, or pickle the content."""
    if name == "pickle":
        (folder / "pickle").write_bytes(pickle.dumps(content))
        return
    participant = PEERS[name].make(folder, DICTS)
    participant.fill(content)
    content.clear()  # nobody else holds what is in it
    participant.save()
    participant.close()


def _loading(name: str, folder: Path) -> Callable[[], Any]:
    """Give what loads it, once everything is imported that this takes."""
    if name == DECODED:
        data = (folder / "whole").read_bytes()
        return lambda: msgspec.json.decode(data)
    if name == "pickle":
        return lambda: pickle.loads((folder / "pickle").read_bytes())
    if name == OWN:
        import autostate

        autostate.configure(folder / "autostate.db")
        return lambda: autostate.PersistedDict("pages")
    if name == "ZODB, BTree":
        import ZODB

        return lambda: dict(ZODB.DB(str(folder / "zodb.fs")).open().root()["pages"])
    kind: Any = PEERS[name].make
    importlib.import_module(PEERS[name].package)
    return lambda: kind(folder, DICTS).state


def main(way: str, name: str, what: str, size: str, folder: str) -> dict[str, float]:
    """Save or load, and give the seconds."""
    if way == "save":
        _save(name, CONTENTS[what](int(size)), Path(folder))
        return {}
    load, kept = _loading(name, Path(folder)), list[Any]()
    taken = seconds(lambda: kept.append(load()))
    assert len(kept[0]) == int(size)
    return {"seconds": taken}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)
