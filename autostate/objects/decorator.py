"""persisted: objects of the program's own classes as state objects.

`@persisted` returns a class of the same name that is derived from the decorated one. The new class
differs only in what a call of it does: the call returns the live object of that name, or makes a
new object by the class's own constructor, which then gets the stored fields. Nothing is wrapped, so
methods, properties, `super()`, `==`, copies and pickles are those of the class.

An object that was not made by calling the class is a plain one: a copy, an unpickled object, the
result of `cls.__new__(cls)` or of a pydantic model's `model_validate`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
from abc import ABCMeta
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from msgspec.structs import replace

from autostate import containers
from autostate.codec.introspection import builtin_base
from autostate.codec.options import OPTIONS, Options, Upgrade, is_persisted
from autostate.codec.unsupported import shown
from autostate.objects.create import give
from autostate.objects.options import is_transient, marked, template_fields, transient_defaults
from autostate.runtime.names import check_not_own
from autostate.tracking.barrier import Barrier
from autostate.tracking.kind import PLAIN
from autostate.tracking.layout import layout_of

__all__ = ["containers", "fields_of", "is_persisted", "persisted"]

C = TypeVar("C")


@overload
def persisted(cls: type[C], /) -> type[C]: ...
@overload
def persisted(
    *,
    name: str | None = None,
    version: int = 1,
    upgrade: Upgrade | Sequence[Upgrade] | None = None,
    transient: Sequence[str] = (),
    pickled: Sequence[str] = (),
) -> Callable[[type[C]], type[C]]: ...
def persisted(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    upgrade: Upgrade | Sequence[Upgrade] | None = None,
    transient: Sequence[str] = (),
    pickled: Sequence[str] = (),
) -> Any:
    """Make the objects of a class state objects: their attributes are saved by themselves.

    For plain classes, also with `__slots__`, dataclasses, attrs classes and pydantic models. Put it
    on top of other decorators. Calling the class gives the live object of that name, or makes one:
    the constructor runs, and the attributes that it sets are defaults, which the stored fields
    replace. Every attribute is saved, whatever code sets it, except transient ones.

    Args:
        cls: The class, when used without arguments.
        name: The name of the state object. "shop-{shop_id}" contains an argument of the
            constructor. By default the name of the class, without its module.
        version: The version of the shape of the fields, from 1 on: raise it when `upgrade` has to
            be called.
        upgrade: A function that is called with the stored fields, a dict by name, and their
            version, once for each version up to this one. It changes the dict, or returns
            another one. Or one function for each version, in order: the first upgrades 1 to 2.
        transient: Fields that are not saved: they keep the values that the constructor sets. The
            same as `transient(…)` and `Annotated[…, Transient]` in the body of the class.
        pickled: Fields that are saved as pickles, as by `pickled(…)`. The same as
            `Annotated[…, pickled]` in the body of the class.

    Returns:
        The class, or a decorator for it.

    Raises:
        TypeError: The argument is no class, or a class whose objects cannot be state objects.
        ValueError: The name, the version or the upgrades make no sense.

    Calling the class raises:
        StateTypeError: The name belongs to a state object of another kind, or to a live one of
            another class.
        UnsupportedTypeError: A field that the constructor made cannot be saved.
        UpgradeError: A newer version is stored, or an upgrade failed. Nothing is touched.
        CorruptStateError: The stored state cannot be read. Nothing is overwritten.
        StoreUnavailableError: The store cannot be reached, so the state to resume is not known.

    Example:
        >>> import autostate
        >>> @autostate.persisted(name="shop-{shop_id}")
        ... class Shop:
        ...     def __init__(self, shop_id, page=1):
        ...         self.shop_id, self.page, self.seen = shop_id, page, set()
        >>> shop = Shop(7)
        >>> shop.page += 1  # the next process goes on from here
        >>> shop.seen.add("https://example.com")
        >>> Shop(7) is shop
        True
    """
    options = Options(
        draft=object,
        template=name,
        version=_checked_version(version),
        upgrades=_checked_upgrades(upgrade, version),
        transient=_names("transient", transient),
        pickled=_names("pickled", pickled),
    )
    decorate = functools.partial(_decorate, options)
    return decorate if cls is None else decorate(cls)


def fields_of(instance: Any) -> dict[str, Any]:
    """Give the fields of an object of a `@persisted` class that are saved, by name.

    Args:
        instance: The object; it need not be bound to a store.
    """
    layout = layout_of(type(instance))
    fields = layout.read(instance)
    return {name: value for name, value in fields.items() if not name.startswith("__pydantic_")}


# -- the class --------------------------------------------------------------------------------


def _decorate(options: Options, cls: Any) -> Any:
    """Add the options in the body of a class to the given ones, and derive the class."""
    _check_class(cls)
    defaults, factories = transient_defaults(cls)
    in_transient, in_pickled = marked(cls)
    options = replace(
        options,
        draft=cls,
        transient=options.transient | defaults | in_transient,
        pickled=options.pickled | in_pickled,
        factories=factories,
    )
    made = _derive(cls, options)
    if options.template is not None:
        _check_template(made, options.template)
    both = options.transient & options.pickled
    if both:
        raise ValueError(f"{shown(cls)}.{min(both)} cannot be transient and pickled")
    return made


def _check_class(cls: Any) -> None:
    if not isinstance(cls, type):
        raise TypeError(
            f"@persisted is for classes, not for a {type(cls).__name__}; its arguments are given "
            'by keyword: @persisted(name="shop-{shop_id}")'
        )
    if issubclass(cls, Barrier):
        raise TypeError(f"{shown(cls)} saves itself already: leave @persisted out")
    for builtin, kind in PLAIN.items():
        if issubclass(cls, builtin):
            better = kind.tracked.__name__
            raise TypeError(f"{shown(cls)} is a {builtin.__name__}: base it on {better} instead")
    if any(_is_of_another(cls, value) for value in vars(cls).values()):
        raise TypeError(
            f"put @persisted above the decorator that makes the fields of {shown(cls)}: "
            "@autostate.persisted, then @dataclass or @attrs.define"
        )
    if builtin_base(cls) is not object or issubclass(cls, enum.Enum):
        raise TypeError(
            f"@persisted cannot be used for {shown(cls)}, whose objects do not consist of fields: "
            "hold them in a field of another class"
        )


def _is_of_another(cls: type, value: Any) -> bool:
    """Tell whether a value in a class is a field that a decorator has still to process."""
    if isinstance(value, dataclasses.Field):
        return not dataclasses.is_dataclass(cls) and not is_transient(value)
    return type(value).__name__ == "_CountingAttr"


def _checked_version(version: Any) -> int:
    if type(version) is not int or version < 1:
        raise ValueError(f"version is a number from 1 on, not {version!r}")
    return version


def _checked_upgrades(upgrade: Any, version: int) -> Upgrade | tuple[Upgrade, ...] | None:
    if upgrade is None:
        return None
    upgrades = (upgrade,) if callable(upgrade) else tuple(upgrade)
    if not all(map(_takes_two, upgrades)):
        raise TypeError("upgrade is a function upgrade(state, from_version), or several in a list")
    if callable(upgrade) and version == 1:
        raise ValueError("upgrade is called for versions from 2 on: give version=2 as well")
    if callable(upgrade):
        return upgrade  # type: ignore[no-any-return]
    if len(upgrades) != version - 1:
        raise ValueError(
            f"version {version} needs {version - 1} upgrade functions, one from each version to "
            f"the next, not {len(upgrades)}"
        )
    return upgrades


def _takes_two(function: Any) -> bool:
    """Tell whether an object can be called with fields and a version."""
    try:
        inspect.signature(function).bind({}, 1)
    except TypeError:
        return False
    except ValueError:  # a function of C without a signature
        return callable(function)
    return True


def _names(what: str, names: Any) -> frozenset[str]:
    if isinstance(names, str) or not all(type(name) is str for name in names):
        raise TypeError(f'{what} takes names of fields: {what}=("browser",)')
    return frozenset(names)


def _check_template(cls: type, template: str) -> None:
    """Refuse a name of the library's own, and a template with a part that is no parameter."""
    fields = template_fields(template)
    check_not_own(template)
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for field in fields:
        if field not in parameters:
            takes = ", ".join(parameters) or "none"
            raise ValueError(
                f"the name {template!r} needs an argument {field!r} of the constructor of "
                f"{shown(cls)}, which takes: {takes}"
            )


