"""Which key a mapping or set holds in the place of an equal one.

`hits[numpy.int64(1)] += 1` changes the value of the key 1: a container keeps the key that came
first, and this *held* key is the one that is stored. No method of dict or set returns it, but a
lookup compares the held key with the one that is looked up. A *probe* is equal to the key that is
looked up, and notes the key to which it is compared.

C code asks the held key's `__eq__` first, except when the class of the other operand is derived
from the held key's class. So where `__eq__` is written in Python, the probe's class is derived from
the class of the key. Without that:

- `return isinstance(other, Key) and ...` is False for a probe, and each removal had to compare
  with every key;
- `__eq__` was called for an identical key, for which a plain lookup calls none; an `__eq__` that
  changes the container was then called again and again.

A NumPy scalar that is compared with an unknown object converts itself to an int, so that the probe
would note an int. `__array_ufunc__ = None` makes the scalar leave the comparison to the probe.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from autostate.process.interrupts import is_passing
from autostate.tracking.derive import derive

_NOTHING: Final = object()


class _Note:
    """The key that a probe looks for, and the key to which it was compared."""

    __slots__ = ("found", "wanted")

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted
        self.found: Any = _NOTHING

    def compare(self, other: Any) -> bool:
        """Compare as a lookup does: identical keys are equal, without a call of `__eq__`."""
        if other is self.wanted or other == self.wanted:
            self.found = other
            return True
        return False


class _Probe:
    """A probe for keys whose class answers `NotImplemented` to an unknown class."""

    __slots__ = ("_note",)
    __array_ufunc__ = None  # or a NumPy scalar compares its value as a Python object, not itself

    def __init__(self, note: _Note) -> None:
        self._note = note

    def __hash__(self) -> int:
        return hash(self._note.wanted)

    def __eq__(self, other: object) -> bool:
        return self._note.compare(other)


_IN_C: Final = type(object.__new__)
_derived: Final[WeakKeyDictionary[type, ref[type]]] = WeakKeyDictionary()
"""Classes of probes by the class of keys; weak: a derived class keeps its base alive."""


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
    return derive(cls, namespace)


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
    """Return the key or member that a container holds in the place of an equal one, else `key`.

    Args:
        builtin: The builtin whose functions look up and iterate.
        container: A mapping or a set.
        key: The key that is looked up.
    """
    note = _Note(key)
    try:
        found = builtin.__contains__(container, _probe(note))
        if not found or note.found is not _NOTHING:
            return note.found if found else key
    except Exception as error:  # of an `__eq__`, or of a class that accepts only its own kind
        if is_passing(error):
            raise
    return _search(builtin, container, key)


def _search(builtin: Any, container: Any, key: Any) -> Any:
    """Compare with all keys: some `__eq__` did not leave the answer to the probe."""
    if not builtin.__contains__(container, key):
        return key
    code = hash(key)
    keys: Iterable[Any] = builtin.__iter__(container)
    equal = (one for one in keys if hash(one) == code and (one is key or one == key))
    return next(equal, key)
