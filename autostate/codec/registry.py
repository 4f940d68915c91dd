"""Classes that can be saved beyond the builtin ones, each under a name.

A name is a tag that the program gave with `register`, or, for a class whose fields are known
(`classes.py`), "module:qualname". A name from a store is looked up here and among the classes that
the program has loaded. Nothing is imported for it.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Final, TypeVar, overload

from msgspec import Struct

from autostate.codec import arrays, classes
from autostate.codec.classes import Fields, fields_of, is_known, why_unknown
from autostate.codec.enums import is_enum
from autostate.codec.introspection import attributes_by_name
from autostate.codec.names import find, name_of
from autostate.codec.secret import PYDANTIC, SECRETS, Secret, of_pydantic, put_into, taken_out
from autostate.codec.signatures import Encode
from autostate.codec.types import FIXED, zone_class
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import shown

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])
Named = type | Callable[..., Any]
"""What can have a tag: a class or a function."""

ENCODERS: Final[dict[type, Encode]] = {}
"""The functions that translate values of exactly one class; filled by `tagged.py`."""

BUILTIN: Final[set[type]] = set()
"""Classes that are saved without, and must not be, registered: filled by `tagged.py`."""

ATOMS: Final[set[type]] = {str, int, bool, type(None), float, range, Fraction, Secret, *FIXED}
"""Classes whose values never change and never hold a container; `is_atom` adds others."""

_TAG: Final = r"[A-Za-z_][A-Za-z0-9_.\-/]{0,99}"


class TypeEntry(Struct, frozen=True, eq=False):
    """The way to save the values of one class.

    Attributes:
        name: The name under which they are stored.
        encode: Gives the payload of a value: any value that can be saved.
        decode: Makes a value of a payload.
        mutable: Whether values, or the values inside them, can change.
        fields: The fields of the class, if the payload is the dict of them, which is no container
            of the state itself; None for a class with an `encode` of its own, and for an enum.
    """

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    mutable: bool
    fields: Fields | None = None

    def parts(self, value: Any) -> Iterable[Any]:
        """Give the values inside one, as far as they can change."""
        if self.fields is not None:
            return self.fields.parts(value)
        return attributes_by_name(value).values() if self.mutable else ()


_by_class: Final[dict[type, TypeEntry]] = {}
_by_tag: Final[dict[str, Named]] = {}
_automatic: Final[dict[type, TypeEntry]] = {}


@overload
def register(
    cls: type[C],
    tag: str,
    *,
    encode: Callable[[C], Any],
    decode: Callable[[Any], C],
    mutable: bool = True,
) -> type[C]: ...
@overload
def register(cls: F, tag: str, *, mutable: bool = True) -> F: ...
def register(
    cls: Any,
    tag: str,
    *,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
    mutable: bool = True,
) -> Any:
    """Register how objects of a class are saved, and under which name.

    Call it where the class is defined: before state objects that hold its objects are created.
    For dataclasses, attrs classes, pydantic models, named tuples and enums `encode` and `decode`
    may be left out. Such classes are saved without being registered, too; a tag lets the class be
    renamed or moved to another module later.

    A function can be registered as well: as the `default_factory` of a `defaultdict`.

    Args:
        cls: The class. Its subclasses are not included: register each one that occurs.
        tag: The name under which its objects are stored, such as "shop.cart". It must not change.
        encode: Returns the content of an object, in any form that can be saved: a dict, a tuple,
            other objects. It must not change the object.
        decode: Makes an object from a result of `encode`. For an object that was stored before
            the class had a `decode`, it gets a dict of the fields by name.
        mutable: Whether objects can change. If they can, they are compared at every save.

    Returns:
        The class, or function.

    Raises:
        TypeError: `cls` is no class or function, or `encode` and `decode` are missing or no
            functions.
        ValueError: The tag cannot be used, or it or the class is registered for something else.

    Example:
        >>> import autostate
        >>> class Money:
        ...     def __init__(self, amount, currency):
        ...         self.amount, self.currency = amount, currency
        >>> _ = autostate.register(
        ...     Money,
        ...     "money",
        ...     encode=lambda money: (money.amount, money.currency),
        ...     decode=lambda saved: Money(*saved),
        ...     mutable=False,
        ... )
    """
    _check_tag(tag)
    if not callable(cls):
        raise TypeError(f"register() takes a class, not {type(cls).__name__}")
    _check_free(cls, tag)
    if isinstance(cls, type):
        entry = _entry(cls, tag, encode, decode, mutable=mutable)
        for old, known in list(_by_class.items()):
            if known.name == tag:  # of the module before it was reloaded
                _by_class[old] = entry
        _by_class[cls] = entry
        ENCODERS.pop(cls, None)
        ATOMS.discard(cls)
    elif encode is not None or decode is not None:
        raise TypeError(f"{shown(cls)} is no class: encode and decode have no meaning for it")
    _by_tag[tag] = cls
    return cls


def _check_tag(tag: str) -> None:
    if not isinstance(tag, str):
        raise TypeError(f"a tag is a str, not {type(tag).__name__}")
    if not re.fullmatch(_TAG, tag):
        raise ValueError(
            f"{tag!r} cannot be a tag: it begins with a letter, goes on with letters, digits and "
            "any of _ . - / and has 100 characters at most"
        )


def _check_free(cls: Named, tag: str) -> None:
    """Refuse a tag or a class that is taken, except by the same class before a module's reload."""
    known = _by_tag.get(tag, cls)
    if not _is_same(known, cls):
        raise ValueError(f"the tag {tag!r} is registered for {shown(known)} already")
    for other, known in _by_tag.items():
        if known is cls and other != tag:
            raise ValueError(f"{shown(cls)} is registered already, under the tag {other!r}")


