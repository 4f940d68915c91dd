"""Values that msgspec can be given as they are: found for many at once, in few calls of C.

These are scalars, and inline dicts and lists of such, at any depth: most of what large states hold.
Nothing in such a value has to be translated (a key that is no `str`, a dict that looks like a tag),
and each container in it belongs to the entry and is there once. Any other value goes through
`codec.jsonable` by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, compress, repeat
from math import isfinite
from operator import attrgetter, eq, is_, not_
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw, Struct

from autostate import codec
from autostate.memory import encode_each
from autostate.tracking.barrier import VARIANT_SETS
from autostate.tracking.node import LARGE

if TYPE_CHECKING:
    from autostate.tracking.node import Node

_SCALARS: Final[frozenset[type]] = codec.NATIVE | {float}
_STR: Final = frozenset({str})
_NUMBERS: Final = frozenset({float, int, bool})
_COLUMNS: Final = 16
_DICTS: Final = VARIANT_SETS["dict"]
_LISTS: Final = VARIANT_SETS["list"]
_node_of: Final = attrgetter("_node_")
_key_of: Final = attrgetter("_key_")
_ident_of: Final = attrgetter("_key_.ident")


_LONG: Final = 4000
"""Bytes of a value that may have to be divided, or hold an int with too many digits."""


class _NoNumber:
    """The type of a float that is no number."""


class Verbatim(Struct):
    """Values that msgspec can be given as they are.

    Attributes:
        values: The values.
        depth: 0 if all are scalars, 1 if some are containers of such, and so on.
    """

    values: list[Any]
    depth: int = 0

    def each(self) -> list[bytes] | None:
        """Write each value as JSON; None if one of them needs a closer look."""
        try:
            raws = [*encode_each(self.values)]
        except ValueError:  # a lone surrogate, or an int with too many digits
            return None
        return None if max(map(len, raws), default=0) >= _LONG else raws

    def under(self, keys: list[Any]) -> bytes | None:
        """Write the content of a mapping as JSON, in one call; None as `each`.

        Args:
            keys: The keys of the values: JSON scalars.
        """
        values: Iterable[Any] = self.values
        if self.depth > 1:  # each may be larger than an entry should be
            raws = self.each()
            if raws is None:
                return None
            values = map(Raw, raws)
        pairs = zip(keys, values, strict=True)
        return codec.dump_as_is(dict(pairs) if _STR.issuperset(map(type, keys)) else [*pairs])


def verbatim(node: Node, values: list[Any], keys: list[Any] | None) -> Verbatim | None:
    """Find out whether msgspec can be given all these values as they are.

    Args:
        node: The node that has the values; the lock is held.
        values: The values.
        keys: Their entries; None: they are items of a sequence.

    Returns:
        The values; None if one of them has to be translated, or may hold more than one entry does.
    """
    found = Verbatim(values)
    types = _types(values)
    known: list[list[Any]] = [] if keys is not None else [[]]  # the containers, level by level
    most, largest = 1, 0
    while not types <= _SCALARS:
        if _NoNumber in types:
            return None
        if types & _SCALARS:
            which = [*map(not_, map(_SCALARS.__contains__, map(type, values)))]
            values = [*compress(values, which)]
            keys = None if keys is None else [*compress(keys, which)]
        dicts, lists = _divided(values)
        if len(dicts) + len(lists) < len(values) or not _are_objects(dicts):
            return None
        if not _belong(node, values, keys):
            return None
        known.append(values)
        if len(known) > 1:  # else each key has its own
            idents = [*map(id, chain.from_iterable(known))]
            if len({*idents}) < len(idents):
                return None
        lengths = {*map(len, values)}
        most *= max(lengths)
        largest += most
        if largest > LARGE:
            return None
        found.depth += 1
        inside = [*chain(chain.from_iterable(map(dict.values, dicts)), chain.from_iterable(lists))]
        types = _types(inside, next(iter(lengths)) if len(lengths) == 1 else 1)
        if not types <= _SCALARS:
            values, keys = inside, [*chain(_each(dicts), _each(lists))]
    return found


def _types(values: list[Any], period: int = 1) -> set[type]:
    """Return the types of values; `_NoNumber` for a float that msgspec would write as `null`.

    Args:
        values: The values: those of many containers, one after another.
        period: The length of these containers, if all are of one length. The values at one place
            of them are mostly of one type; so numbers can be summed up there.
    """
    types: set[type] = set()
    for start in range(period if period <= _COLUMNS else 1):
        column = values[start::period] if period <= _COLUMNS else values
        found = {*map(type, column)}
        if float in found and not _are_numbers(column, found):
            types.add(_NoNumber)
        types |= found
    return types


def _are_numbers(values: list[Any], types: set[type]) -> bool:
    """Tell whether all floats among values are numbers."""
    if types <= _NUMBERS:
        with suppress(OverflowError):
            if isfinite(sum(values)):
                return True
    return all(map(isfinite, [value for value in values if type(value) is float]))


def _each(containers: list[Any]) -> Iterator[Any]:
    """Yield the entry of each container, once for each value in it."""
    return chain.from_iterable(map(repeat, map(_key_of, containers), map(len, containers)))


def _divided(values: list[Any]) -> tuple[list[Any], list[Any]]:
    """Divide containers into dicts and lists; leave out others."""
    types = {*map(type, values)}
    if types <= _DICTS:
        return values, []
    if types <= _LISTS:
        return [], values
    kinds = [*map(type, values)]
    lists = [*compress(values, map(_LISTS.__contains__, kinds))]
    return [*compress(values, map(_DICTS.__contains__, kinds))], lists


def _are_objects(dicts: list[Any]) -> bool:
    """Tell whether dicts are JSON objects: all keys are `str`, and none looks like a tag."""
    if not _STR.issuperset(map(type, chain.from_iterable(dicts))):
        return False
    lengths = [*map(len, dicts)]
    if 1 not in lengths:
        return True
    single = chain.from_iterable(compress(dicts, map((1).__eq__, lengths)))
    return not any(map(str.startswith, single, repeat("$")))


def _belong(node: Node, values: list[Any], keys: list[Any] | None) -> bool:
    """Tell whether containers are inline in entries of a node."""
    if not all(map(is_, map(_node_of, values), repeat(node))):
        return False
    if keys is not None:
        return all(map(is_, map(_key_of, values), keys))
    try:  # the entry of an item is found by the item
        return all(map(eq, map(_ident_of, values), map(id, values)))
    except AttributeError:  # it is the node itself
        return False
