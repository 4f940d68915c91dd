"""The add-on sets what the project does not set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scrapy.core.scheduler import Scheduler as ScrapyScheduler
from scrapy.extensions.spiderstate import SpiderState as ScrapySpiderState
from scrapy.settings import Settings
from scrapy.utils.misc import load_object

import autostate
from autostate import Destination, OutboxItem
from autostate.delivery.destination import FunctionDestination
from autostate.delivery.jsonl import JsonlFile
from autostate.runtime.api import close_default
from autostate.scrapy import (
    Addon,
    DupeFilter,
    OutboxPipeline,
    Scheduler,
    SpiderState,
    addon,
)
from autostate.scrapy.crawl import crawl_of, end
from autostate.scrapy.pipeline import DATASET, destination_of
from autostate.scrapy.spider_state import PlainState
from tests.programs import run_python
from tests.scrapy.crawls import Pages, crawler_of


@pytest.fixture(autouse=True)
def store() -> None:
    """Keep what is made in memory."""
    autostate.configure("memory:")


def with_addon(**values: Any) -> Settings:
    """Apply the add-on to the settings of a project."""
    settings = Settings(values, "project")
    Addon().update_settings(settings)
    return settings


def components(settings: Settings, name: str) -> dict[type, int | None]:
    """Return the components that are enabled."""
    found = settings.get_component_priority_dict_with_base(name)
    return {load_object(key): found[key] for key in found}


def test_it_sets_everything() -> None:
    """One line in the project's settings is enough."""
    settings = with_addon()
    assert load_object(settings["SCHEDULER"]) is Scheduler
    assert load_object(settings["DUPEFILTER_CLASS"]) is DupeFilter
    assert components(settings, "EXTENSIONS")[SpiderState] == 0
    assert ScrapySpiderState not in components(settings, "EXTENSIONS")
    assert components(settings, "ITEM_PIPELINES") == {OutboxPipeline: 950}


def test_what_the_project_sets_stays(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says which line keeps requests from being saved."""
    settings = with_addon(
        SCHEDULER="scrapy.core.scheduler.Scheduler",
        ITEM_PIPELINES={"autostate.scrapy.OutboxPipeline": 5},
    )
    assert load_object(settings["SCHEDULER"]) is ScrapyScheduler
    assert "requests are not saved" in caplog.text
    assert components(settings, "ITEM_PIPELINES") == {OutboxPipeline: 5}


AFTER_APIFY = """
import sys
from apify.scrapy.utils import apply_apify_settings
from scrapy.settings import Settings
from autostate.scrapy import Addon

settings = apply_apify_settings(settings=Settings())
if sys.argv[1:]:
    settings.set("AUTOSTATE_ITEMS", sys.argv[1])
Addon().update_settings(settings)
pipelines = settings.get_component_priority_dict_with_base("ITEM_PIPELINES")
names = (key if isinstance(key, str) else key.__name__ for key in pipelines)
print(settings["SCHEDULER"], *sorted(name.rpartition(".")[2] for name in names))
"""


@pytest.mark.parametrize("to_file", [False, True])
def test_what_apify_sets_is_replaced(to_file: bool) -> None:
    """Its scheduler; and its pipeline, unless items go elsewhere."""
    done = run_python("-c", AFTER_APIFY, *["items.jsonl"] * to_file)
    theirs = ["ActorDatasetPushPipeline"] if to_file else []
    expected = ["autostate.scrapy.Scheduler", *theirs, "OutboxPipeline"]
    assert done.stdout.split() == expected, done.stderr
    assert "not saved" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "is_set"),
    [
        ("python /bin/scrapy crawl pages", True),
        ("python /bin/scrapy runspider shell", True),
        ("python spider.py shell", True),
        ("python -m spiders shell", True),
        ("python /bin/scrapy shell http://foo.com", False),
        ("python -I -m scrapy fetch http://foo.com", False),
        ("python /bin/scrapy parse http://foo.com", False),
    ],
)
def test_commands_that_only_look_leave_the_crawl_alone(
    arguments: str, is_set: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scrapy shell` would take the requests of the crawl, and own its state."""
    monkeypatch.setattr("sys.orig_argv", arguments.split())
    if is_set:
        assert load_object(with_addon()["SCHEDULER"]) is Scheduler
    else:
        settings = with_addon()
        assert load_object(settings["SCHEDULER"]) is ScrapyScheduler
        assert components(settings, "ITEM_PIPELINES") == {}
        assert PlainState in components(settings, "EXTENSIONS")
        spider = Pages()
        PlainState.from_crawler(crawler_of()).spider_opened(spider)
        assert vars(spider)["state"] == {}
        assert autostate.names() == []


def test_with_the_command_of_scrapy_each_spider_has_a_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless something else says where state is kept."""
    assert with_addon().get("AUTOSTATE_URL") is None
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "scrapy", "crawl", "pages"])
    assert with_addon().get("AUTOSTATE_URL") is None  # the fixture has chosen one
    close_default()
    monkeypatch.setattr(addon, "_inside_actor", lambda _: False)  # apify is imported here
    url = with_addon()["AUTOSTATE_URL"]
    crawler = crawler_of({"AUTOSTATE_URL": url})
    assert crawl_of(crawler).manager.url.endswith("/.autostate/pages.db")
    end(crawler)
    close_default()
    monkeypatch.setenv("AUTOSTATE_URL", "memory:")
    assert with_addon().get("AUTOSTATE_URL") is None


class ToCrawler(Destination[Any]):
    """A destination that is made for a crawler."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def from_crawler(cls, crawler: Any) -> ToCrawler:
        return cls(crawler.spider.name)


def keep(items: Sequence[OutboxItem[Any]]) -> None:
    """Take items."""


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("some/items.jsonl", JsonlFile),
        (Path("items"), JsonlFile),
        ("dataset", str),
        (f"{__name__}.keep", type(keep)),
        (f"{__name__}.ToCrawler", ToCrawler),
        (keep, type(keep)),
        (FunctionDestination(keep), FunctionDestination),
        (None, JsonlFile),
    ],
)
def test_the_setting_says_where_items_go(setting: Any, expected: type) -> None:
    """A path, a name, or an object."""
    assert type(destination_of(crawler_of({"AUTOSTATE_ITEMS": setting}))) is expected


