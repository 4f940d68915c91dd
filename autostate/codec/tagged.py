"""Tagged JSON: what JSON has is written as it is, the rest under one reserved key.

A *tag* is an object with exactly one key that begins with `$`: `{"$set": [1, 2]}`. A user's dict
of that shape, or with a key that is no str, is written as `{"$dict": [[key, value], ...]}`, so
that no data of the user can be taken for a tag. `{"$ref": 17}` stands for a node.

`msgspec` does the encoding. It would silently turn tuples into arrays, nan into null, int keys
into str: whatever is not exactly of a type in `NATIVE` is therefore translated here, before
msgspec sees it. A value that is JSON already is handed through as it is, without a copy.
"""

from __future__ import annotations

import base64
import enum
import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

import msgspec

from autostate.codec.types import DECODERS, SCALARS, encode_enum
from autostate.errors import CorruptStateError

Ref = Callable[[Any], dict[str, int] | None]

dumps: Callable[[Any], bytes] = msgspec.json.Encoder().encode

NATIVE: frozenset[type] = frozenset({str, int, bool, type(None)})
_FLOATS = NATIVE | {float}
_STR = frozenset({str})


class Unsupported(Exception):  # noqa: N818 - becomes an UnsupportedTypeError once its path is known
    """A value that cannot be saved; `steps` grows from the inside out while it travels up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str] = []


def jsonable(value: Any, ref: Ref) -> Any:
    """Translate a value into what msgspec writes as the same JSON.

    Args:
        value: The value; returned as it is when it is plain JSON already.
        ref: Gives `{"$ref": id}` for a container that is a node, None for any other.

    Raises:
        Unsupported: The value, or one inside it, is of a type that cannot be saved.
    """
    cls = type(value)
    if cls in NATIVE:
        return value
    encode = _ENCODERS.get(cls)
    if encode is not None:
        return encode(value, ref)
    if issubclass(cls, enum.Enum):
        return {"$enum": encode_enum(value)}
    raise Unsupported(
        f"a value of type {cls.__module__}.{cls.__qualname__} cannot be saved: "
        "convert it, or keep it outside of the state"
    )


def content_of(mapping: Mapping[Any, Any], ref: Ref) -> Any:
    """A dict's content: an object where all keys are str, else an array of pairs."""
    content = _values(mapping, ref)
    if _STR.issuperset(map(type, content)):
        return content
    return [[_key(key, ref), value] for key, value in content.items()]


def is_flat(values: Collection[Any]) -> bool:
    """Whether values are scalars that msgspec writes as they are: JSON's, with finite floats."""
    types = set(map(type, values))
    if types <= NATIVE:
        return True
    if not types <= _FLOATS:
        return False
    # The sum of finite floats may overflow; then the slower way is taken, which is right as well.
    return math.isfinite(sum(value for value in values if type(value) is float))


def is_json_dict(mapping: Mapping[Any, Any]) -> bool:
    """Whether msgspec can be given a dict as it is: scalars under str keys, and not a tag.

    Entries of one kind have the same shape: what was found out about it is remembered.
    """
    shape = (*map(type, mapping), *map(type, mapping.values()))
    known = _SHAPES.get(shape)
    if known is None:
        if len(_SHAPES) > 1000:
            _SHAPES.clear()
        keys, values = shape[: len(mapping)], shape[len(mapping) :]
        strict = len(keys) > 1 and _STR.issuperset(keys)
        known = _SHAPES[shape] = (strict and NATIVE.issuperset(values), strict)
    return known[0] or (known[1] and is_flat(mapping.values()))


_SHAPES: dict[tuple[type, ...], tuple[bool, bool]] = {}


def _values(mapping: Mapping[Any, Any], ref: Ref) -> Mapping[Any, Any]:
    """The mapping with its values translated: itself where there is nothing to do."""
    if is_flat(mapping.values()):
        return mapping
    return {key: _step(value, ref, key) for key, value in mapping.items()}


def _step(value: Any, ref: Ref, key: Any) -> Any:
    try:
        return jsonable(value, ref)
    except Unsupported as problem:
        problem.steps.append(f"[{_show(key)}]")
        raise


def _show(key: Any) -> str:
    """A key as part of a path: keys are names and numbers; a long one is cut short."""
    text = f'"{key}"' if type(key) is str else repr(key)
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def _key(key: Any, ref: Ref) -> Any:
    try:
        return jsonable(key, ref)
    except Unsupported as problem:
        problem.steps.append(f" (the key {_show(key)})")
        raise


def _encode_float(value: float, _ref: Ref) -> Any:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _encode_dict(value: dict[Any, Any], ref: Ref) -> Any:
    content = content_of(value, ref)
    if type(content) is list:
        return {"$dict": content}
    if len(content) == 1 and next(iter(content)).startswith("$"):
        return {"$dict": [[key, item] for key, item in content.items()]}
    return content


