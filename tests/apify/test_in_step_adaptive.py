"""Crawlers that run a handler with a browser, without one, or both ways for one request.

They need packages that the other tests do without: `make versions NAMES=crawlee-adaptive` has them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.apify.crawling import QUICK, program, result, unhandled

pytest.importorskip("playwright")

CRAWL = """
async def work(pages):
    from crawlee.crawlers import AdaptivePlaywrightCrawler, ContextPipeline
    from crawlee.crawlers._adaptive_playwright import (
        RenderingTypePrediction,
        RenderingTypePredictor,
    )

    class Predictor(RenderingTypePredictor):
        async def __aenter__(self):
            return self

        async def __aexit__(self, *error):
            pass

        def predict(self, request):
            return RenderingTypePrediction(
                rendering_type="static", detection_probability_recommendation=DETECTS
            )

        def store_result(self, request, rendering_type):
            pass

    crawler = AdaptivePlaywrightCrawler.with_parsel_static_parser(
        rendering_type_predictor=Predictor(),
        result_checker=lambda result: bool(result.push_data_calls[0]["data"]["found"]),
        max_request_retries=1,
        configure_logging=False,
    )
    way = None

    def without_browser(rendering_type, context_linked_to_result):
        nonlocal way
        way = rendering_type
        return ContextPipeline()(context_linked_to_result, crawler.router)

    crawler._pipeline_call_factory = without_browser

    @crawler.router.default_handler
    async def handle(context):
        pages["runs"] += 1
        pages[way] += 1
        pages[context.request.url] += 1
        await asyncio.sleep(0)
        found = way != "static" or context.request.url.endswith("/static")
        await context.push_data({"way": way, "found": found})
        fails = way == "static" or not context.request.retry_count
        if context.request.url.endswith("/fails") and fails:
            raise ValueError("this run fails")

    await crawler.run([f"{URL}{page}" for page in ("static", "dynamic", "fails")])
"""


@pytest.mark.parametrize(("detects", "static"), [(1, 0), (0, 1)], ids=["compares", "falls back"])
def test_the_discarded_run_is_undone(
    detects: int, static: int, platform: LocalPlatform, tmp_path: Path
) -> None:
    """A run whose result is kept counts, be it with a browser or without."""
    body = CRAWL.replace("DETECTS", str(detects))
    run = platform.start_run(program(tmp_path, body), env=QUICK)
    assert run.wait() == 0, run.output
    counts = {key: count for key, count in result(run.output).items() if count}
    assert counts == {
        "runs": 3,
        **{f"https://example.com/{page}": 1 for page in ("static", "dynamic", "fails")},
        **({"static": 1, "client only": 2} if static else {"client only": 3}),
    }
    assert sorted(item["way"] for item in run.dataset.items) == (
        ["client only"] * (3 - static) + ["static"] * static
    )
    assert unhandled(run) == []
