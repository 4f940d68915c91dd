"""SharedCounter."""

from __future__ import annotations

import math
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Self

from autostate.containers.counter import T
from autostate.shared.container import SharedContainer, on_copy, refused
from autostate.shared.handle import Handle, Options

Number = int | float

MOST_NOTES: Final = 4096
"""The most notes that a thread keeps of one counter; each read of a key makes two.

When there are more, the thread forgets the older half; an assignment whose notes are forgotten
raises TypeError. So an expression may read 1024 keys before it assigns, as in
`x["all"] += sum(x[key] for key in keys)`, and 1024 tasks may wait in
`x["bytes"] += await size()` at a time.
"""

_ADDS: Final = "a shared counter adds; write x[k] += n, or x.update({k: n})"
_OF_ALL: Final = "two processes would both do it, and take twice as much away"
# A name of the module is found faster than an attribute.
_get, _absent, _frame = dict.get, object(), sys._getframe


class _Notes(threading.local):
    """What this thread has read of a counter, the oldest first, for the next assignment.

    The count that was read last is noted by key, and that which a function has read last by the
    call of the function and the key. In `x[k] += f()`, `f` may read the key again after a refresh,
    or assign it, and in `x[k] += await f()` another task may; the assignment means the count that
    was read in the same call. The note by key alone is for `x[k] = read(k) + 1`.
    """

    def __init__(self) -> None:
        self.read: dict[Any, Number] = {}


def _call(frame: FrameType, key: Any) -> tuple[int, int, Any]:
    """Identify a key in one call of a function, without a reference that keeps its locals alive.

    A later call may have a frame at the same address. Most are of another function; and a call
    that reads the key before it assigns replaces the note.
    """
    return id(frame), id(frame.f_code), key


