"""A folder, which is used as if it were a server."""

from __future__ import annotations

import shutil
from pathlib import Path


class Folder:
    """Folders of states.

    Args:
        folder: The folder in which they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, state: str) -> str:
        """The URL of a state."""
        return f"file://{self._folder}?state={state}"

    def start(self) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""

    def remove(self) -> None:
        """End it."""
        self.kill()

    def wipe(self) -> None:
        """Delete all folders."""
        for each in self._folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each)

    def remember(self, state: str) -> None:
        """Copy the folder."""
        shutil.copytree(self._folder / state, self._folder / "earlier", dirs_exist_ok=True)

    def go_back(self, state: str) -> None:
        """Copy it back."""
        shutil.rmtree(self._folder / state)
        shutil.copytree(self._folder / "earlier", self._folder / state)
