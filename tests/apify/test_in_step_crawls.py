"""Queue, dataset and state of a crawl agree, however the process ends."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.apify.crawling import CRAWLER, LOOP, QUICK, live_and_die, program, result, unhandled

PAGES = 40


@pytest.mark.parametrize("how", ["kill", "migrate"])
@pytest.mark.parametrize("body", [CRAWLER, LOOP], ids=["crawler", "loop"])
def test_each_item_is_pushed_once(
    body: str, how: str, platform: LocalPlatform, tmp_path: Path, rng: random.Random
) -> None:
    """What an attempt that fails has pushed is not in the dataset."""
    push = 'push_data({"n": int(n)})'
    for actor, sums in (("context", "        pages"), ("Actor", "            pages")):
        first = f'{sums}["sum"] += 1\n'
        if (actor == "context") is (body is CRAWLER):
            body = body.replace(first, f"{sums[:-5]}await {actor}.{push}\n{first}")
    run = platform.start_run(program(tmp_path, body, pages=PAGES, at_once=8), env=QUICK)
    live_and_die(run, rng, 3, how)
    failed = {"failed": 2} if "failed" in result(run.output) else {}
    done = PAGES - failed.get("failed", 0)
    assert result(run.output) == {"sum": done, **failed}
    assert unhandled(run) == []
    assert sorted(item["n"] for item in run.dataset.items) == list(range(done))
