"""Stores on real servers, which are programs of packages and run without root.

`make test` has a part of it. The rest has the mark `servers`, and runs in `make test-stores`, which
installs the packages.
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
        pytest.skip(f"`make test-stores` runs it, with {', '.join(missing)}")
