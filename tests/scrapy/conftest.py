"""What all of these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autostate.scrapy import crawl


@pytest.fixture(autouse=True)
def no_crawl_left() -> Iterator[None]:
    """Fail a test that leaves a crawl behind, whose name no other test could take."""
    yield
    left = [*crawl._running]
    crawl._running.clear()
    assert not left
