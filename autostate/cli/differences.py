"""The differences between two values, entry by entry, at every depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from autostate.cli.paths import extended
from autostate.cli.values import Fields, Opaque

Kind = Literal["added", "removed", "changed"]
_SEQUENCES: Final = (list, tuple, deque)


class Difference(NamedTuple):
    """One difference.

    Attributes:
        kind: Whether an entry was added, was removed, or has another value.
        path: The path of the entry, as messages write it; of a member of a set that of the set.
        old: The value before; of a member the member. None: there was none.
        new: The value after; of a member the member. None: there is none.
    """

    kind: Kind
    path: str
    old: Any
    new: Any


def differences(old: Any, new: Any, path: str) -> Iterator[Difference]:
    """Find what differs. Values of different types differ, also if they are equal: 1 and True.

    Args:
        old: The value before.
        new: The value after.
        path: The path of both.
    """
    return _found(old, new, path, _Pairs())


class _Pairs:
    """Pairs of containers, by `id`, and what is known of them.

    Each pair is compared as a whole once, so that the time is linear in what is stored: a list in a
    list is compared for what both begin with, for what both end with, and then by itself; and a
    container may be at many places.

    Attributes:
        seen: Those of which each difference is told at one place.
    """

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()
        self._equal: dict[tuple[int, int], bool] = {}

    def are_equal(self, old: Any, new: Any) -> bool:
        """Tell whether nothing differs, apart from pairs that are seen."""
        here: set[tuple[int, int]] = set()
        found = self._compared(old, new, here)
        if found:  # also what was only taken for equal inside itself
            self._equal.update(dict.fromkeys(here, True))
        return found

    def _compared(self, old: Any, new: Any, here: set[tuple[int, int]]) -> bool:
        """Compare two values.

        Args:
            old: The value before.
            new: The value after.
            here: The pairs that this comparison has met: they are equal if all others are.
        """
        if not _alike(old, new):
            return False
        if not isinstance(old, (Fields, dict, *_SEQUENCES)):
            is_set = isinstance(old, (set, frozenset))
            return _by_token(old).keys() == _by_token(new).keys() if is_set else _same(old, new)
        pair = (id(old), id(new))
        if pair in self.seen or pair in here:
            return True
        if pair not in self._equal:
            here.add(pair)
            found = self._contents_compared(old, new, here)
            if found:
                return True  # for now
            self._equal[pair] = False
        return self._equal[pair]

    def _contents_compared(self, old: Any, new: Any, here: set[tuple[int, int]]) -> bool:
        if isinstance(old, Fields):
            old, new = old.fields, new.fields
        if len(old) != len(new):
            return False
        if not isinstance(old, dict):
            return all(self._compared(*both, here) for both in zip(old, new, strict=True))
        before, after = _by_token(old), _by_token(new)
        return before.keys() == after.keys() and all(
            self._compared(old[key], new[after[token]], here) for token, key in before.items()
        )


def _found(old: Any, new: Any, path: str, pairs: _Pairs) -> Iterator[Difference]:
    if not _alike(old, new):
        yield Difference("changed", path, old, new)
        return
    pair = (id(old), id(new))
    if pair in pairs.seen:  # a container that holds itself, or is at several places
        return
    if isinstance(old, Fields):
        pairs.seen.add(pair)
        yield from _of_mappings(old.fields, new.fields, path, pairs, of_object=True)
    elif isinstance(old, dict):
        pairs.seen.add(pair)
        yield from _of_mappings(old, new, path, pairs)
    elif isinstance(old, _SEQUENCES):
        pairs.seen.add(pair)
        yield from _of_sequences([*old], [*new], path, pairs)
    elif isinstance(old, (set, frozenset)):
        yield from _of_sets(old, new, path)
    elif not _same(old, new):
        yield Difference("changed", path, old, new)


def _alike(old: Any, new: Any) -> bool:
    """Tell whether two values are of one type; each object has a class that is made for it."""
    if isinstance(old, Fields) and isinstance(new, Fields):
        return type(old).__name__ == type(new).__name__
    if isinstance(old, deque) and isinstance(new, deque):
        return old.maxlen == new.maxlen
    return type(old) is type(new)


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Opaque):
        return (old.text, old.content) == (new.text, new.content)
    if type(old) is float:
        return repr(old) == repr(new)  # nan, and the sign of zero
    try:
        return bool(old == new)
    except (TypeError, ValueError):  # of numpy: an array of answers
        return repr(old) == repr(new)


def _of_mappings(
    old: dict[Any, Any],
    new: dict[Any, Any],
    path: str,
    pairs: _Pairs,
    *,
    of_object: bool = False,
) -> Iterator[Difference]:
    before, after = _by_token(old), _by_token(new)
    for token, key in before.items():
        inside = extended(path, key, of_object=of_object)
        if token in after:
            yield from _found(old[key], new[after[token]], inside, pairs)
        else:
            yield Difference("removed", inside, old[key], None)
    for token, key in after.items():
        if token not in before:
            yield Difference("added", extended(path, key, of_object=of_object), None, new[key])


def _of_sequences(old: list[Any], new: list[Any], path: str, pairs: _Pairs) -> Iterator[Difference]:
    """Compare what is between the items that both begin with and those that both end with."""
    begin = _in_common(old, new, pairs)
    ends = _in_common(old[begin:][::-1], new[begin:][::-1], pairs)
    stop, new_stop = len(old) - ends, len(new) - ends
    both = min(stop, new_stop)
    for at in range(begin, both):
        yield from _found(old[at], new[at], extended(path, at), pairs)
    for at in range(both, stop):
        yield Difference("removed", extended(path, at), old[at], None)
    for at in range(both, new_stop):
        yield Difference("added", extended(path, at), None, new[at])


def _in_common(old: Sequence[Any], new: Sequence[Any], pairs: _Pairs) -> int:
    count = 0
    for one, other in zip(old, new, strict=False):
        if not pairs.are_equal(one, other):
            break
        count += 1
    return count


def _of_sets(old: Collection[Any], new: Collection[Any], path: str) -> Iterator[Difference]:
    before, after = _by_token(old), _by_token(new)
    for token, member in before.items():
        if token not in after:
            yield Difference("removed", path, member, None)
    for token, member in after.items():
        if token not in before:
            yield Difference("added", path, None, member)


def _by_token(keys: Collection[Any]) -> dict[Any, Any]:
    """Give keys or members by what makes two of them the same: also the type, and the content."""
    return {_token(key): key for key in keys}


def _token(key: Any) -> Any:
    cls = type(key)
    if isinstance(key, (Fields, Opaque, tuple, frozenset, float)):
        return cls.__name__, repr(key)
    return cls, key
