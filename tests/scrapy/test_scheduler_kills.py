"""A spider that is killed at random moments counts each page once, and delivers each item once."""

from __future__ import annotations

import random
import signal
import threading

import pytest

from tests.campaign import Tally, size
from tests.scrapy.site import Program, Site, check_exact, log

PAGES = 120
KILLS = 3


def run_until(program: Program, site: Site, count: int, *signals: int) -> int:
    """Send signals when so many more requests have come; return the exit status."""
    reached = threading.Event()
    first = site.served

    def hook(served: int) -> None:
        if served >= first + count and not reached.is_set():
            reached.set()
            for number in signals:
                program.signal(number)

    site.hook = hook
    return program.end()


@pytest.mark.campaign(name="scrapy")
@pytest.mark.parametrize("number", range(size("SCRAPY", 1)))
def test_kill_9_at_random_moments(number: int, rng: random.Random, tally: Tally) -> None:
    """Three kills, redirects and pages that fail: nothing is lost, nothing counts twice."""
    with Site(PAGES, rng) as site:
        for _ in range(KILLS):
            program = Program(site)
            run_until(program, site, rng.randint(1, 50), signal.SIGKILL)
        site.hook = lambda _: None
        assert Program(site).end() == 0, log()[-3000:]
    check_exact(PAGES)
    tally.tried(KILLS)
    tally.kinds["killed"] += KILLS


@pytest.mark.parametrize("signals", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c(signals: int, name: str, rng: random.Random) -> None:
    """Scrapy finishes what is in work after the first one, and stops at once after the second."""
    with Site(PAGES) as site:
        number = signal.Signals[name]
        run_until(Program(site), site, rng.randint(5, 60), *[number] * signals)
        site.hook = lambda _: None
        assert Program(site).end() == 0, log()[-3000:]
    assert "resuming the crawl 'scrapy.pages'" in log()
    check_exact(PAGES)
