"""The supervisor: `make demo`.

Runs the same crawl three times on a local Apify platform: undisturbed; kept with autostate and
killed at random moments, once with notice; kept with `Actor.use_state` under the same kills. Then
compares. Exits with 1 if anything differs that autostate promises.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from autostate.testing import LocalPlatform, Run
from examples.crawl.compare import State, differences, from_use_state
from examples.crawl.job import ROOT, Job, Moment
from examples.crawl.progress import Progress
from examples.crawl.view import Result, View, final_table

MINUTE = 1.0
"""Seconds that a minute lasts in the demo: what is saved once a minute is saved so often."""
NOTICE = 1.0
"""Seconds between the news of the migration and the kill."""


class Demo:
    """Three crawls of one site.

    Args:
        platform: Where they run.
        folder: Where they may leave files.
        store: The URL of the store for autostate, or "sqlite" for a file in that folder.
        start: The first page.
        view: Where it is shown.
    """

    def __init__(
        self, platform: LocalPlatform, folder: Path, store: str, start: str, view: View
    ) -> None:
        self._platform = platform
        self._folder = folder
        self._store = store
        self._start = start
        self._view = view

    def with_autostate(self, title: str, moments: Sequence[Moment]) -> tuple[Progress, State]:
        """Run the crawl of main.py, and read from the store what is left."""
        sqlite = f"sqlite:///{self._folder / title}.db"
        url = sqlite if self._store == "sqlite" else self._store
        env = {"AUTOSTATE_URL": url, "CRAWL_MINUTE": str(MINUTE)}
        job = self._job(title, "examples.crawl.watched", env)
        return job.go(moments), self._stored(job.run)

    def with_use_state(self, moments: Sequence[Moment]) -> tuple[Progress, State]:
        """Run the crawl of with_use_state.py, and read from the store what is left."""
        env = {"APIFY_PERSIST_STATE_INTERVAL_MILLIS": str(round(MINUTE * 1000))}
        job = self._job("use_state", "examples.crawl.with_use_state", env)
        return job.go(moments), from_use_state(job.run.store.get_json("APIFY_GLOBAL_STATE"))

    def _job(self, title: str, module: str, env: dict[str, str]) -> Job:
        return Job(
            title,
            module,
            self._platform,
            start=self._start,
            env=env,
            show=self._view.show,
            note=self._view.note,
        )

    def _stored(self, run: Run) -> State:
        """What a process that starts now finds in the store."""
        path = self._folder / "state.pickle"
        subprocess.run(
            [sys.executable, "-m", "examples.crawl.watched", str(path)],
            env=run.env,
            cwd=ROOT,
            check=True,
        )
        state: State = pickle.loads(path.read_bytes())  # noqa: S301 - written a moment ago
        return state


def choose_moments(rng: random.Random, kills: int, pages: int) -> list[Moment]:
    """Choose when the containers end: so many without notice, and one with.

    Args:
        rng: The random numbers.
        kills: How many containers are killed without notice.
        pages: How many pages an undisturbed crawl has.

    Returns:
        Moments such that even a crawl that forgets nothing meets all of them.
    """
    share, most = max(2, pages // (kills + 3)), max(2, pages // (kills + 2))
    moments = [Moment(rng.randrange(share), rng.uniform(0, 0.3), most) for _ in range(kills)]
    migration = Moment(rng.randrange(1, share), rng.uniform(0, 0.1), most, notice=NOTICE)
    moments.insert(rng.randrange(kills + 1), migration)
    return moments


@contextlib.contextmanager
def documentation(modules: int | None) -> Iterator[str]:
    """Serve the site, of so many modules or of all, and give the address of its first page."""
    command = [sys.executable, "-S", str(Path(__file__).with_name("site.py"))]
    command += [] if modules is None else [str(modules)]
    env = os.environ | {"PYTHONHASHSEED": "0"}  # some pages show sets
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip() + "index.html"
        finally:
            server.kill()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="kills without notice (5)")
    parser.add_argument("--seed", type=int, help="when they happen (another each time)")
    parser.add_argument("--modules", type=int, help="how many the site documents (all)")
    parser.add_argument(
        "--store",
        default="apify:",
        help='"apify:" (the default), "apify:NAME", "sqlite" or another URL of a store',
    )
    parser.add_argument(
        "--no-peer", dest="peer", action="store_false", help="without the crawl with use_state"
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Run the demo, and give the exit code."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # clean up, too
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    print(f"--kills {options.kills} --seed {seed} --store {options.store}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="autostate-demo-") as folder,
        LocalPlatform() as platform,
        documentation(options.modules) as start,
        View() as view,
    ):
        demo = Demo(platform, Path(folder), options.store, start, view)
        undisturbed, reference = demo.with_autostate("undisturbed", [])
        view.expect(len(reference["pages"]))
        moments = choose_moments(random.Random(seed), options.kills, len(reference["pages"]))
        killed, state = demo.with_autostate("autostate", moments)
        crawls = [(undisturbed, reference), (killed, state)]
        if options.peer:
            crawls.append(demo.with_use_state(moments))
    results = [
        Result(progress, lost(reference, found), differences(reference, found))
        for progress, found in crawls
    ]
    final_table(results)
    return judge(killed, len(moments), results[0].differences + results[1].differences)


def judge(killed: Progress, moments: int, found: list[str]) -> int:
    """Say what is wrong, if anything is."""
    if killed.kills < moments:
        found.append(f"only {killed.kills} of {moments} kills happened before the crawl was done")
    if killed.forgotten:
        found.append(f"{len(killed.forgotten)} pages were crawled again although they were saved")
    for line in found:
        print(f"WRONG: {line}")
    return 1 if found else 0


def lost(reference: State, state: State) -> set[str]:
    """Name the pages that an undisturbed crawl has and this one has not."""
    return set(reference["pages"]) - set(state["pages"])


if __name__ == "__main__":
    sys.exit(main())
