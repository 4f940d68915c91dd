"""`Spider.start()` in the next process: what it has given before is left out.

A start request is recognized by its fingerprint, and counted: `start()` may give it twice, and in
another order after a restart. What it gives beyond that is new. Start items are recognized by their
order. When everything that `start()` gives has been taken over, `start()` is not run again.

A request is counted in the same cut in which it is scheduled, and an item in that in which the
pipelines have processed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from scrapy import Request

if TYPE_CHECKING:
    from autostate.scrapy.crawl import Crawl

_OVER = "start is over"
_REQUEST = "start request "
_ITEM = "start item "


class Start:
    """What `Spider.start()` of a crawl gives.

    Args:
        crawl: The state.
        fingerprint: Gives the fingerprint of a request.
    """

    def __init__(self, crawl: Crawl, fingerprint: Callable[[Request], bytes]) -> None:
        self._progress = crawl.progress
        self._lock = crawl.lock
        self._is_over = crawl.is_finished or self._progress.get(_OVER, False)
        self._fingerprint = fingerprint
        self._before: Counter[str] = Counter(
            {key: n for key, n in self._progress.items() if key.startswith(_REQUEST)}
        )
        self._given: tuple[Request, str] | None = None
        self._items: dict[int, tuple[Any, str]] = {}
        self._is_exhausted = False

    async def resumed(self, start: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Give what `start()` gives, without what a former process has taken over."""
        if self._is_over:
            return
        items = 0
        async for output in start:
            if isinstance(output, Request):
                key = _REQUEST + self._fingerprint(output).hex()
                if self._before[key] > 0:
                    self._before[key] -= 1
                    continue
                self._given = output, key
            elif output is not None:
                items += 1
                key = f"{_ITEM}{items}"
                if key in self._progress:
                    continue
                self._items[id(output)] = output, key
            yield output
        self._is_exhausted = True
        self._end_if_done()

    def scheduled(self, request: Request) -> None:
        """Note that a request is scheduled, or filtered out; any request may be given."""
        if self._given is not None and self._given[0] is request:
            key = self._given[1]
            self._given = None
            self._progress[key] = self._progress.get(key, 0) + 1

    def is_start_item(self, item: Any) -> bool:
        """Tell whether an item comes from `start()`, and was not processed before."""
        return id(item) in self._items

    def processed(self, item: Any) -> None:
        """Note that the pipelines have processed an item of `start()`."""
        self._progress[self._items.pop(id(item))[1]] = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        """Note that `start()` need not be run again, and forget the rest."""
        if self._is_exhausted and not self._items:
            with self._lock:
                self._progress[_OVER] = True
                for key in [*self._progress]:
                    if key.startswith((_REQUEST, _ITEM)):
                        del self._progress[key]
