"""Where the objects of a `@persisted` class keep their fields, and which of them are saved.

The fields of an object are everything in its `__dict__` and its slots, and the further dicts of a
pydantic model. Reading and writing fields here runs no code of the program: no `__getattr__`, no
`__setattr__`, no property, no validator.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from msgspec import Struct

from autostate.codec import introspection
from autostate.codec.classes import fields_of
from autostate.codec.introspection import EXTRA, FIELDS_SET, MISSING, PRIVATE, read_slot, static
from autostate.codec.names import find, name_of
from autostate.codec.options import Options, is_persisted, options_of
from autostate.process.interrupts import is_passing
from autostate.tracking import refcount


class Layout(Struct, frozen=True):
    """Where objects of exactly one class keep their fields.

    Attributes:
        cls: The class.
        options: The options of the nearest `@persisted` class.
        skipped: Names of attributes that are not saved: transient fields, and the values of
            `cached_property` beside the fields.
        pickled: Fields that are saved as pickles.
        declared: Fields that the class declares.
        slots: Slots that hold a field, by name.
        reads_slots: Whether `getattr` reads slots, even unset ones, without code of the class.
        reads_dict: Whether `getattr` reads `__dict__` without code of the class.
        dicts: Names of the attributes that hold fields by name.
        private: The private attributes of a pydantic model.
        factories: As in `Options`.
        descriptions: What the store has of the class (`mirror.describe`), by its name there.
        offered: The names of the fields that the constructor of the last new object has made.
    """

    cls: type
    options: Options
    skipped: frozenset[str]
    pickled: frozenset[str]
    declared: frozenset[str]
    slots: Mapping[str, MemberDescriptorType]
    reads_slots: bool
    reads_dict: bool
    dicts: tuple[str, ...]
    private: frozenset[str]
    factories: Mapping[str, Callable[[], Any]]
    descriptions: dict[str, dict[str, Any]]
    offered: list[frozenset[Hashable]]

    @property
    def name(self) -> str:
        """The name of the class in the store."""
        return name_of(self.cls)

    @property
    def is_model(self) -> bool:
        """Whether the class is a pydantic model."""
        return FIELDS_SET in self.slots

    def read(self, instance: Any) -> dict[str, Any]:
        """Return the fields of one object that are saved, by name."""
        dicts = [dict(held(instance, name)) for name in self.dicts]
        return self.saved(dicts, self.read_slots(instance))

    def read_all(self, instance: Any) -> dict[str, Any]:
        """Return all fields of one object, by name, also those that are not saved."""
        fields: dict[str, Any] = {}
        for name in self.dicts:
            fields |= held(instance, name)
        pairs = zip(self.slots, self.read_slots(instance), strict=True)
        return fields | {name: value for name, value in pairs if value is not MISSING}

    def read_slots(self, instance: Any) -> list[Any]:
        """Return the contents of the slots; MISSING for an unset slot."""
        return [read_slot(slot, instance) for slot in self.slots.values()]

    def saved(self, dicts: list[dict[str, Any]], in_slots: list[Any]) -> dict[str, Any]:
        """Return the saved fields among copies of the `dicts` and the contents of the `slots`."""
        fields = dicts[0] if dicts else {}
        for more in dicts[1:]:
            fields |= more
        if in_slots:
            pairs = zip(self.slots, in_slots, strict=True)
            fields |= {name: value for name, value in pairs if value is not MISSING}
        if not self.skipped.isdisjoint(fields):
            for name in self.skipped:
                fields.pop(name, None)
        return fields

    def plain(self, fields: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields as they are saved: the set names of a model are stored as a tuple."""
        if self.is_model and FIELDS_SET in fields:
            names = tuple(sorted(fields[FIELDS_SET]))
            known = before.get(FIELDS_SET)
            fields[FIELDS_SET] = known if known == names else names
        return fields

    def put(self, instance: Any, name: str, value: Any) -> None:
        """Set a field of an object."""
        slot = self.slots.get(name)
        value = set(value) if name == FIELDS_SET else value
        if slot is not None:
            slot.__set__(instance, value)
        else:
            self.holder(instance, name)[name] = value

    def drop(self, instance: Any, name: str) -> None:
        """Remove a field of an object, if there is one."""
        slot = self.slots.get(name)
        if slot is None:
            self.holder(instance, name).pop(name, None)
        elif read_slot(slot, instance) is not MISSING:
            slot.__delete__(instance)

    def holder(self, instance: Any, name: str) -> dict[str, Any]:
        """Return the dict of an object that holds a field without a slot."""
        if name in self.private:
            if _get(instance, PRIVATE) is None:
                object.__setattr__(instance, PRIVATE, {})
            return _get(instance, PRIVATE)  # type: ignore[no-any-return]
        extra = _get(instance, EXTRA) if EXTRA in self.dicts else None
        if extra is not None and name not in self.declared:
            return extra  # type: ignore[no-any-return]
        return _get(instance, "__dict__")  # type: ignore[no-any-return]

    def own_dict(self, instance: Any) -> None:
        """Give an object a `__dict__` that does not share its keys with others of the class.

        Every scan reads `__dict__`. At the first reading CPython makes a dict of the values that it
        keeps in the object itself. If this dict shares its keys, the interpreter does not
        specialise attribute access, which then takes up to twice as long. If the dict has keys of
        its own, access is as fast as before: `make bench` compares.
        """
        if "__dict__" in self.dicts:
            box = [_get(instance, "__dict__")]
            # The references of object and box; if the program holds `vars(shop)`, it stays.
            unkept = refcount.count(box[0]) - refcount.MEASURING <= 2
            if unkept and type(box[0]) is dict:
                object.__setattr__(instance, "__dict__", dict(box[0]))

    def holds(self, name: Any, declared_before: frozenset[str]) -> bool:
        """Tell whether a stored field belongs to the class as it is now.

        Args:
            name: The field.
            declared_before: Fields that the class declared when they were saved.
        """
        if name in self.skipped:
            return False
        if name in self.slots or name in self.declared:
            return True
        if not self.dicts or type(name) is not str or name in declared_before:
            return False
        if self.is_model:
            return name in self.private or EXTRA in self.dicts
        found = static(self.cls, name)
        return not hasattr(type(found), "__get__") and not introspection.hides(self.cls, name)

    def blank(self) -> Any:
        """Make an object of the class without its constructor, with the defaults of its fields."""
        made: Any = object.__new__(self.cls)
        if self.is_model:
            for name in (EXTRA, PRIVATE):
                object.__setattr__(made, name, {} if name in self.dicts else None)
            object.__setattr__(made, FIELDS_SET, set())
        return made

    def default(self, instance: Any, name: str) -> Any:
        """Return the class's default for a declared field; MISSING if there is none."""
        known = fields_of(self.cls)
        if known is None:
            return MISSING
        try:
            return known.default(name, instance)
        except Exception as error:  # none, or the program's own factory wants a constructor
            if is_passing(error):
                raise
            return MISSING


