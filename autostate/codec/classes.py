"""Classes whose fields are known: dataclasses, attrs classes, pydantic models, named tuples.

Their objects are taken apart and put together without running any code of the program: the content
of the `__dict__` and the slots of an object is saved; a new object is made with `object.__new__`
and gets just this content. Only a field that the stored object lacks, because the class got it
later, takes its default from the class.

A stored name that the class does not declare is an attribute as well: the program may have set it,
or the class had a field of that name. But in the `__dict__` of an object the attribute could hide a
method of the class: anybody who can write to the store could remove a method, or replace it by an
object of another class. So such a name is refused, when it is saved and when it is restored.

The value of a declared field is not compared with the field's annotation. Python does not do so
either, and programs store `None` in an `int`, or a list from a site in a `str`: refusing it at the
next start would lose the state. A comparison would protect from nothing, since anybody who can
write to the store can put another int into an `int`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import types
from collections.abc import Iterable
from typing import Any, Final

from autostate.codec.bound import transient_fields
from autostate.codec.names import name_of
from autostate.codec.unsupported import Unsupported
from autostate.errors import CorruptStateError

_NOTHING: Final = object()

_HASH: Final = "_attrs_cached_hash"
_SKIPPED: Final = frozenset({"__weakref__", "__orig_class__", _HASH})
"""Attributes of objects beside their fields: type arguments, and hashes of this process."""

_SET: Final = "__pydantic_fields_set__"
_DICTS: Final = frozenset({"__pydantic_extra__", "__pydantic_private__"})
_MOST_NAMES: Final = 1_000
"""The most attribute names that are remembered for a class: a program may use data as names."""

_METHODS: Final = (
    *(classmethod, staticmethod),
    *(functools.partialmethod, functools.singledispatchmethod),
)


class Unset:
    """The mark of a declared field that an object does not have."""


UNSET: Final = Unset()


class Fields:
    """The way to take objects of one class apart and to put them together.

    Args:
        cls: The class.
        defaults: The declared fields, each with a maker of its default.
        mutable: Whether objects can change.
    """

    def __init__(self, cls: type, defaults: dict[str, Any], *, mutable: bool) -> None:
        self.cls = cls
        self.mutable = mutable
        self._defaults = defaults
        self.names = frozenset(defaults)
        self._slots = slots_of(cls)
        self._transient = transient_fields(cls)
        self._has_dict = cls.__dictoffset__ != 0
        code = getattr(cls.__hash__, "__code__", None)
        self._caches_hash = code is not None and _HASH in code.co_names
        self._allowed: set[Any] = {*defaults, *self._slots}
        if isinstance(_static(cls, "__pydantic_fields__"), dict):
            self._allowed |= {_SET, *_DICTS}

    def take_apart(self, value: Any) -> dict[str, Any]:
        """Give the fields of an object by name; UNSET for declared fields that it does not have.

        Raises:
            Unsupported: It has an attribute that could not be restored.
        """
        fields = attributes_by_name(value, self._slots)
        self._check_names(fields)
        if _SET in fields:
            fields[_SET] = tuple(sorted(fields[_SET], key=str))
        for name in self._transient:
            fields.pop(name, None)
        if not self.names <= fields.keys():
            missing = (name for name in self._defaults if name not in fields)
            fields.update((name, UNSET) for name in missing if name not in self._transient)
        return fields

    def parts(self, value: Any) -> Iterable[Any]:
        """Give the values of all fields."""
        fields = attributes_by_name(value, self._slots)
        return [fields[name] for name in fields if name not in self._transient]

    def _check_names(self, fields: dict[str, Any]) -> None:
        """Refuse names that could not be restored."""
        if not fields.keys() <= self._allowed:
            for name in fields.keys() - self._allowed:
                if self._hides(name):
                    raise Unsupported(
                        f"the attribute {name!r} of the object hides {_what_is(name)} of "
                        f"{name_of(self.cls)}: give it another name, or declare it as a field"
                    )

    def _hides(self, name: Any) -> bool:
        """Tell whether a name that is no field would hide an attribute of the class."""
        if name in self._allowed:
            return False
        if hides(self.cls, name):
            return True
        if len(self._allowed) < _MOST_NAMES:
            self._allowed.add(name)
        return False

    def blank(self) -> Any:
        """Make an object without any field."""
        return object.__new__(self.cls)

    def put_together(self, fields: dict[str, Any]) -> Any:
        """Make an object.

        Raises:
            CorruptStateError: A field without a default is not stored, or a stored field is not in
                the class.
        """
        return self.fill(self.blank(), fields)

    def fill(self, value: Any, fields: dict[str, Any]) -> Any:
        """Give a blank object its fields; raise the errors of `put_together`."""
        for name, content in fields.items():
            if content is not UNSET:
                self._set(value, name, content)
        if not self.names <= fields.keys():
            for name in self._defaults:
                if name not in fields and not (name in self._transient and self._lacks(name)):
                    self._set(value, name, self.default(name, value))
        if self._caches_hash:
            object.__setattr__(value, _HASH, None)  # attrs computes it when it is asked for
        return value

    def _set(self, value: Any, name: str, content: Any) -> None:
        if name == _SET or name in _DICTS:
            content = _pydantics_own(name, content)
        slot = self._slots.get(name)
        if slot is not None:
            slot.__set__(value, content)
        elif self._hides(name):
            raise CorruptStateError(
                f"a stored {name_of(self.cls)} has a field {name!r}, which would hide "
                f"{_what_is(name)} of the class: declare the field, or register the class with a "
                "decode that leaves it out"
            )
        elif self._has_dict:
            value.__dict__[name] = content
        else:
            raise CorruptStateError(
                f"a stored {name_of(self.cls)} has a field {name!r}, which "
                "the class no longer has: "
                "add it again, or register the class with a decode that leaves it out"
            )

    def _lacks(self, name: str) -> bool:
        """Tell whether a field lacks a default that can be made without the object."""
        try:
            self.default(name, None)
        except (CorruptStateError, AttributeError):
            return True
        return False

    def default(self, name: str, value: Any) -> Any:
        """Give the default of a field that is not stored; `value` is the object so far."""
        default = _default(self._defaults[name], value)
        if default is _NOTHING:
            raise CorruptStateError(
                f"a stored {name_of(self.cls)} has no field {name!r}, and the class has no "
                "default for it: give it one, or register the class with a decode that does"
            )
        return default


class TupleFields(Fields):
    """The way to take named tuples of one class apart and to put them together."""

    def take_apart(self, value: Any) -> dict[str, Any]:
        """Give the fields by name, and attributes that were set beside them."""
        beside = attributes_by_name(value, self._slots)
        self._check_names(beside)
        return dict(zip(self._defaults, tuple.__iter__(value), strict=True)) | beside

    def parts(self, value: Any) -> Iterable[Any]:
        """Give the values of all fields."""
        return *tuple.__iter__(value), *attributes_by_name(value, self._slots).values()

    def put_together(self, fields: dict[str, Any]) -> Any:
        """Make a tuple."""
        items = [
            fields[name] if name in fields else self.default(name, None) for name in self._defaults
        ]
        made: Any = tuple.__new__(self.cls, items)  # ty: ignore[invalid-argument-type]
        for name, content in fields.items():
            if name not in self._defaults:
                self._set(made, name, content)
        return made


def fields_of(cls: type) -> Fields | str:
    """Find the fields of a class; or give a problem, as a text that follows the class's name."""
    known = _known.get(cls)
    if known is not None:
        return known
    found = _inspect(cls)
    if not isinstance(found, str):
        _known[cls] = found
    return found


