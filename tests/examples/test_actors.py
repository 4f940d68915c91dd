"""Each Actor of the examples is killed and moved, and is exact in the end."""

from __future__ import annotations

import json
import random
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from autostate.testing import LocalPlatform, Run
from tests.campaign import Tally, size
from tests.delivery import endpoint
from tests.examples.site import BRANDS, PER_PAGE, ExampleSite, depth, product

pytestmark = [pytest.mark.campaign(name="actors"), pytest.mark.usefixtures("forked_actors")]

FOLDER: Final = Path(__file__).parent.parent.parent / "examples" / "actors"
SIZE: Final = 24
"""How many pages, products, records or offers there are."""
ENDS: Final = 3
"""How many kills a run has at most: one in three is announced."""
ROUNDS: Final = -(-size("ACTORS", ENDS) // ENDS)
QUICK: Final = {"AUTOSTATE_DEBOUNCE": "0.02", "AUTOSTATE_MAX_DELAY": "0.1"}


def command(name: str) -> list[str]:
    """The command of an Actor."""
    return [sys.executable, str(FOLDER / name / "main.py")]


class Stage:
    """Runs Actors, which are killed while they read a site.

    Each takes about a second, if it is not killed, of which it uses little: the site is slow.

    Attributes:
        site: The site.
        platform: The platform.
    """

    def __init__(self, platform: LocalPlatform, site: ExampleSite, tally: Tally, seed: int) -> None:
        self.platform = platform
        self.site = site
        self._tally = tally
        self._random = random.Random(seed)

    def start(self, name: str, given: Any = None, **options: Any) -> Run:
        """Start a run of an Actor, with an input as its schema wants it."""
        actor = json.loads((FOLDER / name / ".actor" / "actor.json").read_text(encoding="utf-8"))
        assert [*(given or {})] == actor.get("input", {}).get("required", [])
        return self.platform.start_run(command(name), env=QUICK, input=given, **options)

    def kill(self, run: Run, progress: Callable[[], object] | None = None) -> int:
        """Kill a run again and again; give its exit code."""
        code = run.kill_at_random(
            seed=self._random.randrange(2**32),
            kills=ENDS,
            between=(0.05, 0.4),
            migrations=1 / 3,
            notice=(0.1, 0.5),
            progress=progress or (lambda: self.site.served),
        )
        self._tally.tried(len(run.containers) - 1)
        return code

    def finish(self, name: str, given: Any, *, requests: int = SIZE, **options: Any) -> Run:
        """Run an Actor under kills to its end; it sends so many requests, one after another."""
        self.site.latency = 1.0 / requests
        run = self.start(name, given, **options)
        assert self.kill(run) == 0, run.output
        assert run.status == "SUCCEEDED"
        return run


@pytest.fixture(params=range(ROUNDS), ids="round{}".format)
def stage(
    platform: LocalPlatform, tally: Tally, rng: random.Random, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    """A site and a platform of the test's own."""
    with ExampleSite(SIZE) as site:
        yield Stage(platform, site, tally, rng.randrange(2**32))


def pushed(run: Run, key: str) -> Counter[Any]:
    """How often each value of a field is in the dataset."""
    return Counter(item[key] for item in run.dataset.items)


def once(values: Any) -> Counter[Any]:
    """Each of these once."""
    return Counter(list(values))


def test_beautifulsoup(stage: Stage) -> None:
    """Items, words and the queue agree."""
    pages = f"{stage.site.url}/pages"
    run = stage.finish("beautifulsoup", {"start_urls": [{"url": f"{pages}/0"}]})
    assert pushed(run, "url") == once(f"{pages}/{n}" for n in range(SIZE))
    words = {"page": SIZE, "links": SIZE, **{str(n): 1 for n in range(SIZE)}}
    assert run.state("words") == words
    assert len(run.store.get_json("OUTPUT")) == 10
    assert run.queue.unhandled == []


def test_crawlee_parsel(stage: Stage) -> None:
    """A page counts once, also where an attempt has failed; what is missing is reported."""
    pages = f"{stage.site.url}/shaky"
    run = stage.finish(
        "crawlee_parsel", {"start_urls": [{"url": f"{pages}/0"}]}, requests=SIZE // 5
    )
    assert pushed(run, "url") == once(f"{pages}/{n}" for n in range(SIZE))
    assert run.state("depths") == Counter(map(depth, range(SIZE)))
    assert run.store.get_json("OUTPUT") == {"pages": SIZE, "failed": [f"{pages}/missing"]}
    assert run.queue.unhandled == []


def test_request_queue(stage: Stage) -> None:
    """What a worker writes for a request is there once; the last attempt is reported."""
    urls = [f"{stage.site.url}/products/{n}" for n in (*range(SIZE), "none")]
    run = stage.finish("request_queue", {"urls": urls}, requests=SIZE // 5)
    assert pushed(run, "id") == once(range(SIZE))
    assert run.state("prices") == prices()
    assert [*run.state("failed")] == [urls[-1]]
    assert run.queue.unhandled == []


def prices() -> Counter[str]:
    """The sums of the prices of each brand."""
    sums = Counter[str]()
    for each in map(product, range(SIZE)):
        sums[each["brand"]] += each["price"]
    return sums


def test_scrapy_spider(stage: Stage) -> None:
    """The items of a spider are in the dataset once, and its state agrees."""
    pages = f"{stage.site.url}/shaky"
    run = stage.finish("scrapy_spider", {"start_urls": [{"url": f"{pages}/0"}]}, requests=SIZE // 5)
    assert pushed(run, "url") == once(f"{pages}/{n}" for n in range(SIZE))
    depths = Counter(f"depth {depth(n)}" for n in range(SIZE))
    assert run.state("scrapy.titles.state") == depths
    assert run.state("scrapy.titles.requests") == {}


def test_standby(stage: Stage) -> None:
    """What was answered is true in the next container, and a visit counts once."""
    run = stage.start("standby", standby=True)
    answers: list[int] = []

    def visit(key: str) -> int:
        while True:
            request = urllib.request.Request(
                f"{run.standby_url}/home", method="POST", headers={"Idempotency-Key": key}
            )
            stage.site.pause()
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return int(answer.read())
            except OSError:  # between two containers
                run.wait_ready()

    def visit_all() -> None:
        answers.extend(visit(str(n)) for n in range(SIZE))
        run.abort()

    with ThreadPoolExecutor(1) as pool:
        visits = pool.submit(visit_all)
        stage.kill(run, lambda: len(answers))
        visits.result()
    assert answers == [*range(1, SIZE + 1)]
    assert run.state("visits") == {"/home": SIZE}


@pytest.mark.parametrize("limit", [None, 0.25], ids=["all", "limit"])
def test_charging(stage: Stage, limit: float | None) -> None:
    """Each page is charged and pushed once, up to the limit, and the start of the run once.

    What is left at the limit is enough for a page, and not for the item as well.
    """
    urls = [f"{stage.site.url}/pages/{n}" for n in range(SIZE)]
    count = SIZE if limit is None else 10
    run = stage.finish(
        "charging",
        {"urls": ["http://127.0.0.1:1/unreachable", *urls]},
        requests=count,
        prices={"start": 0.05, "page": 0.015, "apify-default-dataset-item": 0.005},
        max_total_charge_usd=None if limit is None else limit + 0.015,
    )
    assert run.charging.counts == {
        "start": 1,
        "page": count,
        "apify-default-dataset-item": count,
    }
    assert [item["url"] for item in run.dataset.items] == urls[:count]
    assert (run.status_message == "The limit is reached") is (limit is not None)


def test_request_list(stage: Stage) -> None:
    """The list is read again in each container, and its products count once."""
    sources = [{"url": f"{stage.site.url}/products/{n}"} for n in range(SIZE)]
    run = stage.finish("request_list", {"sources": sources}, requests=SIZE // 5)
    assert pushed(run, "id") == once(range(SIZE))
    assert run.state("Summary") == {
        "products": SIZE,
        "total": prices().total(),
        "cheapest": {brand: product(n)["price"] for n, brand in enumerate(BRANDS)},
    }
    assert run.queue.unhandled == []


CHILD: Final = """
import asyncio
from apify import Actor

async def main():
    async with Actor:
        given = await Actor.get_input()
        await Actor.push_data([{"n": n} for n in range(int(given["category"]))])

asyncio.run(main())
"""


def test_child_runs(stage: Stage, tmp_path: Path) -> None:
    """Each category has one run, whose items are pushed once."""
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    stage.platform.add_actor("details", [sys.executable, str(child)])
    categories = [str(n) for n in range(5)]
    run = stage.start("child_runs", {"actor": "details", "categories": categories})
    assert stage.kill(run, lambda: run.saves) == 0, run.output
    runs = [each for each in stage.platform.runs.values() if each is not run]
    children = [each.store.get_json("INPUT") for each in runs]
    assert sorted(children, key=json.dumps) == [{"category": each} for each in categories]
    items = [(item["category"], item["n"]) for item in run.dataset.items]
    assert Counter(items) == once((each, n) for each in categories for n in range(int(each)))
    assert run.state("found") == {each: int(each) for each in categories}


def test_seen_items(stage: Stage) -> None:
    """A second run pushes what is new since the first one, and tells the webhook, once each."""
    with endpoint.running() as webhook:
        given = {"url": f"{stage.site.url}/offers", "webhook": webhook.url}
        first = stage.finish("seen_items", given, requests=SIZE // PER_PAGE)
        stage.site.pages += 2 * PER_PAGE
        second = stage.finish("seen_items", given, requests=SIZE // PER_PAGE)
        done = Counter(each["id"] for each in webhook.done.values())
    assert pushed(first, "id") == once(f"offer {n}" for n in range(SIZE))
    assert pushed(second, "id") == once(f"offer {n}" for n in range(SIZE, SIZE + 2 * PER_PAGE))
    assert done == pushed(first, "id") + pushed(second, "id")


def test_api_cursor(stage: Stage) -> None:
    """The dataset has all records, once and in order."""
    run = stage.finish("api_cursor", {"url": f"{stage.site.url}/api"}, requests=SIZE // PER_PAGE)
    assert [item["record"] for item in run.dataset.items] == [*range(SIZE)]
    progress = {"cursor": None, "pages": SIZE // PER_PAGE, "records": SIZE}
    assert run.state("Progress") == progress
