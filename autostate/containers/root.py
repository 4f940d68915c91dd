"""The base of all kinds: how a state object gets its name, and how plain copies are made."""

from __future__ import annotations

import copyreg
import functools
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from autostate.errors import StateTypeError
from autostate.tracking.barrier import Barrier, variants_of
from autostate.tracking.defaults import begin, offer
from autostate.tracking.live_conversion import convert_new
from autostate.tracking.search import holds_atoms
from autostate.tracking.unnamed import UNNAMED

if TYPE_CHECKING:
    import inspect

    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=Any)  # what is made without initial items may hold anything
else:
    T = TypeVar("T")

_VARIANTS: Final = ("armed", "disarmed", "recording")


def _become(live: Any, cls: Any) -> bool:
    """Change a live object to the given class if possible; tell whether it is of the class.

    The program has not yet named the class of an object that was rebuilt only because another
    state object refers to it. And a class that was defined again, in a notebook, is the same class.
    """
    node = live._node_
    if isinstance(live, cls) or node is None:
        return isinstance(live, cls)
    with node.tracker.lock:
        old, new = variants_of(type(live)), variants_of(cls)
        if isinstance(live, cls):
            return True
        named_alike = _full_name(old.armed) == _full_name(cls)
        if old.kind is not new.kind or not (named_alike or old.armed is old.kind.unclaimed):
            return False
        # The variant stays: it says what is recorded of the writes since the last cut.
        variants = {getattr(old, variant): getattr(new, variant) for variant in _VARIANTS}
        try:
            live.__class__ = variants[type(live)]
        except TypeError:  # it has other slots
            return False
        return True


def _full_name(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _other_class(live: Any, name: str, cls: type) -> StateTypeError:
    """Make the error for a name whose live object is, and stays, of another class."""
    variants = variants_of(type(live))
    if variants.armed is variants.kind.unclaimed:
        return StateTypeError(
            f"{name!r} is live as a {type(live).__name__} already, because another state object "
            f"refers to it: create it as {cls.__name__} before that one"
        )
    return StateTypeError(
        f"{name!r} is live as a {type(live).__name__} already, which is no {cls.__name__}: create "
        f"it as {cls.__name__} everywhere, or at least first"
    )


def blank(cls: Any) -> Any:
    """Make an empty container that is bound to no store."""
    # `variants_of` comes first: it shields `_node_` and `_key_` from a class that redirects
    # attribute access.
    made = variants_of(cls).kind.builtin.__new__(cls)
    made._node_ = None
    made._key_ = UNNAMED
    return made


def bind(container: Barrier, name: str, defaults: Any) -> None:
    """Bind a container that `__new__` could not bind, and give it its defaults.

    Args:
        container: The container; it is bound already if `__new__` knew its name.
        name: The name.
        defaults: A mapping of entries or members that the stored state may lack; for a sequence the
            items if nothing is stored. The caller does not use it again.
    """
    if type(name) is not str:
        raise TypeError(
            f"the first argument of {type(container).__name__} is its name, a str, not "
            f"{type(name).__name__}: {type(container).__name__}('progress', …)"
        )
    node, cls = container._node_, type(container)
    kind = variants_of(cls).kind
    if node is not None and node.name != name:
        raise TypeError(f"this {cls.__name__} has the name {node.name!r} already, not {name!r}")
    if node is None:
        from autostate.runtime.api import current_manager

        live = current_manager().create(name, kind.name, lambda: container)
        if live is not container:
            if not isinstance(live, variants_of(cls).armed):
                raise _other_class(live, name, cls)
            raise TypeError(
                f"{name} is live already: pass the name as the first argument of "
                f"{cls.__name__}, so that the live object can be given back"
            )
        node = container._node_
    if node is not None:  # else another thread has deleted it meanwhile
        nested = kind.shape != "set" and not holds_atoms(defaults)
        filled = (begin if kind.shape == "sequence" else offer)(container, defaults)
        if nested and filled:
            defaults.clear()  # it is a reference to each container
            with node.tracker.lock:
                convert_new(node, filled)
                if node.tracker.savepoints:
                    from autostate.tracking.blocks import Blocks

                    node.tracker.part(Blocks).note_new(node, filled)


def shown_plain(name: str, builtin: Any, inside: str = "{...}") -> Any:
    """Make a `__repr__` that shows a container like a plain one, as a list that holds it does.

    Args:
        name: The name of its persisted class; a subclass with another name is shown by that name.
        builtin: The plain type.
        inside: Stands for the container where it holds itself.
    """

    @recursive_repr(inside)
    def plain(self: Any) -> str:
        return repr(variants_of(type(self)).kind.copy(self))

    @functools.wraps(builtin.__repr__)
    def __repr__(self: Any) -> str:  # noqa: N807
        return plain(self) if type(self).__name__ == name else str(builtin.__repr__(self))

    return __repr__


class _Signature:
    """The signature of a class is that of its `__init__`; `__new__` takes anything."""

    def __get__(self, _instance: Any, owner: Any) -> inspect.Signature:
        import inspect

        _, *parameters = inspect.signature(owner.__init__).parameters.values()
        return inspect.Signature(parameters)


class StateObject(Barrier):
    """The methods that all persisted containers have beside those of the builtin."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an empty container, or give the live container of that name.

        The `__init__` of a subclass may take other arguments, and compute the name that it passes
        to the `__init__` of the persisted class. So a live object is returned here only if its name
        was passed as it is; a new container is bound in `__init__`.

        Raises:
            StateTypeError: The live object of that name is of another class.
        """
        made: Self
        variants = variants_of(cls)
        kind = variants.kind
        armed = kind.tracked if variants.armed is kind.unclaimed else variants.armed
        if cls is not armed:  # a call of `type(state)(…)`: the state may be in any variant
            made = armed(*args, **kwargs)
            return made
        if not args or type(args[0]) is not str:
            made = blank(cls)
            return made
        from autostate.runtime.api import current_manager

        name, manager = args[0], current_manager()
        if cls.__init__ is kind.tracked.__init__:
            made = manager.create(name, kind.name, functools.partial(blank, cls))
            if not _become(made, cls):
                raise _other_class(made, name, cls)
            return made
        live = manager.live(name)
        made = live if live is not None and _become(live, cls) else blank(cls)
        return made

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures
        __signature__ = _Signature()

        # Copies and pickles are plain, and bound to no store. `copy` and `pickle` then handle the
        # content as that of a plain container: deep copies, and containers that hold themselves.

        def __copy__(self) -> Any:
            return variants_of(type(self)).kind.copy(self)

        def __reduce_ex__(self, _protocol: Any, /) -> Any:
            """Pickle as the builtin does."""
            made = variants_of(type(self)).kind.copy(self).__reduce_ex__(2)
            if made[0] is copyreg.__newobj__:  # `pickle` accepts it for objects of the class only
                (cls, *args), *content = made[1:]
                return cls, tuple(args), *content
            return made

        def __reduce__(self) -> Any:
            """Pickle as the builtin does."""
            return self.__reduce_ex__(2)
