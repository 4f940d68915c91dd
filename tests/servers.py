"""Tests against real servers, which are programs of packages that only `make servers` installs.

They have the mark `servers`. `make test` skips those whose packages are missing; `make servers` has
none missing, or fails.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def need(*modules: str) -> None:
    """Skip the test if a module is missing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing and os.environ.get("WITH_SERVERS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"`make servers` runs it, with {', '.join(missing)}")
