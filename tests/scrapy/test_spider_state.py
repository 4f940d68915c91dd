"""`spider.state`, by Scrapy's own test_spiderstate.py, which needs no JOBDIR here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from scrapy import Spider
from scrapy.utils.misc import build_from_crawler

import autostate
from autostate import PersistedDict
from autostate.runtime.api import close_default
from autostate.scrapy import SpiderState
from tests.scrapy.crawls import URL, Pages, crawler_of


def state_of(spider: Spider) -> Any:
    """Return `spider.state`, which type checkers do not know."""
    return vars(spider)["state"]


@pytest.mark.parametrize("by_crawler", [False, True])
def test_store_load(by_crawler: bool) -> None:
    """What one process puts into it is there in the next one; no JOBDIR is needed."""
    now = datetime.now(tz=UTC)
    for expected in ({}, {"one": 1, "dt": now}):
        autostate.configure(URL)
        made = build_from_crawler(SpiderState, crawler_of()) if by_crawler else SpiderState("job")
        spider = Pages()
        made.spider_opened(spider)
        assert state_of(spider) == expected
        state_of(spider).update(one=1, dt=now)
        made.spider_closed(spider)
        close_default()


def test_state_attribute() -> None:
    """Without a name there is a dict, too, so that spiders need not ask."""
    made, spider = SpiderState(), Pages()
    made.spider_opened(spider)
    assert state_of(spider) == {}
    made.spider_closed(spider)


def test_another_dict_in_its_place_is_taken_over() -> None:
    """As Scrapy's extension saves what `spider.state` is at the end."""
    autostate.configure(URL)
    made, spider = SpiderState("job"), Pages()
    made.spider_opened(spider)
    state_of(spider)["gone"] = 1
    vars(spider)["state"] = {"pages": 3}
    made.spider_closed(spider)
    assert PersistedDict("job") == {"pages": 3}
