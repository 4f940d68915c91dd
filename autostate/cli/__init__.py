"""The commands: look at a state, change it, back it up. See `docs/commands.md`.

Commands that read neither write nor make anything, disturb no process, and need none of the
program's classes. Commands that write refuse while a live process owns the state. They need nothing
but the library; on a terminal, `rich` makes their output nicer.
"""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments of the process name."""
    try:
        from autostate.cli.commands import run

        run()
    except KeyboardInterrupt:  # while modules are loaded
        raise SystemExit(130) from None
