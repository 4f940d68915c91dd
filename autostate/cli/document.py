"""A state as one JSON document, from which it can be read again without loss.

    {"autostate": 1, "objects": {"progress": {"page": 7, "seen": {"$set": ["a"]}}}}

Values that JSON has stand as they are, all others under a tag, as in the store. What is found at
several places stands once, under its number in "nodes", and `{"$ref": 7}` at the places; a state
object that is found inside others has its number in "numbers".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from autostate.cli.errors import CommandError
from autostate.cli.forms import Content, form_of, holds_secrets, key_json
from autostate.cli.values import Values
from autostate.codec import dump
from autostate.codec.raw import is_tagged, references, with_references
from autostate.errors import AutostateError
from autostate.journal.commit import NodeState
from autostate.journal.replay import DecodedReplay, RawReplay
from autostate.journal.verifying import holds_pickled
from autostate.runtime.names import check_name
from autostate.runtime.stored_state import StoredState

VERSION: Final = 1
_MARK: Final = "autostate"
_TAGGED: Final = ("set", "counter", "deque", "ordereddict", "defaultdict")
"""The kinds whose form has a tag of its own."""
_NO_EXPORT: Final = {
    "outbox": "is an outbox: its program delivers what is in it, and a copy would deliver it again",
    "unreadable": "could not be read",
}


def make(state: StoredState, names: list[str], *, reveal: bool = False) -> bytes:
    """Make the document of some state objects.

    Args:
        state: The state.
        names: The state objects.
        reveal: Write what secrets hold.

    Raises:
        CommandError: Something in them has no form in a document.
    """
    return _Document(state, names, reveal=reveal).made()


class _Document:
    """A document that is being made.

    Args:
        state: The state.
        names: The state objects.
        reveal: Write what secrets hold.
    """

    def __init__(self, state: StoredState, names: list[str], *, reveal: bool) -> None:
        self._reveal = reveal
        self._nodes = state.nodes
        self._roots = {name: state.roots[name] for name in names}
        self._forms: dict[int, Any] = {}
        self._counts: Counter[int] = Counter()
        for name in names:
            self._look(name)

    def _look(self, name: str) -> None:
        """Find all nodes inside a state object, and refuse what has no form."""
        left = [self._roots[name]]
        while left:
            at = left.pop()
            if at in self._forms:
                continue
            node = self._nodes[at]
            if node.kind in _NO_EXPORT:
                raise CommandError(f"{name} {_NO_EXPORT[node.kind]}: name the others")
            if holds_pickled([node]):
                raise CommandError(
                    f"{name} holds pickled values, which are code that only the key of its store "
                    "opens: `autostate backup` copies them, with the key"
                )
            if node.name is not None and node.name not in self._roots:
                raise CommandError(f"{name} refers to {node.name}: export that, too")
            self._forms[at] = form_of(node)
            if not self._reveal and holds_secrets(self._forms[at]):
                raise CommandError(f"{name} holds secrets: --reveal writes what they hold")
            found = [*references(self._forms[at])]
            self._counts.update(found)
            left += found

    def made(self) -> bytes:
        """Give the document."""
        numbered = self._numbered()
        objects = {name: self._form(at, numbered) for name, at in self._roots.items()}
        nodes = {
            str(at): self._form(at, numbered) for at in numbered if self._nodes[at].name is None
        }
        numbers = {name: at for name, at in self._roots.items() if at in numbered}
        defaults = {
            name: [key_json(key) for key in self._nodes[at].defaults]
            for name, at in self._roots.items()
            if self._nodes[at].defaults
        }
        document: dict[str, Any] = {_MARK: VERSION, "objects": objects}
        document |= {"nodes": nodes} if nodes else {}
        document |= {"numbers": numbers} if numbers else {}
        document |= {"defaults": defaults} if defaults else {}
        return msgspec.json.format(dump(document), indent=2) + b"\n"

    def _numbered(self) -> set[int]:
        """Find the nodes that cannot stand at their one place: at several, or inside themselves."""
        found = {at for at, count in self._counts.items() if count > 1}
        found |= {at for at in self._counts if self._nodes[at].name is not None}
        outer = {*self._roots.values(), *found}
        reached: set[int] = set()
        for at in outer:
            left = [at]
            while left:
                each = left.pop()
                reached.add(each)
                left += [one for one in references(self._forms[each]) if one not in outer]
        return found | (self._forms.keys() - reached)  # a circle that is reached from nowhere else

    def _form(self, at: int, numbered: set[int]) -> Any:
        node = self._nodes[at]
        form = self._filled(self._forms[at], numbered)
        return _marked(node, form)

    def _filled(self, json: Any, numbered: set[int]) -> Any:
        """Put the nodes in the place of references."""
        if isinstance(json, list):
            return [self._filled(item, numbered) for item in json]
        if not isinstance(json, dict):
            return json
        if len(json) == 1 and type(at := json.get("$ref")) is int:
            return json if at in numbered else self._filled(self._forms[at], numbered)
        return {key: self._filled(item, numbered) for key, item in json.items()}


def _marked(node: NodeState, form: Any) -> Any:
    """Name the kind of a node where the form does not tell."""
    if node.kind in {"proxy", "shared_object"}:
        return {f"${node.kind}": form}
    if node.kind == "object":
        return {"$persisted": [node.metadata, form["$object"][1]]}
    return form


class Parsed:
    """The state objects of a document, to be written into a state.

    Args:
        objects: The forms of the state objects by name, marked where they do not tell the kind.
        nodes: The forms of other nodes by number.
        numbers: The numbers of state objects that others refer to.
        defaults: The JSON of the keys of the defaults that state objects were given.

    Raises:
        CommandError: They cannot be the content of a state.
    """

    def __init__(
        self,
        objects: dict[str, Any],
        nodes: dict[int, Any] | None = None,
        numbers: dict[str, int] | None = None,
        defaults: dict[str, list[Any]] | None = None,
    ) -> None:
        self.objects = objects
        self._nodes = nodes or {}
        self._numbers = numbers or {}
        self._defaults = defaults or {}
        for name in objects:
            try:
                check_name(name)
            except ValueError as error:
                raise CommandError(str(error)) from None
        self.state: StoredState = self._checked()

    def _checked(self) -> StoredState:
        """Read what would be written, as a program would; give it."""
        replay = DecodedReplay()
        try:
            for line in self.lines({}, 1):
                replay.apply(line)
            state = StoredState("", replay.nodes, None, None, None)
            values = Values(state)
            for name in self.objects:
                values.of(name)
            missing = {
                at for node in replay.nodes.values() for at in references(form_of(node))
            } - replay.nodes.keys()
        except (AutostateError, msgspec.MsgspecError, *_WRONG) as error:
            raise CommandError(f"it is no document of a state ({error})") from None
        if missing:
            raise CommandError("it is no document of a state: it refers to what is not in it")
        if holds_pickled(replay.nodes.values()):
            raise CommandError("it holds pickled values, which are code: no document has them")
        return state

    def fits(self, name: str, node: NodeState) -> bool:
        """Tell whether a node that is there can get the content of a state object."""
        new = self.state.nodes[self.state.roots[name]]
        return (new.kind, new.metadata) == (node.kind, node.metadata)

    def lines(self, there: dict[str, tuple[int, NodeState]], begin: int) -> Iterator[bytes]:
        """Give the changes that write the state objects.

        Args:
            there: State objects that are replaced, with their nodes.
            begin: The number from which on new nodes are numbered.
        """
        numbers = {old: begin + at for at, old in enumerate(self._nodes)}
        begin += len(numbers)
        ids = dict(zip(self.objects, range(begin, begin + len(self.objects)), strict=True))
        kinds = {name: _kind_of(form) for name, form in self.objects.items()}
        for name, (at, node) in there.items():
            if self.fits(name, node):
                ids[name] = at
            else:
                yield b'{"id":%d,"delete":true}' % at
        numbers |= {self._numbers[name]: ids[name] for name in self._numbers}
        for old, form in self._nodes.items():
            yield from _lines(numbers[old], None, _kind_of(form), with_references(form, numbers))
        for name, form in self.objects.items():
            kept = name in there and ids[name] == there[name][0]
            yield from _lines(
                ids[name],
                name,
                kinds[name],
                with_references(form, numbers),
                self._defaults.get(name, []),
                new=not kept,
            )


def parse(data: bytes) -> Parsed | None:
    """Read a document; None: it is other JSON.

    Raises:
        CommandError: It is no JSON, or no document of a state.
    """
    found = parse_json(data)
    if not isinstance(found, dict) or type(found.get(_MARK)) is not int or "objects" not in found:
        return None
    if found[_MARK] != VERSION:
        raise CommandError(
            f"it is a document of the format {found[_MARK]}, and this version knows {VERSION}: "
            "use a newer version of autostate"
        )
    try:
        nodes = {int(at): form for at, form in found.get("nodes", {}).items()}
        numbers, defaults = found.get("numbers", {}), found.get("defaults", {})
        return Parsed({**found["objects"]}, nodes, numbers, defaults)
    except _WRONG as error:
        raise CommandError(f"it is no document of a state ({type(error).__name__})") from None


def parse_json(data: bytes) -> Any:
    """Read JSON.

    Raises:
        CommandError: It is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"it is no JSON ({error})") from None


_WRONG: Final = (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)
"""What Python raises where JSON has another form than was expected."""


def _kind_of(form: Any) -> str:
    if isinstance(form, list):
        return "list"
    tag = next(iter(form))[1:] if isinstance(form, dict) and is_tagged(form) else "dict"
    if not isinstance(form, dict) or tag not in {"dict", "loop", *_TAGGED, *_MARKED}:
        raise CommandError("it is no document of a state: a state object has no known kind")
    return _MARKED.get(tag, tag)


_MARKED: Final = {"proxy": "proxy", "shared_object": "shared_object", "persisted": "object"}


def _lines(
    at: int,
    name: str | None,
    kind: str,
    form: Any,
    defaults: list[Any] | None = None,
    *,
    new: bool = True,
) -> Iterator[bytes]:
    """Write a node, as several changes if it is large."""
    metadata = None
    if kind in {"proxy", "shared_object"}:
        form = form[f"${kind}"]
    elif kind == "object":
        metadata, fields = form["$persisted"]
        form = {"$object": [metadata["class"], fields]}
    line = Content(kind, form).change(at, name, metadata, defaults, new=new)
    if not new:
        yield line
        return
    replay = RawReplay()
    replay.apply(line)
    yield from replay.lines(at)
