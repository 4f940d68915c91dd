"""The add-on that sets everything: `ADDONS = {"autostate.scrapy.Addon": 0}`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scrapy.extensions.spiderstate import SpiderState as ScrapySpiderState
from scrapy.utils.misc import load_object

from autostate.runtime import api
from autostate.scrapy.pipeline import OutboxPipeline
from autostate.scrapy.spider_state import PlainState, SpiderState
from autostate.settings import _inside_actor

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

logger: logging.Logger = logging.getLogger("autostate")

_SCHEDULER: Final = "autostate.scrapy.Scheduler"
_PUSH: Final = "apify.scrapy.pipelines.ActorDatasetPushPipeline"
_REPLACED: Final = {
    "SCHEDULER": (_SCHEDULER, "apify.scrapy.scheduler.ApifyScheduler"),
    "DUPEFILTER_CLASS": ("autostate.scrapy.DupeFilter", "scrapy.dupefilters.RFPDupeFilter"),
}
_LOOKING: Final = {"bench", "check", "fetch", "parse", "shell", "view"}
"""Commands that make a spider, and look at something else than its crawl."""

_CRAWLING: Final = {"crawl", "runspider"}
_STORE: Final = "sqlite:///.autostate/{spider}.db"
"""One for each spider: `scrapy`, the name of the program, would be one that all of them share."""

_LAST: Final = 950
"""The place of the pipeline: behind those of most projects."""


class Addon:
    """Sets the scheduler, the duplicate filter, `spider.state` and the pipeline of the items.

    What the project sets itself stays as it is, with two exceptions, both of which
    `apify.scrapy.utils.apply_apify_settings` sets: the scheduler `ApifyScheduler` is replaced, and
    so is the pipeline `ActorDatasetPushPipeline`, unless AUTOSTATE_ITEMS names another destination.
    """

    def update_settings(self, settings: BaseSettings) -> None:
        """Set what is needed; called by Scrapy before anything else is made.

        With `scrapy shell` and its like, which would go on with the crawl, `spider.state` is a
        plain dict, and nothing else is set.
        """
        if (command := _command(sys.orig_argv)) in _LOOKING:
            logger.info("`scrapy %s` leaves the crawl of the spider alone", command)
            settings.setdefault_in_component_priority_dict("EXTENSIONS", PlainState, 0)
            return
        if command in _CRAWLING and not _is_store_chosen():
            settings.set("AUTOSTATE_URL", _STORE, "addon")
        for name, (ours, replaced) in _REPLACED.items():
            settings.set(name, ours, "addon")
            if settings[name] == replaced:  # set by the project, or by Apify's function for it
                settings.set(name, ours, settings.getpriority(name) or 0)
        if _dotted(settings["SCHEDULER"]) != _SCHEDULER:
            logger.warning(
                "the project sets SCHEDULER = %r, so requests are not saved: leave it out, or set "
                "SCHEDULER = %r",
                *(settings["SCHEDULER"], _SCHEDULER),
            )
        settings.set_in_component_priority_dict("EXTENSIONS", ScrapySpiderState, None)
        settings.setdefault_in_component_priority_dict("EXTENSIONS", SpiderState, 0)
        settings.setdefault_in_component_priority_dict("ITEM_PIPELINES", OutboxPipeline, _LAST)
        pushes = any(_dotted(key) == _PUSH for key in settings.getdict("ITEM_PIPELINES"))
        if pushes and settings.get("AUTOSTATE_ITEMS") in {None, "dataset"}:
            # Each item would be pushed twice.
            settings.set_in_component_priority_dict("ITEM_PIPELINES", load_object(_PUSH), None)


def _is_store_chosen() -> bool:
    """Tell whether something says where state is kept: the project, the environment, an Actor."""
    chosen = api._default is not None or "AUTOSTATE_URL" in os.environ
    return chosen or _inside_actor(os.environ)


def _command(arguments: Sequence[str]) -> str | None:
    """Return the command of Scrapy that runs; None if a program has started the crawl.

    Args:
        arguments: Those of the interpreter: Scrapy takes the command out of `sys.argv`.
    """
    words = iter(arguments[1:])
    script = next((each for each in words if not each.startswith("-")), "")
    if Path(script).name != "scrapy" and script != "scrapy.cmdline":
        return None
    return next((each for each in words if not each.startswith("-")), None)


def _dotted(value: Any) -> str:
    """Return the dotted path of a component, which may be given as a class."""
    if isinstance(value, str):
        return value
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
