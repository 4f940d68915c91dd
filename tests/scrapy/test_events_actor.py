"""A spider as an Actor: moved and aborted, on the local platform."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.scrapy.actor import pages_in, reaching, start
from tests.scrapy.site import Site

PAGES = 60


def test_a_migration_in_the_midst(platform: LocalPlatform, tmp_path: Path) -> None:
    """The container waits for the kill without new requests, and the next one goes on."""
    with Site(PAGES) as site:
        reached = reaching(site, 20)
        run = start(platform, site, tmp_path)
        assert reached.wait(60), run.output
        run.wait_connected()
        run.migrate(notice=1.5)
        assert run.wait() == 0, run.output
        # Once: the first container did not come to its end while it waited.
        assert run.output.count(f"pages {PAGES} {PAGES} 1") == 1
        assert len(run.containers) == 2
    assert pages_in(run) == Counter(range(PAGES))


def test_a_graceful_abort_ends_the_crawl(platform: LocalPlatform, tmp_path: Path) -> None:
    """What is in work is finished, the rest is there if the run is resurrected."""
    with Site(PAGES) as site:
        reached = reaching(site, 20)
        run = start(platform, site, tmp_path)
        assert reached.wait(60), run.output
        run.abort(gracefully=True)
        assert (run.status, run.container.killed) == ("ABORTED", False)
        with pytest.raises(RuntimeError, match=r"ABORTED.*resurrect"):
            run.start_next_container()
        container = run.resurrect()
        assert container.wait() == 0, run.output
        assert f"pages {PAGES} {PAGES} 1" in run.output
    assert pages_in(run) == Counter(range(PAGES))