def _get(instance: Any, name: str) -> Any:
    """Read an attribute without running code of the class; None if there is none."""
    try:
        return object.__getattribute__(instance, name)
    except AttributeError:
        return None


def held(instance: Any, name: str) -> dict[str, Any]:
    """Return the dict in an attribute of an object; an empty one if there is none."""
    return _get(instance, name) or {}


def layout_of(cls: type) -> Layout:
    """Return the layout of a `@persisted` class, or of a class that is based on one."""
    known: Layout | None = vars(cls).get(_LAYOUT)
    if known is None:
        known = _inspect(cls)
        type.__setattr__(cls, _LAYOUT, known)
    return known


_LAYOUT: Final = "__autostate_layout__"


def class_named(name: str) -> type | None:
    """Return the `@persisted` class of a name, among those that the program has loaded."""
    return find(name, is_persisted)


def _has_usual_dict(cls: type) -> bool:
    return isinstance(static(cls, "__dict__"), GetSetDescriptorType)


def _inspect(cls: type) -> Layout:
    options = list(options_of(cls))
    slots, private = introspection.slots_of(cls), frozenset[str]()
    dicts = ["__dict__"] if cls.__dictoffset__ != 0 else []
    if FIELDS_SET in slots:
        slots = {name: slot for name, slot in slots.items() if name not in {EXTRA, PRIVATE}}
        private = introspection.private_names(cls)
        if private:
            dicts.append(PRIVATE)
        if introspection.model_config(cls).get("extra") == "allow":
            dicts.append(EXTRA)
    known = fields_of(cls)
    declared = frozenset(() if known is None else known.defaults)
    is_usual = static(cls, "__getattribute__") is vars(object)["__getattribute__"]
    reads_slots = (
        is_usual
        and static(cls, "__getattr__") is None
        and all(static(cls, name) is slot for name, slot in slots.items())
    )
    return Layout(
        cls=cls,
        options=options[0] if options else Options(cls),
        skipped=introspection.NOT_FIELDS.union(
            introspection.cached_names(cls), *(each.transient for each in options)
        ),
        pickled=frozenset().union(*(each.pickled for each in options)),
        declared=declared | slots.keys() - {FIELDS_SET},
        slots=slots,
        reads_slots=reads_slots or not slots,
        reads_dict=is_usual and dicts == ["__dict__"] and _has_usual_dict(cls),
        dicts=tuple(dicts),
        private=private,
        factories={k: make for each in reversed(options) for k, make in each.factories.items()},
        descriptions={},
        offered=[],
    )
