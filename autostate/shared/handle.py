"""The seam between the shared containers and what keeps them in step with other processes."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, Literal, Protocol

from autostate.runtime.info import SharedInfo


class _Absent(enum.Enum):
    """The type of ABSENT: an enum is one object in every copy and pickle."""

    ABSENT = "absent"


Absent = Literal[_Absent.ABSENT]
ABSENT: Final = _Absent.ABSENT
"""Stands for the value of a key that is not there."""


class Handle(Protocol):
    """The connection of one shared container with the process's replica of the shared state.

    Attributes:
        name: The name of the container.
        lock: Held by every refresh while it changes the container, and by operations of a container
            that read and then write.
    """

    name: str
    lock: threading.RLock

    def write(self, operations: Mapping[Any, Any], /) -> None:
        """Record the operations of one call, and change the container: all of them, or none.

        The container is changed by the functions of the builtin, so that no method of a user's
        class is called. The caller may hold the lock, or not.

        Args:
            operations: What to do, by key. A key means the equal key that the container holds, as
                in a dict. For a counter, the difference. For a set, True to add the member, and
                False to remove the adds of it that are in view. For a dict, the new value, or
                ABSENT to delete the key.

        Raises:
            UnsupportedTypeError: A key or a value cannot be saved. Nothing has changed.
        """

    def refresh(self, timeout: float | None = None) -> None:
        """Show what other processes have published; `timeout` is in seconds."""

    def info(self) -> SharedInfo:
        """Tell what is known about the container."""
        ...


Options = Mapping[str, Any]
"""What a container was created with, beside its name."""


def _loading(cls: type[Any], name: str, options: Options, /) -> Any:
    """Stand in for `attach` until the module is loaded that keeps shared state.

    A task that cloudpickle has pickled, as joblib does, brings the classes alone.
    """
    import_module("autostate.shared.home")
    return attach(cls, name, options)


attach: Callable[[type[Any], str, Options], Any] = _loading
"""Gives the live object of a class and a name; the module that keeps shared state replaces it.

A new object is made by `cls._made_(handle, options)`, and filled by the functions of the builtin.
"""
