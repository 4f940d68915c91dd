"""What belongs to one response is saved together."""

from __future__ import annotations

import pytest

from tests.scrapy.site import RUN, SPIDER, Program, Site, check_exact, items, log, state

KILLED_IN_THE_MIDST = """
import contextvars, os, signal


class Pages(Pages):
    async def parse(self, response):
        at = 0
        async for output in super().parse(response):
            yield output
            at += 1
            if response.url.endswith("/3") and at == CUT and not os.path.exists("killed"):
                await asyncio.sleep(0.05)  # what was yielded has been taken over
                contextvars.Context().run(autostate.flush)
                open("killed", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("outputs", [1, 3, 4])
def test_a_save_has_nothing_of_a_response_that_is_half_done(outputs: int) -> None:
    """Neither counts nor new requests nor items; and the request is still there."""
    with Site(30) as site:
        spider = SPIDER + KILLED_IN_THE_MIDST.replace("CUT", str(outputs))
        assert Program(site, spider).end() == -9, log()[-3000:]
        found = state()
        assert "page 3" not in found
        assert 0 < found["begun"] == found["done"]
        assert 3 not in items()
        assert Program(site, spider).end() == 0, log()[-3000:]
    check_exact(30)


SHARED = """
import contextvars, os, signal


class Pages(Pages):
    async def parse(self, response):
        page = response.url.rpartition("/")[2]
        self.state["page " + page] = self.state.get("page " + page, 0) + 1
        is_first = not os.path.exists("killed")
        if page == "0":
            yield response.follow("/1")
            yield response.follow("/2")
        if page == "1" and (is_first or AGAIN):
            yield response.follow("/3")
            open("yielded", "w").close()
            await asyncio.sleep(LONG if is_first else 0)
        if page == "2":
            while not os.path.exists("yielded"):
                await asyncio.sleep(0.005)
            yield response.follow("/3")
            if is_first:
                asyncio.get_running_loop().call_later(0.2, kill, context=contextvars.Context())


def kill():
    if END == 9:
        autostate.flush()
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("end", [9, 0])
def test_a_link_that_two_responses_share_is_kept_with_each(end: int, again: bool) -> None:
    """The one that yielded it first is lost in a kill, and may not yield it again."""
    spider = SPIDER + SHARED.replace("AGAIN", str(again)).replace("END", str(end))
    with Site(4) as site:
        first = Program(site, spider.replace("LONG", "60" if end else "0.5"))
        assert first.end() == -end, log()[-3000:]
        if end:
            assert set(state()) == {"page 0", "page 2"}
            assert Program(site, spider.replace("LONG", "0")).end() == 0, log()[-3000:]
    assert state() == {f"page {page}": 1 for page in range(4)}


KILLED_AT_THE_END = """
import contextvars, os, signal


class Killer:
    @classmethod
    def from_crawler(cls, crawler):
        made = cls()
        crawler.signals.connect(made.closed, signal=scrapy.signals.spider_closed)
        return made

    def closed(self):
        if not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)


Pages.custom_settings["EXTENSIONS"] = {Killer: 0}
"""


def test_a_crawl_is_saved_and_delivered_when_the_spider_is_closed() -> None:
    """Nobody needs to wait for the end of the process."""
    with Site(30) as site:
        assert Program(site, SPIDER + KILLED_AT_THE_END).end() == -9, log()[-3000:]
    check_exact(30)


FAILING = """
class Pages(Pages):
    def parse(self, response):
        page = response.url.rpartition("/")[2]
        self.state["pages"] = self.state.get("pages", 0) + 1
        yield {"page": int(page)}
        if page in ("1", "2"):
            raise ValueError("not a page")
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)
"""


def test_a_callback_that_raises_ends_its_request() -> None:
    """As without autostate: what it has written and yielded before stays."""
    with Site(4) as site:
        assert Program(site, SPIDER + FAILING).end() == 0, log()[-3000:]
    assert state() == {"pages": 3}
    assert items() == [0, 1, 2]
    assert log().count("ValueError: not a page") == 2
    with Site(4) as site:  # a new crawl, as nothing is left of the first one
        assert Program(site, SPIDER + FAILING).end() == 0
    assert state() == {"pages": 6}
    assert "resuming" not in log()


def test_without_asyncio_a_crawl_is_saved_too() -> None:
    """Responses are saved in parts then, of which a warning tells."""
    settings = """
Pages.custom_settings["TWISTED_REACTOR"] = "twisted.internet.selectreactor.SelectReactor"


class Pages(Pages):
    def parse(self, response):
        page = response.url.rpartition("/")[2]
        self.state["page " + page] = self.state.get("page " + page, 0) + 1
        yield {"page": int(page)}
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)
"""
    run = RUN.replace("AsyncCrawlerProcess", "scrapy.crawler.CrawlerProcess")
    with Site(30) as site:
        assert Program(site, SPIDER + settings, run).end() == 0, log()[-3000:]
    assert "without asyncio" in log()
    assert state() == {f"page {page}": 1 for page in range(30)}
    assert items() == [*range(30)]
