"""Tagged JSON: values that JSON has are written as they are, all others under a reserved key.

A *tag* is an object with exactly one key that begins with `$`: `{"$set": [1, 2]}`. A user's dict
of that shape, or with a key that is no str, is written as `{"$dict": [[key, value], ...]}`, so
that no data of the user can be taken for a tag. `{"$ref": 17}` stands for a node, and
`{"$object": [name, payload]}` for an object of a class of the program (`registry.py`).

`msgspec` does the encoding. It would silently turn tuples into arrays, nan into null, int keys into
str. So every value that is not exactly of a type in `NATIVE` is translated here, before msgspec
sees it. A value that is JSON already is passed on as it is, without a copy.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any
from weakref import WeakKeyDictionary

from autostate.codec import arrays, classes, enums, registry
from autostate.codec.bound import is_persisted, root_of
from autostate.codec.factories import encode_factory
from autostate.codec.raw import dump, with_references
from autostate.codec.registry import ATOMS, BUILTIN, ENCODERS, TypeEntry
from autostate.codec.types import MUTABLE, SCALARS
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import TooDeep, Unsupported, shown
from autostate.process.interrupts import is_passing

Ref = Callable[[Any], dict[str, int] | None]

NATIVE: frozenset[type] = frozenset({str, int, bool, type(None)})
_FLOATS = NATIVE | {float}
_STR = frozenset({str})
_SORTED = frozenset({str, int})
_TOO_DEEP = "it is nested too deeply to be saved: keep it in a list, or in several state objects"


def jsonable(value: Any, ref: Ref) -> Any:
    """Translate a value into a form that msgspec writes without loss.

    Args:
        value: The value; returned as it is when it is plain JSON already.
        ref: Gives `{"$ref": id}` for a container or a mutable object that is a node, None for any
            other. If its attribute `lenient` is true, a value inside this one that cannot be
            saved is replaced by the result of `unsaved`; a member, or an entry whose key cannot
            be saved, is left out. Its method `strict` gives the `ref` for results of a
            registered `encode`: a `decode` gets such a result complete, or is not called.

    Raises:
        Unsupported: The value, or one inside it, is of a type that cannot be saved.
    """
    cls = type(value)
    if cls in NATIVE:
        return value
    encode = ENCODERS.get(cls)
    if encode is None:
        encode = ENCODERS[cls] = _encoder_of(cls, key=ref is _in_key)
    return encode(value, ref)


def problem_of(value: Any) -> str | None:
    """Say why a value cannot be saved, as far as its class tells; None if it can."""
    cls = type(value)
    if cls in NATIVE or cls in ENCODERS:
        return None
    try:
        _encoder_of(cls, key=False)
    except Unsupported as problem:
        return problem.problem
    return None


def unsaved(value: Any) -> dict[str, str]:
    """Give JSON for a value that cannot be saved: decoded, an `Unknown` that names its class."""
    cls = type(value)
    return {"$unsaved": value.name if cls is Unknown else shown(cls)}


def _is_replaced(ref: Ref, problem: Unsupported) -> bool:
    return getattr(ref, "lenient", False) and type(problem) is not TooDeep


def _encoder_of(cls: type, *, key: bool) -> Callable[[Any, Ref], Any]:
    """Find the function that translates values of a class that is new."""
    return _encode_instance if is_persisted(cls) else _encoder_of_object(cls, key=key)


def _encode_instance(value: Any, ref: Ref) -> Any:
    """Refer to an object that is a state object; encode any other object by its fields."""
    cls = type(value)
    root = root_of(value)
    if root is None:
        if cls not in _UNBOUND:
            _UNBOUND[cls] = _encoder_of_object(cls, key=ref is _in_key)
        return _UNBOUND[cls](value, ref)
    if ref is _in_key:
        raise Unsupported(f"a state object of the class {shown(cls)} cannot be a key")
    return ref(root)


_UNBOUND: WeakKeyDictionary[type, Callable[[Any, Ref], Any]] = WeakKeyDictionary()


def _encoder_of_object(cls: type, *, key: bool) -> Callable[[Any, Ref], Any]:
    registry.check_name(cls)
    if enums.is_enum(cls):
        return _encode_enum
    entry = registry.entry_for(cls)
    if entry is not None:
        return _by_reference(_encode_object) if entry.mutable else _encode_object
    known = arrays.encoder_of(cls)
    if known is not None:
        return known if registry.is_atom(cls) else _by_reference(known)
    raise Unsupported(registry.why_not(cls, key=key))


def content_of(mapping: Mapping[Any, Any], ref: Ref) -> Any:
    """Translate a dict's content: an object if all keys are str, else an array of pairs."""
    content = _values(mapping, ref)
    if _STR.issuperset(map(type, content)):
        return content
    return _pairs(content, ref)


