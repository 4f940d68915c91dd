"""The versions of the Apify SDK and of Crawlee with which an Actor is in step."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.apify import versions
from autostate.testing import LocalPlatform
from tests import programs
from tests.actor_runs import script

PRELUDE = """
import asyncio
import autostate
from apify import Actor
from crawlee.crawlers import BasicCrawler

autostate.configure(in_step=True)
del BasicCrawler._run_request_handler
"""


def test_the_installed_versions_have_what_is_hooked() -> None:
    """Each name, the private ones included; in a process of its own, which imports the SDK."""
    done = programs.run("from autostate.apify import versions; print(versions.missing())")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_class_of_crawlers_without_a_needed_method_is_refused() -> None:
    """When such a crawler runs: its import would take seconds."""
    adaptive = type("AdaptivePlaywrightCrawler", (), {"_crawl_one": None})
    versions.check_class(adaptive)
    of_program = type("MyCrawler", (type("AdaptivePlaywrightCrawler", (), {}),), {})
    with pytest.raises(RuntimeError, match=r"AdaptivePlaywrightCrawler\._crawl_one"):
        versions.check_class(of_program)


def test_a_version_without_a_needed_name_is_refused(
    platform: LocalPlatform, tmp_path: Path
) -> None:
    """When the Actor is entered, with an error that says which versions work."""
    run = platform.start_run(
        script(
            tmp_path,
            """
            async with Actor:
                print("entered")
            """,
            PRELUDE,
        )
    )
    assert run.wait() != 0
    assert "entered" not in run.output
    assert "crawlee.crawlers:BasicCrawler._run_request_handler is missing" in run.output
    assert "apify 4.0.0 to" in run.output
