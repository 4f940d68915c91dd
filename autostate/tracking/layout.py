"""Where the objects of a `@persisted` class keep their fields, and which of them are saved.

The fields of an object are everything in its `__dict__` and its slots, and the further dicts of a
pydantic model. Reading and writing fields here runs no code of the program: no `__getattr__`, no
`__setattr__`, no property, no validator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, field

from autostate.codec import classes
from autostate.codec.bound import OPTIONS, is_persisted
from autostate.codec.classes import _static
from autostate.codec.names import find, name_of
from autostate.errors import UpgradeError
from autostate.process.interrupts import is_passing
from autostate.tracking import refcount

MISSING: Final = object()
_NOT_FIELDS: Final = frozenset({"__weakref__", "__orig_class__", "_attrs_cached_hash"})
_FIELDS_SET: Final = "__pydantic_fields_set__"
_EXTRA: Final = "__pydantic_extra__"
_PRIVATE: Final = "__pydantic_private__"
_PYDANTICS: Final = frozenset({_FIELDS_SET, _EXTRA, _PRIVATE})

Upgrade = Callable[[dict[str, Any], int], Any]


class Options(Struct, frozen=True):
    """The options of one class, as given to `@persisted` and in the body of the class.

    Attributes:
        draft: The class as it was before it was decorated.
        template: The name of its state objects, in which "{argument}" stands for the value of that
            argument of the constructor; None: the name of the class.
        version: The version of the stored shape.
        upgrades: Functions that bring stored fields to the next version; one for all versions, or
            one for each version from the first on.
        transient: Fields that are not saved.
        pickled: Fields that are saved as pickles.
        factories: Functions that make the default of a transient field of a plain class.
    """

    draft: type
    template: str | None = None
    version: int = 1
    upgrades: Upgrade | tuple[Upgrade, ...] | None = None
    transient: frozenset[str] = frozenset()
    pickled: frozenset[str] = frozenset()
    factories: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


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
        dicts: Names of the attributes that hold fields by name.
        factories: As in `Options`.
    """

    cls: type
    options: Options
    skipped: frozenset[str]
    pickled: frozenset[str]
    declared: frozenset[str]
    slots: Mapping[str, Any]
    reads_slots: bool
    dicts: tuple[str, ...]
    factories: Mapping[str, Callable[[], Any]]

    @property
    def name(self) -> str:
        """The name of the class in the store."""
        return name_of(self.cls)

    @property
    def is_model(self) -> bool:
        """Whether the class is a pydantic model."""
        return _FIELDS_SET in self.slots

    def read(self, instance: Any) -> dict[str, Any]:
        """Return the fields of one object that are saved, by name."""
        dicts = [dict(held(instance, name)) for name in self.dicts]
        return self.saved(dicts, self.read_slots(instance))

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
        if self.is_model and _FIELDS_SET in fields:
            names = tuple(sorted(fields[_FIELDS_SET]))
            known = before.get(_FIELDS_SET)
            fields[_FIELDS_SET] = known if known == names else names
        return fields

    def put(self, instance: Any, name: str, value: Any) -> None:
        """Set a field of an object."""
        slot = self.slots.get(name)
        value = set(value) if name == _FIELDS_SET else value
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
        for where in self.dicts[1:]:
            content = _get(instance, where, None)
            if where == _PRIVATE and name in _static(self.cls, "__private_attributes__"):
                if content is None:
                    content = {}
                    object.__setattr__(instance, where, content)
                found: dict[str, Any] = content
                return found
            if where == _EXTRA and name not in self.declared and content is not None:
                return content  # type: ignore[no-any-return]
        own: dict[str, Any] = _get(instance, "__dict__")
        return own

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
            private = name in (_static(self.cls, "__private_attributes__") or ())
            return private or _EXTRA in self.dicts
        found = _static(self.cls, name)
        return not hasattr(type(found), "__get__") and not classes.hides(self.cls, name)

    def blank(self) -> Any:
        """Make an object of the class without its constructor, with the defaults of its fields."""
        made: Any = object.__new__(self.cls)
        if self.is_model:
            for name in (_EXTRA, _PRIVATE):
                object.__setattr__(made, name, {} if name in self.dicts else None)
            object.__setattr__(made, _FIELDS_SET, set())
        return made

    def default(self, instance: Any, name: str) -> Any:
        """Return the class's default for a declared field; MISSING if there is none."""
        known = classes.fields_of(self.cls)
        if isinstance(known, str):
            return MISSING
        try:
            return known.default(name, instance)
        except Exception as error:  # none, or the program's own factory wants a constructor
            if is_passing(error):
                raise
            return MISSING

    def check_version(self, version: int, name: str) -> None:
        """Refuse fields that a newer version of the class has stored.

        Raises:
            UpgradeError: The version is newer than that of the class.
        """
        if version > self.options.version:
            raise UpgradeError(
                f"{name} was stored by version {version} of {self.name}, and this program has "
                f"version {self.options.version}: run the newer program, or "
                f"autostate.delete({name!r}). Nothing was touched"
            )

    def upgraded(self, state: dict[str, Any], version: int, name: str) -> dict[str, Any] | None:
        """Bring stored fields to the version of the class.

        Args:
            state: The fields; may be changed.
            version: The version under which they were stored.
            name: The name of the state object, for messages.

        Returns:
            The fields; None if they have the version of the class already.

        Raises:
            UpgradeError: A function on the way to that version failed.
        """
        wanted, upgrades = self.options.version, self.options.upgrades
        if version == wanted:
            return None
        for step in range(version, wanted if upgrades is not None else version):
            function: Any = upgrades[step - 1] if isinstance(upgrades, tuple) else upgrades
            try:
                state = _checked(function(state, step), state)
            except Exception as error:
                if is_passing(error):
                    raise
                raise UpgradeError(
                    f"{name} could not be upgraded from version {step} of {self.name} to "
                    f"{step + 1}: {type(error).__name__} in {function.__qualname__}. It is left as "
                    f"it is stored, at version {version}"
                ) from error
        return state


