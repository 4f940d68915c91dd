"""Programs whose store cannot be used at the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.programs import run
from tests.servers import need

pytestmark = pytest.mark.usefixtures("forked_programs")

UNUSABLE = {
    "redis": "redis://user:sesame@127.0.0.1:1/0?state=a",
    "psycopg": "postgresql://user:sesame@127.0.0.1:1/database?state=a",
    "obstore": (
        "s3://bucket?state=a&endpoint=http://127.0.0.1:1&access_key_id=a&secret_access_key=sesame"
    ),
    "folder": "file:///dev/null?state=a",
    "sqlite": "sqlite:////dev",
    "no URL": "redis://user:ses#ame@127.0.0.1:1/0?state=a",
}
SCRIPT = """
import autostate
autostate.configure({url!r}, flush_timeout=0.05)
state = autostate.PersistedDict("state", page=0)
"""
ACTOR = """
import asyncio
import autostate
from autostate import PersistedDict

@autostate.actor(flush_timeout=0.05)
async def main(state: PersistedDict[str, int]) -> None:
    state["page"] = 1

asyncio.run(main())
"""


@pytest.fixture(params=UNUSABLE)
def unusable(request: pytest.FixtureRequest, isolated: Path) -> str:
    """The URL of a store that cannot be used."""
    if request.param in ("redis", "psycopg", "obstore"):
        need(request.param)
    return UNUSABLE[request.param]


def test_a_program_whose_store_cannot_be_used_ends_with_one_line(unusable: str) -> None:
    """Neither the client's errors nor the line of the program, in which the password stands."""
    ended = run(SCRIPT.format(url=unusable))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("autostate: ")
    assert "ses" not in ended.stderr


@pytest.mark.parametrize("unusable", ["redis", "sqlite"], indirect=True)
def test_an_actor_whose_store_cannot_be_used_tells_no_more_than_needed(unusable: str) -> None:
    """The SDK shows an exception of its own accord: where in the library it was is left out."""
    ended = run(ACTOR, env={**os.environ, "AUTOSTATE_URL": unusable})
    assert ended.returncode == 91
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.count('  File "') <= 2
    assert "ses" not in ended.stderr
