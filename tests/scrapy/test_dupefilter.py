"""The duplicate filter, by Scrapy's own test_dupefilters.py, over the state in place of a JOBDIR.

Left out: the lines of `requests.seen`, and the deprecation of `BaseDupeFilter.log`, which is not
ours.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest
from scrapy import Request
from scrapy.dupefilters import RFPDupeFilter
from scrapy.utils.python import to_bytes

from autostate.scrapy import DupeFilter
from tests.scrapy.crawls import crawler_of, scheduler

ONE = Request("http://scrapytest.org/1")
TWO = Request("http://scrapytest.org/2")
LOWER = Request("http://scrapytest.org/index.html")
UPPER = Request("http://scrapytest.org/INDEX.html")


class FromCrawlerDupeFilter(DupeFilter):
    """One of the project's own."""

    method = ""

    @classmethod
    def from_crawler(cls, crawler: Any) -> FromCrawlerDupeFilter:
        """Make it."""
        made = super().from_crawler(crawler)
        made.method = "from_crawler"
        return made


class DirectDupeFilter:
    """One that has nothing in common with Scrapy's."""

    method = "n/a"

    def open(self) -> None:
        """Do nothing."""

    def close(self, reason: str) -> None:
        """Do nothing."""


class CaseInsensitive:
    """A value of REQUEST_FINGERPRINTER_CLASS."""

    def fingerprint(self, request: Request) -> bytes:
        """Return the fingerprint of a request."""
        return hashlib.sha1(to_bytes(request.url.lower())).digest()


@pytest.mark.parametrize("cls", [FromCrawlerDupeFilter, DirectDupeFilter])
async def test_the_filter_of_the_project_is_made(cls: Any) -> None:
    """Scrapy's test_df_from_crawler_scheduler and test_df_direct_scheduler."""
    async with scheduler({"DUPEFILTER_DEBUG": True, "DUPEFILTER_CLASS": cls}) as made:
        found: Any = made.df
        assert type(found) is cls
        if cls is FromCrawlerDupeFilter:
            assert found.debug
            assert found.method == "from_crawler"


async def test_filter_and_path() -> None:
    """Scrapy's test_filter and test_dupefilter_path."""
    async with scheduler() as made:
        assert not made.df.request_seen(ONE)
        assert made.df.request_seen(ONE)
        assert made.df.request_seen(Request(ONE.url))
    async with scheduler() as made:
        assert made.df.request_seen(ONE)
        assert not made.df.request_seen(TWO)
        assert made.df.request_seen(TWO)


async def test_request_fingerprint() -> None:
    """The fingerprinter of the project decides which requests are equal."""
    async with scheduler() as made:
        assert not made.df.request_seen(LOWER)
        assert not made.df.request_seen(UPPER)
    settings = {"REQUEST_FINGERPRINTER_CLASS": CaseInsensitive, "AUTOSTATE_NAME": "other"}
    async with scheduler(settings) as made:
        assert not made.df.request_seen(LOWER)
        assert made.df.request_seen(UPPER)


@pytest.mark.parametrize("debug", [False, True])
async def test_log(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Scrapy's test_log and test_log_debug."""
    caplog.set_level(logging.DEBUG, "scrapy.dupefilters")
    crawler = crawler_of({"DUPEFILTER_DEBUG": debug})
    async with scheduler(crawler=crawler) as made:
        assert made.df.debug == debug  # type: ignore[attr-defined]
        for referer in ({}, {"Referer": UPPER.url}):
            assert crawler.spider is not None
            made.df.log(Request(LOWER.url, headers=referer), crawler.spider)
    assert crawler.stats is not None
    assert crawler.stats.get_value("dupefilter/filtered") == 2
    begin = f"Filtered duplicate request: <GET {LOWER.url}>"
    more = [" (referer: None)", f" (referer: {UPPER.url})"]
    once = " - no more duplicates will be shown (see DUPEFILTER_DEBUG to show all duplicates)"
    expected = [begin + end for end in (more if debug else [once])]
    assert [each.getMessage() for each in caplog.records if "duplicate" in each.msg] == expected


async def test_a_filter_that_forgets_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """A subclass of Scrapy's keeps its fingerprints in memory: pages would be visited again."""

    class Forgetful(RFPDupeFilter):
        pass

    async with scheduler({"DUPEFILTER_CLASS": Forgetful}):
        assert "DUPEFILTER_CLASS = " in caplog.text
        assert "Let it inherit from autostate.scrapy.DupeFilter" in caplog.text