def _is_same(one: Named, other: Named) -> bool:
    """Tell whether two are the same class or function, maybe of a reloaded module."""
    if one is other:
        return True
    code, of_other = getattr(one, "__code__", None), getattr(other, "__code__", None)
    if code is not None and code.co_name == "<lambda>":  # all of a module have this name
        return bool(code == of_other)
    return type(one) is type(other) and shown(one) == shown(other)


def _entry(
    cls: type,
    tag: str,
    encode: Callable[[Any], Any] | None,
    decode: Callable[[Any], Any] | None,
    *,
    mutable: bool,
) -> TypeEntry:
    adopt()
    if cls in BUILTIN:
        raise ValueError(f"{shown(cls)} is a type that is saved without being registered")
    if is_enum(cls):
        if encode is not None or decode is not None:
            raise TypeError(f"{shown(cls)} is an enum: its members are saved by name")
        return TypeEntry(tag, _itself, _itself, mutable=False)
    if encode is None and decode is None:
        known = fields_of(cls)
        if known is None:
            why = why_unknown(cls)
            raise TypeError(f"{shown(cls)} {why}: give encode= and decode= as well")
        return _of_fields(tag, known, mutable=mutable and known.mutable)
    if not (callable(encode) and callable(decode)):
        raise TypeError(f"to register {shown(cls)}, give both encode= and decode=, two functions")
    return TypeEntry(tag, encode, decode, mutable)


def _of_fields(name: str, fields: Fields, *, mutable: bool) -> TypeEntry:
    return TypeEntry(name, fields.take_apart, fields.put_together, mutable, fields)


def _itself(value: Any) -> Any:
    return value


def entry_for(cls: type) -> TypeEntry | None:
    """Give the entry for values of exactly this class; None if builtin, or not to be saved."""
    entry = _by_class.get(cls) or _automatic.get(cls)
    if entry is None and not is_enum(cls):
        known = fields_of(cls)
        if known is not None:
            entry = _automatic[cls] = _of_fields(name_of(cls), known, mutable=known.mutable)
    return entry


