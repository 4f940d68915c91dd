"""What classes say about their objects: slots, declared fields and their defaults, methods.

A class is inspected without running any code of the program: no property, no descriptor, no
`__getattr__` of a metaclass. attrs and pydantic are not imported; a program that has a class of
theirs has imported them.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from attrs import Attribute
    from pydantic.fields import FieldInfo

Default = Callable[[Any], Any] | None
"""Makes the default of a field, from the object so far; None: the field has no default."""

MISSING: Final = object()
"""Stands for the content of a slot that is unset."""

ATTRS_HASH: Final = "_attrs_cached_hash"
NOT_FIELDS: Final = frozenset({"__weakref__", "__orig_class__", ATTRS_HASH})
"""Attributes of objects beside their fields: type arguments, and hashes of this process."""

FIELDS_SET: Final = "__pydantic_fields_set__"
EXTRA: Final = "__pydantic_extra__"
PRIVATE: Final = "__pydantic_private__"

_HEAP_TYPE: Final = 1 << 9
"""The flag of classes that were made by a class statement: Py_TPFLAGS_HEAPTYPE."""

_METHODS: Final = (
    *(classmethod, staticmethod),
    *(functools.partialmethod, functools.singledispatchmethod),
)


def static(cls: type, name: str) -> Any:
    """Give an attribute of a class as it is in the class or a base; None if there is none."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def builtin_base(cls: type) -> type:
    """Give the nearest base that was not made by a class statement: `object`, `tuple`, `dict`."""
    return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)


# -- slots ----------------------------------------------------------------------------------------


def slots_of(cls: type) -> dict[str, MemberDescriptorType]:
    """Give the slots of objects of a class, by name."""
    slots: dict[str, MemberDescriptorType] = {}
    for base in reversed(cls.__mro__):
        # A type written in C has members too, which C code fills and reads.
        own = "__slots__" in vars(base)
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType):
                if own and name not in NOT_FIELDS:
                    slots[name] = member
            elif name in slots and not hasattr(member, "__set__"):
                del slots[name]  # hidden by an attribute of the class: __dict__ is used
    return slots


def read_slot(slot: MemberDescriptorType, value: Any) -> Any:
    """Give the content of a slot; MISSING if it is unset."""
    try:
        return slot.__get__(value)  # `getattr` might run code of the class
    except AttributeError:
        return MISSING


def attributes_by_name(
    value: Any, slots: Mapping[str, MemberDescriptorType] | None = None
) -> dict[str, Any]:
    """Give the content of an object's slots and its `__dict__`."""
    found: dict[str, Any] = {}
    for name, slot in (slots_of(type(value)) if slots is None else slots).items():
        content = read_slot(slot, value)
        if content is not MISSING:
            found[name] = content
    found.update(getattr(value, "__dict__", ()))
    if not NOT_FIELDS.isdisjoint(found):
        for name in NOT_FIELDS:
            found.pop(name, None)
    return found


# -- declared fields ------------------------------------------------------------------------------


def is_model(cls: type) -> bool:
    """Tell whether a class is a pydantic model."""
    return isinstance(static(cls, "__pydantic_fields__"), dict)


def model_config(cls: type) -> Mapping[str, Any]:
    """Give the configuration of a pydantic model; of another class an empty one."""
    config = static(cls, "model_config")
    return config if isinstance(config, dict) else {}


def private_names(cls: type) -> frozenset[str]:
    """Give the private attributes of a pydantic model, which are kept beside its fields."""
    found = static(cls, "__private_attributes__")
    return frozenset(found) if isinstance(found, dict) else frozenset()


def declared_fields(cls: type) -> dict[str, Default] | None:
    """Give the fields that a class declares, in their order, each with its default.

    Returns:
        None if the class is no dataclass, attrs class, pydantic model or named tuple.
    """
    if issubclass(cls, tuple):
        return _of_tuple(cls)
    if is_model(cls):
        return {name: _of_model(f) for name, f in static(cls, "__pydantic_fields__").items()}
    if static(cls, "__dataclass_fields__") is not None:
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        return {field.name: _of_dataclass(field) for field in fields}
    attributes = static(cls, "__attrs_attrs__")
    if isinstance(attributes, tuple):
        return {attribute.name: _of_attrs(attribute) for attribute in attributes}
    return None


def _constant(value: Any) -> Default:
    return lambda _: value


def _of_dataclass(field: dataclasses.Field[Any]) -> Default:
    make = field.default_factory
    if make is not dataclasses.MISSING:
        return lambda _: make()
    return None if field.default is dataclasses.MISSING else _constant(field.default)


def _of_attrs(attribute: Attribute[Any]) -> Default:
    default, attr = attribute.default, sys.modules["attr"]
    if default is attr.NOTHING:
        return None
    if not isinstance(default, attr.Factory):
        return _constant(default)
    make: Callable[..., Any] = default.factory
    return make if default.takes_self else lambda _: make()


def _of_model(field: FieldInfo) -> Default:
    if field.is_required():
        return None
    # A factory of a model may take the fields before it, as a dict.
    return lambda value: field.get_default(call_default_factory=True, validated_data=value.__dict__)


def _of_tuple(cls: type) -> dict[str, Default] | None:
    names, defaults = static(cls, "_fields"), static(cls, "_field_defaults") or {}
    named = type(names) is tuple and all(type(name) is str for name in names)
    if not named or builtin_base(cls) is not tuple:
        return None
    return {name: _constant(defaults[name]) if name in defaults else None for name in names}


def is_frozen(cls: type) -> bool:
    """Tell whether objects cannot be changed by assignment; False if that is unclear."""
    if issubclass(cls, tuple):
        return cls.__dictoffset__ == 0
    parameters = static(cls, "__dataclass_params__")
    if parameters is not None:
        return bool(parameters.frozen)
    if static(cls, "__attrs_attrs__") is not None:
        return getattr(static(cls, "__setattr__"), "__name__", "") == "_frozen_setattrs"
    return model_config(cls).get("frozen") is True and not private_names(cls)


# -- what is no field -----------------------------------------------------------------------------


def is_special(name: str) -> bool:
    """Tell whether a name has the form of a special attribute, such as `__len__`."""
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def hides(cls: type, name: Any) -> bool:
    """Tell whether an attribute in the `__dict__` of an object would hide what its class has.

    A default may be hidden, which is its purpose, and so may an attribute that itself writes to
    the `__dict__`, such as a `cached_property`. A property is never hidden.
    """
    if type(name) is not str:
        return False
    if is_special(name):
        return True
    found = static(cls, name)
    return isinstance(found, _METHODS) or (callable(found) and not hasattr(type(found), "__set__"))


def is_cached(cls: type, name: str) -> bool:
    """Tell whether `functools.cached_property` puts this attribute beside the fields."""
    return isinstance(static(cls, name), functools.cached_property)


def cached_names(cls: type) -> set[str]:
    """Find the attributes in which objects keep the values of `cached_property`.

    attrs makes all slots of a class with slots: those for the fields, and those for these values.
    """
    cached: set[str] = set()
    for base in cls.__mro__:
        cached.update(name for name in vars(base) if is_cached(cls, name))
        fields = vars(base).get("__attrs_attrs__")
        if fields is not None and "__slots__" in vars(base):
            cached.update({*vars(base)["__slots__"]} - {field.name for field in fields})
    return cached
