"""The plugin of pytest: tests write to no store of the program, unless they are told to.

It stands beside the package so that pytest can load it without importing autostate, which nobody
may need: a session that does not use autostate pays for one small module. `autostate.under_test`
asks it which store to use.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from autostate import StateManager

VARIABLE: Final = "AUTOSTATE_URL"
SHARED_VARIABLE: Final = "AUTOSTATE_SHARED_URL"

STORE_HELP: Final = (
    "the store of state objects: a URL; `project`: the one that the program would use; by default "
    "one in memory, and a temporary one for subprocesses"
)
RESTORED_HELP: Final = "use the fixture autostate_restored in every test"


class Session:
    """Which stores one session of pytest uses.

    Attributes:
        url: The store of this process; None: the plugin has no say in it.
        exported: The `AUTOSTATE_URL` that the plugin has set.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.url: str | None = None
        self.exported: str | None = None
        self._folder: str | None = None
        self._former = {name: os.environ.get(name) for name in (VARIABLE, SHARED_VARIABLE)}
        self._begun_before = _begun()
        self._tests = 0
        self._ours = (config.rootpath, config.invocation_params.dir)
        basetemp = getattr(config.known_args_namespace, "basetemp", None)
        self._basetemp = None if basetemp is None else Path(basetemp).absolute()
        asked = str(config.getini("autostate_store")).strip()
        if asked and asked != "project" and ":" not in asked:
            raise pytest.UsageError(
                f"autostate_store is {asked!r}: write `project`, or the URL of a store, for "
                "example sqlite:///tests.db"
            )
        self._guards = asked != "project"
        if asked != "project":  # shared objects go beside the store of the tests
            os.environ.pop(SHARED_VARIABLE, None)
        if not asked:
            self.url = "memory:"
            self._folder = tempfile.mkdtemp(prefix="autostate-pytest-")
            self._export("session")
        elif asked != "project":
            os.environ[VARIABLE] = self.exported = _beside(config.rootpath, asked)

    def close(self) -> None:
        """Let go of what is in memory, and put the environment back."""
        manager = _begun()
        is_ours = manager not in (None, self._begun_before) and manager.url.startswith("memory:")
        sessions.remove(self)
        for name, value in self._former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if is_ours:
            sys.modules["autostate.runtime.api"].close_default()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _export(self, folder: str) -> None:
        assert self._folder is not None
        self.exported = f"sqlite:///{self._folder}/{folder}/{{program}}.db"
        os.environ[VARIABLE] = self.exported

    @contextlib.contextmanager
    def new_store_for_subprocesses(self) -> Generator[None]:
        """Export the URL of a store of their own to the subprocesses of a test."""
        if self._folder is None or os.environ.get(VARIABLE) != self.exported:
            yield  # it is not for the plugin to say
            return
        former = self.exported
        self._tests += 1
        self._export(f"test-{self._tests}")
        try:
            yield
        finally:
            if os.environ.get(VARIABLE) == self.exported:
                os.environ[VARIABLE] = former or ""
            self.exported = former

    def allows(self, url: str, path: Path | None) -> bool:
        """Tell whether tests may write to a store; `path` is where it is, if it is a file."""
        if not self._guards or url.startswith("memory:"):
            return True
        return path is not None and self._is_temporary(path)

    def _is_temporary(self, path: Path) -> bool:
        """Tell whether a file is in a temporary folder.

        A project may lie in one: of the folders in which the file is, the innermost one counts.
        """
        file = os.path.realpath(path)
        ours = {os.path.realpath(folder) for folder in self._ours}
        temporary = {os.path.realpath(folder) for folder in self._temporary_folders()}
        around = [one for one in ours | temporary if os.path.commonpath((one, file)) == one]
        return bool(around) and max(around, key=len) in temporary

    def _temporary_folders(self) -> Iterator[str | Path]:
        yield from (tempfile.gettempdir(), "/tmp", "/dev/shm")  # noqa: S108 - nothing is made there
        root = os.environ.get("PYTEST_DEBUG_TEMPROOT")
        yield from (folder for folder in (root, self._basetemp, self._folder) if folder)


sessions: Final[list[Session]] = []
"""Those that run in this process; a test of a plugin may run another one inside its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.addini("autostate_store", STORE_HELP, type="string", default="")
    parser.addini("autostate_restored", RESTORED_HELP, type="bool", default=False)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Choose the stores, before any conftest.py can import the program."""
    sessions.append(Session(early_config))
    early_config.add_cleanup(sessions[-1].close)


def pytest_configure(config: pytest.Config) -> None:
    """Restore the state after each test, if that is asked for."""
    if config.getini("autostate_restored"):
        config.pluginmanager.register(_InEachTest(), "autostate-in-each-test")


class _InEachTest:
    """Has the one fixture that every test uses."""

    @pytest.fixture(autouse=True)
    def _autostate_restored_in_each_test(self, autostate_restored: None) -> None:
        """Use the other fixture."""


@pytest.fixture
def autostate_restored() -> Iterator[None]:
    """Restore all state objects, after the test, to what they were before it.

    State objects that the test created are deleted. Subprocesses of the test have a store of
    their own.
    """
    with sessions[-1].new_store_for_subprocesses():
        restore = _snapshot()
        yield
        _warn_of(restore())


@pytest.fixture
def autostate_restart() -> Callable[[], StateManager]:
    """Give what opens the state that the next process would find, for a `with`.

    The call saves, and opens a copy of what is stored by then. State objects that are created in
    the body of the `with` are resumed from that copy, and whatever becomes of them stays there.
    """

    def restart() -> StateManager:
        from autostate.objects.restoring import reopened

        return reopened()

    return restart


def _begun() -> Any:
    """The default manager, if it has a store open, or shares state; imports nothing."""
    module = sys.modules.get("autostate.runtime.api")
    manager = None if module is None else module._default
    if manager is None or (manager._incarnation is None and manager._shares is None):
        return None
    return manager


def _snapshot() -> Callable[[], list[str]]:
    """Take note of the state; gives what restores it. Without autostate there is none yet."""
    if "autostate.runtime.api" in sys.modules:
        from autostate.objects.restoring import Snapshot

        return Snapshot().restore

    def delete_all() -> list[str]:
        if "autostate.runtime.api" not in sys.modules:
            return []
        from autostate.objects.restoring import Snapshot

        return Snapshot(loaded=False).restore()

    return delete_all


def _warn_of(left: list[str]) -> None:
    """Tell of state objects of modules that were deleted, since their tests would not be alone."""
    if left:
        warnings.warn(
            pytest.PytestWarning(
                f"{', '.join(left)}: created in this test, so deleted at its end, and for later "
                "tests a plain object that is not saved. Let it be created before: import its "
                "module at the top of the test file"
            ),
            stacklevel=2,
        )


def _beside(root: Path, url: str) -> str:
    """Give a URL of which a relative path begins where the configuration file is."""
    path = url.removeprefix("sqlite:///")
    return url if path == url else f"sqlite:///{root / Path(path).expanduser()}"
