"""What the tests of tracking share: what a save has written, and what comes back of it."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.state_kit import Program


def recovered(program: Program, name: str = "state", kind: str = "dict") -> Any:
    """The state object as the next run would find it."""
    return program.restart().root(name, kind)


def written(changes: list[bytes]) -> list[Any]:
    """The changes, decoded."""
    return [json.loads(change) for change in changes]