def _pairs(content: Mapping[Any, Any], ref: Ref) -> list[Any]:
    """Give the entries of a dict whose values are translated already, as pairs."""
    pairs = []
    for key, value in content.items():
        try:
            pairs.append([_key(key), value])
        except Unsupported as problem:
            if not _is_replaced(ref, problem):
                raise
    return pairs


def is_flat(values: Collection[Any]) -> bool:
    """Tell whether values are scalars that msgspec writes as they are, with finite floats."""
    if NATIVE.issuperset(map(type, values)):
        return True
    if not _FLOATS.issuperset(map(type, values)):
        return False
    # The sum of finite floats may overflow; then the slower way is used, which is correct as well.
    return math.isfinite(sum([value for value in values if type(value) is float]))


def is_json_dict(mapping: Mapping[Any, Any]) -> bool:
    """Tell whether msgspec can be given a dict as it is: scalars under str keys, and not a tag."""
    return len(mapping) > 1 and _STR.issuperset(map(type, mapping)) and is_flat(mapping.values())


def _values(mapping: Mapping[Any, Any], ref: Ref) -> Mapping[Any, Any]:
    """Translate the values of a mapping; give the mapping itself if there is nothing to do."""
    if is_flat(mapping.values()):
        return mapping
    return {key: _step(value, ref, key) for key, value in mapping.items()}


def _step(value: Any, ref: Ref, key: Any) -> Any:
    try:
        return jsonable(value, ref)
    except Unsupported as problem:
        if _is_replaced(ref, problem):
            return unsaved(value)
        problem.steps.append(f"[{_show(key)}]")
        raise
    except RecursionError:
        raise TooDeep(_TOO_DEEP) from None


def _show(key: Any) -> str:
    """Show a key as part of a path: names and numbers; a long key is cut short."""
    cls = type(key)
    if cls is tuple:
        text = f"({', '.join(map(_show, key))})"
    elif cls in ATOMS or cls is frozenset:
        text = f'"{key}"' if cls is str else repr(key)
    else:  # it may show the user's values
        text = f"<{cls.__qualname__}>"
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def _key(key: Any) -> Any:
    try:
        return jsonable(key, _in_key)
    except Unsupported as problem:
        problem.steps.append(f" (the key {_show(key)})")
        raise


def _in_key(value: Any) -> None:
    """Refuse a key that is equal only to itself: only its content is saved."""
    cls: Any = type(value)
    if cls.__hash__ is None:
        raise Unsupported(f"a key cannot hold a {cls.__qualname__}")
    if cls.__hash__ is object.__hash__:
        raise Unsupported(
            f"a {cls.__qualname__} as a key, or as a member of a set, is found again by its "
            "identity alone: give the class an __eq__ and a __hash__, as a frozen dataclass has"
        )


def _encode_float(value: float, _ref: Ref) -> Any:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _encode_dict(value: Mapping[Any, Any], ref: Ref) -> Any:
    return _guarded(content_of(value, ref))


def _guarded(content: Any) -> Any:
    """Give the content of a dict as a value of its own, which cannot be taken for a tag."""
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
    return lambda value, ref: {tag: _members(value, ref)}


def _members(value: Collection[Any], ref: Ref) -> list[Any]:
    """Sort members by content alone: the order of a set differs between processes."""
    if len(set(map(type, value))) == 1 and type(next(iter(value))) in _SORTED:
        return sorted(value)
    members = []
    for member in value:
        try:
            members.append(_key(member))
        except Unsupported as problem:
            if not _is_replaced(ref, problem):
                raise
    return sorted(members, key=dump)


def _encode_deque(value: deque[Any], ref: Ref) -> Any:
    return {"$deque": [_items(list(value), ref), value.maxlen]}


def _encode_defaultdict(value: defaultdict[Any, Any], ref: Ref) -> Any:
    factory = encode_factory(value.default_factory)
    return {"$defaultdict": [factory, _encode_dict(value, ref)]}


def _encode_range(value: range, _ref: Ref) -> Any:
    return {"$range": [value.start, value.stop, value.step]}


def _encode_slice(value: slice, ref: Ref) -> Any:
    return {"$slice": _items((value.start, value.stop, value.step), ref)}


def _encode_scalar(tag: str, encode: Callable[[Any], Any]) -> Callable[[Any, Ref], Any]:
    def encode_scalar(value: Any, _ref: Ref) -> Any:
        try:
            return {tag: encode(value)}
        except TypeError as problem:
            raise Unsupported(f"{problem} cannot be saved") from None

    return encode_scalar


def _by_reference(encode: Callable[[Any, Ref], Any]) -> Callable[[Any, Ref], Any]:
    return lambda value, ref: ref(value) or encode(value, ref)


def _encode_enum(value: Any, _ref: Ref) -> Any:
    return {"$enum": [registry.enum_name(type(value)), enums.member_of(value)]}


