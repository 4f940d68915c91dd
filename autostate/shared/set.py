"""SharedSet."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from autostate.containers.root import T
from autostate.shared.container import SharedContainer, refused

_NO_QUEUE: Final = (
    "a shared set is no lock and no queue: two processes would take the same member. For claims "
    "use the unique key of a RequestQueue, SADD of Redis, or INSERT … ON CONFLICT of SQL"
)


def _members(others: Iterable[Any]) -> list[Any]:
    """Read all arguments before the lock is taken: a thread they wait for may need it."""
    return [other if isinstance(other, set | frozenset) else set(other) for other in others]


def _write(self: SharedSet[Any], operations: dict[Any, bool]) -> None:
    if operations:
        self._handle_.write(operations)


def _add_all(self: SharedSet[Any], *others: Any) -> None:
    _write(self, dict.fromkeys(set().union(*others), True))


def _discard_all(self: SharedSet[Any], *others: Any) -> None:
    removed = set().union(*others)
    with self._handle_.lock:
        _write(self, dict.fromkeys(set.intersection(self, removed), False))


def _keep(self: SharedSet[Any], *others: Any) -> None:
    members = _members(others)
    with self._handle_.lock:
        kept = set.intersection(self, *members)
        _write(self, dict.fromkeys(set.difference(self, kept), False))


def _toggle(self: SharedSet[Any], other: Any, /) -> None:
    members = set(other)
    with self._handle_.lock:
        _write(self, {member: not set.__contains__(self, member) for member in members})


def _in_place(name: str, apply: Any) -> Any:
    """Make an in-place operator, which takes sets only, as the builtin's."""

    @functools.wraps(getattr(set, name))
    def method(self: SharedSet[Any], other: Any, /) -> Any:
        if not isinstance(other, set | frozenset):
            return NotImplemented
        apply(self, other)
        return self

    return method


def _hashable(member: Any) -> Any:
    """Convert a set to a frozenset, as the builtin's `in` and `discard` do."""
    is_set = isinstance(member, set) and type(member).__hash__ is None
    return frozenset(member) if is_set else member


class SharedSet(SharedContainer, set[T]):
    """A set that any number of processes, machines and Actor runs change at once.

    A read shows what this process has done, and what others had done as of the last refresh. All
    methods that change a set work, except `pop`:

    - Add wins: a removal takes back the adds that are in view, and no add that another process
      makes at the same time.
    - `-=`, `&=`, `^=` and `clear` remove, and `^=` adds, by what is in view.
    - `pop` raises TypeError. A shared set is no lock and no queue: two processes that find a
      member absent, or present, may both do so.

    Args:
        name: The name of the set. The same name gives the same live object.

    Example:
        seen = SharedSet[str]("seen")
        seen.add("https://example.com")
        seen.refresh()
    """

    __slots__ = ("_handle_",)
    _builtin_ = set

    def __init__(self, name: str, /) -> None:
        """Do nothing: the object may be live already."""

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        @functools.wraps(set.add)
        def add(self, member: T, /) -> None:
            """Add a member; an add counts even if the member is there."""
            self._handle_.write({member: True})

        @functools.wraps(set.discard)
        def discard(self, member: Any, /) -> None:
            """Remove a member if it is in view, as `set.discard` does."""
            member = _hashable(member)
            with self._handle_.lock:
                if set.__contains__(self, member):
                    self._handle_.write({member: False})

        @functools.wraps(set.remove)
        def remove(self, member: Any, /) -> None:
            """Remove a member that is in view, as `set.remove` does."""
            key = _hashable(member)
            with self._handle_.lock:
                if not set.__contains__(self, key):
                    raise KeyError(member)
                self._handle_.write({key: False})

        @functools.wraps(set.clear)
        def clear(self) -> None:
            """Remove all members that are in view."""
            with self._handle_.lock:
                _write(self, dict.fromkeys(self, False))

        pop = refused(set, "pop", _NO_QUEUE)
        update = functools.wraps(set.update)(_add_all)
        difference_update = functools.wraps(set.difference_update)(_discard_all)
        intersection_update = functools.wraps(set.intersection_update)(_keep)
        symmetric_difference_update = functools.wraps(set.symmetric_difference_update)(_toggle)
        __ior__ = _in_place("__ior__", _add_all)
        __isub__ = _in_place("__isub__", _discard_all)
        __iand__ = _in_place("__iand__", _keep)
        __ixor__ = _in_place("__ixor__", _toggle)
