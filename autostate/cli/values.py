"""The values of a stored state, rebuilt without the classes of the program.

An object of a class is shown as its fields. Pickled values are code, and are not loaded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from autostate.cli.errors import CommandError
from autostate.cli.escapes import printable
from autostate.codec.decoding import decode
from autostate.codec.unknown import Unknown
from autostate.errors import AutostateError
from autostate.journal import NodeState
from autostate.journal.commit import SEQUENCES
from autostate.ownership.state_names import listed
from autostate.runtime.stored_state import StoredState


class Fields:
    """An object of a class of the program.

    Attributes:
        fields: Its fields by name.
    """

    def __init__(self, fields: dict[Any, Any]) -> None:
        self.fields = fields

    @classmethod
    def of_class(cls, name: str, fields: dict[Any, Any]) -> Fields:
        """Make an object that is shown under the name of its class, given as "module:Class"."""
        made: Fields = type(printable(name.rpartition(":")[2]), (cls,), {})(fields)
        return made

    def __repr__(self) -> str:
        fields = ", ".join(f"{printable(str(key))}={value!r}" for key, value in self.fields.items())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        for key, value in self.fields.items():
            yield printable(str(key)), value


class Opaque:
    """A value of which only a description can be shown.

    Args:
        text: The description.
        content: The stored JSON, which tells two such values apart.

    Attributes:
        text: The description.
        content: The stored JSON.
    """

    def __init__(self, text: str, content: Any = None) -> None:
        self.text: str = printable(text)
        self.content: Any = content

    def __repr__(self) -> str:
        return self.text


def check_name(state: StoredState, name: str) -> None:
    """Refuse a name that no state object has.

    Raises:
        CommandError: There is no such state object.
    """
    if name not in state.roots:
        raise CommandError(
            f"{state.url} holds no state object {name!r}. {listed(list(state.roots))}"
        )


class Values:
    """The values of one stored state.

    Args:
        state: The state that was read.
    """

    def __init__(self, state: StoredState) -> None:
        self._nodes = state.nodes
        self._roots = state.roots
        self._made: dict[int, Any] = {}

    @classmethod
    def of_none(cls) -> Values:
        """Give what rebuilds values that refer to no nodes."""
        return cls(StoredState("", {}, None, None, None))

    def value(self, json: Any) -> Any:
        """Rebuild one value from JSON."""
        return self._value(json)

    def key(self, json: Any) -> Any:
        """Rebuild a key or a member, which can be hashed whatever its class is."""
        return _hashable(self._value(json))

    def shown_key(self, key: Any) -> Any:
        """Give what a key or member of a node is shown as."""
        return self._key(key)

    def of(self, name: str) -> Any:
        """Give the content of a state object.

        Raises:
            KeyError: None of this name is stored.
            CorruptStateError: It refers to a node that is not stored.
        """
        if name not in self._roots:
            raise KeyError(f"no state object {name!r} is saved. {listed(list(self._roots))}")
        return self._node(self._roots[name])

    def _node(self, node_id: int) -> Any:
        if node_id in self._made:
            return self._made[node_id]
        node = self._nodes.get(node_id)
        if node is None:
            return Opaque("<missing>")
        content = node.content
        if node.kind in ("proxy", "shared_object"):
            self._made[node_id] = Opaque("<itself>")
            made = self._value(content.get("value"))
            self._made[node_id] = made
            return made
        return self._container(node_id, node, content)

    def _container(self, node_id: int, node: NodeState, content: Any) -> Any:
        made: Any
        if node.kind in SEQUENCES:
            made = deque(maxlen=node.metadata) if node.kind == "deque" else []
            self._made[node_id] = made
            made.extend(map(self._value, content))
        elif node.kind == "set":
            made = self._made[node_id] = set()
            made.update(map(self._key, content))
        elif node.kind == "object":
            made = self._made[node_id] = Fields.of_class(str(node.metadata["class"]), {})
            made.fields.update({key: self._value(value) for key, value in content.items()})
        elif node.kind == "unreadable":
            made = Opaque("<could not be read; a copy is kept>")
        else:
            made = self._made[node_id] = {}
            entry = self.item if node.kind == "outbox" else self._entry
            made.update({self._key(key): entry(key, value) for key, value in content.items()})
        return made

    def _entry(self, _key: Any, json: Any) -> Any:
        return self._value(json)

    def item(self, key: Any, json: Any) -> Any:
        """Rebuild an entry of an outbox, which keeps items as texts: in these a secret is shown.

        Args:
            key: The key of the entry: the items have numbers.
            json: The entry.
        """
        value = self._value(json)
        if key == "aside" and isinstance(value, dict):
            return {number: self._of_text(item) for number, item in value.items()}
        return self._of_text(value) if type(key) is int else value

    def _of_text(self, item: Any) -> Any:
        if isinstance(item, tuple):  # set aside, with a reason
            return self._of_text(item[0]), *item[1:]
        try:
            return self._value(msgspec.json.decode(item))
        except (TypeError, ValueError, AutostateError):  # a destination may write in its own way
            return item

    def _key(self, key: Any) -> Any:
        return self._value(key.json) if isinstance(key, Unknown) else key

    def _value(self, json: Any) -> Any:
        return decode(json, self._make)

    def _make(self, kind: str, content: Any) -> Any:
        if kind == "ref":
            return self._node(content)
        if kind == "pickled":
            return Opaque("<pickled>", content)
        if kind == "unknown":
            return self._of_unknown_class(*content)
        return dict(content) if isinstance(content, dict) else content

    def _of_unknown_class(self, name: str, json: Any) -> Any:
        [(tag, content)] = json.items()
        if tag == "$object":
            fields = self._value(content[1])
            return Fields.of_class(name, fields if isinstance(fields, dict) else {"value": fields})
        if tag == "$enum":
            return Opaque(f"{name.rpartition(':')[2]}.{content[1]}")
        return Opaque(f"<{name}>", json)


def _hashable(value: Any) -> Any:
    """Give what stands for a member whose class is not known."""
    try:
        hash(value)
    except TypeError:
        return Opaque(repr(value))
    return value
