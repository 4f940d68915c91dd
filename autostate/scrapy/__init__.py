"""Scrapy: spiders whose state, requests and items survive kill -9, and agree.

ADDONS = {"autostate.scrapy.Addon": 0}    # in settings.py: everything below

SCHEDULER = "autostate.scrapy.Scheduler"  # or some of its parts
DUPEFILTER_CLASS = "autostate.scrapy.DupeFilter"
EXTENSIONS = {"autostate.scrapy.SpiderState": 0}
ITEM_PIPELINES = {"autostate.scrapy.OutboxPipeline": 900}
"""

from __future__ import annotations

from scrapy import __version__

if tuple(map(int, __version__.split(".")[:2])) < (2, 14):
    raise ImportError(
        f"autostate.scrapy needs Scrapy 2.14 or newer, and {__version__} is installed: "
        "pip install 'autostate[scrapy]'"
    )

from autostate.scrapy.addon import Addon
from autostate.scrapy.dupefilter import DupeFilter
from autostate.scrapy.pipeline import OutboxPipeline
from autostate.scrapy.queues import FifoQueue, LifoQueue
from autostate.scrapy.scheduler import Scheduler
from autostate.scrapy.spider_state import SpiderState

__all__ = [
    "Addon",
    "DupeFilter",
    "FifoQueue",
    "LifoQueue",
    "OutboxPipeline",
    "Scheduler",
    "SpiderState",
]
