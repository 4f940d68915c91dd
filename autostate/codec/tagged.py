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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final
from weakref import WeakKeyDictionary

from autostate.codec import arrays, classes, enums, registry
from autostate.codec.advice import why_not
from autostate.codec.bound import root_of
from autostate.codec.lasting import check_name
from autostate.codec.options import is_persisted
from autostate.codec.raw import NATIVE, dump, is_flat, with_references
from autostate.codec.registry import ATOMS, BUILTIN, ENCODERS, TypeEntry
from autostate.codec.secret import Secret
from autostate.codec.signatures import Encode, Json, Ref
from autostate.codec.types import SCALARS
from autostate.codec.unknown import Unknown
from autostate.codec.unsupported import Replaced, TooDeep, Unsupported, shown
from autostate.process.interrupts import is_passing

_STR: Final = frozenset({str})
_SORTED: Final = frozenset({str, int})
_TOO_DEEP: Final = (
    "it is nested too deeply to be saved: keep it in a list, or in several state objects"
)


def jsonable(value: Any, ref: Ref) -> Json:
    """Translate a value into a form that msgspec writes without loss.

    Args:
        value: The value; returned as it is when it is plain JSON already.
        ref: Gives `{"$ref": id}` for a container or a mutable object that is a node, None for any
            other. If it has an attribute `replaced`, a value inside this one that cannot be
            saved is replaced by the result of `unsaved`; a member, or an entry whose key cannot
            be saved, is left out; `replaced` takes each of these problems, with the way from this
            value as its path. Its method `strict` gives the `ref` for results of a
            registered `encode`: a `decode` gets such a result complete, or is not called.

    Raises:
        Unsupported: The value, or one inside it, is of a type that cannot be saved.
    """
    cls = type(value)
    if cls in NATIVE:
        return value  # type: ignore[no-any-return]
    encode = ENCODERS.get(cls)
    if encode is None:  # an error is not remembered: the program may register the class after it
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


def _replaced_of(ref: Ref) -> Replaced | None:
    """Give the list for what is replaced; None if what cannot be saved is an error."""
    return getattr(ref, "replaced", None)


def _is_replaced(ref: Ref, problem: Unsupported) -> bool:
    """Note a problem if `ref` replaces what cannot be saved."""
    replaced = _replaced_of(ref)
    if replaced is None or type(problem) is TooDeep:
        return False
    replaced.add(problem)
    return True


def _encoder_of(cls: type, *, key: bool) -> Encode:
    """Find the function that translates values of a class that is new."""
    registry.adopt()
    if cls in ENCODERS:
        return ENCODERS[cls]
    return _encode_instance if is_persisted(cls) else _encoder_of_object(cls, key=key)


def _encode_instance(value: Any, ref: Ref) -> Json:
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


_UNBOUND: Final[WeakKeyDictionary[type, Encode]] = WeakKeyDictionary()
"""The encoders of objects that are no state objects. `ENCODERS` cannot hold these: whether an
object of a `@persisted` class is a state object is not known from its class."""


def _encoder_of_object(cls: type, *, key: bool) -> Encode:
    check_name(cls)
    if enums.is_enum(cls):
        return _encode_enum
    entry = registry.entry_for(cls)
    if entry is not None:
        return by_reference(_encode_object) if entry.mutable else _encode_object
    known = arrays.encoder_of(cls)
    if known is not None:
        return known if registry.is_atom(cls) else by_reference(known)
    raise Unsupported(why_not(cls, key=key))


def content_of(mapping: Mapping[Any, Any], ref: Ref) -> Mapping[str, Any] | list[Any]:
    """Translate a dict's content: an object if all keys are str, else an array of pairs."""
    values = mapping.values()
    if not is_flat(values):
        step = _step_of(ref)
        mapping = {key: step(value, ref, key) for key, value in mapping.items()}
    if _STR.issuperset(map(type, mapping)):
        return mapping
    return _pairs(mapping.items(), ref)