def _derive(cls: Any, options: Options) -> Any:
    """Make the class that the decorator returns: the same, except for what a call of it does."""
    namespace = {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        OPTIONS: options,
    }
    for name in ("__firstlineno__", "__static_attributes__"):  # of Python 3.13
        if name in vars(cls):
            namespace[name] = vars(cls)[name]
    meta = _meta(type(cls))
    # Not by calling the metaclass: it has already done its work for the decorated class.
    silencer = _new_silencer("Again") if issubclass(cls, _SILENCER) else _SILENCER  # no base twice
    made: Any = ABCMeta.__new__(meta, cls.__name__, (silencer, cls), namespace)
    if "__annotations__" in vars(cls):
        made.__annotations__ = vars(cls)["__annotations__"]
    layout_of(made)
    return made


def _new_silencer(name: str) -> type:
    """Make a base that keeps `__init_subclass__` of a class from running for the derived class."""

    class Silencer:
        __slots__ = ()

        def __init_subclass__(cls, **kwargs: Any) -> None:
            """Pass on a call for a class of the program."""
            if OPTIONS not in vars(cls):
                super().__init_subclass__(**kwargs)

    Silencer.__name__ = name
    return Silencer


_SILENCER: Final = _new_silencer("Silencer")
"""Most classes get the same one: whether a live object can change to a class that was defined again
depends on the layout of objects, and the layout depends on the bases."""


