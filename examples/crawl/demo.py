"""The supervisor: `make demo`.

Runs a crawl three times on a local Apify platform, kept with autostate, with `Actor.use_state` and
by hand. Each is killed and migrated at the same random moments. Then compares what is in the state,
in the dataset and on the bill. Exits with 1 if anything is there twice, or missing, with autostate.

With `--store redis`, `postgresql` or `s3` the state of the crawl with autostate lies on a server,
which the demo starts itself.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from autostate.testing import LocalPlatform, Run
from examples.crawl.books import Books, look
from examples.crawl.server import KINDS, counted, served
from examples.crawl.site import Site

ROOT: Final = Path(__file__).parent.parent.parent
MINUTE: Final = 2.0
"""Seconds that a minute lasts in the demo: what is saved once a minute is saved so often."""
LATENCY: Final = 0.03
"""Seconds that a request to the platform takes, as it goes over a network."""
LIFE: Final = (0.7, 2.5)
"""The shortest and the longest life of a container, in seconds after its first line of output."""
NOTICE: Final = (0.3, 1.5)
"""The shortest and the longest notice of a migration, in seconds."""
PRICES: Final = {"page": 0.01}
TOLD: Final = 5.0
"""Seconds between two lines that tell how far a crawl is."""


@dataclass(frozen=True)
class Form:
    """A form of the crawl.

    Attributes:
        title: What it is called.
        module: What runs it.
        counts: Reads what it has counted.
    """

    title: str
    module: str
    counts: Callable[[Run], Any]


FORMS: Final = [
    Form("autostate", "with_autostate", lambda run: run.state("visits")),
    Form("use_state", "with_use_state", lambda run: run.store.get_json("APIFY_GLOBAL_STATE")),
    Form("by hand", "by_hand", lambda run: run.store.get_json("visits")),
]


@dataclass(frozen=True)
class Result:
    """How a crawl has ended.

    Attributes:
        title: The form.
        books: What is there twice, or missing.
        containers: How many containers there have been.
        writes: How many requests have written something to the platform.
        seconds: How long it took.
    """

    title: str
    books: Books
    containers: int
    writes: int
    seconds: float


def crawl(form: Form, *, pages: int, kills: int, seed: int, store: str | None = None) -> Result:
    """Run a crawl that is killed and migrated, and look at what it has left."""
    env = {
        "AUTOSTATE_DEBOUNCE": str(10 * MINUTE / 60),  # a sixtieth of the default, in seconds
        "AUTOSTATE_MAX_DELAY": str(30 * MINUTE / 60),
        "APIFY_PERSIST_STATE_INTERVAL_MILLIS": str(round(1000 * MINUTE)),
    }
    command = [sys.executable, "-m", f"examples.crawl.{form.module}"]
    began = time.monotonic()
    with Site(pages, delay=0.1) as site, LocalPlatform() as platform, served(store) as url:
        if url is not None:
            env["AUTOSTATE_URL"] = url
        platform.traffic.fault(delay=LATENCY)
        start = f"{site.url}{site.path(0)}"
        run = platform.start_run(command, cwd=ROOT, env=env, input={"start": start}, prices=PRICES)
        with telling(form, run, pages):
            code = run.kill_at_random(
                seed=seed, kills=kills, migrations=0.5, between=LIFE, notice=NOTICE
            )
        if code:
            raise RuntimeError(f"{form.title} ended with {code}:\n{run.output[-3000:]}")
        counts = Counter(form.counts(run) if url is None else counted(url))
        items = Counter(item["url"] for item in run.dataset.items)
        books = look({f"{site.url}{site.path(page)}" for page in range(pages)}, counts, items, run)
        writes = sum(call.method != "GET" for call in platform.traffic.calls)
    return Result(form.title, books, len(run.containers), writes, time.monotonic() - began)


@contextmanager
def telling(form: Form, run: Run, pages: int) -> Generator[None]:
    """Print now and then how far a crawl is."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(TOLD):
            far = f"{run.queue.handled} of {pages} pages, container {len(run.containers)}"
            print(f"  {form.title}: {far}", flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


ROWS: Final[dict[str, Callable[[Result], str]]] = {
    "counted twice": lambda result: str(result.books.counted_twice),
    "items twice": lambda result: str(result.books.items_twice),
    "charged twice": lambda result: str(result.books.charged_twice),
    "lost": lambda result: str(result.books.lost),
    "containers": lambda result: str(result.containers),
    "writes": lambda result: str(result.writes),
    "seconds": lambda result: f"{result.seconds:.0f}",
}


def show(results: Sequence[Result], pages: int) -> None:
    """Print how the crawls have ended, side by side."""
    table = Table(title=f"A crawl of {pages} pages under the same kills and migrations")
    table.add_column("")
    for result in results:
        table.add_column(result.title, justify="right")
    for name, cell in ROWS.items():
        table.add_row(name, *map(cell, results))
    Console(file=sys.stdout).print(table)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="kills, half of them announced (5)")
    parser.add_argument("--seed", type=int, help="when they happen (another each time)")
    parser.add_argument("--pages", type=int, default=200, help="how many pages there are (200)")
    parser.add_argument("--store", choices=KINDS, help="a server for the state with autostate")
    parser.add_argument(
        "--no-peers", dest="peers", action="store_false", help="only the crawl with autostate"
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Run the demo, and give the exit code."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # clean up, too
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    print(f"--kills {options.kills} --seed {seed} --pages {options.pages}", flush=True)
    forms = FORMS if options.peers else FORMS[:1]
    print(f"This takes about {options.pages // 10 * len(forms)} seconds.", flush=True)
    results = []
    for form in forms:
        store = options.store if form is FORMS[0] else None
        result = crawl(form, pages=options.pages, kills=options.kills, seed=seed, store=store)
        print(f"{result.title}: done after {result.seconds:.0f} s", flush=True)
        results.append(result)
    show(results, options.pages)
    if not results[0].books.is_exact:
        print(f"WRONG: {results[0].books}")
        return 1
    print(
        f"With autostate each of the {options.pages} pages is in the state, in the dataset and on "
        f"the bill once, after {results[0].containers - 1} kills."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
