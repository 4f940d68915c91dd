"""What `autostate.push_data` does with everything that a program may push, beside the SDK."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from autostate.testing import LocalPlatform
from autostate.testing.container import Container, actor_environment
from tests.actor_runs import script, starter

pytestmark = pytest.mark.usefixtures("forked_actors")

SAME: Final = "same"
REFUSED: Final = "refused"
"""A ValueError. The platform answers the SDK with an error; the SDK's files hold something else."""

CASES: Final = {
    # An expression: on the platform, off the platform.
    '{"n": 1}': (SAME, SAME),
    '[{"n": 1}, {"n": 2}]': (SAME, SAME),
    '[{"n": n} for n in range(COUNT)]': (SAME, SAME),
    "None": (SAME, SAME),
    "[]": (SAME, SAME),
    "{}": (SAME, SAME),
    '{"t": datetime(2026, 1, 2), "d": Decimal("1.50"), "b": b"x", "o": object, "s": {1}}': (SAME,)
    * 2,
    "{1: 2, None: 3}": (SAME, SAME),
    '[{"n": 1}, {"t": "x" * 9_430_000}, {"n": 2}]': (SAME, SAME),
    '{"t": "háček \\u2028 \\0"}': (SAME, SAME),
    'PersistedDict("state", a=[1, {"b": 2}])': (SAME, SAME),
    '{"x": PersistedDict("state")["a"]}': (SAME, SAME),
    '{"n": float("nan"), "m": float("-inf")}': (REFUSED, SAME),
    '({"n": 1}, {"n": 2})': (REFUSED, REFUSED),
    '({"n": n} for n in range(2))': (REFUSED, REFUSED),
    "5": (REFUSED, REFUSED),
    '["a", "b"]': (REFUSED, REFUSED),
    '[[{"n": 1}]]': (REFUSED, REFUSED),
    '[{"n": 1}, 5]': (REFUSED, REFUSED),
    '{"t": "\\ud800"}': (REFUSED, REFUSED),
    "{(1, 2): 3}": (REFUSED, REFUSED),
    "(lambda d: d.update(d=d) or d)({})": (REFUSED, REFUSED),
    "functools.reduce(lambda a, _: {'a': a}, range(200_000), {})": (REFUSED, REFUSED),
    '[{"n": 1}, {"t": "x" * 9_440_000}]': (REFUSED, REFUSED),
}

PRELUDE: Final = """
import asyncio, functools, json, sys
from datetime import datetime
from decimal import Decimal
import autostate
from apify import Actor
from apify.storage_clients import SmartApifyStorageClient
from autostate import PersistedDict
from crawlee import service_locator
from crawlee.storage_clients import MemoryStorageClient

autostate.configure(debounce=0.05, max_delay=0.2)
COUNT = 100 if "files" in sys.argv else 10_000  # of which each is a file there
if "memory" in sys.argv:
    local = MemoryStorageClient()
    service_locator.set_storage_client(SmartApifyStorageClient(local_storage_client=local))
"""
BODY: Final = """
async with Actor:
    for by, push in (("sdk", Actor.push_data), ("autostate", autostate.push_data)):
        for case in [*CASES][:6] if "memory" in sys.argv else CASES:
            data, error = eval(case), None
            await push({"case": case, "by": by})
            try:
                await push(data)
            except Exception as raised:
                error = type(raised).__name__
            if type(data) in (dict, list) and "memory" not in sys.argv:
                data.clear()  # what was pushed is what it was then
            print("OUTCOME", json.dumps([by, case, error]), flush=True)
    if "memory" in sys.argv:
        dataset = await Actor.open_dataset()
        await dataset.get_metadata()
        await autostate.durable()
        async for _ in dataset.iterate_items(limit=1):  # when all is delivered
            pass
        print("ITEMS", json.dumps(dataset._client.inner._records))
"""


def divided(items: list[Any]) -> dict[tuple[str, str], list[Any]]:
    """Give what was stored for each push."""
    stored: dict[tuple[str, str], list[Any]] = {}
    these: list[Any] = []
    for item in items:
        if isinstance(item, dict) and "case" in item:
            stored[item["by"], item["case"]] = these = []
        else:
            these.append(item)
    return stored


def lines(output: str, begin: str) -> list[Any]:
    """Give the JSON of the lines that begin so."""
    found = [line for line in output.splitlines() if line.startswith(begin)]
    # A line of the log may follow a long one without a break: both go to one pipe.
    return [json.JSONDecoder().raw_decode(line.removeprefix(begin).lstrip())[0] for line in found]


@pytest.mark.parametrize("where", ["platform", "files", "memory"])
def test_a_push_is_like_the_sdks_or_refused_at_once(
    where: str, platform: LocalPlatform, tmp_path: Path
) -> None:
    """What the platform does not take is refused when it is pushed, not when it is delivered."""
    prelude = f"{PRELUDE}CASES = {[*CASES]!r}\n"
    if where == "platform":
        run = starter(platform, tmp_path, prelude)(BODY)
        assert run.wait() == 0, run.output
        output, items = run.output, run.dataset.items
    else:
        env = actor_environment({}, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
        container = Container([*script(tmp_path, BODY, prelude), where], env, tmp_path)
        assert container.wait(60) == 0, container.output
        files = sorted((tmp_path / "storage/datasets/default").glob("0*.json"))
        output, items = container.output, [json.loads(file.read_text()) for file in files]
        if where == "memory":
            [items] = lines(output, "ITEMS")
    outcomes = {(by, case): error for by, case, error in lines(output, "OUTCOME")}
    stored = divided(items)
    # In memory the SDK keeps the objects themselves, autostate what JSON makes of them then.
    for case, (at_home, local) in [*CASES.items()][: 6 if where == "memory" else None]:
        told = outcomes["sdk", case], outcomes["autostate", case]
        if (at_home if where == "platform" else local) == SAME:
            assert told == (None, None), case
            assert repr(stored["autostate", case]) == repr(stored["sdk", case]), case
        else:
            assert told[1] == "ValueError", case
            assert stored["autostate", case] == []
            assert where != "platform" or told[0] is not None, case
