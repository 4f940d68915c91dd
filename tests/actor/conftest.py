"""Fixtures of the tests of Actors: a platform, and containers on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostate.testing import LocalPlatform
from tests.actor.programs import WITH_AUTOSTATE
from tests.actor_runs import StartActor, starter


@pytest.fixture
def start(platform: LocalPlatform, tmp_path: Path) -> StartActor:
    """Starts an Actor whose `main` has this body, with autostate imported."""
    return starter(platform, tmp_path, WITH_AUTOSTATE)
