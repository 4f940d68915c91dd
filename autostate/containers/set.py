"""PersistedSet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, overload

from autostate.containers import root
from autostate.containers.root import T
from autostate.tracking.barrier import (
    INTERCHANGEABLE,
    before,
    dropped,
    held_key,
    is_told_apart,
    locked,
    note_same,
    put,
    put_late,
    register_kind,
    span,
)
from autostate.tracking.kind import Kind
from autostate.tracking.unnamed import UNNAMED, unnamed

_set = set


def _plain(name: str) -> Any:
    """Wrap an operation that makes a new set: the new set is a plain one."""
    function = getattr(set, name)

    @functools.wraps(function)
    def method(self: PersistedSet[Any], /, *others: Any) -> Any:
        made = function(self, *others)
        return made if made is NotImplemented or type(made) is _set else _set(made)

    return method


def _removing(name: str) -> Any:
    """Wrap `discard` or `remove`."""
    function = getattr(set, name)

    @functools.wraps(function)
    def method(self: PersistedSet[Any], member: Any, /) -> None:
        if self._node_ is None:
            function(self, member)
            return
        with self._node_.tracker.lock:
            if not set.__contains__(self, member):
                function(self, member)
                note_same(self, _hashable(member))
                return
            member = _hashable(member)
            before(self, member, removes=True)
            member = held_key(self, member)
            function(self, member)
            dropped(self, member)

    return method


def _hashable(member: Any) -> Any:
    """Convert a set to a frozenset, as the builtin's `in` and `discard` do."""
    is_set = isinstance(member, set) and type(member).__hash__ is None
    return frozenset(member) if is_set else member


def _by_member(name: str, apply: Callable[[Any, Any], None]) -> Any:
    """Wrap an in-place operation: it is done member by member where members are recorded."""
    function = getattr(set, name)
    operator = name.startswith("__")
    one = operator or name == "symmetric_difference_update"

    @functools.wraps(function)
    def method(self: PersistedSet[Any], /, *others: Any) -> Any:
        wrong = one and len(others) != 1
        wrong = wrong or (operator and not isinstance(others[0], set | frozenset))
        if wrong or not is_told_apart(self):
            return span(self, function, *others)
        for other in others:
            apply(self, other)
        return self if operator else None

    return method


def _add_all(self: PersistedSet[Any], other: Iterable[Any]) -> None:
    for member in other:
        PersistedSet.add(self, member)


def _discard_all(self: PersistedSet[Any], other: Iterable[Any]) -> None:
    for member in set.intersection(self, other) if isinstance(other, set | frozenset) else other:
        hash(member)  # unlike `discard`, which accepts a set in place of a frozenset
        PersistedSet.discard(self, member)


def _toggle_all(self: PersistedSet[Any], other: Iterable[Any]) -> None:
    for member in _set(other):
        known = set.__contains__(self, member)
        (PersistedSet.discard if known else PersistedSet.add)(self, member)


def _keep(self: PersistedSet[Any], *others: Any) -> None:
    """Remove, one by one, the members that are not in all others too.

    The intersection of {1} and {True}, or of {(1,)} and {(True,)}, holds whichever of the two
    Python picks. If that is not the former member, the former member is removed, and the other
    one is added.
    """
    kept = set.intersection(self, *others)
    former = {member: member for member in set.__iter__(self)}
    for member in former:
        if member not in kept:
            PersistedSet.discard(self, member)
    for member in kept:
        known = former.get(member, member)
        if known is not member and not {type(known)} == {type(member)} <= INTERCHANGEABLE:
            PersistedSet.discard(self, known)
            PersistedSet.add(self, member)


_has, _add = set.__contains__, set.add  # a name of the module is found faster than an attribute


def _record_add(self: Any, member: Any, /) -> None:
    """Add in the recording variant; `barrier.put_late` says how the method ends."""
    if _has(self, member):
        hash(member)  # `in` accepts a set as a member, `add` does not
    else:
        node = self._node_
        if type(member) is not node.entries.key_type:
            node.entries.key_type = None
        try:
            _add(self, member)
        except KeyboardInterrupt:  # Ctrl-C strikes after the write
            put_late(self, member, new=True)
            raise
        node = self._node_
        log = node.log
        if log is not None:
            log.setdefault(member, True)
            if node.log is log:
                return
        put_late(self, member, new=True)


class PersistedSet(root.StateObject, set[T]):
    """A set that saves itself.

    The members of `iterable` are defaults. `PersistedDict` says what defaults do, and which
    errors are raised.

    Example:
        >>> seen = PersistedSet("seen")
        >>> seen.add("https://example.com")
        >>> len(seen)
        1
    """

    __slots__ = ("_key_", "_node_")

    @overload
    def __init__(self, name: str, /) -> None: ...
    @overload
    def __init__(self, name: str, iterable: Iterable[T], /) -> None: ...
    def __init__(self, name: str, iterable: Iterable[Any] = (), /) -> None:
        """Offer the defaults."""
        root.bind(self, name, dict.fromkeys(iterable))

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        @functools.wraps(set.add)
        def add(self, member: T, /) -> None:
            """Add a member, as `set.add` does."""
            if self._node_ is None:
                if self._key_ is UNNAMED:
                    unnamed(self)
                set.add(self, member)
                return
            with self._node_.tracker.lock:
                if set.__contains__(self, member):
                    set.add(self, member)  # only to raise the builtin's error
                    note_same(self, member)
                    return
                before(self, member)
                set.add(self, member)
                put(self, member, new=True)

        @functools.wraps(set.pop)
        def pop(self) -> T:
            """Remove any member and give it, as `set.pop` does."""
            if self._node_ is None:
                return set.pop(self)
            with self._node_.tracker.lock:
                if self._node_.tracker.savepoints and set.__len__(self):
                    member = next(set.__iter__(self))  # known before it is removed
                    if type(member) in INTERCHANGEABLE:
                        before(self, member, removes=True)
                        set.remove(self, member)
                        dropped(self, member)
                        return member
                before(self)
                member = set.pop(self)
                dropped(self, member)
            return member

        clear = locked(set, "clear")
        discard = _removing("discard")
        remove = _removing("remove")
        update = _by_member("update", _add_all)
        __ior__ = _by_member("__ior__", _add_all)
        difference_update = _by_member("difference_update", _discard_all)
        __isub__ = _by_member("__isub__", _discard_all)
        symmetric_difference_update = _by_member("symmetric_difference_update", _toggle_all)
        __ixor__ = _by_member("__ixor__", _toggle_all)
        __iand__ = _by_member("__iand__", _keep)

        @functools.wraps(set.intersection_update)
        def intersection_update(self, /, *others: Any) -> None:
            """Keep the members that are in all others too, as `set.intersection_update` does."""
            if is_told_apart(self):
                _keep(self, *others)
            else:
                span(self, set.intersection_update, *others)

        __repr__ = root.shown_plain("PersistedSet", set, inside="set(...)")


for _name in (
    *("copy", "union", "intersection", "difference", "symmetric_difference"),
    *("__or__", "__and__", "__sub__", "__xor__"),
):
    setattr(PersistedSet, _name, _plain(_name))


def _refill(container: set[Any], content: set[Any]) -> None:
    set.clear(container)
    set.update(container, content)


register_kind(
    Kind(
        name="set",
        shape="set",
        builtin=set,
        tracked=PersistedSet,
        copy=set,
        fill=set.update,
        refill=_refill,
        raw=frozenset({"add", "discard", "remove", "pop", "clear"}),
        recording={"add": _record_add},
    )
)
