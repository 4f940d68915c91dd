"""One of several machines that go through pages, and count and collect together on a server.

python -m examples.servers.machine 'redis://db.example.com/0?state=shop' 0 500

It works on the pages from the first number to before the second one. How far it is, is in a state
of its own on its disk, so it goes on there after a kill. What it counts is published after the save
that has it: each page counts once, whoever is killed.
"""

from __future__ import annotations

import sys
import time

import autostate
from autostate import SharedCounter, SharedSet


def main(shared: str, first: int, last: int) -> None:
    """Go through the pages, and print what all machines have found so far."""
    autostate.configure(shared=shared)
    counts, shops = SharedCounter[str]("counts"), SharedSet[str]("shops")
    for page in autostate.resume("pages", range(first, last)):
        time.sleep(0.005)  # the work on a page
        counts["pages"] += 1
        shops.add(f"shop {page % 40}")
        print(f"page {page}", flush=True)
    autostate.flush()
    counts.refresh()
    print(f"{counts['pages']} pages of {len(shops)} shops", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
