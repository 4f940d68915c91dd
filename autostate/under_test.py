"""The decisions of the pytest plugin about stores, while it runs tests in this process.

The plugin does not import autostate, so it cannot announce its decisions: autostate asks the
plugin if pytest has loaded it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from autostate.errors import StoreError
from autostate.ownership import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLUGIN: Final = "_autostate_pytest"
"""The module of the plugin."""


def default_url(named: str) -> str | None:
    """Give the URL of the store that is used when none is configured; None: the plugin has none.

    Args:
        named: The value of `AUTOSTATE_URL`. A value that a test has set overrides the plugin.
    """
    session = _session()
    if session is None or named not in ("", session.exported):
        return None
    url: str | None = session.url
    return url


def is_exported(url: str) -> bool:
    """Tell whether this `AUTOSTATE_URL` was set by the plugin, for subprocesses of tests."""
    session = _session()
    return session is not None and bool(url) and url == session.exported


def exported_url() -> str | None:
    """Give the URL of the stores that the plugin has made for subprocesses; None: there are none.

    What processes share lies there, too: in memory, a forked child would count for itself.
    """
    session = _session()
    return None if session is None or session.url is None else session.exported


def check(url: str, path: Path | None, public: Callable[[str], str]) -> None:
    """Refuse a store to which tests would write without being told to.

    Args:
        url: The URL of the store.
        path: The path of the store; None if it is not on this machine.
        public: Gives the URL of a store without credentials, as `url` is.

    Raises:
        StoreError: The store is neither in memory nor in a temporary folder.
    """
    session = _session()
    if session is None:
        return
    allowed = public(program.named(session.exported or ""))
    if url == allowed or (path is not None and os.path.realpath(path) == _file_of(allowed)):
        return
    if not session.allows(url, path):
        raise StoreError(
            f"this test would write to {url}, a store outside of the temporary folders: nothing "
            "was opened. Let the program take the URL from AUTOSTATE_URL, which pytest sets to a "
            "temporary store; or give it one in tmp_path before the first state object is "
            "created; or, if tests may write there, set autostate_store to this URL, or to "
            "`project`, in the configuration of pytest"
        )


def _file_of(url: str) -> str | None:
    """Give the file that a URL of the configuration names."""
    path = url.removeprefix("sqlite:///")
    return None if path == url else os.path.realpath(path)


def _session() -> Any | None:
    """Give the session of pytest that runs in this process; of nested sessions the innermost."""
    sessions = getattr(sys.modules.get(PLUGIN), "sessions", None)
    return sessions[-1] if sessions else None
