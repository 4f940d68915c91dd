"""A version of Scrapy without what autostate hooks into is refused, at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autostate.scrapy import units
from tests.programs import run_python

TOO_OLD = """
import scrapy
scrapy.__version__ = "2.13.4"
import autostate.scrapy
"""


def test_an_older_version_is_refused() -> None:
    """The error says which one is needed, and how to get it."""
    done = run_python("-c", TOO_OLD)
    assert "needs Scrapy 2.14 or newer, and 2.13.4 is installed: pip install" in done.stderr


@pytest.mark.parametrize("names", units._REPLACED)
def test_an_engine_without_a_hook_is_refused(names: tuple[str, ...]) -> None:
    """Before the crawl gets its first request."""
    for missing in names:
        scraper, engine = (
            SimpleNamespace(**{each: None for each in hooks if each != missing})
            for hooks in reversed(units._REPLACED)
        )
        engine.scraper = scraper
        nothing: Any = None
        with pytest.raises(RuntimeError, match=f"has no SimpleNamespace.{missing}"):
            units.install(engine, nothing, nothing, nothing)  # type: ignore[arg-type]
