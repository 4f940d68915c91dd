"""All campaigns, one after another, and the table of their figures in `docs/reliability.md`.

    python -m tests.reliability [NAME ...]

Each is a target of the Makefile; all are run if none is named. A figure is written only if a run
has found it. The rows of campaigns that are not run stay, and each row names the commit at which it
was found, and its seed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.campaign import RESULTS, Figures, summed

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "reliability.md"
BEGIN: Final = "<!-- written by make reliability -->\n"
END: Final = "<!-- until here -->\n"
CAMPAIGNS: Final = {
    "kills": "kill -9 at a random moment",
    "deliveries": "kill -9 of a program with an outbox, at a random moment",
    "instep": "an end of a container of a crawl in step, while three requests in ten fail",
    "actors": "kill -9 of an Actor, or a migration, at a random moment",
    "crashes": "a crash before, during or after a call of the store, and again in the recovery",
    "power": "a power failure: what was not synced is there, or not, or in parts",
    "disk": "a disk that is full, broken, read-only, or out of handles, from some call on",
    "http": "a save while three requests in ten fail",
    "damage": "a bit of the file or its journal changed; a journal cut short, gone, another's",
    "records": "a record deleted, renamed, swapped, put back, or from another state",
    "hostile": "records of somebody who can write to the store, drawn at random",
    "copies": "a copy of the file made while it is written, or cut short",
    "ends": "an end of a program, in each sort of program",
    "forks": "a fork, while threads write",
    "clocks": "a save while the clock jumps, runs backwards or stands still",
    "threads": "a capture while threads write; each of 16 threads in a save of their blocks",
    "interrupts": "Ctrl-C at a place of the library's code",
    "memory": "memory refused at a place of the library's code, or to a process as a whole",
    "model": "a state of two or three processes, reached by some order of their steps",
    "scrapy": "an end of a crawl of Scrapy, at a random moment",
    "shared": "kill -9 or SIGSTOP of one of 50 processes that share a state; a writer that is gone",
}
"""What is tried in a trial of each campaign, by its name."""
SIZES: Final = {"INTERRUPTS": "10", "MEMORY": "200"}
"""Where the target of its own tries more than an hour is enough for."""
_SIZE: Final = {"damage": "DAMAGES", "threads": "CAPTURES"}
"""The variables with the sizes of campaigns, where it is not the name in capitals."""


def main(names: list[str]) -> int:
    """Run campaigns and write the table; return how many of them failed."""
    failed, minutes = 0, dict[str, float]()
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl", encoding="utf-8") as results:
        environment = {**SIZES, **os.environ, RESULTS: results.name}
        for name in names or CAMPAIGNS:
            began = time.monotonic()
            sys.stdout.write(f"== {name}\n")
            sys.stdout.flush()
            command = ["make", "--no-print-directory", name, f"PYTHON={sys.executable}"]
            failed += bool(
                subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
            )
            minutes[name] = (time.monotonic() - began) / 60
            sys.stdout.write(f"== {name}: {minutes[name]:.1f} minutes\n")
            sys.stdout.flush()
        found: list[Figures] = [json.loads(line) for line in results]
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    former, _, after = rest.partition(END)
    written = table(summed(found), minutes, commit(), former)
    PAGE.write_text(f"{before}{BEGIN}{written}{END}{after}", encoding="utf-8")
    sys.stdout.write(f"{failed} campaigns failed; the table is in {PAGE}\n")
    return failed


def commit() -> str:
    """Name the commit that is checked out; with a plus sign if files differ from it."""
    command = ["git", "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty=+"]
    return subprocess.check_output(command, cwd=ROOT, text=True).strip()


def table(found: list[Figures], minutes: Mapping[str, float], commit: str, former: str = "") -> str:
    """The figures as Markdown.

    Args:
        found: The figures.
        minutes: How long each campaign took.
        commit: What was tried.
        former: The table so far, with the rows of campaigns that were not run.
    """
    by_name = {figures["campaign"]: figures for figures in found}
    rows = {name: row for row in former.splitlines() if (name := _named(row)) in CAMPAIGNS}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    lines = [
        f"\nPython {platform.python_version()}, {machine}; default sizes where none is named.\n",
        "| campaign | a trial is | trials | lost | silent | minutes | seed | commit |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for name, what in CAMPAIGNS.items():
        if one := by_name.get(name):
            kinds = "; ".join(f"{many:,} {kind}" for kind, many in sorted(one["kinds"].items()))
            took = f"{minutes[name]:.1f}"
            figures = (f"{one['trials']:,}", one["lost"], one["silent"], took, one["seed"], commit)
            cells = (f"`{_command(name)}`", what + (f" ({kinds})" if kinds else ""), *figures)
            rows[name] = f"| {' | '.join(map(str, cells))} |"
        if name in rows:
            lines.append(rows[name])
    return "\n".join(lines) + "\n\n"


def _command(name: str) -> str:
    """Give the command of a campaign, with the size that was given."""
    variable = _SIZE.get(name, name.upper())
    size = {**SIZES, **os.environ}.get(variable)
    return f"make {name}" if size is None else f"make {name} {variable}={size}"


def _named(row: str) -> str:
    """Give the name of the campaign of a row; "" if it has none."""
    found = re.match(r"\| `make ([a-z]+)[ `]", row)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
