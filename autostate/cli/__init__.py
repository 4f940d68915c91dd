"""The commands: look at a state, reset it, back it up. See `docs/commands.md`.

Commands that read neither write nor make anything, disturb no process, and need none of the
program's classes. Commands that write refuse while a live process owns the state.
"""

from __future__ import annotations

import sys

MISSING = (
    "the commands need more than the library does: install the extra `cli`, for example by "
    "pip install 'autostate[cli]'"
)


def main() -> None:
    """Run the command that the arguments of the process name."""
    try:
        import rich  # noqa: F401 - the commands need both
        import typer  # noqa: F401
    except ImportError:
        sys.stderr.write(f"autostate: {MISSING}\n")
        raise SystemExit(1) from None
    from autostate.cli.commands import run

    run()
