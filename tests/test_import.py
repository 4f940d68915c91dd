"""What `import autostate` loads, and does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

COSTLY = ["apify", "apify_client", "asyncio", "cloudpickle", "crawlee", "sqlite3", "stamina"]


@pytest.mark.parametrize("module", COSTLY)
def test_import_loads_nothing_that_is_not_needed_yet(module: str) -> None:
    """A program that only imports autostate does not pay for what it may never use."""
    code = f"import autostate, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
