"""Stores on real servers, which are programs of packages and run without root.

`make test` has a part of it. The rest has the mark `servers`, and runs in `make test-stores`, which
installs the packages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pytest


def missing_of(names: Iterable[str]) -> list[str]:
    """Give those modules and packages that are not installed."""
    return [name for name in names if find_spec(name) is None and not _is_package(name)]


def _is_package(name: str) -> bool:
    with suppress(PackageNotFoundError):
        return bool(version(name))
    return False


def need(*names: str) -> None:
    """Skip the test if a module or a package is missing."""
    missing = missing_of(names)
    if missing and os.environ.get("WITH_SERVERS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"`make test-stores` runs it, with {', '.join(missing)}")
