"""Stored values as tagged JSON: nodes as values, and values as nodes.

A node has its entries in the store. As a value of its own it is what the codec would write for it
if it lay inside another one: `{"$set": [1, 2]}`. Nothing here builds a value of the program.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Raw

from autostate.cli.errors import CommandError
from autostate.codec import Unknown, dump, encode_key, jsonable
from autostate.codec.raw import is_tagged
from autostate.journal.commit import SEQUENCES, Change, NodeState
from autostate.memory import encode

MAPPINGS: Final = ("$dict", "$ordereddict", "$counter", "$defaultdict")
"""The tags under which entries with keys stand."""
Pair = tuple[Any, Any]
"""The JSON of a key, and of its value."""


def plain_json(value: Any) -> Any:
    """Translate a value of which no part is a node.

    Raises:
        Unsupported: It cannot be saved.
    """
    return jsonable(value, lambda _: None)


def parsed(text: str) -> Any:
    """Parse JSON; how deep the parser goes differs between versions of Python.

    Raises:
        CommandError: It is nested too deeply.
        ValueError: It is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise CommandError("it is nested too deeply to be saved, and nothing was changed") from None


def key_json(key: Any) -> Any:
    """Give the JSON of a key of a node."""
    return key.json if type(key) is Unknown else encode_key(key)


def mapping(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Give entries as a value: an object if all keys are texts, and it is no tag by chance."""
    listed = [*pairs]
    made = {key: value for key, value in listed if type(key) is str}
    if len(made) < len(listed) or is_tagged(made):
        return {"$dict": [[key, value] for key, value in listed]}
    return made


def pairs_of(json: Any) -> list[Pair]:
    """Give the entries of a mapping that is a value."""
    if isinstance(json, dict) and is_tagged(json):
        return [(key, value) for key, value in json["$dict"]]
    return [*json.items()]


def is_mapping(json: Any) -> bool:
    """Tell whether a value is a plain mapping: as what an object has, one of its fields."""
    return isinstance(json, dict) and (not is_tagged(json) or "$dict" in json)


def form_of(node: NodeState) -> Any:
    """Give the content of a node as a value; references in it stay."""
    kind = node.kind
    if kind in SEQUENCES:
        return {"$deque": [node.content, node.metadata]} if kind == "deque" else node.content
    if kind == "set":
        return {"$set": [key_json(key) for key in node.content]}
    if kind in {"proxy", "shared_object"}:
        return node.content.get("value")
    entries = mapping((key_json(key), value) for key, value in node.content.items())
    if kind == "object":
        return {"$object": [node.metadata["class"], entries]}
    if kind == "defaultdict":
        return {"$defaultdict": [node.metadata, entries]}
    return entries if kind == "dict" else {f"${kind}": entries}


def holds_secrets(json: Any, nodes: Mapping[int, NodeState] | None = None) -> bool:
    """Tell whether a value holds secrets, also in keys.

    Args:
        json: The value.
        nodes: The nodes to which it may refer; without them those are left out.
    """
    left, seen = [json], set[int]()
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "$secret" in value and is_tagged(value):
                return True
            at = value.get("$ref") if len(value) == 1 else None
            if type(at) is int and nodes is not None and at not in seen:
                seen.add(at)
                left.append(form_of(nodes[at]))
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False


class Content:
    """The content of a node, of its form as a value.

    Args:
        kind: The kind of the node.
        form: The form, as `form_of` gives it.

    Attributes:
        metadata: The metadata of the node.
    """

    def __init__(self, kind: str, form: Any) -> None:
        self.metadata: Any = None
        found = form
        if kind == "deque":
            found, self.metadata = form["$deque"]
        elif kind == "defaultdict":
            self.metadata, found = form["$defaultdict"]
        elif kind == "object":
            _, found = form["$object"]
        elif kind not in {"dict", "list", "proxy", "shared_object"}:
            found = form[f"${kind}"]
        self._found = found
        self._kind = kind

    def items(self) -> list[Any]:
        """Give the entries as pairs, or the items or members."""
        if self._kind in SEQUENCES or self._kind == "set":
            if not isinstance(self._found, list):
                raise TypeError
            return self._found
        return pairs_of(self._found)

    def change(
        self,
        at: int,
        name: str | None = None,
        metadata: Any = None,
        defaults: Sequence[Any] | None = None,
        *,
        new: bool,
    ) -> bytes:
        """Write the change that assigns the content.

        Args:
            at: The number of the node.
            name: The name of a new root.
            metadata: The metadata of a new node, if the form does not tell.
            defaults: The JSON of the keys of the defaults that it was given.
            new: Whether the node is new.
        """
        assign: dict[str, Any] | list[Any]
        if self._kind in SEQUENCES or self._kind == "set":
            assign = [*map(_raw, self.items())]
        elif self._kind in {"proxy", "shared_object"}:
            assign = {"value": _raw(self._found)}
        else:
            assign = [(_raw(key), _raw(value)) for key, value in self.items()]
        described = self.metadata if metadata is None else metadata
        return encode(
            Change(
                at,
                self._kind if new else None,
                name,
                UNSET if described is None or not new else _raw(described),
                [*map(_raw, defaults)] if defaults else None,
                assign=assign,
            )
        )


def entry(at: int, key: Any, value: Any) -> bytes:
    """Write the change that puts an entry into a mapping."""
    return encode(Change(at, put=[(_raw(key), _raw(value))]))


def item(at: int, number: int, value: Any) -> bytes:
    """Write the change that replaces an item of a sequence."""
    return encode(Change(at, at=number, items=[_raw(value)]))


def _raw(json: Any) -> Raw:
    return Raw(dump(json))
