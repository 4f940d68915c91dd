"""The pipeline that puts items into an outbox: each arrives once, if its destination can tell.

The default dataset of an Actor has the outbox of `autostate.push_data`, which keeps the limits of
the run and charges for items as `Actor.push_data` does. Any other destination has one of the crawl.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from itemadapter import ItemAdapter
from scrapy.utils.asyncio import is_asyncio_available
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.misc import build_from_crawler, load_object
from w3lib.url import file_uri_to_path

from autostate.apify import events, in_step
from autostate.delivery.destination import Destination
from autostate.delivery.jsonl import JsonlFile
from autostate.delivery.outbox import Outbox, outbox
from autostate.ownership.owner import this_run
from autostate.scrapy.crawl import Crawl, crawl_of

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_FILES = (".jsonl", ".jsonlines", ".jl")

DATASET = "dataset"
"""The value of AUTOSTATE_ITEMS that stands for the default dataset of the Actor."""


class OutboxPipeline:
    """An item pipeline that delivers items after the save that has them.

    An item becomes durable in the same cut in which its request leaves the state. The setting
    AUTOSTATE_ITEMS says where items go: the path of a JSONL file; "dataset", the default dataset of
    the Actor; a `Destination`, a function, or the dotted path of one. By default it is the dataset
    in an Actor, and the file `NAME.jsonl` with the name of the spider elsewhere.

    Put it behind all pipelines that change or drop items.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._crawl: Crawl | None = None
        self._outbox: Outbox[Any] | None = None
        self._is_dataset = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make the pipeline of a crawler."""
        return cls(crawler)

    async def open_spider(self) -> None:
        """Open the outbox.

        Raises:
            RuntimeError: Items go to the dataset, and no Actor is open.
            ValueError: AUTOSTATE_ITEMS means nothing, or names a file that a feed of Scrapy writes.
        """
        self._crawl = crawl_of(self._crawler)
        destination = destination_of(self._crawler)
        _check_feeds(self._crawler, destination)
        self._is_dataset = destination == DATASET
        if self._is_dataset:
            self._outbox = await in_step.default_outbox()
        else:
            name = f"{self._crawl.name}.items"
            self._outbox = outbox(
                name,
                _former(name, self._crawl, destination),
                # The scheduler holds requests back: no pipeline has to wait.
                capacity=sys.maxsize,
                capacity_bytes=sys.maxsize,
            )
        self._crawl.outboxes.append(self._outbox)

    async def process_item(self, item: Any) -> Any:
        """Put an item into the outbox.

        Raises:
            UnsupportedTypeError: The destination cannot take such an item; Scrapy logs it.
            ValueError: The dataset cannot.
        """
        fields = ItemAdapter(item).asdict()
        if self._is_dataset:
            await in_step.push_data(fields)
        else:
            assert self._outbox is not None
            self._outbox.put(fields)
        return item

    async def close_spider(self) -> None:
        """Deliver what is left; what cannot be delivered is kept for the next process."""
        if self._outbox is None:  # it could not be opened
            return
        if is_asyncio_available():
            await self._outbox.end_async(self._timeout)
        else:
            from twisted.internet.threads import deferToThread

            await maybe_deferred_to_future(deferToThread(self._drain))

    def _drain(self) -> None:
        assert self._outbox is not None
        self._outbox.drain(self._timeout)

    @property
    def _timeout(self) -> float:
        assert self._crawl is not None
        return self._crawl.manager.settings.flush_timeout


def destination_of(crawler: Crawler) -> Any:
    """Return where the items of a crawler go: a destination, a function, or `DATASET`.

    Raises:
        ValueError: The setting AUTOSTATE_ITEMS means nothing.
    """
    chosen: Any = crawler.settings.get("AUTOSTATE_ITEMS")
    if chosen is None:
        assert crawler.spider is not None
        chosen = DATASET if this_run() or _in_actor() else f"{crawler.spider.name}.jsonl"
    if isinstance(chosen, Destination) or chosen == DATASET:
        return chosen
    if isinstance(chosen, Path) or (isinstance(chosen, str) and chosen.endswith(_FILES)):
        return JsonlFile(chosen)
    try:
        found: Any = load_object(chosen)
    except (ImportError, NameError, TypeError, ValueError) as error:
        raise ValueError(
            f"AUTOSTATE_ITEMS = {chosen!r} is neither the path of a file that ends with .jsonl, "
            f"nor 'dataset', nor a destination: {error}"
        ) from None
    if isinstance(found, type) and issubclass(found, Destination):
        return build_from_crawler(found, crawler)
    return found


def _former(name: str, crawl: Crawl, destination: Any) -> Any:
    """Return the destination of a former crawl of this process in place of an equal one.

    Settings are copied for each crawl, and classes made for each: a destination that cannot be
    compared is taken for the same as another one of its class.
    """
    kind = type(destination)
    if isinstance(destination, Destination) and kind.is_same is Destination.is_same:
        for each in crawl.manager.companions():
            if isinstance(each, Outbox) and each.name == name and type(each.destination) is kind:
                return each.destination
    return destination


def _check_feeds(crawler: Crawler, destination: Any) -> None:
    """Refuse a file that Scrapy's feed exports write, too: it would have each item twice."""
    if not isinstance(destination, JsonlFile):
        return
    assert crawler.spider is not None
    for feed in crawler.settings.getdict("FEEDS"):
        name = str(feed).replace("%(name)s", crawler.spider.name)
        path = file_uri_to_path(name) if name.startswith("file:") else name
        if Path(path).resolve() == destination.path.resolve():
            raise ValueError(
                f"each item would be in {path} twice, from FEEDS (`scrapy crawl -o`) and from "
                "AUTOSTATE_ITEMS: leave the feed out, or set AUTOSTATE_ITEMS to another file"
            )


def _in_actor() -> bool:
    """Tell whether the program is inside `async with Actor`, which may be on any machine."""
    return events.is_open(getattr(sys.modules.get("apify"), "Actor", None))
