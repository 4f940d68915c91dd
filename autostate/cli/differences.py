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
    return _found(old, new, path, set())


def _found(old: Any, new: Any, path: str, seen: set[tuple[int, int]]) -> Iterator[Difference]:
    if not _alike(old, new):
        yield Difference("changed", path, old, new)
        return
    pair = (id(old), id(new))
    if pair in seen:  # a container that holds itself, or is at several places
        return
    if isinstance(old, Fields):
        seen.add(pair)
        yield from _of_mappings(old.fields, new.fields, path, seen, of_object=True)
    elif isinstance(old, dict):
        seen.add(pair)
        yield from _of_mappings(old, new, path, seen)
    elif isinstance(old, _SEQUENCES):
        seen.add(pair)
        yield from _of_sequences([*old], [*new], path, seen)
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
    seen: set[tuple[int, int]],
    *,
    of_object: bool = False,
) -> Iterator[Difference]:
    before, after = _by_token(old), _by_token(new)
    for token, key in before.items():
        inside = extended(path, key, of_object=of_object)
        if token in after:
            yield from _found(old[key], new[after[token]], inside, seen)
        else:
            yield Difference("removed", inside, old[key], None)
    for token, key in after.items():
        if token not in before:
            yield Difference("added", extended(path, key, of_object=of_object), None, new[key])


def _of_sequences(
    old: list[Any], new: list[Any], path: str, seen: set[tuple[int, int]]
) -> Iterator[Difference]:
    """Compare what is between the items that both begin with and those that both end with."""
    begin = _in_common(old, new, seen)
    ends = _in_common(old[begin:][::-1], new[begin:][::-1], seen)
    stop, new_stop = len(old) - ends, len(new) - ends
    both = min(stop, new_stop)
    for at in range(begin, both):
        yield from _found(old[at], new[at], extended(path, at), seen)
    for at in range(both, stop):
        yield Difference("removed", extended(path, at), old[at], None)
    for at in range(both, new_stop):
        yield Difference("added", extended(path, at), None, new[at])


def _in_common(old: Sequence[Any], new: Sequence[Any], seen: set[tuple[int, int]]) -> int:
    count = 0
    for one, other in zip(old, new, strict=False):
        if not _equal(one, other, seen, set()):
            break
        count += 1
    return count


def _equal(old: Any, new: Any, seen: set[tuple[int, int]], here: set[tuple[int, int]]) -> bool:
    """Tell whether nothing differs, apart from pairs that are compared elsewhere.

    Args:
        old: The value before.
        new: The value after.
        seen: The pairs that are compared elsewhere.
        here: The pairs that this comparison has met.
    """
    if not _alike(old, new):
        return False
    pair = (id(old), id(new))
    if pair in seen or pair in here:
        return True
    if isinstance(old, Fields):
        old, new = old.fields, new.fields
    if isinstance(old, (set, frozenset)):
        return _by_token(old).keys() == _by_token(new).keys()
    if not isinstance(old, (dict, *_SEQUENCES)):
        return _same(old, new)
    here.add(pair)
    if len(old) != len(new):
        return False
    if not isinstance(old, dict):
        return all(_equal(one, other, seen, here) for one, other in zip(old, new, strict=True))
    before, after = _by_token(old), _by_token(new)
    return before.keys() == after.keys() and all(
        _equal(old[key], new[after[token]], seen, here) for token, key in before.items()
    )


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
