"""Rehydration: containers rebuilt from stored nodes.

Entries are put straight into their container, so that a million keys are hashed once. What is built
is committed as a whole, and taken back as a whole before that: a load that Ctrl-C interrupts can be
tried again, and does not count as damage.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from autostate import codec, depth, steps
from autostate.codec.classes import Fields
from autostate.codec.signatures import Stored
from autostate.collector import no_collections
from autostate.errors import (
    AutostateError,
    CorruptStateError,
    SignatureError,
    StateTypeError,
    UnknownTypeError,
    UpgradeError,
)
from autostate.process.interrupts import is_passing, uninterrupted
from autostate.tracking.barrier import arm, size, variants_of
from autostate.tracking.builder import Builder
from autostate.tracking.cell import OBJECT, Cell
from autostate.tracking.decoded_conversion import FLAT, converted_types
from autostate.tracking.hashes import remember_hashes
from autostate.tracking.items import SequenceEntries
from autostate.tracking.kept import Kept
from autostate.tracking.kind import KINDS, Kind, is_known, kind_named
from autostate.tracking.node import LARGE, Marks, Node
from autostate.tracking.parts import PART, free, parts_of
from autostate.tracking.raw import items_of
from autostate.tracking.saved_items import Saved, copied
from autostate.tracking.sharing import Sharing
from autostate.tracking.watched import Watched
from autostate.tracking.written import Written


class State(Protocol):
    """A stored node, its values not yet decoded: see `journal.recovery`."""

    kind: str
    name: str | None
    metadata: Stored
    defaults: list[Hashable]
    content: Stored
    first: int
    steps: Stored
    hashes: array[int] | None
    moved: bool
    owner: Node | None
    unbuilt: bool


def _copied(error: AutostateError) -> AutostateError:
    """Make the same error anew: a raised one keeps the frames of its traceback alive."""
    copied: AutostateError = copy.copy(error)
    return copied


def _renumber(state: State) -> None:
    """Give items that were converted before others came or went in front of them their numbers."""
    tracked = converted_types()
    for number, item in enumerate(state.content, state.first):
        if type(item) in tracked and type(item) not in FLAT:
            item._key_.number = number


def _not_restored(name: str) -> str:
    return f"{name} was not restored, and is left as it is stored"


def _corrupt(name: str) -> CorruptStateError:
    """Make the error for a state that refers to a node which is not stored."""
    return CorruptStateError(
        f"{name}: the stored state refers to a part that is not stored: restore the store "
        f"from a copy. To begin anew, {steps.delete()}: it keeps a copy of what is stored"
    )


def _fill_in_parts(kind: Kind, container: Any, content: Any) -> None:
    """Fill a container; many items in parts, so that other threads can run in between."""
    if type(content) is list and len(content) > PART:
        for part in parts_of(content):
            kind.fill(container, part)
    else:
        kind.fill(container, content)


def _free(state: State) -> None:
    """Forget the content of a node; much of it in parts, for the same reason."""
    while state.steps:
        state.steps.pop()
    if type(state.content) is list:
        free(state.content)
    # the caller of the recovery may still hold the state
    state.content = state.hashes = state.owner = None


def _remove(kind: Kind, container: Any, keys: list[str]) -> None:
    """Remove keys or members, if they are there."""
    if kind.shape == "set":
        set.difference_update(container, keys)
        return
    for key in keys:
        kind.builtin.pop(container, key, None)


def _completion(node: Node) -> Callable[[], None] | None:
    """Complete a root as its kind requires; return the last step, if there is one."""
    complete = node.kind.complete
    return None if complete is None else complete(node.obj)


def _untouched(value: Any) -> Any:
    """Copy stored content, with all in it, as JSON."""
    if isinstance(value, dict):
        return {key: _untouched(item) for key, item in value.items()}
    return [_untouched(item) for item in value] if isinstance(value, list) else value


class _CircleError(CorruptStateError):
    """An object is needed that is being built, and that cannot be made without its fields."""


class Rehydration:
    """Rebuilds roots on demand, with the nodes that they refer to, each node once.

    Args:
        tracker: The tracker to which the containers will belong.
        states: The stored nodes by id; rebuilt nodes are removed.

    Attributes:
        lost: Whether the store has lost the nodes: those that are rebuilt have to be saved.
        resigned: The nodes with pickled values that an older key has signed.
    """

    def __init__(self, tracker: Marks, states: dict[int, State]) -> None:
        self._tracker = tracker
        self._states = states
        self._names = {state.name: i for i, state in states.items() if state.name is not None}
        self._built: dict[Node, State] = {}
        self._broken: dict[str, AutostateError] = {}
        self._begun: list[Node] = []
        self._empty: list[Node] = []  # nodes to be filled before a build returns
        self._shared: list[Node] = []
        self.lost: bool = False
        self.resigned: set[Node] = set()

    def may_refer_to(self, nodes: Iterable[Node]) -> bool:
        """Tell whether a root that was not rebuilt yet may refer to one of these nodes.

        Rebuilt nodes are kept until all roots are rebuilt: a root that is rebuilt later finds them
        as they are by then, although the other roots may not hold them any more.
        """
        return bool(self._names) and not set(self._shared).isdisjoint(nodes)

    @property
    def names(self) -> list[str]:
        """List the roots that were not rebuilt yet."""
        return list(self._names)

    def kind(self, name: str) -> str | None:
        """Return the kind of the root of that name that was not rebuilt yet."""
        node_id = self._names.get(name)
        return None if node_id is None else self._states[node_id].kind

    def forget(self, name: str) -> int | None:
        """Leave out a root; return its id."""
        node_id = self._names.pop(name, None)
        if node_id is not None:
            del self._states[node_id]
            self._broken.pop(name, None)
        if not self._names:
            self._shared = []
        return node_id

    def attach(self, container: Any, name: str) -> Node | None:
        """Fill an empty container with the root of a name; None if there is no such root."""
        try:
            return self._attach(container, name)
        except RecursionError as error:
            levels = depth.levels_of(state.content for state in self._states.values())
            objects = sum(state.kind == OBJECT.name for state in self._states.values())
            if levels < depth.FEW_LEVELS <= objects:  # a chain of references: each level recurses
                raise CorruptStateError(
                    f"{_not_restored(name)}: up to {objects:,} objects refer to each other, one "
                    "after another, and the recursion limit of this process does not allow for "
                    "that: raise it, with sys.setrecursionlimit"
                ) from error
            if levels < depth.FEW_LEVELS:
                raise
        try:
            with depth.room_for(levels):
                return self._attach(container, name)
        except depth.TooDeepError as error:
            raise CorruptStateError(f"{_not_restored(name)}: {error}") from None

    def _attach(self, container: Any, name: str) -> Node | None:
        node_id = self._names.get(name)
        if node_id is None:
            return None
        if not is_known(self._states[node_id].kind):  # marked as unreadable by `journal.salvage`
            raise CorruptStateError(f"{name} could not be read before; a copy is kept")
        if name in self._broken:
            raise _copied(self._broken[name])
        codec.look_again()  # for classes that were made since
        complete = False
        outer, self._built = self._built, {}  # a module that a pickle imports may create others
        try:
            with no_collections():
                node = self._build(node_id, container)
                self.finish()
                self._keep_originals()
                completions = [done for built in self._built if (done := _completion(built))]
            node.obj._key_ = None
            arm(node.obj)
            for done in completions:  # only now: an upgrade that fails must touch nothing
                done()
            complete = True  # from here on nothing is undone
            self._commit()
        except BaseException as error:
            if complete:
                uninterrupted(self._commit)
                raise
            uninterrupted(self._take_back)
            reason = str(error) or type(error).__name__
            message = f"{_not_restored(name)}: {reason}"
            if isinstance(error, UnknownTypeError | UpgradeError):
                # The program may have loaded the class by the next attempt; but nobody knows how
                # far an upgrade function of its own has come.
                if error.__cause__ is not None:
                    self._refuse(error)
                error.add_note(_not_restored(name))
                raise
            if isinstance(error, StateTypeError) or is_passing(error.__cause__ or error):
                raise
            signature = isinstance(error, SignatureError)
            self._refuse(SignatureError(message) if signature else CorruptStateError(message))
            if isinstance(error, CorruptStateError | SignatureError):
                raise _copied(self._broken[name]) from error.__cause__
            raise
        else:
            return node
        finally:
            self._built = outer

    def _commit(self) -> None:
        """Remove the rebuilt nodes from the stored ones."""
        if self.lost:
            self._tracker.mark_anew(self._built)
        for node, state in self._built.items():
            self._states.pop(node.id, None)
            if state.name is not None:
                self._names.pop(state.name, None)
            _free(state)
        # Kept until all roots are rebuilt: see `may_refer_to`.
        nested = [built for built in self._built if built.name is None]
        self._shared = [*self._shared, *nested] if self._names else []

    def _take_back(self) -> None:
        """Discard nodes that were rebuilt half-way: the store has all of them."""
        tracker = self._tracker
        for node in self._built:
            tracker.discard(node)
            node.kind.builtin.clear(node.obj)  # the program may try again with it
        tracker.part(Watched).forget(self._built.__contains__)
        tracker.part(Sharing).forget(self._built.__contains__)
        tracker.part(Written).forget(self._built.__contains__)
        self._begun = [node for node in self._begun if node not in self._built]
        self._empty = []

    def _keep_originals(self) -> None:
        """Copy stored content that upgrades will change, in case one is interrupted."""
        if "object" not in KINDS:
            return
        from autostate.tracking.mirror import is_outdated

        if any(is_outdated(node.obj) for node in self._built):
            for state in self._built.values():
                state.content, state.unbuilt = _untouched(state.content), True

    def _refuse(self, reason: AutostateError) -> None:
        """Note why these nodes are not rebuilt again."""
        for state in self._built.values():
            if state.name is not None:
                self._broken[state.name] = reason

    def finish(self) -> None:
        """Fill the roots that were created only because a pickled value refers to them."""
        while self._begun:
            self._fill_all(self._begun.pop())

    def _build(self, node_id: int, container: Any = None) -> Node:
        node = self._begin(node_id, container)
        self._fill_all(node)
        return node

    def _fill_all(self, node: Node) -> None:
        """Fill a container and those in it, without recursion: they may be nested deeply."""
        outer, self._empty = self._empty, [node]
        try:
            while self._empty:
                node = self._empty.pop()
                self._fill(node)
        except _CircleError:  # filled later, those inside it first
            outer += [node, *self._empty]
            raise
        finally:
            self._empty = outer

    def _begin(self, node_id: int, container: Any = None) -> Node:
        """Make a node, and its container if there is none, still empty."""
        state = self._states[node_id]  # it stays there until all nodes that were begun are complete
        kind = kind_named(state.kind)
        if container is None:
            cls = variants_of(kind.unclaimed).armed if state.name else kind.nested
            container = kind.builtin.__new__(cls)
            container._key_ = None
        elif variants_of(type(container)).kind is not kind:
            raise StateTypeError(f"{state.name} is stored as a {state.kind}")
        # The containers that were converted belong to it already, also if a load is repeated.
        node = Node.__new__(Node) if state.owner is None else state.owner
        Node.__init__(node, self._tracker, node_id, kind, container, state.name)
        node.declared = True
        self._built[node] = state
        container._node_ = node
        self._tracker.nodes[node_id] = node
        if state.name is not None:
            self._tracker.roots[state.name] = node
        entries = node.entries
        entries.saved_defaults = entries.defaults = frozenset(
            Builder(self, node).keys(state.defaults)
        )
        entries.metadata = state.metadata
        if state.metadata is not None:
            self._configure(kind, container, state.metadata)
        return node

    def _fill(self, node: Node) -> None:
        """Fill a container with its content, and rebuild the nodes that the content refers to."""
        state, container = self._built[node], node.obj
        in_steps = bool(state.steps) and node.kind.name in codec.CONTAINERS
        if in_steps:
            self._fill_in_steps(node, state)
        else:
            _fill_in_parts(node.kind, container, self._content(node, state))
        if node.kind is OBJECT:
            self._tracker.part(Sharing).loaded(node)
        entries = node.entries
        if isinstance(entries, SequenceEntries):
            if state.hashes is not None:
                items = copied(node, items_of(container)) if size(container) > LARGE else None
                entries.saved = Saved(state.first, state.hashes, items=items)
            entries.first, entries.kept = state.first, Kept(size(container))
            if state.moved:
                _renumber(state)
        else:
            remember_hashes(node, only_str=in_steps)
        # Its encoded form differs from the stored one: a change that only who may write makes.
        if node in self.resigned and self._tracker.gate is None:
            node.entries.saved = None

    def _content(self, node: Node, state: State) -> Any:
        if node.kind is OBJECT:
            return self._object(node, state.content)
        if not state.unbuilt:
            return state.content
        return Builder(self, node).content(state.content, state.first)

    def _fill_in_steps(self, node: Node, state: State) -> None:
        """Fill a mapping or set by its changes, one after another.

        Values that are JSON still are decoded at the end: only then is it known whether they, and
        the nodes that they refer to, are still there.
        """
        container, kind, built = node.obj, node.kind, converted_types()
        rest: dict[str, None] = {}
        for step in state.steps:
            if isinstance(step, list):
                _remove(kind, container, step)
                continue
            if state.unbuilt and type(step) is dict and kind.shape == "mapping":
                rest.update((key, None) for key, value in step.items() if type(value) not in built)
            kind.fill(container, step)
        builder = Builder(self, node)
        for key in rest:
            json = dict.get(container, key)
            if type(json) not in built:
                kind.builtin.__setitem__(container, key, builder.decode(key, json))

    def _configure(self, kind: Kind, container: Any, metadata: Stored) -> None:
        try:
            kind.configure(container, metadata)
        except AutostateError:
            raise
        except Exception as error:
            if is_passing(error):
                raise
            raise CorruptStateError(
                f"the stored metadata of a {kind.name} cannot be read ({type(error).__name__})"
            ) from None

    def refer(self, node_id: int, where: Node, *, complete: bool) -> Node:
        """Return a node that is referred to, rebuilt if it was not yet.

        Args:
            node_id: The number of the node.
            where: The node that holds the reference.
            complete: Whether the content is needed at once, because a class may read it; else the
                node may be filled later.
        """
        known = self._tracker.nodes.get(node_id)
        if known is None:
            if node_id not in self._states:
                raise _corrupt(where.path)
            if complete or self._states[node_id].kind == OBJECT.name:
                known = self._build_unless_in_a_circle(node_id)
            else:
                known = self._begin(node_id)
                self._empty.append(known)
        if type(known.obj) is Cell and not known.obj:
            self._begin_object(known)
        return known

    def _build_unless_in_a_circle(self, node_id: int) -> Node:
        """Build a node, or begin one that holds an object which is being built.

        Such an object needs the node first. A container is empty until the object is complete; an
        object that can be made without its fields gets these later.
        """
        try:
            return self._build(node_id)
        except _CircleError:
            node = self._tracker.nodes[node_id]
            if type(node.obj) is Cell and not node.obj and self._fields_of(node) is None:
                raise
            return node

    def _fields_of(self, node: Node) -> Fields | None:
        """Return how the object of a node is made without its fields; None if it cannot be."""
        json = self._built[node].content["value"]
        entry = codec.entry_named(json["$object"][0]) if "$object" in json else None
        fields = None if entry is None else entry.fields
        return fields if fields is not None and fields.begins_blank else None

    def _begin_object(self, node: Node) -> None:
        """Make an object that is referred to from inside itself, without its fields as yet."""
        fields = self._fields_of(node)
        if fields is None:
            raise _CircleError(f"{node.path}: an object that holds itself cannot be rebuilt")
        node.obj["value"] = fields.blank()
        self._tracker.part(Sharing).loaded(node)  # a node that refers to it may be complete before

    def _object(self, node: Node, content: dict[str, Any]) -> dict[str, Any]:
        """Build the content of a cell."""
        value = Builder(self, node).decode("value", content["value"])
        begun = node.obj.get("value")
        if begun is not None:
            entry = codec.entry_for(type(value))
            assert entry is not None
            assert entry.fields is not None
            value = entry.fields.fill(begun, entry.encode(value))
        return {"value": value}

    def root(self, name: str) -> Any:
        """Find the state object to which a pickled value refers.

        The state object is filled later, because it may hold the pickled value.
        """
        node = self._tracker.roots.get(name)
        if node is None and name in self._names:
            node = self._begin(self._names[name])
            self._begun.append(node)
        if node is None:
            raise CorruptStateError(
                f"the state refers to the state object {name}, which is not stored"
            )
        return node.kind.show(node.obj)
