"""Shared objects of a program that only reads: `readonly=True`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autostate.shared.handle import Handle
from autostate.stores.readonly import refused


class ReadOnlyHandle:
    """A handle whose every write is refused before anything has changed.

    Args:
        handle: The handle that shows what others have published.
        url: The URL of the shared state.
    """

    def __init__(self, handle: Handle, url: str) -> None:
        self._handle = handle
        self._url = url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def write(self, operations: Mapping[Any, Any], /) -> None:
        """Raise ReadOnlyError."""
        raise refused(self._url)
