"""The shared containers, with what keeps their objects."""

from __future__ import annotations

from autostate.shared import home  # noqa: F401 - it puts itself into the seam of `handle`
from autostate.shared.counter import SharedCounter
from autostate.shared.dict import SharedDict
from autostate.shared.set import SharedSet

__all__ = ["SharedCounter", "SharedDict", "SharedSet"]
