"""What `import autostate` loads, and does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

COSTLY = ["apify", "apify_client", "asyncio", "cloudpickle", "crawlee", "sqlite3", "stamina"]


def test_windows_is_refused_with_a_way_out() -> None:
    """Before anything fails that is not there."""
    code = "import sys; sys.platform = 'win32'; import autostate"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: autostate does not run on Windows")
    assert "WSL" in last


@pytest.mark.parametrize("module", COSTLY)
def test_import_loads_nothing_that_is_not_needed_yet(module: str) -> None:
    """A program that only imports autostate does not pay for what it may never use."""
    code = f"import autostate, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
