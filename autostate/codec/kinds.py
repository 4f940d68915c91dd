"""The kinds of containers in a store: one registration makes a kind known to the codec and above.

The codec translates a container by the kind of its class. The journal and the commands learn from
`CONTAINERS` which kinds there are, and how the entries of each are addressed. The containers that
track their changes come on top: see `tracking.barrier.register_kind`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final, Literal

from msgspec import Struct

from autostate.codec import decoding
from autostate.codec.decoding import decode, decode_entries, decode_mapping, decode_members
from autostate.codec.factories import decode_factory, encode_factory, register_builtin
from autostate.codec.registry import BUILTIN, ENCODERS
from autostate.codec.signatures import Decode, Encode, Json, Make, Ref, Stored
from autostate.codec.tagged import by_reference, encode_dict, encode_items, encode_members


class StoredKind(Struct, frozen=True):
    """One kind of container as it is stored.

    Attributes:
        name: The name; its tag is the name after a "$".
        shape: How the entries are addressed: "mapping" by key, "set" by member, "sequence" by
            position.
        builtin: The plain type.
        encode: Gives the JSON of a container that is no node.
        decode: Gives the plain content from what stands under the tag; None: it has no tag.
    """

    name: str
    shape: Literal["mapping", "set", "sequence"]
    builtin: type[Collection[Any]]
    encode: Encode
    decode: Decode | None = None


def _encode_set(value: set[Any], ref: Ref) -> Json:
    return {"$set": encode_members(value, ref)}


def _encode_counter(value: Counter[Any], ref: Ref) -> Json:
    return {"$counter": encode_dict(value, ref)}


def _decode_counter(json: Stored, make: Make) -> dict[Hashable, Any]:
    """Rebuild the content of a Counter; earlier versions wrote it without a tag of its own."""
    own = type(json) is dict and "$dict" in json
    return decode_mapping(json, make) if own else decode_entries(json, make)


def _encode_deque(value: deque[Any], ref: Ref) -> Json:
    return {"$deque": [encode_items(list(value), ref), value.maxlen]}


def _decode_deque(json: Stored, make: Make) -> deque[Any]:
    items, maxlen = json
    if type(items) is not list or not (maxlen is None or type(maxlen) is int):
        raise TypeError
    return deque((decode(item, make) for item in items), maxlen)


def _encode_ordered(value: OrderedDict[Any, Any], ref: Ref) -> Json:
    # msgspec reads an OrderedDict as a dict: in the order of insertion, without `move_to_end`.
    return {"$ordereddict": encode_dict(dict(value.items()), ref)}


def _decode_ordered(json: Stored, make: Make) -> OrderedDict[Hashable, Any]:
    return OrderedDict(decode_mapping(json, make))


def _encode_defaultdict(value: defaultdict[Any, Any], ref: Ref) -> Json:
    return {"$defaultdict": [encode_factory(value.default_factory), encode_dict(value, ref)]}


def _decode_defaultdict(json: Stored, make: Make) -> defaultdict[Hashable, Any]:
    factory, content = json
    found = decode_factory(factory, make)
    return defaultdict(found, decode_mapping(content, make))


CONTAINERS: Final = {
    kind.name: kind
    for kind in (
        StoredKind("dict", "mapping", dict, encode_dict, decode_entries),
        StoredKind("list", "sequence", list, encode_items),
        StoredKind("set", "set", set, _encode_set, decode_members),
        StoredKind("counter", "mapping", Counter, _encode_counter, _decode_counter),
        StoredKind("deque", "sequence", deque, _encode_deque, _decode_deque),
        StoredKind("ordereddict", "mapping", OrderedDict, _encode_ordered, _decode_ordered),
        StoredKind("defaultdict", "mapping", defaultdict, _encode_defaultdict, _decode_defaultdict),
    )
}
"""The kinds by name."""

for _kind in CONTAINERS.values():
    ENCODERS[_kind.builtin] = by_reference(_kind.encode)
    BUILTIN.add(_kind.builtin)
    register_builtin(_kind.builtin)
    if _kind.decode is not None:
        decoding.CONTAINERS[f"${_kind.name}"] = (_kind.name, _kind.decode)


def register_container(cls: type, kind: str, copy: Callable[[Any], Any] | None = None) -> None:
    """Register a tracked class: saved as the builtin of its kind, or by reference as a node.

    Args:
        cls: The class.
        kind: The name of its kind.
        copy: Makes a plain copy; for a class of the program whose methods may show other content.
    """
    stored = CONTAINERS.get(kind, CONTAINERS["dict"])
    ENCODERS[cls] = by_reference(stored.encode, copy)
    BUILTIN.add(cls)