def _pairs(entries: Iterable[tuple[Any, Json]], ref: Ref) -> list[list[Json]]:
    """Translate the keys of entries; leave out a key that cannot be saved, if `ref` is lenient."""
    pairs = []
    for key, value in entries:
        try:
            pairs.append([encode_key(key), value])
        except Unsupported as problem:
            if not _is_replaced(ref, problem):
                raise
    return pairs


def _index(key: Any) -> str:
    return f"[{_show(key)}]"


def _attribute(name: Any) -> str:
    return f".{name}" if type(name) is str else f".__dict__[{_show(name)}]"


def _step(value: Any, ref: Ref, key: Any, step: Callable[[Any], str] = _index) -> Json:
    """Translate a value inside another one; `step` shows the way to it in the path of an error."""
    try:
        return jsonable(value, ref)
    except Unsupported as problem:
        problem.steps.append(step(key))
        raise
    except RecursionError:
        raise TooDeep(_TOO_DEEP) from None


def _lenient_step(value: Any, ref: Ref, key: Any, step: Callable[[Any], str] = _index) -> Json:
    """Do as `_step`, but replace the value if it cannot be saved."""
    replaced = _replaced_of(ref)
    assert replaced is not None
    before, more = len(replaced.problems), replaced.more
    try:
        encoded = _step(value, ref, key, step)
    except TooDeep:
        raise
    except Unsupported as problem:  # the stand-in is for all of it
        del replaced.problems[before:]
        replaced.more = more
        replaced.add(problem)
        return unsaved(value)
    for inner in replaced.problems[before:]:  # the way grows outwards
        inner.steps.append(step(key))
    return encoded


def _step_of(ref: Ref) -> Callable[..., Json]:
    """Choose once for each container, so that the usual step costs nothing more."""
    return _step if _replaced_of(ref) is None else _lenient_step


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


def encode_key(key: Any) -> Json:
    """Translate a key of a dict or a member of a set.

    Raises:
        Unsupported: The key cannot be saved; or it can, but would not be found again.
    """
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


def encode_dict(value: Mapping[Any, Any], ref: Ref) -> Json:
    """Translate a dict."""
    return _guarded(content_of(value, ref))


def _guarded(content: Mapping[str, Any] | list[Any]) -> Mapping[str, Any]:
    """Give the content of a dict as a value of its own, which cannot be taken for a tag."""
    if isinstance(content, list):
        return {"$dict": content}
    if len(content) == 1 and next(iter(content)).startswith("$"):
        return {"$dict": [[key, item] for key, item in content.items()]}
    return content


def encode_items(value: Sequence[Any], ref: Ref) -> Json:
    """Translate the items of a sequence, as an array."""
    if is_flat(value):
        return value
    step = _step_of(ref)
    return [step(item, ref, index) for index, item in enumerate(value)]


def encode_members(value: Collection[Any], ref: Ref) -> list[Json]:
    """Sort members by content alone: the order of a set differs between processes."""
    if len(set(map(type, value))) == 1 and type(next(iter(value))) in _SORTED:
        return sorted(value)  # the frequent case; Python has no order for a mix of types
    members = []
    for member in value:
        try:
            members.append(encode_key(member))
        except Unsupported as problem:
            if not _is_replaced(ref, problem):
                raise
    return sorted(members, key=dump)


def _encode_float(value: float, _ref: Ref) -> Json:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _encode_slice(value: slice, ref: Ref) -> Json:
    return {"$slice": encode_items((value.start, value.stop, value.step), ref)}


def _encode_scalar(tag: str, encode: Callable[[Any], Json]) -> Encode:
    def encode_scalar(value: Any, _ref: Ref) -> Json:
        try:
            return {tag: encode(value)}
        except TypeError as problem:
            raise Unsupported(f"{problem} cannot be saved") from None

    return encode_scalar


