"""kill -9 at random moments: in the end state and destination agree, item by item.

A process counts in a PersistedCounter and puts an item for each count, in one block. It is killed
again and again: at work, while it delivers, or while it asks what has arrived; the last process
comes to its end. `CAMPAIGN_DELIVERIES` sets how many kills there are for each destination.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedCounter
from tests.campaign import Tally, size
from tests.delivery import postgres
from tests.delivery.endpoint import Call, Reply, running
from tests.peers.forked import ProgramServer

ROOT: Final = Path(__file__).parent.parent.parent
PATHS: Final = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
KILLS: Final = size("DELIVERIES", 10)
LIVES: Final = 10
"""So many processes of one state are killed; the next one comes to its end."""
ITEMS: Final = 300
PHASES: Final = {0: "at work", 1: "in a delivery", 2: "in a question"}

WORKER: Final = """
import mmap, os, random, sys, time, types
import autostate
from autostate import PersistedCounter
from autostate.delivery import HttpEndpoint, JsonlFile, SqlTable, courier, jsonl
from autostate.delivery.destination import FunctionDestination

kind, url, seed, without = sys.argv[1:]
rng = random.Random(int(seed))
with open("phase", "r+b") as file:
    phase = mmap.mmap(file.fileno(), 1)

def noted(function, number):
    def call(*args):
        phase[0] = number
        try:
            result = function(*args)
            time.sleep(0.001)  # so that kills strike before it is recorded
            return result
        finally:
            phase[0] = 0
    return call

def slowly(handle, data):  # and tear lines
    time.sleep(0.0002)
    return os.write(handle, data[: rng.randrange(1, 30)])

jsonl.os = types.SimpleNamespace(**vars(os))
jsonl.os.write = slowly
courier.FIRST_PAUSE = 0.001

def send(items):
    with open("function", "a") as file:
        file.writelines(f"{item.id} {item.value['n']}\\n" for item in items)

destination = {
    "jsonl": lambda: JsonlFile("out.jsonl"),
    "sql": lambda: SqlTable("out.db", "items", {"n": "INTEGER"}, create=True),
    "postgresql": lambda: SqlTable(url, "items", {"n": "INTEGER"}, create=True),
    "http": lambda: HttpEndpoint(url),
    "function": lambda: FunctionDestination(send, 20),
}[kind]()
destination.batch = min(destination.batch, 20)
if without == "find":
    type(destination).find = lambda self, items, place: ((), self._place(self._opened()))
if without == "durability":
    from autostate.delivery.ledger import Ledger
    put = Ledger.put
    Ledger.put = lambda self, texts: (self._ready.extend(put(self, texts)), self._tell())
