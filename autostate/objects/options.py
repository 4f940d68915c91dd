"""Options in the body of a class: `transient(…)`, `Annotated[…, Transient]`, names."""

from __future__ import annotations

import ast
import dataclasses
import functools
import string
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")

_METADATA: Final = "autostate.transient"


class Transient:
    """The mark of a field that is not saved: `browser: Annotated[Browser, Transient] = None`."""


@overload
def transient(default: T, /) -> T: ...
@overload
def transient(*, default: T, init: bool = ..., repr: bool = ..., compare: bool = ...) -> T: ...
@overload
def transient(
    *, default_factory: Callable[[], T], init: bool = ..., repr: bool = ..., compare: bool = ...
) -> T: ...
@overload
def transient(*, init: bool = ..., repr: bool = ..., compare: bool = ...) -> Any: ...
def transient(
    *args: Any,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    init: bool = True,
    repr: bool = True,  # noqa: A002 - as dataclasses.field
    compare: bool = True,
) -> Any:
    """Mark a field that is not saved: after a restart it has the value that the constructor sets.

    Use it in the body of a dataclass, in place of `dataclasses.field`, of a plain class or of a
    pydantic model. In attrs classes, and for fields with a type but no default, use
    `Annotated[…, Transient]`; for attributes that only the constructor sets,
    `@persisted(transient=("browser",))`.

    Args:
        *args: The default, as the only positional argument.
        default: The default, as a keyword argument.
        default_factory: Makes the default of each object.
        init: In a dataclass: `__init__` has a parameter for the field.
        repr: In a dataclass: `__repr__` shows the field.
        compare: In a dataclass: the field takes part in comparisons.

    Raises:
        TypeError: More than one default was given.

    Example:
        >>> import autostate, dataclasses
        >>> @autostate.persisted
        ... @dataclasses.dataclass
        ... class Crawl:
        ...     page: int = 1
        ...     errors: list[str] = autostate.transient(default_factory=list)
        >>> Crawl().errors
        []
    """
    given = [*args, *(value for value in (default, default_factory) if value is not MISSING)]
    if len(given) > 1:
        raise TypeError("transient() takes one default: a value, default= or default_factory=")
    if default_factory is not MISSING and not callable(default_factory):
        raise TypeError("transient(default_factory=…) takes a function")
    return dataclasses.field(
        default=args[0] if args else default,
        default_factory=default_factory,
        init=init,
        repr=repr,
        compare=compare,
        metadata={_METADATA: True, "json_schema_extra": {_METADATA: True}},  # for pydantic
    )


def is_transient(value: Any) -> bool:
    """Tell whether a value in the body of a class was made by `transient(…)`."""
    return isinstance(value, dataclasses.Field) and bool(value.metadata.get(_METADATA))


def transient_defaults(cls: type) -> tuple[frozenset[str], Mapping[str, Callable[[], Any]]]:
    """Give the fields that `transient(…)` marks, and functions that make the defaults of some.

    In a plain class the marks are replaced by the defaults that they hold.

    Raises:
        TypeError: The class is an attrs class, which takes such a mark for a value.
    """
    fields = _transient_in_model(cls)
    if dataclasses.is_dataclass(cls):
        fields |= {field.name for field in dataclasses.fields(cls) if is_transient(field)}
    for attribute in getattr(cls, "__attrs_attrs__", ()):
        if is_transient(attribute.default):
            raise TypeError(
                f"{cls.__qualname__}.{attribute.name}: attrs takes transient() for a default: "
                f"write {attribute.name}: Annotated[…, autostate.Transient] = …"
            )
    factories: dict[str, Callable[[], Any]] = {}
    for name, mark in [*vars(cls).items()]:
        if not is_transient(mark):
            continue
        fields.add(name)
        if mark.default_factory is not MISSING:
            factories[name] = mark.default_factory
        if mark.default is not MISSING:
            setattr(cls, name, mark.default)
        else:
            delattr(cls, name)
    return frozenset(fields), factories


def _transient_in_model(cls: Any) -> set[str]:
    """Give the marked fields of a pydantic model; the model keeps the marks in its schema."""
    fields = getattr(cls, "__pydantic_fields__", None) or {}
    extras = {name: getattr(field, "json_schema_extra", None) for name, field in fields.items()}
    return {
        name for name, extra in extras.items() if isinstance(extra, dict) and _METADATA in extra
    }


# -- Annotated --------------------------------------------------------------------------------


def marked(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    """Find the fields that annotations mark: by `Transient`, and by `pickled`.

    Annotations that cannot be evaluated, because a name in them is imported for type checkers
    only, are read as far as their marks go.
    """
    from autostate.codec.pickled import pickled

    in_transient, in_pickled = set(), set()
    for base in cls.__mro__:
        for name, annotation in _annotations(base).items():
            for mark in _marks(annotation, base):
                if mark is Transient or mark is transient or isinstance(mark, Transient):
                    in_transient.add(name)
                elif mark is pickled:
                    in_pickled.add(name)
    return frozenset(in_transient), frozenset(in_pickled)


def _annotations(cls: type) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return vars(cls).get("__annotations__") or {}


def _marks(annotation: Any, cls: type) -> Iterable[Any]:
    """Give the marks beside the type.

    An annotation that is a text is not evaluated as a whole, as `typing.get_type_hints` does: one
    name that is imported for type checkers only would hide all marks of the class.
    """
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return getattr(annotation, "__metadata__", ())
    names = {**vars(sys.modules.get(cls.__module__, typing)), **vars(cls)}
    try:
        tree = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return ()
    match tree:
        case ast.Subscript(value=of, slice=ast.Tuple(elts=[_, *marks])):
            if _evaluated(of, names) is typing.Annotated:
                return [_evaluated(mark, names) for mark in marks]
    return ()


def _evaluated(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Evaluate an expression of names and attributes; None if its value is not known.

    A name that a function has imported cannot be looked up: then the name itself decides.
    """
    from autostate.codec.pickled import pickled

    by_name = {
        "Annotated": typing.Annotated,
        "Transient": Transient,
        "transient": transient,
        "pickled": pickled,
    }
    match node:
        case ast.Name(id=name):
            return names.get(name, by_name.get(name))
        case ast.Attribute(value=value, attr=name):
            return getattr(_evaluated(value, names), name, by_name.get(name))
        case ast.Call(func=function):
            return _evaluated(function, names)
    return None


# -- names ------------------------------------------------------------------------------------


@functools.cache
def template_fields(template: str) -> frozenset[str]:
    """Give the arguments that a name contains.

    Raises:
        ValueError: The name is no format string, or contains arguments by position.
    """
    if not isinstance(template, str):
        raise TypeError(f"name is a str, not {type(template).__name__}")
    found = set()
    for _, field, _, _ in string.Formatter().parse(template):
        if field is None:
            continue
        name = field.partition(".")[0].partition("[")[0]
        if not name.isidentifier():
            raise ValueError(
                f"the name {template!r} takes in arguments of the constructor by name, such as "
                '"shop-{shop_id}"; a brace is written twice'
            )
        found.add(name)
    return frozenset(found)
