"""Fixtures of the tests of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.forked import ProgramServer
from tests.processes.programs import Processes


@pytest.fixture
def processes(isolated: Path, forked_programs: ProgramServer) -> Iterator[Processes]:
    """Programs in the test's folder."""
    made = Processes(isolated, forked_programs)
    yield made
    made.close()