_metas: Final[dict[type, type[ABCMeta]]] = {}


def _meta(base: type) -> type[ABCMeta]:
    """Give the metaclass whose call gives state objects, derived from the metaclass of a class.

    A plain class gets one that is derived from `ABCMeta`, so that a subclass may have an abstract
    class among its bases, too.
    """
    if issubclass(base, StateClass):
        return base
    known = _metas.get(base)
    if known is None:
        bases = (StateClass,) if base is type else (StateClass, base)
        name = "StateClass" if base is type else f"State{base.__name__}"
        known = _metas[base] = type(name, bases, {"__module__": __name__})
    return known


class _Signature:
    """The signature of a class: that of its constructor, unless the class defines another."""

    def __get__(self, cls: Any, _meta: Any) -> inspect.Signature:
        own = cls.__init__ is not object.__init__
        function: Any = cls.__init__ if own else cls.__new__
        if function is object.__new__:
            return inspect.Signature()
        _, *parameters = inspect.signature(function).parameters.values()
        return inspect.Signature(parameters)


class StateClass(ABCMeta):
    """The metaclass of `@persisted` classes: calling one gives a state object."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Give the live object of the name, or make one and rehydrate it."""
        if _is_copying(sys._getframe(1)):
            return super().__call__(*args, **kwargs)
        return give(cls, super().__call__, args, kwargs)

    if not TYPE_CHECKING:  # type checkers look at the class itself
        __signature__ = _Signature()


def _is_copying(caller: Any) -> bool:
    """Tell whether a class is called in order to make a copy, which is a plain object.

    Else the copy would be the same live object: changes would be ignored, or made to the state.
    """
    if caller.f_code.co_name in ("__copy__", "__deepcopy__"):  # of the class or of a base
        return True
    return (
        caller.f_code.co_name in _COPYING
        and caller.f_globals.get("__name__", "").partition(".")[0] in _COPIERS
    )


_COPYING: Final = frozenset({"replace", "_replace", "evolve", "assoc", "_reconstruct"})
_COPIERS: Final = frozenset({"copy", "dataclasses", "attr", "attrs"})
