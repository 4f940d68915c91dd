"""How many functions an operation calls: a cost that does not depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from autostate.collector import no_collections

TESTS: Final = str(Path(__file__).parent)


def called(operation: Callable[[], object]) -> list[CodeType]:
    """Collect which functions in Python an operation calls in this thread, but for those of tests.

    No garbage is collected meanwhile: what other tests have left may have finalizers.
    """
    found: list[CodeType] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and not frame.f_code.co_filename.startswith(TESTS):
            found.append(frame.f_code)

    with no_collections():
        sys.setprofile(note)
        try:
            operation()
        finally:
            sys.setprofile(None)
    return found
