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

from collections.abc import Iterable
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from autostate.codec import introspection
from autostate.codec.enums import is_enum
from autostate.codec.introspection import EXTRA, FIELDS_SET, PRIVATE, attributes_by_name, static
from autostate.codec.names import name_of
from autostate.codec.options import transient_fields
from autostate.codec.unsupported import Unsupported
from autostate.errors import CorruptStateError

_DICTS: Final = frozenset({EXTRA, PRIVATE})
_MOST_NAMES: Final = 1_000
"""The most attribute names that are remembered for a class: a program may use data as names."""


class Unset:
    """The mark of a declared field that an object does not have."""


UNSET: Final = Unset()


class Fields:
    """The way to take objects of one class apart and to put them together.

    Attributes:
        cls: The class.
        defaults: The declared fields, in their order, with the makers of their defaults.
        mutable: Whether objects can change.
        reading: How tracking reads the objects, kept here so that it is forgotten with the class.
        begins_blank: Whether an object can exist before its fields do, as one that holds itself
            has to when it is rebuilt.
    """

    begins_blank = True

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.defaults = introspection.declared_fields(cls) or {}
        self.mutable = not introspection.is_frozen(cls)
        self.reading: object = None
        self._slots = introspection.slots_of(cls)
        self._transient = transient_fields(cls)
        self._has_dict = cls.__dictoffset__ != 0
        code = getattr(cls.__hash__, "__code__", None)
        self._caches_hash = code is not None and introspection.ATTRS_HASH in code.co_names
        self._allowed: set[object] = {*self.defaults, *self._slots}
        if introspection.is_model(cls):
            self._allowed |= {FIELDS_SET, *_DICTS}

    def take_apart(self, value: Any) -> dict[str, Any]:
        """Give the fields of an object by name; UNSET for declared fields that it does not have.

        Raises:
            Unsupported: It has an attribute that could not be restored.
        """
        fields = attributes_by_name(value, self._slots)
        self._check_names(fields)
        if FIELDS_SET in fields:
            fields[FIELDS_SET] = tuple(sorted(fields[FIELDS_SET], key=str))
        for name in self._transient:
            fields.pop(name, None)
        if not self.defaults.keys() <= fields.keys():
            missing = (name for name in self.defaults if name not in fields)
            fields.update((name, UNSET) for name in missing if name not in self._transient)
        return fields

    def parts(self, value: Any) -> Iterable[Any]:
        """Give the values of all fields."""
        fields = attributes_by_name(value, self._slots)
        return [fields[name] for name in fields if name not in self._transient]

    def places(self) -> tuple[bool, tuple[MemberDescriptorType, ...]] | None:
        """Give where objects keep all their fields: whether in a `__dict__`, and the slots.

        Returns:
            None if there is more, such as fields that are not saved, or if the class may show
            something else as its `__dict__`.
        """
        cls = self.cls
        if self._transient or introspection.is_model(cls) or issubclass(cls, tuple):
            return None
        if cls.__getattribute__ is not object.__getattribute__:
            return None
        if self._has_dict and type(static(cls, "__dict__")) is not GetSetDescriptorType:
            return None
        return self._has_dict, tuple(self._slots.values())

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
        if name in self._allowed:  # asked for every field of every object: remembered
            return False
        if introspection.hides(self.cls, name):
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
        if not self.defaults.keys() <= fields.keys():
            for name in self.defaults:
                if name not in fields and not (name in self._transient and self._lacks(name)):
                    self._set(value, name, self.default(name, value))
        if self._caches_hash:
            object.__setattr__(
                value, introspection.ATTRS_HASH, None
            )  # attrs computes it when it is asked for
        return value

    def _set(self, value: Any, name: str, content: Any) -> None:
        if name == FIELDS_SET or name in _DICTS:
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
                f"a stored {name_of(self.cls)} has a field {name!r}, which the class no longer "
                "has: add it again, or register the class with a decode that leaves it out"
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
        make = self.defaults[name]
        if make is None:
            raise CorruptStateError(
                f"a stored {name_of(self.cls)} has no field {name!r}, and the class has no "
                "default for it: give it one, or register the class with a decode that does"
            )
        return make(value)


class TupleFields(Fields):
    """The way to take named tuples of one class apart and to put them together."""

    begins_blank = False

    def take_apart(self, value: Any) -> dict[str, Any]:
        """Give the fields by name, and attributes that were set beside them."""
        beside = attributes_by_name(value, self._slots)
        self._check_names(beside)
        return dict(zip(self.defaults, tuple.__iter__(value), strict=True)) | beside

    def parts(self, value: Any) -> Iterable[Any]:
        """Give the values of all fields."""
        return *tuple.__iter__(value), *attributes_by_name(value, self._slots).values()

    def put_together(self, fields: dict[str, Any]) -> Any:
        """Make a tuple."""
        items = [
            fields[name] if name in fields else self.default(name, None) for name in self.defaults
        ]
        made: Any = tuple.__new__(self.cls, items)  # ty: ignore[invalid-argument-type]
        for name, content in fields.items():
            if name not in self.defaults:
                self._set(made, name, content)
        return made


def fields_of(cls: type) -> Fields | None:
    """Find the fields of a class; None if they are not known: see `why_unknown`."""
    known = _known.get(cls)
    if known is None and why_unknown(cls) is None:
        known = _known[cls] = (TupleFields if issubclass(cls, tuple) else Fields)(cls)
    return known


_known: Final[dict[type, Fields]] = {}


def forget(cls: type) -> None:
    """Forget a class, so that the cache does not keep it alive."""
    _known.pop(cls, None)


def is_known(cls: type) -> bool:
    """Tell whether objects of a class can be saved without the class being registered."""
    return is_enum(cls) or fields_of(cls) is not None


def why_unknown(cls: type) -> str | None:
    """Say why the fields of a class are not known, after its name; None if they are."""
    if introspection.declared_fields(cls) is None:
        if issubclass(cls, tuple):
            return "is a tuple without named fields"
        return "is no dataclass, attrs class, pydantic model, named tuple or enum"
    if issubclass(cls, tuple):
        return None
    if static(cls, "__del__") is not None:
        return "has a __del__, which a store could make run"
    try:
        object.__new__(cls)
    except TypeError:
        return "is based on a builtin type"
    return None


def _pydantics_own(name: str, content: Any) -> Any:
    """Give a pydantic model's own attributes beside its fields, in pydantic's plain form."""
    if name == FIELDS_SET:
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
    if type(fields.get(FIELDS_SET)) is tuple:
        del fields[FIELDS_SET]
        for name in sorted(_DICTS):
            fields.update(fields.pop(name, None) or {})
    return fields


def were_fields(json: Any) -> bool:
    """Tell whether a payload in JSON shows that it was made of fields, not by an `encode`."""
    if type(json) is not dict:
        return False
    own = json.get(FIELDS_SET)
    return {"$unset": None} in json.values() or (type(own) is dict and "$tuple" in own)


def without_caches(cls: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what `functools.cached_property` has put beside the fields."""
    return {
        name: content for name, content in fields.items() if not introspection.is_cached(cls, name)
    }


def _what_is(name: str) -> str:
    return "a special attribute" if introspection.is_special(name) else "a method"