def _get(instance: Any, name: str, default: Any = MISSING) -> Any:
    """Read an attribute without running code of the class."""
    try:
        return object.__getattribute__(instance, name)
    except AttributeError:
        if default is MISSING:
            raise
        return default


def held(instance: Any, name: str) -> dict[str, Any]:
    """Return the dict in an attribute of an object; an empty one if there is none."""
    found: dict[str, Any] = _get(instance, name, None) or {}
    return found


def read_slot(slot: Any, instance: Any) -> Any:
    """Return the content of a slot; MISSING if it is unset."""
    try:
        return slot.__get__(instance)
    except AttributeError:
        return MISSING


def _checked(result: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Check the result of an upgrade: a new dict of fields, or None if it changed its argument."""
    fields = state if result is None else result
    if not isinstance(fields, dict) or not all(type(name) is str for name in fields):
        raise TypeError("an upgrade gives the fields, a dict by name, or None")
    return dict(fields)


def layout_of(cls: type) -> Layout:
    """Return the layout of a `@persisted` class, or of a class that is based on one."""
    known: Layout | None = vars(cls).get(_LAYOUT)
    if known is None:
        known = _inspect(cls)
        type.__setattr__(cls, _LAYOUT, known)
    return known


_LAYOUT: Final = "__autostate_layout__"


def options_of(cls: type) -> Iterator[Options]:
    """Yield the options of a class and of its bases, the nearest first."""
    return (vars(base)[OPTIONS] for base in cls.__mro__ if OPTIONS in vars(base))


def class_named(name: str) -> type | None:
    """Return the `@persisted` class of a name, among those that the program has loaded."""
    return find(name, is_persisted)


def _inspect(cls: type) -> Layout:
    options = list(options_of(cls))
    slots = {name: slot for name, slot in classes.slots_of(cls).items() if name not in _NOT_FIELDS}
    model = _FIELDS_SET in slots
    dicts = ["__dict__"] if cls.__dictoffset__ != 0 or "__dict__" in slots else []
    slots.pop("__dict__", None)
    if model:
        config = _static(cls, "model_config") or {}
        if _static(cls, "__private_attributes__"):
            dicts.append(_PRIVATE)
        if config.get("extra") == "allow":
            dicts.append(_EXTRA)
        slots = {name: slot for name, slot in slots.items() if name not in {_EXTRA, _PRIVATE}}
    caches = {
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, functools.cached_property)
    }
    caches |= _cached_by_attrs(cls)
    known = classes.fields_of(cls)
    declared = frozenset() if isinstance(known, str) else known.names
    reads_slots = (
        _static(cls, "__getattribute__") is vars(object)["__getattribute__"]
        and _static(cls, "__getattr__") is None
        and all(_static(cls, name) is slot for name, slot in slots.items())
    )
    return Layout(
        cls=cls,
        options=options[0] if options else Options(cls),
        skipped=_NOT_FIELDS.union(caches, *(each.transient for each in options)),
        pickled=frozenset().union(*(each.pickled for each in options)),
        declared=declared | frozenset(slots) - _PYDANTICS,
        slots=slots,
        reads_slots=reads_slots or not slots,
        dicts=tuple(dicts),
        factories={k: make for each in reversed(options) for k, make in each.factories.items()},
    )


def _cached_by_attrs(cls: type) -> set[str]:
    """Find the slots in which attrs keeps the values of `cached_property`.

    attrs makes all slots of such a class: for the fields, and for these values.
    """
    caches: set[str] = set()
    for base in cls.__mro__:
        fields = vars(base).get("__attrs_attrs__")
        if fields is not None and "__slots__" in vars(base):
            caches.update({*vars(base)["__slots__"]} - {field.name for field in fields})
    return caches
