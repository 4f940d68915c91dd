"""What a class says about its fields: `transient(…)`, `Annotated[…, Transient]`, names."""

from __future__ import annotations

import ast
import dataclasses
import functools
import string
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from typing import Any, Final, NamedTuple, TypeVar, overload

T = TypeVar("T")

_METADATA: Final = "autostate.transient"


class Transient:
    """Marks a field that is not saved: `browser: Annotated[Browser | None, Transient] = None`."""


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
    """Mark a field that is not saved: after a restart it is what the constructor makes it.

    For the body of a dataclass, where it stands for `dataclasses.field`, of a plain class and of a
    pydantic model. In attrs classes, and where nothing but the type is said, use
    `Annotated[…, Transient]`; for attributes that only the constructor knows
    `@persisted(transient=("browser",))`.

    Args:
        *args: The default, as the only one.
        default: The same.
        default_factory: Makes the default of each object.
        init: Of a dataclass: `__init__` has a parameter for it.
        repr: Of a dataclass: `__repr__` shows it.
        compare: Of a dataclass: it takes part in comparisons.

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
    known = {"default": args[0]} if args else {}
    if default is not MISSING:
        known["default"] = default
    if default_factory is not MISSING:
        known["default_factory"] = default_factory
    return dataclasses.field(
        **known,
        init=init,
        repr=repr,
        compare=compare,
        metadata={_METADATA: True, "json_schema_extra": {_METADATA: True}},  # for pydantic
    )


def is_transient(value: Any) -> bool:
    """Whether a value in the body of a class is what `transient(…)` gives."""
    return isinstance(value, dataclasses.Field) and bool(value.metadata.get(_METADATA))


def transient_defaults(cls: type) -> tuple[frozenset[str], Mapping[str, Callable[[], Any]]]:
    """The fields that are marked by `transient(…)`, and what makes the defaults of some.

    In a plain class the marks give way to what they stand for.

    Raises:
        TypeError: It is an attrs class, which takes such a mark for a value.
    """
    fields = {field.name for field in _dataclass_fields(cls) if is_transient(field)}
    fields |= _transient_in_model(cls)
    for attribute in getattr(cls, "__attrs_attrs__", ()):
        if is_transient(attribute.default):
            raise TypeError(
                f"{cls.__qualname__}.{attribute.name}: attrs takes transient() for a default: "
                f"write {attribute.name}: Annotated[…, autostate.Transient] = …"
            )
    factories: dict[str, Callable[[], Any]] = {}
    for name, mark in [(name, value) for name, value in vars(cls).items() if is_transient(value)]:
        fields.add(name)
        if mark.default_factory is not MISSING:
            factories[name] = mark.default_factory
        if mark.default is not MISSING:
            setattr(cls, name, mark.default)
        else:
            delattr(cls, name)
    return frozenset(fields), factories


def _dataclass_fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _transient_in_model(cls: Any) -> set[str]:
    """The fields of a pydantic model that are marked; it keeps what the mark says about schemas."""
    fields = getattr(cls, "__pydantic_fields__", None) or {}
    extras = {name: getattr(field, "json_schema_extra", None) for name, field in fields.items()}
    return {
        name for name, extra in extras.items() if isinstance(extra, dict) and _METADATA in extra
    }


# -- Annotated --------------------------------------------------------------------------------


class Marked(NamedTuple):
    """The fields that annotations mark."""

    transient: frozenset[str]
    pickled: frozenset[str]


def marked(cls: type) -> Marked:
    """Find the fields that `Annotated[…, Transient]` and `Annotated[…, pickled]` mark.

    Annotations that cannot be evaluated, because a name in them is imported for type checkers
    only, are read as far as their marks go.
    """
    from autostate.codec.pickled import pickled

    found: dict[Any, set[str]] = {Transient: set(), transient: set(), pickled: set()}
    for base in cls.__mro__:
        for name, annotation in _annotations(base).items():
            for mark in _marks(annotation, base):
                for known, names in found.items():
                    if mark is known or (known is Transient and isinstance(mark, Transient)):
                        names.add(name)
    return Marked(
        frozenset(found[Transient] | found[transient]),
        frozenset(found[pickled]),
    )


def _annotations(cls: type) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return vars(cls).get("__annotations__") or {}


def _marks(annotation: Any, cls: type) -> Iterator[Any]:
    """What is said beside the type."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        yield from _marks_in_text(annotation, cls)
    else:
        yield from getattr(annotation, "__metadata__", ())


def _marks_in_text(annotation: str, cls: type) -> Iterator[Any]:
    names = {**vars(sys.modules.get(cls.__module__, typing)), **vars(cls)}
    try:
        tree = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return
    if not (isinstance(tree, ast.Subscript) and isinstance(tree.slice, ast.Tuple)):
        return
    if _evaluated(tree.value, names) is not typing.Annotated:
        return
    for mark in tree.slice.elts[1:]:
        yield _evaluated(mark, names)


def _evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    """What an expression of names and attributes means; None if that is not known.

    Names that a function has imported cannot be looked up: then the name itself has to do.
    """
    from autostate.codec.pickled import pickled

    by_name = {
        "Annotated": typing.Annotated,
        "Transient": Transient,
        "transient": transient,
        "pickled": pickled,
    }
    if isinstance(node, ast.Name):
        return names.get(node.id, by_name.get(node.id))
    if isinstance(node, ast.Attribute):
        return getattr(_evaluated(node.value, names), node.attr, by_name.get(node.attr))
    if isinstance(node, ast.Call):
        return _evaluated(node.func, names)
    return None


# -- names ------------------------------------------------------------------------------------


@functools.cache
def template_fields(template: str) -> frozenset[str]:
    """The arguments that a name takes in.

    Raises:
        ValueError: It is no format string, or takes arguments by position.
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