def _encode_object(value: Any, ref: Ref) -> Any:
    cls = type(value)
    entry = registry.entry_for(cls)
    assert entry is not None
    if ref is _in_key:
        _in_key(value)
    if entry.fields:
        fields = _fields_of(entry, value)
        if ref is _in_key:
            fields = classes.without_caches(cls, fields)
        return {"$object": [entry.name, _encode_fields(fields, ref)]}
    return {"$object": [entry.name, _encode_payload(entry, value, ref)]}


def _fields_of(entry: TypeEntry, value: Any) -> dict[str, Any]:
    try:
        return entry.encode(value)  # type: ignore[no-any-return]
    except Unsupported:
        raise
    except Exception as error:  # of a class that does something of its own with its attributes
        if is_passing(error):
            raise
        raise Unsupported(
            f"the fields of the object cannot be read ({type(error).__name__})"
        ) from error


def _encode_fields(fields: dict[str, Any], ref: Ref) -> Any:
    """Translate an object's fields by name; their dict is no container of the state."""
    if not is_flat(fields.values()):
        fields = {name: _field(content, ref, name) for name, content in fields.items()}
    if _STR.issuperset(map(type, fields)):
        return _guarded(fields)
    return {"$dict": [[_key(name), content] for name, content in fields.items()]}


def _field(value: Any, ref: Ref, name: Any) -> Any:
    if value is classes.UNSET:
        return {"$unset": None}
    try:
        return jsonable(value, ref)
    except Unsupported as problem:
        if _is_replaced(ref, problem):
            return unsaved(value)
        problem.steps.append(f".{name}" if type(name) is str else f".__dict__[{_show(name)}]")
        raise
    except RecursionError:
        raise TooDeep(_TOO_DEEP) from None


def _encode_payload(entry: TypeEntry, value: Any, ref: Ref) -> Any:
    """Translate the result of the program's own `encode` for an object."""
    try:
        payload = entry.encode(value)
    except Exception as error:
        if is_passing(error):
            raise
        problem = f"the encode that is registered for {entry.name} raised {type(error).__name__}"
        raise Unsupported(problem) from error
    if payload is value:
        raise Unsupported(f"the encode that is registered for {entry.name} gave the object itself")
    try:
        strict: Callable[[], Ref] | None = getattr(ref, "strict", None)
        return jsonable(payload, ref if strict is None else strict())
    except Unsupported as problem:
        problem.steps.append(" (as its encode gave it)")
        raise


def _encode_unknown(value: Unknown, ref: Ref) -> Any:
    """Give the stored JSON; the nodes to which it refers may have other numbers here."""
    ids: dict[int, int] = {}
    for node_id, node in value._nodes.items():
        known = ref(node)
        if known is None:
            raise Unsupported(f"a kept {value.name} cannot be moved to another store")
        ids[node_id] = known["$ref"]
    return with_references(value.json, ids) if ids else value.json


_BUILTIN: dict[str, tuple[type, Callable[[Any, Ref], Any]]] = {
    "dict": (dict, _encode_dict),
    "list": (list, _items),
    "set": (set, _encode_members("$set")),
    "counter": (Counter, lambda value, ref: {"$counter": _encode_dict(value, ref)}),
    "deque": (deque, _encode_deque),
    "ordereddict": (OrderedDict, lambda value, ref: {"$ordereddict": _ordered(value, ref)}),
    "defaultdict": (defaultdict, _encode_defaultdict),
}


def _ordered(value: OrderedDict[Any, Any], ref: Ref) -> Any:
    return _encode_dict(dict(value.items()), ref)  # msgspec would take the order of insertion


ENCODERS.update(
    {
        float: _encode_float,
        tuple: lambda value, ref: {"$tuple": _items(value, ref)},
        frozenset: _encode_members("$frozenset"),
        range: _encode_range,
        slice: _encode_slice,
        Fraction: lambda value, _ref: {"$fraction": [value.numerator, value.denominator]},
        Unknown: _encode_unknown,
        **{cls: _by_reference(encode) for cls, encode in _BUILTIN.values()},
        **{cls: _encode_scalar(tag, encode) for cls, (tag, encode) in SCALARS.items()},
        **{cls: _by_reference(encode) for cls, encode in MUTABLE.items()},
    }
)


BUILTIN.update(NATIVE, ENCODERS)


def register_container(cls: type, kind: str, copy: Callable[[Any], Any] | None = None) -> None:
    """Register a tracked class: saved as the builtin of its kind, or by reference as a node.

    Args:
        cls: The class.
        kind: The name of its kind.
        copy: Makes a plain copy; for a class of the program whose methods may show other content.
    """
    encode = _BUILTIN.get(kind, _BUILTIN["dict"])[1]
    if copy is None:
        ENCODERS[cls] = _by_reference(encode)
    else:
        ENCODERS[cls] = lambda value, ref: ref(value) or encode(copy(value), ref)
    BUILTIN.add(cls)


def encode_key(key: Any) -> Any:
    """Translate a key of a dict or a member of a set.

    Raises:
        Unsupported: The key cannot be saved; or it can, but would not be found again.
    """
    return key if type(key) in NATIVE else _key(key)
