"""Deriving a class from one of the program, without running any code of the program."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Mapping
from typing import Any


class _Silent:
    """Keeps `__init_subclass__` of the program's class from running."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Do nothing."""


def derive(cls: Any, namespace: Mapping[str, Any]) -> type:
    """Make a class of the same name that is based on a class.

    The metaclass is not called: it was called for the program's class, and a second call could run
    hooks, or want arguments. But an abstract class needs what `ABCMeta.__new__` makes.
    """
    make: Any = ABCMeta.__new__ if isinstance(cls, ABCMeta) else type.__new__
    made: type = make(type(cls), cls.__name__, (_Silent, cls), dict(namespace))
    return made
