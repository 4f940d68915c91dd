"""The content of each part of the state, noted so that it can be restored: see `restoring.py`."""

from __future__ import annotations

import contextlib
import functools
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from operator import is_
from typing import Any, Final

from autostate.codec.bound import is_container, root_of
from autostate.codec.introspection import FIELDS_SET, MISSING, read_slot
from autostate.codec.options import is_persisted, transient_fields
from autostate.codec.transparent import Transparent
from autostate.containers.proxy import VALUE, ProxyRoot
from autostate.tracking.barrier import Barrier, before, changed, disarm, kind_of
from autostate.tracking.kind import PLAIN, Kind
from autostate.tracking.mirror import InstanceRoot

Restore = Callable[[], object]

HEAP_TYPE: Final = 1 << 9
"""The flag of classes that were made by a `class` statement."""
_OTHER: Final = (type, types.ModuleType, types.FunctionType, types.MethodType, Enum)
"""Types of objects that are no part of the state, even if the state refers to them."""
_ATOMS: Final = frozenset([str, int, float, bool, type(None), bytes, complex])


class Contents:
    """The contents of all parts of the state, as they were when they were noted."""

    def __init__(self) -> None:
        self._restores: list[Restore] = []
        self._passed: dict[int, Any] = {}

    def note(self, roots: Iterable[Any]) -> None:
        """Note the contents of roots, and of everything inside them. The tracker's lock is held."""
        left = [*roots]
        while left:
            part = left.pop()
            if id(part) in self._passed:
                continue
            self._passed[id(part)] = part  # kept alive, so that its id stays its own
            restore, inside = _noted(part)
            if restore is not None:
                self._restores.append(restore)
            left += [value for value in inside if type(value) not in _ATOMS]

    def release(self) -> None:
        """Untrack parts that belong to a closed store: they were not in the state when noted."""
        for part in self._passed.values():
            node = part._node_ if is_container(part) else None
            if node is not None and node.tracker.closed:
                part._node_ = None
                disarm(part)

    def restore(self) -> None:
        """Restore the parts that have changed. The tracker's lock is held."""
        for restore in self._restores:
            restore()


def _noted(part: Any) -> tuple[Restore | None, Iterable[Any]]:
    """Give the function that restores one part, and the objects inside the part."""
    cls = type(part)
    if issubclass(cls, Transparent):  # first: `isinstance` sees the class of the wrapped object
        return None, [part.__wrapped__]
    if issubclass(cls, InstanceRoot):
        return _of_instance(part)
    if issubclass(cls, ProxyRoot):
        return _of_proxy(part)
    if issubclass(cls, Barrier) or cls in PLAIN:
        return _of_container(part, kind_of(part))
    if issubclass(cls, (tuple, frozenset)):
        return None, part
    if isinstance(part, _OTHER) or (is_persisted(cls) and root_of(part) is not None):
        return None, ()
    return _of_other(part)


def _of_container(part: Any, kind: Kind) -> tuple[Restore, Iterable[Any]]:
    former = kind.copy(part)
    return functools.partial(_refill_container, part, kind, former), _inside(former)


def _refill_container(part: Any, kind: Kind, former: Any) -> None:
    if _is_same(kind.copy(part), former):
        return
    tracked = is_container(part)
    if tracked:  # `refill` goes past the barrier
        before(part)
    kind.refill(part, former)
    if tracked:
        changed(part)


def _of_instance(root: InstanceRoot) -> tuple[Restore, Iterable[Any]]:
    layout, instance = root.known_layout(), root.instance
    former = layout.read(instance)
    if layout.is_model:  # pydantic changes this set in place
        former[FIELDS_SET] = frozenset(former[FIELDS_SET])

    def restore() -> None:
        now = layout.read(instance)
        for name in now.keys() - former.keys():
            layout.drop(instance, name)
        for name, value in former.items():
            if now.get(name, MISSING) is not value:
                layout.put(instance, name, value)

    return restore, former.values()


