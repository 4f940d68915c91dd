"""Every end of a program in every sort of program: all is saved, or all that was flushed.

After an orderly end everything is there. `os._exit` and SIGKILL leave no moment for a save: what
`flush()` has confirmed is there. A program that is out of memory may not be able to save any more,
but then it says so. `CAMPAIGN_ENDS` says how many ends are tried in each program; 0 means all.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest

from tests.campaign import Tally, size
from tests.peers.forked import ProgramServer
from tests.process.programs import stored
from tests.processes.test_notebooks import RUN

ROOT: Final = Path(__file__).parent.parent.parent
TRIED: Final = size("ENDS", 1)
HEADER: Final = """
import asyncio, atexit, os, resource, signal, sys, threading, time
import autostate
from autostate import PersistedDict
autostate.configure("sqlite:///s.db", debounce=3600)  # only an end saves

def begin():
    global state
    state = PersistedDict("a", flushed=True)
    autostate.flush()
    state["unsaved"] = True

def hoard():
    pages = int(open("/proc/self/statm").read().split()[0])
    size = pages * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    held = []
    while True:
        held.append(bytearray(1 << 20))
"""
SIGNALLED: Final = "os.kill(os.getpid(), signal.{}); WAIT"
ENDS: Final = {
    "return": "pass",
    "exception": "raise ZeroDivisionError",
    "sys.exit": "sys.exit(3)",
    "Ctrl-C": SIGNALLED.format("SIGINT"),
    "SIGTERM": SIGNALLED.format("SIGTERM"),
    "SIGHUP": SIGNALLED.format("SIGHUP"),
    "atexit": "atexit.register(state.update, late=True)",
    "execv": "os.execv(sys.executable, [sys.executable, '-c', ''])",
    "out of memory": "hoard()",
    "os._exit": "os._exit(7)",
    "SIGKILL": SIGNALLED.format("SIGKILL"),
}
ABRUPT: Final = frozenset({"os._exit", "SIGKILL"})
PROGRAMS: Final = {
    "script": "begin()\nEND",
    "threads": """
        begin()
        def work(number):
            for n in range(200):
                state[f"thread {number}"] = n
                time.sleep(0.001)
        for number in range(8):
            threading.Thread(target=work, args=(number,), daemon=number % 2).start()
        END
        """,
    "asyncio": """
        async def main():
            begin()
            await asyncio.sleep(0)
            END
        asyncio.run(main())
        """,
    "asyncio, blocked in C": """
        async def main():
            begin()
            time.sleep(0.05)
            END
        asyncio.run(main())
        """,
    "Crawlee": """
        from datetime import timedelta
        from crawlee.crawlers import BasicCrawler
        async def main():
            crawler = BasicCrawler(
                max_request_retries=0,
                configure_logging=False,
                request_handler_timeout=timedelta(seconds=2),  # which Ctrl-C waits for
            )
            @crawler.router.default_handler
            async def handle(context):
                begin()
                END
            await crawler.run(["http://127.0.0.1:9/"])
        asyncio.run(main())
        """,
    "Actor": """
        from apify import Actor
        async def main():
            async with Actor:
                begin()
                await asyncio.sleep(0)
                END
        asyncio.run(main())
        """,
    "uvicorn": """
        import uvicorn
        async def end():
            await asyncio.sleep(0.05)
            server.should_exit = "WAIT" not in WHAT
            END
        async def app(scope, receive, send):
            await receive()
            begin()
            if WHAT in ("pass", "atexit") or "SIG" in WHAT:
                server.task = asyncio.create_task(end())
            else:
                END
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
        server.run()
        """,
}
LATER: Final = "threading.Timer(0.1, os.kill, (os.getpid(), signal.{})).start(); time.sleep(600)"
AGAIN: Final = "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start(); "
"""The first Ctrl-C asks asyncio to cancel the task, which is blocked; the second one is raised."""


def code_of(kind: str, end: str) -> str:
    """The program."""
    what = ENDS[end]
    waits = "time.sleep(600)" if kind in ("script", "threads") else "await asyncio.sleep(600)"
    if "blocked" in kind and "SIG" in what:
        name = what.partition("signal.")[2].partition(")")[0]
        what = (AGAIN if name == "SIGINT" else "") + LATER.format(name)
    told = repr("pass" if end == "return" else end if end == "atexit" else what)
    code = textwrap.dedent(PROGRAMS[kind])
    return HEADER + code.replace("WHAT", told).replace("END", what).replace("WAIT", waits)


def run_notebook(folder: Path, end: str) -> str:
    """End a notebook's kernel, or a cell of it; give what was told."""
    (folder / "program.py").write_text(HEADER)
    what = ENDS[end].replace("WAIT", "time.sleep(600)")
    cells = ["from program import *\nimport program\nbegin()\nstate = program.state", what]
    if "SIGINT" in what:  # as the client's button does, while the cell runs
        cells[1] = LATER.format("SIGINT")
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(cells),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])},
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
    )
    return done.stdout + done.stderr


def outcome(end: str, told: str, tally: Tally) -> None:
    """Count what is there after an end."""
    found = stored()
    lost = not found.get("flushed")
    missing = end not in ABRUPT and not found.get("unsaved")
    missing = missing or (end == "atexit" and not found.get("late"))
    if end == "out of memory":
        missing = missing and not told
    tally.found(f"{end}: {found}, {told[-300:]}", lost=lost or missing, silent=missing)


def chosen(rng: random.Random) -> list[str]:
    """The ends that are tried; memory can be limited where Linux tells how much is used."""
    ends = [end for end in ENDS if end != "out of memory" or Path("/proc/self/statm").exists()]
    return ends if not TRIED else rng.sample(ends, TRIED)


@pytest.mark.campaign(name="ends")
@pytest.mark.parametrize("kind", [*PROGRAMS, "notebook"])
def test_an_end_saves_what_it_can(
    kind: str, *, isolated: Path, rng: random.Random, tally: Tally, program_server: ProgramServer
) -> None:
    """Whatever ends the program, and wherever."""
    for end in chosen(rng):
        if kind == "notebook":
            told = run_notebook(isolated, end)
        else:
            path = isolated / "program.py"
            path.write_text(code_of(kind, end))
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            _, output, error = program_server.run([sys.executable, str(path)], env, isolated)
            told = output + error
        outcome(end, f"{kind}: {told}", tally)
        for left in isolated.glob("s.db*"):
            left.unlink()
    tally.check()
