"""Values from tagged JSON: the values that `tagged.py` wrote, and no others, whatever is stored.

No name from a store is imported. The only code of the program that runs is registered for this, or
part of a known class: a `decode`, the default of a field, the `__hash__` of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import Any, Final

from autostate.codec import arrays, classes, enums, names, registry
from autostate.codec.collisions import refuse_collisions
from autostate.codec.raw import is_tagged, references
from autostate.codec.registry import TypeEntry
from autostate.codec.secret import Secret
from autostate.codec.signatures import Decode, Json, Make, Stored
from autostate.codec.types import SCALARS
from autostate.codec.unknown import Unknown
from autostate.depth import reads_deep
from autostate.errors import AutostateError, CorruptStateError, UnknownTypeError
from autostate.process.interrupts import is_passing

_UNSET: Final = {"$unset": None}
_SCALARS: Final = {scalar.tag: scalar for scalar in SCALARS}

FIXED_SCALARS: Final = {scalar.tag: scalar.decode for scalar in SCALARS if not scalar.mutable}
"""The functions that decode values which never change and hold no others, by tag."""

CONTAINERS: Final[dict[str, tuple[str, Decode]]] = {}
"""Kinds of containers and the functions that rebuild their content, by tag: see `kinds.py`."""


def decode(json: Stored, make: Make) -> Any:
    """Rebuild a value from decoded JSON.

    Args:
        json: The result of `msgspec.json.decode`.
        make: Builds values that tracking has to know, from a kind and a content:

            - containers, of plain decoded content: "dict" and "counter" (a dict), "list", "set",
              "deque" (with its maxlen), "ordereddict", "defaultdict" (with its factory);
            - "ref": the node of that id;
            - "object": gets an object that can change, and gives it back or what stands for it;
            - "pickled": gets the JSON that was stored;
            - "unknown": gets `[name, json]` of a type that the program does not know, and gives an
              `Unknown` of it or raises UnknownTypeError.

    Raises:
        CorruptStateError: A tag of an unknown kind, or with a content that it cannot have.
        UnknownTypeError: As `make` decides.
        RecursionError: It is nested more deeply than the recursion limit allows for.
    """
    cls = type(json)
    if cls is dict:
        if is_tagged(json):
            tag, content = next(iter(json.items()))
            return _decode_tag(tag, content, make)
        return make("dict", {key: decode(item, make) for key, item in json.items()})
    if cls is list:
        return make("list", [decode(item, make) for item in json])
    return json


def _decode_tag(tag: str, json: Stored, make: Make) -> Any:
    try:
        # Here, not in a function of its own: each call takes from the recursion limit, and values
        # may be nested deeply.
        if tag == "$tuple":
            return tuple([decode(item, make) for item in json])
        scalar = _SCALARS.get(tag)
        if scalar is not None:
            value = scalar.decode(json)
            return make("object", value) if scalar.mutable else value
        if tag in CONTAINERS:
            kind, content_of = CONTAINERS[tag]
            return make(kind, content_of(json, make))
        if tag in _STRUCTURES:
            return _STRUCTURES[tag](json, make)
    except (AutostateError, RecursionError):
        raise
    except Exception as error:
        if is_passing(error):
            raise
        raise CorruptStateError(
            f"a stored {tag:.60} cannot be read ({type(error).__name__})"
        ) from None
    raise CorruptStateError(
        f"the stored state holds a {tag:.60}, which this version does not know: use a newer one"
    )


def decode_entries(json: Stored, make: Make) -> dict[Hashable, Any]:
    """Rebuild the content of a dict from an object, or from pairs."""
    if type(json) is dict:
        return {key: decode(item, make) for key, item in json.items()}
    keys = [decode_key(key, make) for key, _ in json]
    refuse_collisions(keys)
    return {key: decode(item, make) for key, (_, item) in zip(keys, json, strict=True)}


def decode_mapping(json: Stored, make: Make) -> dict[Hashable, Any]:
    """Rebuild the content of a dict that is written as a value of its own."""
    if type(json) is not dict:
        raise TypeError
    if is_tagged(json):
        [(tag, content)] = json.items()
        if tag != "$dict" or type(content) is not list:
            raise ValueError
        json = content
    return decode_entries(json, make)


def decode_members(json: Stored, make: Make) -> set[Hashable]:
    """Rebuild the members of a set."""
    members = [decode_key(item, make) for item in json]
    refuse_collisions(members)
    return {*members}


def _enum(json: Stored, make: Make) -> Any:
    name, member = json
    cls = None if make is _opaque else registry.enum_named(name)
    if cls is None:
        return _unknown(name, {"$enum": json}, make)
    return enums.member(cls, member)


def _object(json: Stored, make: Make) -> Any:
    name, payload = json
    entry = None if make is _opaque else registry.entry_named(name)
    if entry is None:
        return _unknown(name, {"$object": json}, make)
    if entry.fields is not None or ":" in name or classes.were_fields(payload):
        named = _by_name(payload, make) if is_tagged(payload) else payload
        fields = {  # not in a function of its own: see `_decode_tag`
            name: classes.UNSET if item == _UNSET else decode(item, make)
            for name, item in named.items()
        }
        if entry.fields is not None:
            value = entry.decode(fields)
        else:  # stored before it had a decode
            value = _registered(entry, classes.by_name(fields))
    else:
        value = _registered(entry, decode(payload, make))
    return make("object", value) if entry.mutable else value


def _by_name(json: Stored, make: Make) -> dict[Any, Any]:
    """Give fields by name; names that are no plain JSON keys are stored as pairs."""
    [(tag, pairs)] = json.items()
    if tag != "$dict":
        raise ValueError
    return {decode_key(name, make): item for name, item in pairs}


def _registered(entry: TypeEntry, content: Any) -> Any:
    try:
        return entry.decode(content)
    except AutostateError:
        raise
    except Exception as error:
        if is_passing(error):
            raise
        raise CorruptStateError(
            f"the decode that is registered for {entry.name} raised {type(error).__name__}"
        ) from error


def _array(tag: str, read: Callable[[Stored], Any]) -> Decode:
    def decode_array(json: Stored, make: Make) -> Any:
        try:
            value = read(json)
        except arrays.NoNumPyError:
            return _unknown(arrays.NAME, {tag: json}, make)
        return value if arrays.is_scalar(type(value)) else make("object", value)

    return decode_array


def _unknown(name: Stored, json: Json, make: Make) -> Any:
    """Let `make` decide; a kept value keeps the nodes alive to which it refers."""
    if type(name) is not str:
        raise TypeError
    try:
        kept = make("unknown", [name, json])
    except UnknownTypeError:
        names.look_again()
        raise
    if type(kept) is Unknown:
        kept._nodes = {node: make("ref", node) for node in references(json)}
    return kept


def _unsaved(json: Stored, make: Make) -> Unknown:
    """Make an `Unknown` that names the class of a value that could not be saved."""
    name = decode(json, make)
    if type(name) is not str:
        raise TypeError
    return Unknown(name, {"$unsaved": json})


_STRUCTURES: Final[dict[str, Decode]] = {
    "$frozenset": lambda json, make: frozenset(decode_members(json, make)),
    "$fraction": lambda json, make: Fraction(*_ints(json, make)),
    "$range": lambda json, make: range(*_ints(json, make)),
    "$secret": lambda json, make: Secret(decode(json, make)),
    "$slice": lambda json, make: slice(*_three(json, make)),
    "$object": _object,
    "$enum": _enum,
    "$ndarray": _array("$ndarray", arrays.decode_array),
    "$npscalar": _array("$npscalar", arrays.decode_scalar),
    "$ref": lambda json, make: make("ref", json),
    "$unsaved": _unsaved,
    "$pickled": lambda json, make: make("pickled", json),
}


def _ints(json: Stored, make: Make) -> list[int]:
    """Rebuild ints, of any size."""
    ints = [decode(item, make) for item in json]
    if not all(type(item) is int for item in ints):
        raise TypeError
    return ints


def _three(json: Stored, make: Make) -> list[Any]:
    start, stop, step = json
    return [decode(item, make) for item in (start, stop, step)]


def _keep(kind: str, content: Any) -> Any:
    """Build a value inside a key: refuse containers, and keep a value of unknown type."""
    if kind == "unknown":
        return Unknown(*content)
    if kind == "object":
        return content
    raise CorruptStateError(f"a stored key is a {kind}, which no key can be")


def _opaque(kind: str, content: Any) -> Any:
    """Build a value inside a key like `_keep`, but rebuild no object of the program's classes."""
    return _keep(kind, content)


