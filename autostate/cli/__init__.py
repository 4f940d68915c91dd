"""The commands: look at a state, reset it, back it up. See `docs/commands.md`.

Commands that read neither write nor make anything, disturb no process, and need none of the
program's classes. Commands that write refuse while a live process owns the state.
"""

from __future__ import annotations

import importlib.util
import sys

MISSING = (
    "the commands need more than the library does: install the extra `cli`, for example by "
    "pip install 'autostate[cli]'"
)


def main() -> None:
    """Run the command that the arguments of the process name."""
    if any(
        sys.modules.get(name, name) is None or not _is_there(name) for name in ("typer", "rich")
    ):
        sys.stderr.write(f"autostate: {MISSING}\n")
        raise SystemExit(1)
    from autostate.cli.commands import run

    run()


def _is_there(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None
