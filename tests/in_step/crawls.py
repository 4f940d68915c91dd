"""Actors that crawl, in the forms in which people write them, each kept in three ways.

    python -m tests.in_step.crawls SHAPE KEEPER [SETTLE]

The shape is a key of `SHAPES`, the keeper one of:

- autostate: in step, written without a thought of kills: what belongs together is spread over
  several awaits, and what a failed attempt has done is left to the library;
- use_state: the same, with a dict of `Actor.use_state`;
- by hand: as a careful engineer writes it without the library. The dict is loaded at the start and
  saved at each event of the platform. An attempt does nothing outside before the work is done; then
  it pushes, charges and counts, and after that its request is marked.

Each page counts once under its number, is pushed once and charged once. One attempt in ten fails at
first, and some pages fail for good, which leave a count of their own and nothing else. SIGUSR1 lets
the Actor reboot.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from apify import Actor, Event

URL: Final = "https://example.com/"
NAME: Final = "pages"
"""The name of the state object, and of the record that is written by hand."""

Push = Callable[[dict[str, Any]], Awaitable[Any]]


class Crawl:
    """What the shapes share: how a page is worked, and what is counted where.

    Args:
        keeper: Who keeps the counts.
        counts: The counts.
        pages: The number of pages.
        failing: So many pages, the last ones, fail for good.
        at_once: The number of pages that are in work at a time.
        url: Where the pages are.
    """

    def __init__(
        self,
        keeper: str,
        counts: MutableMapping[str, int],
        *,
        pages: int,
        failing: int,
        at_once: int,
        url: str = URL,
    ) -> None:
        self.counts = counts
        self.pages = pages
        self.failing = failing
        self.at_once = at_once
        self.url = url
        self._is_careful = keeper == "by hand"

    def number(self, url: str) -> int:
        """Return the number of a page."""
        return int(url.rpartition("/")[2])

    def count(self, what: object) -> None:
        """Count one more."""
        self.counts[str(what)] = self.counts.get(str(what), 0) + 1

    def _check(self, page: int, attempt: int) -> None:
        if page >= self.pages - self.failing or (page % 10 == 0 and not attempt):
            raise ValueError("this attempt fails")

    async def work(self, page: int, attempt: int, push: Push, directly: Push) -> None:
        """Work a page.

        Args:
            page: Its number.
            attempt: How often it has failed.
            push: Pushes as the shape does.
            directly: Pushes at once.

        Raises:
            ValueError: This attempt fails.
        """
        if self._is_careful:
            await asyncio.sleep(0.002)
            self._check(page, attempt)
            await directly({"page": page})
            await Actor.charge("page")
            self.count(page)
        else:
            self.count(page)
            await Actor.charge("page")
            await asyncio.sleep(0.001)
            await push({"page": page})
            await asyncio.sleep(0.001)
            self._check(page, attempt)
        tell(page)


def tell(page: object) -> None:
    """Print that a page is done."""
    sys.stdout.write(f"PAGE {page}\n")
    sys.stdout.flush()


def _concurrency(crawl: Crawl) -> Any:
    from crawlee import ConcurrencySettings

    return ConcurrencySettings(
        min_concurrency=crawl.at_once,
        max_concurrency=crawl.at_once,
        desired_concurrency=crawl.at_once,
    )


def _handle(crawl: Crawl, crawler: Any, links: Callable[[Any, int], Awaitable[Any]]) -> None:
    """Set the handlers of a crawler."""

    async def handle(context: Any) -> None:
        page = crawl.number(context.request.url)
        await links(context, page)
        await crawl.work(page, context.request.retry_count, context.push_data, Actor.push_data)

    async def failed(context: Any, _: Exception) -> None:
        crawl.count(f"failed {crawl.number(context.request.url)}")

    crawler.router.default_handler(handle)
    crawler.failed_request_handler(failed)


async def basic(crawl: Crawl, **options: Any) -> None:
    """Crawl with Crawlee's crawler without a network; each of the first pages has three links."""
    from crawlee.crawlers import BasicCrawler

    first = crawl.pages // 4 if not options else crawl.pages

    async def links(context: Any, page: int) -> None:
        if page < first < crawl.pages:
            there = (page + k * first for k in (1, 2, 3))
            await context.add_requests([f"{crawl.url}{n}" for n in there])

    crawler = BasicCrawler(
        concurrency_settings=_concurrency(crawl),
        max_request_retries=2,
        configure_logging=False,
        **options,
    )
    _handle(crawl, crawler, links)
    await crawler.run(None if options else [f"{crawl.url}{n}" for n in range(first)])