_known: Final[dict[type, Fields]] = {}


def forget(cls: type) -> None:
    """Forget a class, so that the cache does not keep it alive."""
    _known.pop(cls, None)


def _inspect(cls: type) -> Fields | str:
    if issubclass(cls, tuple):
        return _named_tuple(cls)
    defaults = _declared(cls)
    if defaults is None:
        return "is no dataclass, attrs class, pydantic model, named tuple or enum"
    if _static(cls, "__del__") is not None:
        return "has a __del__, which a store could make run"
    try:
        object.__new__(cls)
    except TypeError:
        return "is based on a builtin type"
    return Fields(cls, defaults, mutable=not _is_frozen(cls))


def _named_tuple(cls: type) -> Fields | str:
    names, defaults = _static(cls, "_fields"), _static(cls, "_field_defaults") or {}
    builtin = next(base for base in cls.__mro__ if not base.__flags__ & _HEAP)
    if builtin is not tuple or type(names) is not tuple or not all(type(n) is str for n in names):
        return "is a tuple without named fields"
    by_name = {name: _Value(defaults[name]) if name in defaults else None for name in names}
    return TupleFields(cls, by_name, mutable=cls.__dictoffset__ != 0)


_HEAP: Final = 1 << 9  # a class that was made by a class statement: Py_TPFLAGS_HEAPTYPE


