"""What all kinds share: how a state object comes by its name, and plain copies of it."""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any

from autostate.tracking.barrier import Barrier, forms_of

if TYPE_CHECKING:
    import inspect


def create(cls: Any, builtin: Any, kind: str, args: tuple[Any, ...]) -> Any:
    """Make a container, or give the live one of that name.

    The `__init__` of a subclass may take other arguments, and call that of the persisted class
    with a name of its own making: only a live object whose name was given as it is can be given
    back here; what is made is bound in `__init__`.
    """
    from autostate.manager import current_manager

    if not args or type(args[0]) is not str:
        return blank(cls, builtin)
    if cls.__init__ is forms_of(cls).kind.tracked.__init__:
        return current_manager().create(args[0], kind, lambda: blank(cls, builtin))
    live = current_manager().live(args[0])
    return live if isinstance(live, cls) else blank(cls, builtin)


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

    node = container._node
    if node is not None and node.name != name:
        raise TypeError(f"this {type(container).__name__} has the name {node.name!r} already")
    if node is None:
        bound = current_manager().create(name, kind, lambda: container)
        if bound is not container:
            raise TypeError(
                f"{name} is live already: pass the name as the first argument of "
                f"{type(container).__name__}, so that the live object can be given back"
            )


class _Signature:
    """The signature of a class is that of its `__init__`; `__new__` takes anything."""

    def __get__(self, _instance: Any, owner: Any) -> inspect.Signature:
        import inspect

        _, *parameters = inspect.signature(owner.__init__).parameters.values()
        return inspect.Signature(parameters)


class StateObject(Barrier):
    """What all persisted containers have beside the methods of the builtin."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __signature__ = _Signature()

        # Plain, and cut loose from the store. What `copy` and `pickle` do about a plain one,
        # they do about its content then, deep copies and containers that hold themselves too.

        def __copy__(self) -> Any:
            return forms_of(type(self)).kind.copy(self)

        def __reduce_ex__(self, _protocol: Any, /) -> Any:
            """Pickle as the builtin."""
            made = forms_of(type(self)).kind.copy(self).__reduce_ex__(2)
            if made[0] is copyreg.__newobj__:  # `pickle` takes it for objects of the class only
                (cls, *args), *content = made[1:]
                return cls, tuple(args), *content
            return made

        def __reduce__(self) -> Any:
            """Pickle as the builtin."""
            return self.__reduce_ex__(2)