@pytest.mark.parametrize("chosen", [ToCrawler, ToCrawler("x"), keep, "items.jsonl"])
async def test_a_process_may_crawl_again(chosen: Any) -> None:
    """Each crawl has copies of the settings, and so another destination."""
    for _ in range(2):
        crawler = crawler_of({"AUTOSTATE_ITEMS": chosen})
        pipeline = OutboxPipeline(crawler)
        await pipeline.open_spider()
        await pipeline.close_spider()
        end(crawler)


def test_on_the_platform_items_go_to_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default."""
    monkeypatch.setenv("APIFY_IS_AT_HOME", "1")
    monkeypatch.setenv("ACTOR_RUN_ID", "run")
    assert destination_of(crawler_of()) == DATASET


def test_a_setting_that_means_nothing() -> None:
    """The error says what may stand there."""
    with pytest.raises(ValueError, match="neither the path"):
        destination_of(crawler_of({"AUTOSTATE_ITEMS": "items.csv"}))


@pytest.mark.parametrize("feed", ["pages.jsonl", "%(name)s.jsonl", "./x/../pages.jsonl", "file://"])
async def test_a_feed_to_the_same_file_is_refused(feed: str, tmp_path: Path) -> None:
    """As of `scrapy crawl pages -o pages.jsonl`: each item would be there twice."""
    uri = f"{tmp_path.as_uri()}/pages.jsonl" if feed == "file://" else feed
    crawler = crawler_of({"FEEDS": {"pages.csv": {"format": "csv"}, uri: {"format": "jsonlines"}}})
    pipeline = OutboxPipeline(crawler)
    with pytest.raises(ValueError, match="twice, from FEEDS"):
        await pipeline.open_spider()
    await pipeline.close_spider()  # as Scrapy does all the same
    end(crawler)


def test_the_duplicate_filter_alone_is_refused() -> None:
    """Another scheduler loses requests that it would filter out for good."""
    crawler = crawler_of()
    made = DupeFilter.from_crawler(crawler)
    with pytest.raises(RuntimeError, match="needs a scheduler"):
        made.open()
    assert not crawl_of(crawler).is_scheduled
    end(crawler)