@dataclasses.dataclass(frozen=True)
class _Value:
    """A default that is a value, and needs no call."""

    value: Any


def _declared(cls: type) -> dict[str, Any] | None:
    """Give the declared fields of a class, each with a maker of its default."""
    pydantic = _static(cls, "__pydantic_fields__")
    if isinstance(pydantic, dict):
        return dict(pydantic)
    if _static(cls, "__dataclass_fields__") is not None:
        fields = dataclasses.fields(cls)  # ty: ignore[invalid-argument-type]
        return {field.name: field for field in fields}
    attributes = _static(cls, "__attrs_attrs__")
    if isinstance(attributes, tuple):
        return {attribute.name: attribute for attribute in attributes}
    return None


def _default(field: Any, value: Any) -> Any:
    """Give a field's default, of a named tuple, dataclass, attrs class or pydantic model."""
    if field is None:
        return _NOTHING
    if isinstance(field, _Value):
        return field.value
    if isinstance(field, dataclasses.Field):
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        return _NOTHING if field.default is dataclasses.MISSING else field.default
    if hasattr(field, "get_default"):  # pydantic
        if field.is_required():
            return _NOTHING
        return field.get_default(call_default_factory=True, validated_data=value.__dict__)
    default = field.default  # attrs
    if default is sys.modules["attr"].NOTHING:
        return _NOTHING
    if isinstance(default, sys.modules["attr"].Factory):
        return default.factory(value) if default.takes_self else default.factory()
    return default


def _is_frozen(cls: type) -> bool:
    """Tell whether objects cannot be changed by assignment; False if that is unclear."""
    parameters = _static(cls, "__dataclass_params__")
    if parameters is not None:
        return bool(parameters.frozen)
    if _static(cls, "__attrs_attrs__") is not None:
        return getattr(_static(cls, "__setattr__"), "__name__", "") == "_frozen_setattrs"
    config = _static(cls, "model_config")
    frozen = isinstance(config, dict) and config.get("frozen") is True
    return frozen and not _static(cls, "__private_attributes__")


def _pydantics_own(name: str, content: Any) -> Any:
    """Give a pydantic model's own attributes beside its fields, in pydantic's plain form."""
    if name == _SET:
        if type(content) is tuple and all(type(field) is str for field in content):
            return set(content)
    elif content is None:
        return None
    elif isinstance(content, dict) and all(type(field) is str for field in content):
        return dict(content)
    raise CorruptStateError(f"the {name} of a stored model cannot be read")


