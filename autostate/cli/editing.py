"""One value in a stored state, put at a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from autostate.cli import forms, paths
from autostate.cli.errors import CommandError
from autostate.cli.fitting import Absent, Fitting
from autostate.cli.values import Values
from autostate.codec.raw import is_tagged
from autostate.codec.unsupported import Unsupported
from autostate.journal.commit import SEQUENCES, NodeState
from autostate.runtime.stored_state import StoredState

Make = Callable[[Any], Any]
"""Gives the JSON of the new value for that of the present one, or for `Absent`."""
VALUE: Final = "value"
"""The field under which the stored form of an object is shown that is no mapping of fields."""
_REFUSED: Final = {
    "loop": "is the position of a loop: `autostate reset {name}` lets the loop begin anew",
    "outbox": "is an outbox, whose items only its program delivers",
    "unreadable": "could not be read: `autostate delete {name}` lets it begin anew",
}


class Edit:
    """A change of one value.

    Args:
        state: The state.
        name: The state object.

    Attributes:
        path: The path of the value, as messages write it.
        was: The value before, as it is shown.
        new: The value after it.
        is_new: Whether there was none before.
        entry: The entry of a dict in which it is: the key, and the JSON of all that is under it.
    """

    def __init__(self, state: StoredState, name: str) -> None:
        self._nodes = state.nodes
        self._values = Values(state)
        self._name = name
        self._root = state.roots[name]
        self.path = name
        self.was: Any = None
        self.new: Any = None
        self.is_new: bool = False
        self.entry: tuple[Any, Any] | None = None

    def line(self, steps: Sequence[Any], make: Make) -> bytes:
        """Give the change that sets the value at a path.

        Raises:
            CommandError: There is no such place, or it cannot hold the value.
        """
        node = self._nodes[self._root]
        if node.kind in _REFUSED:
            raise CommandError(f"{self._name} {_REFUSED[node.kind].format(name=self._name)}")
        if not steps:
            new = self._made(forms.form_of(node), make, self._name)
            self._check_kind(node, new)
            return forms.Content(node.kind, new).change(self._root, new=False)
        return self._in_node(self._root, steps, make, self._name)

    def _check_kind(self, node: NodeState, new: Any) -> None:
        """Refuse content of another kind for a whole state object."""
        try:
            made = forms.Content(node.kind, new)
            if node.kind not in {"proxy", "shared_object"}:
                assert isinstance(made.items(), list)
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
            raise CommandError(
                f"{self._name} is a {node.kind}, and cannot become another kind: set what is in it"
            ) from None

    def _in_node(self, at: int, steps: Sequence[Any], make: Make, path: str) -> bytes:
        node = self._nodes[at]
        step, *rest = steps
        if node.kind in {"proxy", "shared_object"}:
            try:
                new = self._replaced(node.content.get("value"), steps, make, path)
            except _ElsewhereError as elsewhere:
                return self._in_node(elsewhere.node, elsewhere.steps, make, elsewhere.path)
            return forms.entry(at, "value", new)
        if node.kind == "set":
            raise _no_place(path)
        content = node.content
        is_sequence = node.kind in SEQUENCES
        if is_sequence:
            key = self._index(content, step, path)
            old = content[key]
        else:
            stored = map(forms.key_json, content)
            key = self._key([*content], stored, step, path, of_object=node.kind == "object")
            missing = 0 if node.kind == "counter" else Absent(content.values())
            old = content.get(key, missing)
        inside = paths.extended(path, key, of_object=node.kind == "object")
        try:
            new = self._replaced(old, rest, make, inside)
        except _ElsewhereError as elsewhere:
            return self._in_node(elsewhere.node, elsewhere.steps, make, elsewhere.path)
        if is_sequence:
            return forms.item(at, node.first + key, new)
        self.entry = key, new
        return forms.entry(at, forms.key_json(key), new)

    def _replaced(self, json: Any, steps: Sequence[Any], make: Make, path: str) -> Any:
        """Give a value in which another one is at a path."""
        if not steps:
            return self._made(json, make, path)
        if isinstance(json, Absent):
            raise CommandError(f"there is nothing in {path}: set that first")
        step, *rest = steps
        if isinstance(json, list):
            return self._in_items(json, step, rest, make, path)
        if not isinstance(json, dict):
            raise CommandError(f"there is no {step!r} in {path}")
        if not is_tagged(json):
            return self._in_mapping(json, step, rest, make, path)
        [(tag, content)] = json.items()
        if tag == "$ref":
            raise _ElsewhereError(content, steps, path)
        if tag == "$dict":
            return self._in_mapping(json, step, rest, make, path)
        return {tag: self._in_tagged(tag, content, steps, make, path)}

    def _in_tagged(
        self, tag: str, content: Any, steps: Sequence[Any], make: Make, path: str
    ) -> Any:
        """Give what is under a tag, with another value at a path in it."""
        step, *rest = steps
        if tag == "$tuple":
            return self._in_items(content, step, rest, make, path)
        if tag == "$deque":
            return [self._in_items(content[0], step, rest, make, path), content[1]]
        if tag in {"$counter", "$ordereddict"}:
            missing = 0 if tag == "$counter" else None
            return self._in_mapping(content, step, rest, make, path, missing=missing)
        if tag == "$defaultdict":
            return [content[0], self._in_mapping(content[1], step, rest, make, path)]
        if tag == "$object":
            return [content[0], self._in_object(content[1], step, rest, make, path)]
        if tag in {"$set", "$frozenset"}:
            raise _no_place(path)
        raise CommandError(f"there is no {step!r} in {path}")

    def _in_object(self, payload: Any, step: Any, rest: list[Any], make: Make, path: str) -> Any:
        if forms.is_mapping(payload):
            return self._in_mapping(payload, step, rest, make, path, of_object=True)
        if step != VALUE:
            raise CommandError(f"{path} has no stored field {step!r}. It has: {VALUE}")
        inside = paths.extended(path, VALUE, of_object=True)
        return self._replaced(payload, rest, make, inside)

    def _in_items(self, items: list[Any], step: Any, rest: list[Any], make: Make, path: str) -> Any:
        index = self._index(items, step, path)
        new = self._replaced(items[index], rest, make, paths.extended(path, index))
        return [*items[:index], new, *items[index + 1 :]]

    def _in_mapping(
        self,
        json: Any,
        step: Any,
        rest: list[Any],
        make: Make,
        path: str,
        *,
        missing: Any = None,
        of_object: bool = False,
    ) -> Any:
        pairs = forms.pairs_of(json)
        keys = [self._values.key(key) for key, _ in pairs]
        stored = [key for key, _ in pairs]
        found = self._key(keys, stored, step, path, of_object=of_object)
        at = keys.index(found) if found in keys else len(keys)
        if at < len(pairs):
            key, old = pairs[at]
        else:
            nothing = Absent(value for _, value in pairs)
            key, old = forms.key_json(found), nothing if missing is None else missing
        inside = paths.extended(path, found, of_object=of_object)
        new = self._replaced(old, rest, make, inside)
        return forms.mapping([*pairs[:at], (key, new), *pairs[at + 1 :]])

    def _made(self, json: Any, make: Make, path: str) -> Any:
        self.path = path
        try:
            new = make(json)
        except Unsupported as problem:
            raise CommandError(f"this value cannot be saved: {problem.problem}") from None
        self.is_new = isinstance(json, Absent)
        self.was = None if self.is_new else self._values.value(json)
        self.new = self._values.value(new)
        return new

    def _key(
        self, keys: list[Any], stored: Iterable[Any], step: Any, path: str, *, of_object: bool
    ) -> Any:
        """Find the key that a step of a path means, or give that of a new entry.

        Args:
            keys: The keys, of classes of the program as they are shown.
            stored: The JSON of the keys.
            step: The step.
            path: The path before it.
            of_object: Whether the keys are the fields of an object.
        """
        shown = {self._values.shown_key(key): key for key in keys}
        known = paths.Keys(shown).find(step)
        if known is not paths.MISSING:
            return shown[known]
        if of_object:
            there = ", ".join(map(str, keys))
            raise CommandError(f"{path} has no stored field {step!r}. It has: {there}")
        fitting = Fitting(self._nodes, hides=False)
        return self._values.key(fitting.new_key(step, stored, path))

    def _index(self, items: list[Any], step: Any, path: str) -> Any:
        index = paths.number(step)
        if index is None or not -len(items) <= index < len(items):
            raise CommandError(f"there is no {step!r} in {path}, which has {len(items)} items")
        return index % len(items)


class _ElsewhereError(Exception):
    """A path goes on in another node."""

    def __init__(self, node: int, steps: Sequence[Any], path: str) -> None:
        super().__init__(path)
        self.node = node
        self.steps = steps
        self.path = path


def _no_place(path: str) -> CommandError:
    return CommandError(f"{path} is a set, whose members have no places: set the whole set")