def _note(self: Any, key: Any, value: Number, frame: FrameType) -> None:
    notes = self._notes_.read
    for place in (key, _call(frame, key)):
        notes.pop(place, None)  # else it would keep its former place in the order
        notes[place] = value
    if len(notes) > MOST_NOTES:  # one by one, each search would pass all deleted ones
        for oldest in list(islice(notes, MOST_NOTES // 2)):
            notes.pop(oldest, None)  # a signal handler may have assigned it


def _number(value: Any) -> Number:
    """Check a count or a difference, and make it a plain int or float."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__add__(value, 0)
    if isinstance(value, float) and math.isfinite(value):
        return float.__add__(value, 0.0)
    kind = "a float that is not finite" if isinstance(value, float) else type(value).__name__
    raise TypeError(f"the counts of a shared counter are of int or finite float, not {kind}")


class SharedCounter(SharedContainer, Counter[T]):
    """A `collections.Counter` that any number of processes, machines and Actor runs add to at once.

    A read shows what this process has added, and what others had added as of the last refresh.
    Every change is a difference, and the differences of all processes are added up:

    - `x[k] += n` and `x[k] -= n` add and subtract. They record the difference of the assigned
      count to the one that the same call of a function has read last of the key, or else the same
      thread; so no increment is lost beside those of other threads and tasks, and beside refreshes.
      An assignment that no read of the key precedes raises TypeError.
    - `update`, `subtract`, `+=` and `-=` take a mapping or an iterable, as `Counter.update` does,
      and record the differences of a call as a whole. Unlike those of Counter, `+=` and `-=` keep
      negative counts.
    - `del`, `pop`, `popitem`, `setdefault`, `clear`, `|=` and `&=` raise TypeError: they depend on
      what is in view, and two processes that did the same would do it twice.

    Counts are ints, which are exact, or finite floats, which are rounded as in any sum. A count of
    zero is not shown: the key is absent, as one that was never counted. The order of the keys is
    that of this process.

    Args:
        name: The name of the counter. The same name gives the same live object.

    Example:
        hits = SharedCounter[str]("hits")
        hits["page"] += 1
        hits.update({"page": 2, "image": 1})
        hits.refresh()
    """

    __slots__ = ("_handle_", "_notes_")
    _builtin_ = Counter
    if TYPE_CHECKING:
        _notes_: _Notes

    def __init__(self, name: str, /) -> None:
        """Do nothing: the object may be live already."""

    @classmethod
    def _made_(cls, handle: Handle, options: Options) -> Self:
        """Make an empty counter that is bound to a handle."""
        made = super()._made_(handle, options)
        made._notes_ = _Notes()
        return made

    def copy(self) -> Counter[T]:  # type: ignore[override]
        """Make a plain, shallow copy."""
        made: Counter[T] = Counter()
        with self._handle_.lock:
            dict.update(made, dict.copy(self))
        return made

    @classmethod
    def fromkeys(  # type: ignore[override]
        cls, iterable: Iterable[Any], v: int | None = None
    ) -> Any:
        """Raise NotImplementedError, as `Counter.fromkeys` does."""
        return Counter.fromkeys(iterable, v)

    if not TYPE_CHECKING:  # type checkers see the builtin's own signatures

        def __getitem__(self, key: T, /) -> Number:
            value = _get(self, key, _absent)
            if value is _absent:
                value = self.__missing__(key)
            _note(self, key, value, _frame(1))
            return value

        def get(self, key: T, default: Any = None, /) -> Any:
            """Return the count of a key, or the default if the key is absent."""
            value = _get(self, key, _absent)
            _note(self, key, 0 if value is _absent else value, _frame(1))
            return default if value is _absent else value

        def __setitem__(self, key: T, value: Number, /) -> None:
            notes = self._notes_.read
            last = notes.pop(key, None)
            read = notes.pop(_call(_frame(1), key), last)
            if read is None:
                raise TypeError(_ADDS)
            if type(value) is not int:
                value = _number(value)
            if difference := value - read:
                if type(difference) is not int:  # it may be too large for a float
                    difference = _number(difference)
                self._handle_.write({key: difference})

        def update(self, iterable: Any = None, /, **kwargs: Number) -> None:
            """Add counts, as `Counter.update` does: all of them, or none."""
            _add(self, Counter(iterable, **kwargs), 1)

        def subtract(self, iterable: Any = None, /, **kwargs: Number) -> None:
            """Subtract counts, as `Counter.subtract` does: all of them, or none."""
            _add(self, Counter(iterable, **kwargs), -1)

        def __iadd__(self, other: Any, /) -> Self:
            """Add counts, as `update` does."""
            _add(self, Counter(_some(other)), 1)
            return self

        def __isub__(self, other: Any, /) -> Self:
            """Subtract counts, as `subtract` does."""
            _add(self, Counter(_some(other)), -1)
            return self

        def __repr__(self) -> str:
            return type(self).__name__ + repr(self.copy()).removeprefix("Counter")

        __delitem__ = refused(Counter, "__delitem__", f"{_OF_ALL}: write x[k] -= n")
        pop = refused(Counter, "pop", f"{_OF_ALL}: write x[k] -= n")
        popitem = refused(Counter, "popitem", f"{_OF_ALL}: write x[k] -= n")
        clear = refused(Counter, "clear", f"{_OF_ALL}: write x.subtract(counts), or use a new name")
        setdefault = refused(Counter, "setdefault", _ADDS)
        __ior__ = refused(Counter, "__ior__", f"the larger count is none to add: {_ADDS}")
        __iand__ = refused(Counter, "__iand__", f"the smaller count is none to add: {_ADDS}")
        _keep_positive = refused(Counter, "_keep_positive", f"{_OF_ALL}: use +x, a plain copy")


def _some(other: Any) -> Any:
    """Refuse `x += None`, which `Counter(None)` accepts."""
    if other is None:
        raise TypeError(f"a shared counter adds counts, not {type(other).__name__}")
    return other


def _add(self: SharedCounter[Any], counts: Mapping[Any, Any], sign: int) -> None:
    changes = {key: sign * number for key, count in counts.items() if (number := _number(count))}
    if changes:
        self._handle_.write(changes)


for _name in (
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
    *("__add__", "__sub__", "__or__", "__and__", "__xor__", "__pos__", "__neg__"),
    *("elements", "most_common"),
):
    if hasattr(Counter, _name):  # `__xor__` is newer than Python 3.14
        setattr(SharedCounter, _name, on_copy(Counter, _name))
if hasattr(Counter, "__ixor__"):
    _advice = f"a difference of counts is none to add: {_ADDS}"
    setattr(SharedCounter, "__ixor__", refused(Counter, "__ixor__", _advice))  # noqa: B010