def by_name(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the stored fields in the form for a registered `decode`: just names and values."""
    fields = {name: content for name, content in fields.items() if content is not UNSET}
    if type(fields.get(_SET)) is tuple:
        del fields[_SET]
        for name in sorted(_DICTS):
            fields.update(fields.pop(name, None) or {})
    return fields


def were_fields(json: Any) -> bool:
    """Tell whether a payload in JSON shows that it was made of fields, not by an `encode`."""
    if type(json) is not dict:
        return False
    own = json.get(_SET)
    return {"$unset": None} in json.values() or (type(own) is dict and "$tuple" in own)


def _static(cls: type, name: str) -> Any:
    """Give an attribute of a class; run no descriptor, and no `__getattr__` of its metaclass."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def slots_of(cls: type) -> dict[str, Any]:
    """Give the slots of objects of a class, by name."""
    slots: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        own = "__slots__" in vars(base)  # else members are those of a type written in C
        for name, member in vars(base).items():
            if isinstance(member, types.MemberDescriptorType):
                if own and name not in _SKIPPED:
                    slots[name] = member
            elif name in slots and not hasattr(member, "__set__"):
                del slots[name]  # hidden by an attribute of the class: __dict__ is used
    return slots


def attributes_by_name(value: Any, slots: dict[str, Any]) -> dict[str, Any]:
    """Give the content of an object's slots and its `__dict__`."""
    found: dict[str, Any] = {}
    for name, slot in slots.items():
        content = _read(slot, value)
        if content is not _NOTHING:
            found[name] = content
    found.update(getattr(value, "__dict__", ()))
    if not _SKIPPED.isdisjoint(found):
        for name in _SKIPPED:
            found.pop(name, None)
    return found


def _read(slot: Any, value: Any) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:
        return _NOTHING


def hides(cls: type, name: Any) -> bool:
    """Tell whether an attribute in the `__dict__` of an object would hide what its class has.

    A default may be hidden, which is its purpose, and so may an attribute that itself writes to
    the `__dict__`, such as a `cached_property`. A property is never hidden.
    """
    if type(name) is not str:
        return False
    if len(name) > 4 and name.startswith("__") and name.endswith("__"):
        return True
    found = _static(cls, name)
    return isinstance(found, _METHODS) or (callable(found) and not hasattr(type(found), "__set__"))


def _what_is(name: str) -> str:
    special = name.startswith("__") and name.endswith("__")
    return "a special attribute" if special else "a method"


def without_caches(cls: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what `functools.cached_property` has put beside the fields."""
    return {
        name: content
        for name, content in fields.items()
        if not isinstance(_static(cls, name), functools.cached_property)
    }


def attributes(value: Any) -> Iterable[Any]:
    """Give the values that any object has in its slots and its `__dict__`."""
    return attributes_by_name(value, slots_of(type(value))).values()


# -- enums ----------------------------------------------------------------------------------------


def is_enum(cls: type) -> bool:
    """Tell whether a class is an enum."""
    return issubclass(cls, enum.Enum)


def member_of(value: enum.Enum) -> Any:
    """Give the stored form of an enum's member: its name; of a combination of flags, its value."""
    name = value._name_ or ""
    return name if type(value)._member_map_.get(name) is value else value._value_


def member(cls: type[enum.Enum], stored: Any) -> enum.Enum:
    """Find a member of an enum."""
    if isinstance(stored, str) and stored in cls._member_map_:
        return cls._member_map_[stored]
    if type(stored) is int and issubclass(cls, enum.Flag):
        try:
            return cls(stored)
        except ValueError:
            pass
    raise CorruptStateError(
        f"the stored enum {name_of(cls)} has the member {_shown(stored)}, which the "
        "program's enum does not have: add it again"
    )


def _shown(stored: Any) -> str:
    """Show a stored member: its name, or the value of flags; these are no secrets."""
    return f"{stored!r:.60}" if isinstance(stored, str | int) else "?"


def is_known(cls: type) -> bool:
    """Tell whether objects of a class can be saved without the class being registered."""
    return is_enum(cls) or not isinstance(fields_of(cls), str)
