"""The command `set`: one value in a state that no live process owns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from autostate.cli import console, forms, paths, plain, shared
from autostate.cli.choosing import choose
from autostate.cli.errors import CommandError
from autostate.cli.fitting import Absent, Fitting
from autostate.cli.typed import Typed
from autostate.cli.values import Values, check_name
from autostate.cli.writing import held
from autostate.codec.raw import is_tagged
from autostate.errors import StateInUseError
from autostate.journal.commit import SEQUENCES, NodeState
from autostate.runtime.stored_state import StoredState, read_state

Make = Callable[[Any], Any]
"""Gives the JSON of the new value for that of the present one, or for `Absent`."""
STDIN: Final = "-"
"""What stands for a value that is read from standard input."""
VALUE: Final = "value"
"""The field under which the stored form of an object is shown that is no mapping of fields."""
_REFUSED: Final = {
    "loop": "is the position of a loop: `autostate reset {name}` lets the loop begin anew",
    "outbox": "is an outbox, whose items only its program delivers",
    "unreadable": "could not be read: `autostate delete {name}` lets it begin anew",
}


def set(  # noqa: A001 - the name of the command
    *,
    name: str,
    path: str,
    value: str,
    way: str | None,
    secret: bool,
    url: str | None,
    program: str | None,
    as_json: bool,
) -> None:
    """Set the value at a path in a state object.

    Args:
        name: The state object.
        path: The path in it.
        value: The value; `-` reads it from standard input.
        way: How it is written, if it is to have a type of its own.
        secret: Whether it is to be a secret.
        url: As for `choose`.
        program: As for `choose`.
        as_json: Print JSON.
    """
    chosen = choose(url, program).url
    steps = paths.parsed([path])
    state = read_state(chosen)
    if shared.only_shared(chosen, name) is not None:
        raise CommandError(
            f"{name!r} is a shared object, which programs write together: let one of them change "
            f"it; `autostate reset {name}` brings it to nothing"
        )
    check_name(state, name)
    if state.alive:
        raise StateInUseError(owner=state.owner)
    text = console.read(f"The value of {name} {path}".rstrip()) if value == STDIN else value
    make = _maker(text, way, secret=secret, hides=value == STDIN)
    _Edit(state, name).line(steps, make(state.nodes))
    with held(chosen) as target:  # as it is now: a process may have written since
        now = StoredState(target.url, target.nodes, None, None, None)
        check_name(now, name)
        edit = _Edit(now, name)
        target.commit([edit.line(steps, make(now.nodes))])
    if as_json:
        told = {"store": chosen, "name": name, "path": edit.path, "was": edit.was, "is": edit.new}
        console.write_json(told | {"added": edit.is_new})
        return
    was = " (new)" if edit.is_new else f" (was {plain.printable(plain.short(edit.was))})"
    console.write(f"{edit.path} is {plain.printable(plain.short(edit.new))}{was}")


def _maker(
    text: str, way: str | None, *, secret: bool, hides: bool
) -> Callable[[dict[int, NodeState]], Make]:
    """Give what makes the new value, once the nodes of the state are known."""

    def make(nodes: dict[int, NodeState]) -> Make:
        typed = Typed(nodes, hides=hides)
        if secret:
            return lambda old: typed.secret(text, old, way)
        if way is not None:
            return lambda _: typed.as_given(text, way)
        return lambda old: typed.like(text, old)

    return make


class _Edit:
    """A change of one value.

    Args:
        state: The state.
        name: The state object.

    Attributes:
        path: The path of the value, as messages write it.
        was: The value before, as it is shown.
        new: The value after it.
        is_new: Whether there was none before.
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
            key = self._key([*content], step, path, of_object=node.kind == "object")
            missing = 0 if node.kind == "counter" else Absent(content.values())
            old = content.get(key, missing)
        inside = paths.extended(path, key, of_object=node.kind == "object")
        try:
            new = self._replaced(old, rest, make, inside)
        except _ElsewhereError as elsewhere:
            return self._in_node(elsewhere.node, elsewhere.steps, make, elsewhere.path)
        if is_sequence:
            return forms.item(at, node.first + key, new)
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
        found = self._key(keys, step, path, of_object=of_object)
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
        new = make(json)
        self.is_new = isinstance(json, Absent)
        self.was = None if self.is_new else self._values.value(json)
        self.new = self._values.value(new)
        return new

    def _key(self, keys: list[Any], step: Any, path: str, *, of_object: bool) -> Any:
        """Find the key that a step of a path means, or give that of a new entry."""
        shown = {self._values.shown_key(key): key for key in keys}
        known = paths.Keys(shown).find(step)
        if known is not paths.MISSING:
            return shown[known]
        if of_object:
            there = ", ".join(map(str, keys))
            raise CommandError(f"{path} has no stored field {step!r}. It has: {there}")
        fitting = Fitting(self._nodes, hides=False)
        return self._values.key(fitting.new_key(step, map(forms.key_json, keys), path))

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
