"""`python -m autostate`: the same as the command `autostate`."""

from __future__ import annotations

from autostate.cli import main

if __name__ == "__main__":
    main()