async def tandem(crawl: Crawl) -> None:
    """Crawl a list of pages, which goes through a queue."""
    from crawlee.request_loaders import RequestList

    pages = RequestList([f"{crawl.url}{n}" for n in range(crawl.pages)])
    await basic(crawl, request_manager=await pages.to_tandem())


async def parsel(crawl: Crawl) -> None:
    """Crawl a site."""
    from crawlee.crawlers import ParselCrawler

    crawler = ParselCrawler(
        concurrency_settings=_concurrency(crawl), max_request_retries=2, configure_logging=False
    )

    async def links(context: Any, _: int) -> None:
        await context.enqueue_links()

    _handle(crawl, crawler, links)
    await crawler.run([f"{crawl.url}0"])


async def loop(crawl: Crawl) -> None:
    """Fetch, work, mark: several workers."""
    queue = await Actor.open_request_queue()
    await queue.add_requests([f"{crawl.url}{n}" for n in range(crawl.pages)])

    async def worker() -> None:
        while not await queue.is_finished():
            request = await queue.fetch_next_request()
            if request is None:
                await asyncio.sleep(0.02)
                continue
            page = crawl.number(request.url)
            try:
                await crawl.work(page, request.retry_count, Actor.push_data, Actor.push_data)
            except ValueError:
                request.retry_count += 1
                await queue.reclaim_request(request)
            else:
                await queue.mark_request_as_handled(request)

    await asyncio.gather(*(worker() for _ in range(crawl.at_once)))


async def plain(crawl: Crawl) -> None:
    """Work without a queue, and charge with the push."""
    import autostate

    for page in range(crawl.counts.get("next", 0), crawl.pages):
        with autostate.atomic():
            crawl.count(page)
            await Actor.push_data({"page": page}, charged_event_name="page")
            crawl.counts["next"] = page + 1
        await asyncio.sleep(0.01)
        tell(page)


SHAPES: Final[dict[str, Callable[[Crawl], Awaitable[None]]]] = {
    "basic": basic,
    "tandem": tandem,
    "parsel": parsel,
    "loop": loop,
    "plain": plain,
}


async def counts_of(keeper: str) -> MutableMapping[str, int]:
    """Give the dict in which a keeper counts."""
    if keeper == "autostate":
        from autostate import PersistedDict

        return PersistedDict[str, int](NAME)
    if keeper == "use_state":
        state: MutableMapping[str, Any] = await Actor.use_state({})
        return state
    counts: dict[str, int] = await Actor.get_value(NAME) or {}

    async def save(_: object = None) -> None:
        await Actor.set_value(NAME, counts)

    for event in (Event.PERSIST_STATE, Event.MIGRATING, Event.ABORTING):
        Actor.on(event, save)
    return counts


def configure(settle: float) -> None:
    """Let autostate keep the Actor in step; no request of a local platform is late."""
    import autostate
    from autostate.apify.charges import PlatformCharges
    from autostate.apify.dataset import PlatformDataset

    PlatformDataset.settle = PlatformCharges.settle = settle
    autostate.configure(in_step=True)


def rebooting() -> None:
    """Let SIGUSR1 reboot the Actor."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []  # which asyncio itself would forget
    loop.add_signal_handler(signal.SIGUSR1, lambda: tasks.append(loop.create_task(Actor.reboot())))


async def main(shape: str, keeper: str, settle: str = "2") -> None:
    """Run the Actor."""
    if keeper == "autostate":
        configure(float(settle))
    async with Actor:
        rebooting()
        given = await Actor.get_input()
        counts = await counts_of(keeper)
        await SHAPES[shape](Crawl(keeper, counts, **given))
        if keeper == "by hand":
            await Actor.set_value(NAME, counts)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
