"""Crawls under kills, migrations, aborts, reboots and failing requests: everything is there once.

`make instep` has `INSTEP` ends in all, of crawls of 600 pages that end ten times each, and crawls
that are kept with `Actor.use_state` and by hand beside them.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from pathlib import Path
from typing import Final

import pytest

from autostate.testing import LocalPlatform
from tests.campaign import Tally
from tests.conftest import SEED
from tests.in_step.running import CRAWLS, IS_FULL, JSONL, PAGES, Case, Outcome, crawl

SHAPES: Final = [
    Case("basic", 1),
    Case("basic", 20),
    Case("parsel", 1),
    Case("parsel", 20),
    Case("tandem", 20),
    Case("loop", 8),
    Case("plain", 1),
    Case("spider", 8),
]
DRAWN: Final = random.Random(SEED).sample(SHAPES, len(SHAPES))
CASES: Final = list(itertools.islice(itertools.cycle(DRAWN), CRAWLS)) or SHAPES
OTHERS: Final = [
    Case(shape, at_once, keeper)
    for shape, at_once in (("basic", 20), ("loop", 8))
    for keeper in ("use_state", "by hand")
]


def _keep_the_log(case: Case, outcome: Outcome) -> None:
    """Write down what the Actor has printed, if `INSTEP_LOGS` says where."""
    if folder := os.environ.get("INSTEP_LOGS"):
        Path(folder, f"{SEED} {case}.log").write_text(outcome.run.output, encoding="utf-8")


@pytest.mark.campaign(name="instep")
@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[f"{n}: {case}" for n, case in enumerate(CASES)]
)
def test_everything_is_there_once(
    number: int, platform: LocalPlatform, rng: random.Random, tally: Tally
) -> None:
    """Every page counts once, its item is there once, and it is charged once."""
    case = CASES[number]
    outcome = crawl(case, platform, rng)
    books = outcome.books
    tally.kinds.update(outcome.ends)
    tally.tried(max(0, outcome.ends.total() - 1))
    tally.found(
        (str(case), books), lost=bool(books.lost), silent=not (books.is_exact or books.lost)
    )
    if not books.is_exact:
        _keep_the_log(case, outcome)
    tally.check()
    assert outcome.others == case.others
    items = len(outcome.run.dataset.items)
    assert outcome.run.charging.counts["apify-default-dataset-item"] == items
    if case.shape == "spider":
        lines = JSONL.read_text(encoding="utf-8").splitlines()
        assert sorted(json.loads(line)["page"] for line in lines) == [*range(PAGES)]


@pytest.mark.skipif(not IS_FULL, reason="what others lose is no promise of ours")
@pytest.mark.campaign(name="instep")
@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_what_others_lose(
    case: Case, platform: LocalPlatform, rng: random.Random, tally: Tally
) -> None:
    """The same crawls without autostate, under the same kinds of ends."""
    outcome = crawl(case, platform, rng)
    books = outcome.books
    tally.tried(max(1, outcome.ends.total()))
    tally.note(
        f"{case}: {PAGES} pages, {outcome.ends.total()} ends: {books.counted_twice} counted twice, "
        f"{books.items_twice} items twice, {books.charged_twice} charged twice, {books.lost} lost, "
        f"{outcome.failures} failures of the run"
    )