def _of_proxy(root: ProxyRoot) -> tuple[Restore, Iterable[Any]]:
    former = dict.get(root, VALUE)

    def restore() -> None:
        if dict.get(root, VALUE) is not former:
            root.replace(former)
        root.used()

    return restore, (former,)


def _of_other(part: Any) -> tuple[Restore | None, Iterable[Any]]:
    """Note an object without a barrier: the content of its builtin base, and its attributes."""
    steps: list[Restore] = []
    inside: list[Any] = []
    for builtin in (dict, list, set, deque):
        if isinstance(part, builtin):
            step, content = _of_container(part, PLAIN[builtin])
            steps.append(step)
            inside += content
    if (items := _of_items(part)) is not None:
        steps.append(items)
    elif _is_made_of_attributes(type(part)):
        left_out = transient_fields(type(part))
        for slot in _slots_of(type(part)):
            if slot.__name__ not in left_out:
                former = read_slot(slot, part)
                steps.append(functools.partial(_put_back, slot, part, former))
                inside.append(former)
        attributes = _dict_of(part)
        if attributes is not None:
            kept = {name: value for name, value in attributes.items() if name not in left_out}
            steps.append(functools.partial(_put_back_all, part, kept, left_out))
            inside += kept.values()
    return (lambda: [step() for step in steps]) if steps else None, inside


def _of_items(part: Any) -> Restore | None:
    """Note arrays and random generators: C code keeps their content, which refers to nothing."""
    cls = type(part)
    if isinstance(part, bytearray) or hasattr(cls, "typecode"):
        items: Any = part[:]
        return lambda: part.__setitem__(slice(None), items)
    if hasattr(cls, "__array_interface__"):
        copy = part.copy()
        return lambda: part.__setitem__(..., copy)
    if hasattr(cls, "getstate") and hasattr(cls, "setstate"):
        state = part.getstate()
        return lambda: part.setstate(state)
    return None


def _is_made_of_attributes(cls: Any) -> bool:
    """Tell whether the content of an object is just its attributes.

    An object that defines how it is pickled may be pickled by its name only, as a logger is, and
    refer to half of the program.
    """
    own = cls.__reduce__ is object.__reduce__ and cls.__reduce_ex__ is object.__reduce_ex__
    return own or hasattr(cls, "__struct_fields__")


def _slots_of(cls: type) -> Iterator[types.MemberDescriptorType]:
    """Give the slots of a class."""
    for base in cls.__mro__:
        if base.__flags__ & HEAP_TYPE:
            yield from (
                slot for slot in vars(base).values() if type(slot) is types.MemberDescriptorType
            )


def _put_back(slot: types.MemberDescriptorType, part: Any, former: Any) -> None:
    """Write a slot directly, without the class's `__setattr__`: the class may be frozen."""
    if read_slot(slot, part) is former:
        return
    with contextlib.suppress(AttributeError, TypeError):  # a slot that only C code writes
        if former is MISSING:
            slot.__delete__(part)
        else:
            slot.__set__(part, former)


def _dict_of(part: Any) -> dict[str, Any] | None:
    """Give the attributes of an object that are in no slot."""
    with contextlib.suppress(AttributeError):
        found = object.__getattribute__(part, "__dict__")
        return found if type(found) is dict else None
    return None


def _put_back_all(part: Any, former: Mapping[str, Any], left_out: frozenset[str]) -> None:
    now = _dict_of(part)
    if now is None:
        return
    for name in [name for name in now if name not in former and name not in left_out]:
        del now[name]
    for name, value in former.items():
        if now.get(name, MISSING) is not value:
            now[name] = value


def _inside(content: Any) -> list[Any]:
    return [*content, *content.values()] if isinstance(content, dict) else [*content]


def _is_same(content: Any, former: Any) -> bool:
    """Tell whether two plain containers hold the same objects, in the same order."""
    if len(content) != len(former):
        return False
    if isinstance(content, (set, frozenset)):
        return set(map(id, content)) == set(map(id, former))
    if getattr(content, "default_factory", None) is not getattr(former, "default_factory", None):
        return False
    return all(map(is_, _inside(content), _inside(former)))