def decode_key(json: Stored, make: Make | None = None) -> Hashable:
    """Rebuild a key of a dict or a member of a set from decoded JSON.

    Args:
        json: As `msgspec.json.decode` gave it.
        make: As for `decode`; of it only "unknown" is used. None: a key of which something is not
            known, or fails to be rebuilt, is an `Unknown`, see `resolve_key`. A journal is read
            and written as a whole, also if there is something wrong with one class of the program.

    Raises:
        CorruptStateError: What is stored cannot be a key.
        UnknownTypeError: As `make` decides.
    """
    if type(json) not in (dict, list):
        return json  # type: ignore[no-any-return]
    if make is None:
        return _known_key(json)
    if make is _opaque:
        return _hashable(decode(json, make))

    def make_key(kind: str, content: Any) -> Any:
        return make(kind, content) if kind == "unknown" else _keep(kind, content)

    return _hashable(decode(json, make_key))


@reads_deep
def _known_key(json: Stored) -> Hashable:
    """Rebuild a key, or keep all of it as it is stored."""
    unknown: list[str] = []

    def make_key(kind: str, content: Any) -> Any:
        if kind == "unknown":
            unknown.append(content[0])
        return _keep(kind, content)

    try:
        key = _hashable(decode(json, make_key))
    except (CorruptStateError, RecursionError):
        # If it is a class of the program that fails, the key is kept. If it is the JSON that no
        # key can have, decoding without the classes fails as well.
        _hashable(decode(json, _opaque))
        return Unknown("key", json)
    return Unknown(unknown[0], json) if unknown else key


def _hashable(key: Any) -> Hashable:
    """Refuse a key without a hash, which may come from a damaged store."""
    try:
        hash(key)
    except Exception as error:
        if is_passing(error):
            raise
        raise CorruptStateError(f"a stored key has no hash ({type(error).__name__})") from None
    return key  # type: ignore[no-any-return]


def resolve_key(key: Hashable, make: Make) -> Hashable:
    """Decode a key of `decode_key` again: an unknown type may be known by now.

    Args:
        key: The key; it is returned unchanged if it was known.
        make: Decides, as for `decode`, about a type that is still unknown.

    Raises:
        CorruptStateError: A class of the program cannot read it.
        UnknownTypeError: As `make` decides.
        RecursionError: It is nested more deeply than the recursion limit allows for.
    """
    return decode_key(key.json, make) if type(key) is Unknown else key