def _items(value: Collection[Any], ref: Ref) -> Any:
    if is_flat(value):
        return value
    return [_step(item, ref, index) for index, item in enumerate(value)]


def _encode_members(tag: str) -> Callable[[Any, Ref], Any]:
    return lambda value, ref: {tag: [_key(member, ref) for member in value]}


def _encode_scalar(tag: str, encode: Callable[[Any], Any]) -> Callable[[Any, Ref], Any]:
    def encode_scalar(value: Any, _ref: Ref) -> Any:
        try:
            return {tag: encode(value)}
        except TypeError as problem:
            raise Unsupported(f"{problem} cannot be saved") from None

    return encode_scalar


def _by_reference(encode: Callable[[Any, Ref], Any]) -> Callable[[Any, Ref], Any]:
    return lambda value, ref: ref(value) or encode(value, ref)


_BUILTIN: dict[str, tuple[type, Callable[[Any, Ref], Any]]] = {
    "dict": (dict, _encode_dict),
    "list": (list, _items),
    "set": (set, _encode_members("$set")),
    "counter": (Counter, lambda value, ref: {"$counter": content_of(value, ref)}),
}

_ENCODERS: dict[type, Callable[[Any, Ref], Any]] = {
    float: _encode_float,
    tuple: lambda value, ref: {"$tuple": _items(value, ref)},
    frozenset: _encode_members("$frozenset"),
    **{cls: _by_reference(encode) for cls, encode in _BUILTIN.values()},
    **{cls: _encode_scalar(tag, encode) for cls, (tag, encode) in SCALARS.items()},
}


def register_container(cls: type, kind: str) -> None:
    """Make known a tracked class: saved as the builtin of its kind, or by reference as a node."""
    _ENCODERS[cls] = _by_reference(_BUILTIN[kind][1])


def escape(value: Any) -> Any:
    """Replace strings that UTF-8 cannot hold (lone surrogates) in a translated value by a tag."""
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return {"$str": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
        return value
    if isinstance(value, dict):
        if is_tagged(value):
            [(tag, content)] = value.items()
            if isinstance(content, dict):  # of a Counter: an object, or pairs
                content = [[key, item] for key, item in content.items()]
            return {tag: escape(content)}
        if all(map(_is_utf8, value)):
            return {key: escape(item) for key, item in value.items()}
        return {"$dict": [[escape(key), escape(item)] for key, item in value.items()]}
    return [escape(item) for item in value] if isinstance(value, list) else value


def _is_utf8(text: str) -> bool:
    return type(escape(text)) is str


def is_tagged(json: dict[str, Any]) -> bool:
    """Whether a decoded JSON object is a tag."""
    return len(json) == 1 and next(iter(json)).startswith("$")


def decode(json: Any, make: Callable[[str, Any], Any]) -> Any:
    """Rebuild a value from decoded JSON.

    Args:
        json: As `msgspec.json.decode` gave it.
        make: Builds a container: `make(kind, content)` with decoded content (a dict for "dict"
            and "counter", a list for "list", a set for "set"), and `make("ref", id)` for a node.

    Raises:
        CorruptStateError: A tag of an unknown kind, or with a content that it cannot have.
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


def _decode_tag(tag: str, json: Any, make: Callable[[str, Any], Any]) -> Any:
    structure = _STRUCTURES.get(tag)
    scalar = DECODERS.get(tag)
    try:
        if structure is not None:
            return structure(json, make)
        if scalar is not None:
            return scalar(json)
    except CorruptStateError:
        raise
    except Exception as error:
        raise CorruptStateError(f"a stored {tag} cannot be read ({type(error).__name__})") from None
    raise CorruptStateError(
        f"the stored state holds a {tag}, which this version does not know: use a newer one"
    )


def _pairs(json: Any, make: Callable[[str, Any], Any]) -> dict[Any, Any]:
    if type(json) is dict:
        return {key: decode(item, make) for key, item in json.items()}
    return {decode_key(key): decode(item, make) for key, item in json}


_STRUCTURES: dict[str, Callable[[Any, Callable[[str, Any], Any]], Any]] = {
    "$dict": lambda json, make: make("dict", _pairs(json, make)),
    "$counter": lambda json, make: make("counter", _pairs(json, make)),
    "$set": lambda json, make: make("set", {decode_key(item) for item in json}),
    "$tuple": lambda json, make: tuple(decode(item, make) for item in json),
    "$frozenset": lambda json, _make: frozenset(decode_key(item) for item in json),
    "$ref": lambda json, make: make("ref", json),
}


def _no_container(kind: str, _content: Any) -> Any:
    raise CorruptStateError(f"a stored key is a {kind}, which no key can be")


def decode_key(json: Any) -> Hashable:
    """Rebuild a key of a dict or a member of a set from decoded JSON.

    Raises:
        CorruptStateError: What is stored cannot be a key.
    """
    return json if type(json) is str else decode(json, _no_container)
