"""kill -9 in the middle of loops' bodies: what each item did to the state is there exactly once."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList
from tests.campaign import Tally, size
from tests.peers.forked import ProgramServer

ROOT = Path(__file__).parent.parent.parent
KILLS = size("LOOP_KILLS", 2)
ITEMS = 300
URL = "sqlite:///loops.db"

PRELUDE = f"""
import asyncio, collections, sys
import autostate
from autostate import PersistedCounter, PersistedDict, PersistedList

N = {ITEMS}
autostate.configure("{URL}", debounce=0.001, max_delay=60, duty_cycle=0.9)
times, log, total = PersistedCounter("times"), PersistedList("log"), PersistedDict("total", n=0)
others = PersistedDict("others")

def work(item):
    times[item] += 1
    for step in range(150):
        others["step"] = step  # many moments between the first write and the last
    total["n"] += item
    log.append(item)

def number(line):
    return int(line.split()[-1])

print("ready", flush=True)
"""

PROGRAMS = {
    "list": "for i in autostate.resume('loop', list(range(N))): work(i)",
    "range": "for i in autostate.resume('loop', range(N)): work(i)",
    "generator": "for i in autostate.resume('loop', (i for i in range(N))): work(i)",
    "dict": "for i in autostate.resume('loop', dict.fromkeys(range(N))): work(i)",
    "deque": "for i in autostate.resume('loop', collections.deque(range(N))): work(i)",
    "array": """
import numpy
for i in autostate.resume('loop', numpy.arange(N)): work(int(i))
""",
    "text file": """
with open("lines.txt", encoding="utf-8") as lines:
    for line in autostate.resume('loop', lines): work(number(line))
""",
    "binary file": """
with open("lines.txt", "rb") as lines:
    for line in autostate.resume('loop', lines): work(number(line))
""",
    "state object": """
queue = PersistedList("queue", list(range(N)))
for i in autostate.resume('loop', queue): work(i)
""",
    "in an event loop": """
async def main():
    for i in autostate.resume('loop', range(N)):
        work(i)
        if not i % 10:
            await asyncio.sleep(0)
            total["n"] += 0
asyncio.run(main())
""",
    "asynchronous generator": """
async def numbers():
    for i in range(N):
        await asyncio.sleep(0)
        yield i
async def main():
    async for i in autostate.resume('loop', numbers()):
        times[i] += 1
        await asyncio.sleep(0)
        total["n"] += i
        log.append(i)
asyncio.run(main())
""",
    "inner loops": """
for shop in autostate.resume('loop', range(0, N, 30)):
    for page in autostate.resume('pages', range(shop, shop + 30, 10)):
        for i in autostate.resume(f'products-{page}', range(page, page + 10)): work(i)
""",
    "done()": """
async def main():
    loop = autostate.resume('loop', range(N))
    async for i in loop:
        others["seen"] = i
        await asyncio.sleep(0)
        if not i % 100:
            await autostate.durable()  # in the middle of the body
        with autostate.atomic():
            work(i)
            loop.done()
        await asyncio.sleep(0)
asyncio.run(main())
""",
}


def _live(server: ProgramServer, program: str, rng: random.Random) -> bool:
    """Run the program, and kill it after a random while; says whether it came to its end."""
    command, environ = _command(program)
    process = server.popen(command, env=environ, cwd=None)
    assert process.stdout.readline() == "ready\n"
    time.sleep(rng.uniform(0.0, 0.1))  # the moment of the kill is what is tried here
    process.kill()
    process.stdout.close()
    return bool(process.wait() == 0)


def _finish(server: ProgramServer, program: str) -> None:
    status, _, errors = server.run(*_command(program), Path.cwd())
    assert (status, errors) == (0, "")


def _command(program: str) -> tuple[list[str], dict[str, str]]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "AUTOSTATE_URL": ""}
    return [sys.executable, "-c", f"{PRELUDE}{program}"], environ


def _effects() -> tuple[int, list[int]]:
    """What the items have done to the state; each has done all of it, or nothing."""
    with autostate.open(URL):
        log = list(PersistedList[int]("log"))
        times = PersistedCounter[int]("times")
        total: PersistedDict[str, Any] = PersistedDict("total", n=0)
        assert log == list(range(len(log)))
        assert times == dict.fromkeys(log, 1)
        assert total["n"] == sum(log)
        return len(log), log


@pytest.mark.campaign(name="kills")
@pytest.mark.parametrize("kind", PROGRAMS)
def test_each_item_is_in_the_state_once(
    isolated: Path, rng: random.Random, forked_programs: ProgramServer, kind: str, tally: Tally
) -> None:
    """Killed at random moments, over each kind of iterable, and looked at after each kill."""
    lines = "".join(f"{'é' * (number % 7)} {number}\n" for number in range(ITEMS))
    (isolated / "lines.txt").write_text(lines, encoding="utf-8")
    before, program = 0, PROGRAMS[kind]
    for _ in range(KILLS):
        if _live(forked_programs, program, rng):
            break
        done, _log = _effects()
        assert done >= before
        before = done
        tally.tried()
    _finish(forked_programs, program)
    assert _effects() == (ITEMS, list(range(ITEMS)))
    with autostate.open(URL) as manager:
        for name in ("pages", "products-0", f"products-{ITEMS - 10}"):
            with pytest.raises(LookupError):
                manager.delete(name)  # inner loops are forgotten with the item of the outer one
