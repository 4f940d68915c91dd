"""Which key a mapping or set holds in the place of an equal one.

`hits[numpy.int64(1)] += 1` changes the value of the key 1: a container keeps the key that came
first, and that is the one that is stored. No method of dict or set gives it, but a lookup compares
it with what is looked up. A *probe* is equal to what is looked for, and notes the key to which it
is compared.

C code asks the held key's `__eq__` first, except when the class of the other operand is derived
from the held key's class. So where `__eq__` is written in Python, the probe's class is derived from
the class of the key. Without that:

- `return isinstance(other, Key) and ...` is False for a probe, and each removal had to compare
  with every key;
- an identical key was compared, for which a lookup by itself calls no `__eq__`: one that changes
  the container while it compares was called again and again.

A NumPy scalar would convert itself to compare with what it does not know: the probe would be shown
an int in its place. `__array_ufunc__ = None` makes it leave the answer to the probe.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterable
from types import FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from autostate.process.interrupts import is_passing

_NOTHING: Final = object()


class _Note:
    """What a probe looks for, and what it was compared to."""

    __slots__ = ("found", "wanted")

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted
        self.found: Any = _NOTHING

    def compare(self, other: Any) -> bool:
        """Compare as a lookup does: what is identical is equal without being asked."""
        if other is self.wanted or other == self.wanted:
            self.found = other
            return True
        return False


class _Probe:
    """Is compared to a key whose class answers `NotImplemented` for what it does not know."""

    __slots__ = ("_note",)
    __array_ufunc__ = None  # or a NumPy scalar compares its value as a Python object, not itself

    def __init__(self, note: _Note) -> None:
        self._note = note

    def __hash__(self) -> int:
        return hash(self._note.wanted)

    def __eq__(self, other: object) -> bool:
        return self._note.compare(other)


class _Silent:
    """Keeps `__init_subclass__` of a user's class from running for a class of probes."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Do nothing."""


_IN_C: Final = type(object.__new__)
_derived: Final[WeakKeyDictionary[type, ref[type]]] = WeakKeyDictionary()
"""By the class of keys; weak, because a derived class keeps the other one alive."""


def _note_of(probe: Any) -> _Note:
    note: _Note = object.__getattribute__(probe, "__dict__")["note"]
    return note


def _derive(cls: Any) -> type:
    """Make a class of probes that is derived from the class of a key."""
    namespace = {
        "__array_ufunc__": None,
        "__eq__": lambda self, other: _note_of(self).compare(other),
        "__hash__": lambda self: hash(_note_of(self).wanted),
        "__del__": lambda _: None,  # a probe was never initialised
    }
    make: Any = ABCMeta.__new__ if isinstance(cls, ABCMeta) else type.__new__
    made: type = make(type(cls), cls.__name__, (_Silent, cls), namespace)
    return made


def _probe(note: _Note) -> Any:
    cls = type(note.wanted)
    if not isinstance(cls.__eq__, FunctionType):
        return _Probe(note)
    known = _derived.get(cls)
    derived = None if known is None else known()
    if derived is None:
        derived = _derive(cls)
        _derived[cls] = ref(derived)
    bases = (base for base in cls.__mro__ if isinstance(vars(base).get("__new__"), _IN_C))
    allocates: Any = next(bases)
    probe = allocates.__new__(derived)
    object.__getattribute__(probe, "__dict__")["note"] = note
    return probe


def held_key(builtin: Any, container: Any, key: Any) -> Any:
    """The key or member that a container holds in the place of an equal one; else the key itself.

    Args:
        builtin: The builtin whose functions look up and iterate.
        container: A mapping or a set.
        key: What is looked up.
    """
    note = _Note(key)
    try:
        found = builtin.__contains__(container, _probe(note))
        if not found or note.found is not _NOTHING:
            return note.found if found else key
    except Exception as error:  # of an `__eq__` or of a class that knows its own kind only
        if is_passing(error):
            raise
    return _search(builtin, container, key)


def _search(builtin: Any, container: Any, key: Any) -> Any:
    """Compare with all keys: an `__eq__` answered by itself, instead of leaving it to the probe."""
    if not builtin.__contains__(container, key):
        return key
    code = hash(key)
    keys: Iterable[Any] = builtin.__iter__(container)
    equal = (one for one in keys if hash(one) == code and (one is key or one == key))
    return next(equal, key)
