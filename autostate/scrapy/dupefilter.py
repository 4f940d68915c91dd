"""The duplicate filter, whose fingerprints are saved together with the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from scrapy.dupefilters import RFPDupeFilter

from autostate.scrapy.crawl import Crawl, crawl_of
from autostate.scrapy.units import Unit, current

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.utils.request import RequestFingerprinterProtocol


_MOST_NOTED: Final = 1_000
"""With so many fingerprints those of units that have ended are forgotten."""


class DupeFilter(RFPDupeFilter):
    """Filters out requests that were scheduled before, also by a former process.

    A value of DUPEFILTER_CLASS; it needs `SCHEDULER = "autostate.scrapy.Scheduler"`. Fingerprints
    are kept as hexadecimal texts, which are saved four times as fast as bytes.
    """

    def __init__(
        self, crawler: Crawler, debug: bool, *, fingerprinter: RequestFingerprinterProtocol | None
    ) -> None:
        super().__init__(None, debug, fingerprinter=fingerprinter)
        self._crawler = crawler
        self._crawl: Crawl | None = None
        self._unsaved: set[str] = set()
        self._first: dict[str, Unit] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make the filter of a crawler."""
        debug = crawler.settings.getbool("DUPEFILTER_DEBUG")
        return cls(crawler, debug, fingerprinter=crawler.request_fingerprinter)

    def open(self) -> None:
        """Get the fingerprints of former processes.

        Raises:
            RuntimeError: Another scheduler does not save its requests: what it lost in a kill would
                be filtered out for good.
        """
        crawl = crawl_of(self._crawler)
        if not crawl.is_scheduled:
            raise RuntimeError(
                "autostate.scrapy.DupeFilter remembers requests for good, and so needs a scheduler "
                'that does not lose them: set SCHEDULER = "autostate.scrapy.Scheduler"'
            )
        self._crawl = crawl

    def request_seen(self, request: Request) -> bool:
        """Tell whether the request was seen before, and remember it."""
        assert self._crawl is not None
        fingerprint = self.request_fingerprint(request)
        if fingerprint in self._crawl.seen or fingerprint in self._unsaved:
            return True
        self._crawl.seen.add(fingerprint)
        unit = current.get()
        if unit is not None and unit.is_open:
            if len(self._first) >= _MOST_NOTED:
                self._first = {key: one for key, one in self._first.items() if one.is_open}
            self._first[fingerprint] = unit
        return False

    def first_of(self, request: Request) -> Unit | None:
        """Return the open unit that has yielded a request first, which was seen since."""
        unit = self._first.get(self.request_fingerprint(request)) if self._first else None
        return unit if unit is not None and unit.is_open else None

    def is_double(self, request: Request, others: set[str]) -> bool:
        """Tell whether a stored request is stored twice; remember that it was seen.

        A unit that a kill has ended may have taken the fingerprint with it: see `units.Unit`.

        Args:
            request: A request that a former process has left.
            others: The fingerprints of such requests so far.
        """
        assert self._crawl is not None
        if request.dont_filter:
            return False
        fingerprint = self.request_fingerprint(request)
        self._crawl.seen.add(fingerprint)
        if fingerprint in others:
            return True
        others.add(fingerprint)
        return False

    def remember_here(self, request: Request) -> None:
        """Remember a request in this process only: it cannot be stored, so a kill loses it."""
        assert self._crawl is not None
        fingerprint = self.request_fingerprint(request)
        self._crawl.seen.discard(fingerprint)
        self._unsaved.add(fingerprint)
