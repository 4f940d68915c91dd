"""Actors for tests: a body of `main`, run by the real SDK in a real process."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apify_client import ApifyClient

from autostate.testing import LocalPlatform, Run

StartActor = Callable[..., Run]

PRELUDE = """
import asyncio
import sys
from apify import Actor, Event
"""


def script(folder: Path, body: str, prelude: str = PRELUDE) -> list[str]:
    """Write an Actor whose `main` has this body, and give the command that runs it."""
    main = textwrap.indent(textwrap.dedent(body), "    ")
    path = folder / "my_actor.py"
    path.write_text(f"{prelude}\nasync def main():\n{main}\nasyncio.run(main())\n")
    return [sys.executable, str(path)]


def starter(platform: LocalPlatform, folder: Path, prelude: str = PRELUDE) -> StartActor:
    """Make a function that starts such Actors on a platform."""

    def start(body: str, *, prelude: str = prelude, **options: Any) -> Run:
        return platform.start_run(script(folder, body, prelude), **options)

    return start


def client(platform: LocalPlatform, **options: Any) -> ApifyClient:
    """Make the real client of the API, without its own retries."""
    return ApifyClient(platform.token, api_url=platform.url, max_retries=0, **options)
