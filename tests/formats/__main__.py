"""Write the states with this version into a new folder: `python -m tests.formats FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.formats.content import urls, write, write_shared


def main(folder: Path) -> None:
    """Write all states."""
    folder.mkdir()
    for url, settings in urls(folder.resolve()).items():
        write(url, **settings)
    write_shared(f"sqlite:///{folder.resolve()}/shared.db")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
