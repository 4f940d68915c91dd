"""Fixtures of these tests: a platform, and places with records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.apify.adopting import Place
from tests.peers.forked import ProgramServer


@pytest.fixture(params=["local", "platform"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, program_server: ProgramServer
) -> Iterator[Place]:
    """Both."""
    if request.param == "local":
        yield Place(tmp_path, None, program_server)
        return
    with LocalPlatform() as platform:
        yield Place(tmp_path, platform, program_server)
