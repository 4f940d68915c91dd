"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from tests.in_step.running import CRAWLS
from tests.peers.forked import ProgramServer


@pytest.fixture(autouse=True)
def quick_processes(program_server: ProgramServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let containers be forks in a short run."""
    if not CRAWLS:
        monkeypatch.setattr("autostate.testing.container.Popen", program_server.popen)
