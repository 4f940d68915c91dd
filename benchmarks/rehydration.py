"""Rehydrating a state, in times of decoding the same content by msgspec from memory.

    python -m benchmarks.rehydration HOW SHAPE SIZE FOLDER

Each measurement is made in a process of its own. Peers that do not load a state are measured while
they read all of it into a plain dict.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.entries import entries, url
from benchmarks.measure import CALM, Plan, Row, in_process, in_turn, seconds

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
PEERS: Final = {"pickle": "pickle", "rocksdict": "rocksdict", "lmdb": "lmdb", "ZODB": "ZODB"}


def rows(plan: Plan) -> Iterator[Row]:
    """Measure each content, and a large state without peers."""
    peers = [name for name, module in PEERS.items() if importlib.util.find_spec(module)]
    for what in CONTENTS:
        yield _row(what, plan.medium, ["decode", "own", *peers], plan.long_rounds)
    yield _row("dict of dicts of scalars", plan.large, ["decode", "own"], plan.long_rounds)


def _row(what: str, size: int, names: list[str], count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="autostate-bench-") as folder:
        for name in names:
            in_process("rehydration", f"save {name}", what, size, folder)
        modules = {name: ("rehydration", f"load {name}", what, size, folder) for name in names}
        found = in_turn(modules, count, "seconds")
    medians = {name: statistics.median(taken) for name, taken in found.items()}
    decode = medians.pop("decode")
    figures = {name: taken / decode for name, taken in medians.items()}
    note = f"decoding takes {decode:.3f} s"
    return Row(f"{size:,}: {what}", figures.pop("own"), GOAL, peers=figures, note=note)


class _Ways:
    """Ways to save a content, and to load it again. One method for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save_decode(self, content: dict[str, Any]) -> None:
        (self._folder / "whole.json").write_bytes(msgspec.json.encode(content))

    def load_decode(self) -> Callable[[], Any]:
        data = (self._folder / "whole.json").read_bytes()
        return lambda: msgspec.json.decode(data)

    def save_pickle(self, content: dict[str, Any]) -> None:
        (self._folder / "whole.pickle").write_bytes(pickle.dumps(content))

    def load_pickle(self) -> Callable[[], Any]:
        return lambda: pickle.loads((self._folder / "whole.pickle").read_bytes())

    def save_own(self, content: dict[str, Any]) -> None:
        import autostate

        with autostate.open(self._folder / "state.db", **CALM):
            state = autostate.PersistedDict[str, Any]("pages")
            state.update(content)
            content.clear()  # nobody else holds what is in it
            autostate.flush()

    def load_own(self) -> Callable[[], Any]:
        import autostate

        autostate.configure(self._folder / "state.db")
        return lambda: autostate.PersistedDict("pages")

    def save_rocksdict(self, content: dict[str, Any]) -> None:
        from rocksdict import Options, Rdict, WriteBatch

        database, batch = Rdict(str(self._folder / "rocks"), Options(raw_mode=True)), None
        batch = WriteBatch(raw_mode=True)
        for key, value in content.items():
            batch.put(key.encode(), msgspec.json.encode(value))
        database.write(batch)
        database.close()

    def load_rocksdict(self) -> Callable[[], Any]:
        from rocksdict import Options, Rdict

        decode = msgspec.json.Decoder().decode

        def load() -> object:
            database = Rdict(str(self._folder / "rocks"), Options(raw_mode=True))
            return {key.decode(): decode(value) for key, value in database.items()}

        return load

    def save_lmdb(self, content: dict[str, Any]) -> None:
        import lmdb

        with (
            lmdb.open(str(self._folder / "lmdb"), map_size=1 << 36) as database,
            database.begin(write=True) as transaction,
        ):
            items = ((key.encode(), msgspec.json.encode(value)) for key, value in content.items())
            transaction.cursor().putmulti(items)

    def load_lmdb(self) -> Callable[[], Any]:
        import lmdb

        decode = msgspec.json.Decoder().decode

        def load() -> object:
            with (
                lmdb.open(str(self._folder / "lmdb"), map_size=1 << 36) as database,
                database.begin() as transaction,
            ):
                return {bytes(key).decode(): decode(value) for key, value in transaction.cursor()}

        return load

    def save_ZODB(self, content: dict[str, Any]) -> None:  # noqa: N802 - as the peer's name
        import transaction
        import ZODB
        from BTrees.OOBTree import OOBTree

        database = ZODB.DB(str(self._folder / "zodb.fs"))
        database.open().root()["pages"] = OOBTree(content)
        transaction.commit()
        database.close()

    def load_ZODB(self) -> Callable[[], Any]:  # noqa: N802
        import ZODB

        path = str(self._folder / "zodb.fs")
        return lambda: dict(ZODB.DB(path).open().root()["pages"])


def main(how: str, what: str, size: int, folder: Path) -> dict[str, float]:
    """Save or load, and give the seconds."""
    way, _, name = how.partition(" ")
    ways = _Ways(folder)
    if way == "save":
        getattr(ways, f"save_{name}")(CONTENTS[what](size))
        return {"seconds": 0.0}
    load = getattr(ways, f"load_{name}")()
    kept: list[Any] = []
    taken = seconds(lambda: kept.append(load()))
    assert len(kept[0]) == size
    return {"seconds": taken}


if __name__ == "__main__":
    print(
        json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))), flush=True
    )