destination.deliver = noted(destination.deliver, 1)
type(destination).find = noted(type(destination).find, 2)
print("ready", flush=True)
autostate.configure("sqlite:///state.db", debounce=0.002, max_delay=0.005, duty_cycle=0.9)
done = PersistedCounter("done")
box = autostate.outbox("box", destination)
while done["n"] < ITEMS:
    with autostate.atomic():
        box.put({"n": done["n"] // 2})
        done["n"] += 1
    time.sleep(rng.random() * 0.004)
assert box.drain()
assert not box.aside()
"""


def _live(server: ProgramServer, arguments: list[str], rng: random.Random | None) -> str:
    """Run a worker to its end, or kill it; tell where it was."""
    Path("phase").write_bytes(b"\0")
    process = server.popen(
        [sys.executable, "worker.py", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "AUTOSTATE_URL": ""},
        cwd=None,
    )
    assert process.stdout.readline() == "ready\n"
    if rng is not None:
        _wait(rng)
        process.kill()
    printed = process.stdout.read()
    process.stdout.close()
    assert process.wait() == (-9 if rng is not None else 0) or rng is not None, printed
    return PHASES[Path("phase").read_bytes()[0]]


def _wait(rng: random.Random) -> None:
    """Let a worker live for a random while, or until it is in some phase, and a little longer."""
    wanted = rng.choice([None, *PHASES])
    time.sleep(rng.uniform(0.0, 0.08))  # the moment of the kill is what is tried here
    end = time.monotonic() + 0.1
    with (
        Path("phase").open("rb") as file,
        mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ) as phase,
    ):
        while wanted is not None and phase[0] != wanted and time.monotonic() < end:
            time.sleep(0.0001)
    time.sleep(rng.uniform(0.0, rng.choice([0.0001, 0.002])))


def _number(line: str) -> int:
    """The number of a line, -1 if it was torn."""
    try:
        return int(json.loads(line)["n"])
    except ValueError:
        return -1


@contextmanager
def _jsonl(_rng: random.Random) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    def found() -> list[int]:
        return [_number(line) for line in Path("out.jsonl").read_text().splitlines()]

    yield "", found


@contextmanager
def _sql(_rng: random.Random) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    def found() -> list[int]:
        with closing(sqlite3.connect("out.db")) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM items")]

    yield "", found


@contextmanager
def _postgresql(_rng: random.Random) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    with postgres.server() as url:

        def found() -> list[int]:
            with closing(postgres.connect(url)) as connection:
                return [n for (n,) in connection.execute("SELECT n FROM items").fetchall()]

        yield url, found


@contextmanager
def _http(rng: random.Random) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    def reply(_call: Call) -> Reply | None:
        lost = (Reply(lost=True), Reply(lost=True, before=False), Reply(503))
        return rng.choice(lost) if rng.random() < 0.1 else None

    with running() as server:
        server.reply = reply
        yield server.url, lambda: [value["n"] for value in server.done.values()]


@contextmanager
def _function(_rng: random.Random) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    def found() -> list[int]:
        """Those of different ids; each id has one value."""
        lines = Path("function").read_text().splitlines()
        pairs = {(words[0], words[1]) for line in lines if len(words := line.split()) == 2}
        # A kill may tear the last line of a life, and the next one begins behind it.
        by_id = {name: int(n) for name, n in pairs if name.rpartition("-")[2].isdigit()}
        return [*by_id.values()]

    yield "", found


DESTINATIONS: Final = {
    "jsonl": _jsonl,
    "sql": _sql,
    "postgresql": _postgresql,
    "http": _http,
    "function": _function,
}
MARKS: Final = {"postgresql": pytest.mark.servers}


def campaign(
    kind: str,
    server: ProgramServer,
    rng: random.Random,
    tally: Tally,
    *,
    kills: int,
    without: str = "",
) -> None:
    """Kill workers of several states, and compare what the last one of each leaves."""
    Path("worker.py").write_text(WORKER.replace("ITEMS", str(ITEMS)))
    expected = Counter(n // 2 for n in range(ITEMS))
    for begin in range(0, kills, LIVES):
        for name in ("state.db", "out.jsonl", "out.db", "function"):
            for path in Path().glob(f"{name}*"):
                path.unlink()
        with DESTINATIONS[kind](rng) as (url, found):
            for _ in range(min(LIVES, kills - begin)):
                arguments = [kind, url, str(rng.randrange(2**32)), without]
                tally.kinds[_live(server, arguments, rng)] += 1
            _live(server, [kind, url, "0", without], None)
            with autostate.open("sqlite:///state.db"):
                counted = PersistedCounter[str]("done")["n"]
            arrived = Counter(found())
        lost, extra = (expected - arrived).total(), (arrived - expected).total()
        wrong = f"{kind}: {lost} items lost, {extra} too many, {counted} counted"
        tally.found(wrong, lost=lost > 0 or counted != ITEMS, silent=extra > 0)
        tally.trials += min(LIVES, kills - begin) - 1


@pytest.mark.campaign(name="deliveries")
@pytest.mark.parametrize(
    "kind", [pytest.param(each, marks=MARKS.get(each, ())) for each in DESTINATIONS]
)
def test_state_and_destination_agree_after_kills(
    kind: str, rng: random.Random, tally: Tally, forked_programs: ProgramServer
) -> None:
    """Each item has arrived once; of a function, at least once with the same id."""
    campaign(kind, forked_programs, rng, tally, kills=KILLS)
    tally.check()


@pytest.mark.parametrize("without", ["find", "durability"])
def test_without_a_mechanism_they_do_not(
    without: str, rng: random.Random, forked_programs: ProgramServer
) -> None:
    """Without questions, and when items are delivered before they are durable, some come twice."""
    tally: Any = Tally()
    campaign("jsonl", forked_programs, rng, tally, kills=LIVES, without=without)
    assert tally.silent