def by_reference(encode: Encode, copy: Callable[[Any], Any] | None = None) -> Encode:
    """Let a function translate values, or plain copies of them, unless they are nodes."""
    if copy is None:  # two functions, so that each level of a nested value costs one call less
        return lambda value, ref: ref(value) or encode(value, ref)
    return lambda value, ref: ref(value) or encode(copy(value), ref)


def _encode_enum(value: Any, _ref: Ref) -> Json:
    return {"$enum": [registry.enum_name(type(value)), enums.member_of(value)]}


def _encode_object(value: Any, ref: Ref) -> Json:
    cls = type(value)
    entry = registry.entry_for(cls)
    assert entry is not None
    if ref is _in_key:
        _in_key(value)
    content = _content_of_object(entry, value)
    if entry.fields is None:
        return {"$object": [entry.name, _encode_payload(entry, value, content, ref)]}
    if ref is _in_key:
        content = classes.without_caches(cls, content)
    return {"$object": [entry.name, _encode_fields(content, ref)]}


def _content_of_object(entry: TypeEntry, value: Any) -> Any:
    """Take an object apart, or call the program's own `encode` for it."""
    try:
        return entry.encode(value)
    except Unsupported:
        raise
    except Exception as error:  # fields: of a class that does something of its own with attributes
        if is_passing(error):
            raise
        name = type(error).__name__
        raise Unsupported(
            f"the encode that is registered for {entry.name} raised {name}"
            if entry.fields is None
            else f"the fields of the object cannot be read ({name})"
        ) from error


def _encode_fields(fields: dict[str, Any], ref: Ref) -> Json:
    """Translate an object's fields by name; their dict is no container of the state."""
    if not is_flat(fields.values()):
        step = _step_of(ref)
        fields = {name: step(value, ref, name, _attribute) for name, value in fields.items()}
    if _STR.issuperset(map(type, fields)):
        return _guarded(fields)
    return {"$dict": [[encode_key(name), content] for name, content in fields.items()]}


def _encode_payload(entry: TypeEntry, value: Any, payload: Any, ref: Ref) -> Json:
    """Translate the result of the program's own `encode` for an object."""
    if payload is value:
        raise Unsupported(f"the encode that is registered for {entry.name} gave the object itself")
    try:
        strict: Callable[[], Ref] | None = getattr(ref, "strict", None)
        return jsonable(payload, ref if strict is None else strict())
    except Unsupported as problem:
        problem.steps.append(" (as its encode gave it)")
        raise


def _encode_unknown(value: Unknown, ref: Ref) -> Json:
    """Give the stored JSON; the nodes to which it refers may have other numbers here."""
    ids: dict[int, int] = {}
    for node_id, node in value._nodes.items():
        known = ref(node)
        if known is None:
            raise Unsupported(f"a kept {value.name} cannot be moved to another store")
        ids[node_id] = known["$ref"]
    json: Json = value.json
    return with_references(json, ids) if ids else json


ENCODERS.update(
    {
        float: _encode_float,
        tuple: lambda value, ref: {"$tuple": encode_items(value, ref)},
        frozenset: lambda value, ref: {"$frozenset": encode_members(value, ref)},
        range: lambda value, _ref: {"$range": [value.start, value.stop, value.step]},
        slice: _encode_slice,
        Secret: lambda value, ref: {"$secret": jsonable(value.reveal(), ref)},
        Fraction: lambda value, _ref: {"$fraction": [value.numerator, value.denominator]},
        Unknown: _encode_unknown,
        classes.Unset: lambda _value, _ref: {"$unset": None},
    }
)
for _scalar in SCALARS:
    _encode = _encode_scalar(_scalar.tag, _scalar.encode)
    for _cls in _scalar.classes:
        ENCODERS[_cls] = by_reference(_encode) if _scalar.mutable else _encode
BUILTIN.update(NATIVE, ENCODERS)
