"""Forks at random moments, while threads write: parent and child lose nothing without a word.

A child that writes is refused while its parent lives; the last one outlives its parent, and goes
on with the state. `CAMPAIGN_FORKS` says how many forks there are.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import autostate
from autostate import PersistedCounter, PersistedDict
from tests.campaign import Tally, size
from tests.peers.forked import ProgramServer

ROOT: Final = Path(__file__).parent.parent.parent
FORKS: Final = size("FORKS", 8)
WORKER: Final = """
import os, random, sys, threading, time, warnings
import autostate
from autostate import PersistedCounter, PersistedDict, StateInUseError
from autostate.runtime import incarnation

warnings.simplefilter("ignore", DeprecationWarning)  # of forks of processes with threads
rng = random.Random(int(sys.argv[2]))
incarnation.PARENTS_END = 0.01  # a child that writes waits so long for its parent's end
autostate.configure(sys.argv[1], debounce=0.002, max_delay=0.01, duty_cycle=1)
state, hits = PersistedDict("state", n=0, child=0), PersistedCounter("hits")
autostate.flush()
stop = threading.Event()

def write(me):
    while not stop.is_set():
        with autostate.atomic():
            hits[f"a{me}"] += 1
            hits[f"b{me}"] += 1

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def child():
    try:
        state["child"] = state["n"]
        autostate.flush()
    except StateInUseError:
        say("refused")
    else:
        say("wrote while its parent lived")
    os._exit(0)

threads = [threading.Thread(target=write, args=(me,), daemon=True) for me in range(2)]
for thread in threads:
    thread.start()
for _ in range(int(sys.argv[3])):
    state["n"] += 1
    time.sleep(rng.uniform(0, 0.01))
    if rng.random() < 0.5:
        autostate.flush()
        say("acknowledged", state["n"])
    if not os.fork():
        child()
    os.wait()
stop.set()
for thread in threads:
    thread.join()
autostate.flush()
say("acknowledged", state["n"])
parent = os.getpid()
if not os.fork():
    while os.getppid() == parent:
        time.sleep(0.001)
    state["child"] = state["n"] + 1
    autostate.flush()
    say("child", state["child"])
    os._exit(0)
os._exit(0)
"""


def campaign(
    url: str, rng: random.Random, server: ProgramServer, *, tally: Tally, code: str, forks: int
) -> None:
    """Run a program that forks, and look at what it said and what it left."""
    Path("worker.py").write_text(code)
    command = [sys.executable, "worker.py", url, str(rng.randrange(1 << 32)), str(forks)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "AUTOSTATE_URL": ""}
    process = server.popen(command, env=env, cwd=None)
    said = filter(str.strip, process.stdout.read().splitlines())  # also what the child said
    words = [line.split() for line in said]
    process.stdout.close()
    process.wait()
    told = {word[0]: int(word[1]) for word in words if word[0] in ("acknowledged", "child")}
    with autostate.open(url):
        state: PersistedDict[str, Any] = PersistedDict("state", n=0, child=0)
        hits = PersistedCounter("hits")
        lost = state["n"] < told.get("acknowledged", 0) or state["child"] != told.get("child")
        wrong = any(hits[f"a{me}"] != hits[f"b{me}"] for me in range(2))
        wrong = wrong or words.count(["refused"]) != forks
        tally.found(f"{state}, {hits}, {words}", lost=lost, silent=lost or wrong)
    tally.tried(forks)


@pytest.mark.campaign(name="forks")
@pytest.mark.parametrize("url", ["sqlite:///forks.db", "apify:forks"])
def test_a_fork_at_any_moment_loses_nothing(
    url: str, *, isolated: Path, rng: random.Random, tally: Tally, forked_programs: ProgramServer
) -> None:
    """What the parent acknowledged, and what its last child did, is there."""
    forks = min(20, FORKS // 2)
    while tally.trials < FORKS // 2:
        campaign(url, rng, forked_programs, tally=tally, code=WORKER, forks=forks)
    tally.check()