def forget(cls: type) -> None:
    """Forget what was found out about a class: it will be found out again when it is needed."""
    ENCODERS.pop(cls, None)
    ATOMS.discard(cls)
    _automatic.pop(cls, None)
    classes.forget(cls)


def has_tag(cls: type) -> bool:
    """Tell whether a class is registered."""
    return cls in _by_class


_ignoring = False


def ignore_classes() -> None:
    """Find no class by its name from now on: this process reads the states of other programs.

    It may have loaded a different class with the name of one of theirs.
    """
    global _ignoring
    _ignoring = True


def entry_named(name: str) -> TypeEntry | None:
    """Give the entry for a name in a store; None if this program has none.

    Under a name that is no tag, fields are stored, also if the entry now has a `decode`.
    """
    if ":" not in name:
        known = named(name)
        if known is None and name.startswith(PYDANTIC):
            adopt()
            return next((each for each in _automatic.values() if each.name == name), None)
        return _by_class.get(known) if isinstance(known, type) else None
    if _ignoring:
        return None
    module, _, qualname = name.partition(":")
    where = sys.modules.get(module)
    here: object = None if where is None else vars(where).get(qualname)
    known = _places.get(name)
    if known is not None and known is here:
        return entry_for(known)
    found = find(name, _is_wanted)
    if found is None or is_enum(found):
        return None
    if found is here:
        _places[name] = found
    return entry_for(found)


def _is_wanted(cls: type) -> bool:
    return cls in _by_class or is_known(cls)


_places: Final[dict[str, type]] = {}
"""Classes that were found where their names say: to look there again is quick."""


def enum_name(cls: type) -> str:
    """Give the name under which the members of an enum are stored."""
    entry = _by_class.get(cls)
    return name_of(cls) if entry is None else entry.name


def enum_named(name: str) -> type[enum.Enum] | None:
    """Give the enum of this program for a name in a store; None if there is none."""
    if _ignoring:
        return None
    cls = find(name, is_known) if ":" in name else named(name)
    return cls if isinstance(cls, type) and issubclass(cls, enum.Enum) else None


def adopt() -> None:
    """Let `ZoneInfo` and pydantic's secrets be known types, if the program has loaded them."""
    if "pydantic.types" in sys.modules and _last_secret not in _automatic:
        _adopt_secrets()
    cls = zone_class()
    if cls is not None and cls not in BUILTIN:
        ENCODERS[cls] = ENCODERS[dt.timezone]
        ATOMS.add(cls)
        BUILTIN.add(cls)


_last_secret: type | None = None
"""The last of pydantic's secrets, once all are known: `adopt` is called for each new object."""


def _adopt_secrets() -> None:
    global _last_secret
    for secret in (found := [*of_pydantic()]):
        if secret not in _automatic:
            tag = f"{PYDANTIC}{secret.__name__}"
            _automatic[secret] = TypeEntry(tag, taken_out, put_into(secret), mutable=False)
    if len(found) == SECRETS:  # else it is being imported
        _last_secret = found[-1]


def is_atom(cls: type) -> bool:
    """Tell whether values of exactly this class never change, and never hold a container."""
    if cls not in ATOMS:
        adopt()
    if cls in ATOMS:
        return True
    entry = _by_class.get(cls) or _automatic.get(cls)
    if entry is not None:
        atom = not entry.mutable and entry.fields is None
    else:
        atom = is_enum(cls) or cls is Unknown or arrays.is_scalar(cls)
    if atom:
        ATOMS.add(cls)
    return atom


def named(tag: str) -> Named | None:
    """Give the class or function that is registered under a tag; None if there is none."""
    return _by_tag.get(tag)


def tag_of(function: Named) -> str | None:
    """Give the tag under which a class or function is registered."""
    tags = (tag for tag, known in _by_tag.items() if _is_same(known, function))
    return next(tags, None)
