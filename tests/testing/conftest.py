"""The fixtures that the tests of the local platform share."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.actor_runs import StartActor, client, starter


@pytest.fixture(scope="module", autouse=True)
def rust_runtime() -> None:
    """Let the client's HTTP library start what it then keeps for the life of the process."""
    with LocalPlatform() as platform:
        client(platform).key_value_stores().list()


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor whose `main` has this body."""
    return starter(platform, tmp_path)
