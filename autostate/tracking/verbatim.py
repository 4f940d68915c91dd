"""Values that msgspec can be given as they are: found for many at once, in few calls of C.

These are scalars, and inline dicts and lists of such, at any depth: most of what large states hold.
Nothing in such a value has to be translated (a key that is no `str`, a dict that looks like a tag),
and each container in it belongs to the entry and is there once. Any other value goes through
`codec.jsonable` by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from autostate.tracking.raw import key_of, node_of

if TYPE_CHECKING:
    from autostate.tracking.node import Node

_SCALARS: Final[frozenset[type]] = codec.NATIVE | {float}
_STR: Final = frozenset({str})
_NUMBERS: Final = frozenset({float, int, bool})
_COLUMNS: Final = 16
_DICTS: Final = VARIANT_SETS["dict"]
_LISTS: Final = VARIANT_SETS["list"]
_ident_of: Final = attrgetter("_key_.ident")


_LONG: Final = 4000
"""Bytes of a value that may have to be divided, or hold an int with too many digits."""


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


class _Column(Struct):
    """Values at one place of many containers, or in several places.

    Attributes:
        values: The values.
        parents: The containers around them; None: they are the values of the node.
        is_one_place: Whether there is one value for each parent, at the same place in each.
        most: The largest number of these values in one entry.
    """

    values: list[Any]
    parents: list[Any] | None
    is_one_place: bool
    most: int

    def containers(
        self, types: set[type], keys: list[Any] | None
    ) -> tuple[list[Any], list[Any] | None]:
        """List those of the values that are no scalars, and the entry of each.

        Args:
            types: The types of the values.
            keys: The entries, if these are the values of the node.
        """
        if self.parents is not None:  # they are known to belong to their entries
            entries: Iterable[Any] = map(key_of, self.parents)
            if not self.is_one_place:
                entries = chain.from_iterable(map(repeat, entries, map(len, self.parents)))
            keys = [*entries]
        if types.isdisjoint(_SCALARS):
            return self.values, keys
        which = [*map(not_, map(_SCALARS.__contains__, map(type, self.values)))]
        found = [*compress(self.values, which)]
        return found, None if keys is None else [*compress(keys, which)]


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
    columns = [_Column(values, None, True, 1)]
    known: list[list[Any]] = [] if keys is not None else [[]]  # the containers
    largest = 0
    while columns:
        below: list[_Column] = []
        before = len(known)
        for column in columns:
            types = {*map(type, column.values)}
            if float in types and not _are_numbers(column.values, types):
                return None
            if types <= _SCALARS:
                continue
            containers, entries = column.containers(types, keys)
            dicts, lists = _divided(containers)
            if len(dicts) + len(lists) < len(containers) or not _are_objects(dicts):
                return None
            if not _belong(node, containers, entries):
                return None
            known.append(containers)
            longest = max(map(len, containers))
            largest += column.most * longest
            if largest > LARGE:
                return None
            if dicts:
                below += _inside(dicts, map(dict.values, dicts), column.most)
            if lists:
                below += _inside(lists, lists, column.most)
        columns = below
        if len(known) > before:
            found.depth += 1
            if len(known) > 1:  # else each key has its own
                idents = [*map(id, chain.from_iterable(known))]
                if len({*idents}) < len(idents):
                    return None
    return found


def _inside(parents: list[Any], contents: Iterable[Iterable[Any]], most: int) -> list[_Column]:
    """Divide what is in some dicts, or lists, by its place if they are of one length.

    Values at one place are mostly of one type. So numbers can be summed up there, and containers
    are found without a look at each of the other values.
    """
    lengths = {*map(len, parents)}
    values = [*chain.from_iterable(contents)]
    longest = max(lengths)
    if len(lengths) > 1 or longest > _COLUMNS:
        return [_Column(values, parents, False, most * longest)]
    return [_Column(values[at::longest], parents, True, most) for at in range(longest)]


def _are_numbers(values: list[Any], types: set[type]) -> bool:
    """Tell whether all floats among values are numbers."""
    if types <= _NUMBERS:
        with suppress(OverflowError):
            if isfinite(sum(values)):
                return True
    return all(map(isfinite, [value for value in values if type(value) is float]))


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
    if not all(map(is_, map(node_of, values), repeat(node))):
        return False
    if keys is not None:
        return all(map(is_, map(key_of, values), keys))
    try:  # the entry of an item is found by the item
        return all(map(eq, map(_ident_of, values), map(id, values)))
    except AttributeError:  # it is the node itself
        return False
