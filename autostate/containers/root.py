"""How a state object comes by its name: shared by all kinds."""

from __future__ import annotations

from typing import Any

from autostate.tracking.barrier import Barrier


def create(cls: type, builtin: Any, kind: str, args: tuple[Any, ...]) -> Any:
    """Make a container, or give the live one of that name.

    A subclass whose constructor takes other arguments gets an empty container here, which is
    bound as soon as its `__init__` calls that of the persisted class with a name.
    """
    from autostate.manager import current_manager

    if args and type(args[0]) is str:
        return current_manager().create(args[0], kind, lambda: blank(cls, builtin))
    return blank(cls, builtin)


def blank(cls: type, builtin: Any) -> Any:
    """Make an empty container that is bound to no store."""
    made = builtin.__new__(cls)
    made._node = None
    made._key = None
    return made


def bind(container: Barrier, name: str, kind: str) -> None:
    """Bind a container that `create` could not bind, because its name came later."""
    if type(name) is not str:
        raise TypeError(
            f"the first argument of {type(container).__name__} is its name, a str, not "
            f"{type(name).__name__}: {type(container).__name__}('progress', …)"
        )
    from autostate.manager import current_manager

    if container._node is None:
        bound = current_manager().create(name, kind, lambda: container)
        if bound is not container:
            raise TypeError(
                f"{name} is live already: pass the name as the first argument of "
                f"{type(container).__name__}, so that the live object can be given back"
            )
