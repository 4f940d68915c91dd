"""The root of an object of a `@persisted` class: the fields that it had at the last scan.

An object of the program's own class has no write barrier. Its class would need a `__setattr__` in
Python, over ten times as slow as a plain assignment; or class variants, as containers have, and
then `type(shop) is Shop` would be false half of the time. Both would miss writes that bypass them:
`vars(shop)["page"] = 2`, or pydantic's own writes. Instead the root *mirrors* the object: it is a
dict of the fields that the object had when it was last scanned. Every cut scans all objects, which
takes half a microsecond for each (`scan.py`); a field with another value than before is dirty.

So a container in a field is referenced twice, by the object and by its mirror. `swap.py` replaces
it in both.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from itertools import compress, filterfalse, repeat
from operator import is_, is_not
from typing import TYPE_CHECKING, Any, Final

from autostate.codec.bound import ROOTS
from autostate.codec.introspection import MISSING, read_slot
from autostate.errors import UnknownTypeError
from autostate.tracking import refcount
from autostate.tracking.barrier import Barrier, register_kind
from autostate.tracking.kind import Kind, copy_dict
from autostate.tracking.layout import Layout, class_named, layout_of
from autostate.tracking.live_conversion import convert_new
from autostate.tracking.scan import Scan
from autostate.tracking.search import ATOMS, holds_atoms, slots_of
from autostate.tracking.swap import compare_and_swap

if TYPE_CHECKING:
    from autostate.codec.signatures import Stored
    from autostate.tracking.node import Node

_NOTHING: Final[frozenset[str]] = frozenset()


class Mirror(dict[str, Any]):
    """The fields that an object had at the last scan.

    Attributes:
        instance: The object; None before there is one.
        layout: Where the object keeps its fields; None before that is known.
        metadata: The name, version and declared fields of the class, as stored.
        unknown_fields: Stored fields that the class does not have any more: they are kept, and not
            given to the object.
        claimed: Whether the program has created the object; else it was rebuilt because another
            root refers to it.
        busy: Whether a constructor is at work on the object, which is then not scanned.
        place: The position of the object among those of its class, while it is scanned.
    """

    __slots__ = ("busy", "claimed", "instance", "layout", "metadata", "place", "unknown_fields")

    def __new__(cls, *_: Any) -> Any:
        """Make an empty one."""
        made = super().__new__(cls)
        made.instance = made.layout = made.metadata = None
        made.unknown_fields = _NOTHING
        made.claimed = made.busy = False
        made.place = 0
        return made

    if TYPE_CHECKING:
        instance: Any
        layout: Layout | None
        metadata: dict[str, Any] | None
        unknown_fields: frozenset[str]
        claimed: bool
        busy: bool
        place: int

    def __setitem__(self, name: str, value: Any) -> None:
        """Replace a field of the mirror, and of the object if that still has the field."""
        compare_and_swap(self, name, value, [dict.__getitem__(self, name)], alone=sys.maxsize)


class InstanceRoot(Barrier, Mirror):
    """The state object behind an object of a `@persisted` class."""

    __slots__ = ("_key_", "_node_")

    @classmethod
    def of(cls, instance: Any, layout: Layout) -> InstanceRoot:
        """Make the root of an object that a constructor has made."""
        made: InstanceRoot = cls.__new__(cls)
        made._node_, made._key_ = None, None
        made.instance, made.layout, made.claimed = instance, layout, True
        return made

    def known_layout(self) -> Layout:
        """Return the layout, which is known as soon as the root is in use."""
        assert self.layout is not None
        return self.layout

    def bound_to(self) -> Node:
        """Return the node, which exists while the object is bound."""
        assert self._node_ is not None
        return self._node_

    def state_name(self) -> str:
        """Return the name under which the object is bound."""
        name = self.bound_to().name
        assert name is not None
        return name

    # -- from the object to the mirror --------------------------------------------------------

    def is_same(self, fields: dict[str, Any]) -> bool:
        """Tell whether these fields are those of the mirror, by identity."""
        if len(fields) + len(self.unknown_fields) != len(self):
            return False
        return all(map(is_, map(self.get, fields, repeat(MISSING)), fields.values()))

    def take(self, fields: dict[str, Any]) -> bool:
        """Make the mirror the same as the object, and mark what differs; the lock is held.

        Returns:
            Whether any field has another value than before.
        """
        if self.is_same(fields):
            return False
        node = self.bound_to()
        found = fields
        if self:  # else it is new
            former = map(self.get, fields, repeat(MISSING))
            which = map(is_not, former, fields.values())
            found = dict(compress(fields.items(), which))
            self._drop(fields)
        # Marks come first: a mark too many does no harm if Ctrl-C strikes here.
        node.entries.keys.update(dict.fromkeys(found))
        node.tracker.dirty_nodes[node] = None
        dict.update(self, found)
        if not ATOMS.issuperset(map(type, found.values())):
            node.tracker.mark_unresolved(self)
        return True

    def _drop(self, fields: dict[str, Any]) -> None:
        """Drop the fields that the object does not have any more."""
        if self.unknown_fields:
            self.unknown_fields -= fields.keys()
        node = self.bound_to()
        for name in [*filterfalse(fields.__contains__, self)]:
            if name in self.unknown_fields:
                continue
            dict.__delitem__(self, name)
            node.entries.keys.pop(name, None)
            node.entries.drops[name] = True
            if not self.claimed:  # no constructor has said that it makes it
                node.entries.defaults |= {name}

    def put(self, name: str, value: Any) -> bool:
        """Note another value of a field that the object had before.

        Returns:
            Whether it is noted; else the fields have to be taken as a whole.
        """
        node = self._node_
        if value is MISSING or node is None or not dict.__contains__(self, name):
            return False
        if name in self.known_layout().pickled:
            return False
        if dict.get(self, name) is not value:
            dict.__setitem__(self, name, value)
            node.entries.keys[name] = None
            node.tracker.dirty_nodes[node] = None
            if type(value) not in ATOMS:
                node.tracker.mark_unresolved(self)
        return True

    def read(self) -> dict[str, Any]:
        """Return the fields that the object has now."""
        layout = self.known_layout()
        return self.translated(layout.read(self.instance))

    def translated(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields as they are saved: pickled ones in a wrapper, the former one if usable."""
        layout = self.known_layout()
        for name in layout.pickled:
            if name in fields:
                fields[name] = self._pickled(name, fields[name])
        return layout.plain(fields, self)

    def _pickled(self, name: str, value: Any) -> Any:
        from autostate.codec.pickled import Pickled, wrap

        known: Any = dict.get(self, name)
        if issubclass(type(known), Pickled) and known.__wrapped__ is value:
            return known
        return value if issubclass(type(value), Pickled) else wrap(value)

    def convert_new(self) -> None:
        """Convert what a constructor has made, at once: see `live_conversion.convert_new`.

        For a class with many objects this is left to the cut, which converts the containers of all
        of them together, unless a block is open.
        """
        node, template = self._node_, self.known_layout().options.template
        if node is None or holds_atoms(self):
            return
        with node.tracker.lock:
            is_one = template is None or "{" not in template
            if self._node_ is not None and (is_one or node.tracker.savepoints):
                convert_new(node, slots_of(self))

    # -- from the mirror to the object --------------------------------------------------------

    def push(self) -> None:
        """Give the object the fields of the mirror, except unknown fields.

        A field that a former program deleted is deleted from the object; a field that was never
        stored is left as it is.
        """
        layout, instance = self.known_layout(), self.instance
        self.bound_to().tracker.part(Scan).again(self)
        declared_before = frozenset((self.metadata or {}).get("fields", ()))
        made = layout.read(instance)  # a field that its constructor makes is one of the class
        self.unknown_fields = frozenset(
            name for name in self if name not in made and not layout.holds(name, declared_before)
        )
        for name, value in self.items():
            if name not in self.unknown_fields:
                layout.put(instance, name, self._unwrapped(name, value))
        node = self.bound_to()
        for name in layout.read(instance).keys() - self.keys():
            if name in node.entries.defaults:
                layout.drop(instance, name)
        if not self.claimed:
            self._fill_in(layout, instance)

    def _unwrapped(self, name: str, value: Any) -> Any:
        """Return the value for the object, without the wrapper of a pickled field if it has one."""
        if name not in self.known_layout().pickled:
            return value
        from autostate.codec.pickled import Pickled

        return value.__wrapped__ if issubclass(type(value), Pickled) else value

    def _fill_in(self, layout: Layout, instance: Any) -> None:
        """Give an object for which no constructor ran the defaults that its class declares."""
        deleted = self.bound_to().entries.defaults
        for name in layout.declared - layout.read(instance).keys() - deleted:
            value = layout.default(instance, name)
            if value is not MISSING:
                layout.put(instance, name, value)

    def replace(self, fields: dict[str, Any]) -> None:
        """Give the mirror other fields, which an upgrade has made of those that it had."""
        node = self.bound_to()
        dict.clear(self)
        dict.update(self, fields)
        node.tracker.touch_all(node)
        node.tracker.mark_unresolved(self)

    def put_back(self, former: dict[str, Any]) -> None:
        """Give object and mirror the fields that they had before."""
        layout = self.known_layout()
        self.bound_to().tracker.part(Scan).again(self)
        for name in [name for name in self if name not in former]:
            layout.drop(self.instance, name)
        for name, value in former.items():
            if dict.get(self, name, MISSING) is not value and name not in self.unknown_fields:
                layout.put(self.instance, name, self._unwrapped(name, value))
        self.take({name: former[name] for name in former if name not in self.unknown_fields})

    def field(self, name: str) -> Any:
        """Return what the object has in a field; MISSING: nothing, or it is no field that is saved.

        No code of the class runs.
        """
        layout, instance = self.known_layout(), self.instance
        if name in layout.skipped:
            return MISSING
        slot = layout.slots.get(name)
        if slot is not None:
            return read_slot(slot, instance)
        return layout.holder(instance, name).get(name, MISSING) if layout.dicts else MISSING

    def set_field(self, name: str, value: Any) -> None:
        """Give the object a value in a field, or none (MISSING). The next scan finds that."""
        if value is MISSING:
            self.known_layout().drop(self.instance, name)
        else:
            self.known_layout().put(self.instance, name, value)

    def access(self, name: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the calls that read and write a field of the object: C functions and arguments."""
        layout = self.known_layout()
        slot = layout.slots.get(name)
        if slot is not None:
            return (slot.__get__, self.instance), (slot.__set__, self.instance)
        holder = layout.holder(self.instance, name)
        return (dict.get, holder, name), (dict.__setitem__, holder, name)


class _Example:
    """An object with a field, to count references with."""

    field: Any


class _SlottedExample:
    """An object with a slot, to count references with."""

    __slots__ = ("field",)


@functools.cache
def _alone() -> int:
    """Count the references to a container in a field held by nobody else, as `_exchanged` does."""
    if not refcount.RELIABLE:
        return 0
    found = set()
    for cls in (_Example, _SlottedExample):
        instance: Any = cls()
        instance.field = [None]
        root = InstanceRoot.of(instance, layout_of(cls))
        dict.__setitem__(root, "field", instance.field)
        found.add(_exchanged(root))
    [count] = found  # a field and a slot have to count alike
    return count


def _exchanged(root: InstanceRoot) -> int:
    return compare_and_swap(root, "field", [], [root["field"]], alone=sys.maxsize - 1)


# -- the kind ---------------------------------------------------------------------------------


def show(root: InstanceRoot) -> Any:
    """Give the object of a root, made without a constructor if the program has none yet."""
    if root.instance is None:
        root.instance = root.known_layout().blank()
    return root.instance


def describe(root: InstanceRoot) -> dict[str, Any]:
    """Describe the class: its name, its version, and the fields that it declares."""
    layout = root.known_layout()
    name = layout.name
    if not root.unknown_fields and name in layout.descriptions:  # the same for all objects
        return layout.descriptions[name]
    before = (root.metadata or {}).get("fields", ())
    kept = [name for name in before if name in root.unknown_fields]
    described: dict[str, Any] = {
        "class": name,
        "version": layout.options.version,
        "fields": sorted({*layout.declared, *kept}),
    }
    if not kept:
        layout.descriptions[name] = described
    return described


def configure(root: InstanceRoot, metadata: Stored) -> None:
    """Find the class of a stored root, unless the program has named it.

    Raises:
        UnknownTypeError: The program has not loaded the class.
        UpgradeError: A newer version of the class has stored the root.
    """
    name, version, fields = metadata["class"], metadata["version"], metadata.get("fields", [])
    if not isinstance(name, str) or type(version) is not int or not isinstance(fields, list):
        raise TypeError
    root.metadata = {**metadata, "fields": [field for field in fields if isinstance(field, str)]}
    if root.layout is None:
        cls = class_named(name)
        if cls is None:
            error = UnknownTypeError(name)
            error.add_note(
                f"it is the class of the state object {root.state_name()}: if it has another name "
                "by now, call it before creating what refers to that"
            )
            raise error
        root.layout = layout_of(cls)
    root.layout.options.check_version(version, root.state_name(), root.layout.name)
    # Entries that refer to the root are encoded for their hashes before the root is bound.
    ROOTS[id(show(root))] = root


def is_outdated(root: Any) -> bool:
    """Tell whether functions of the program will upgrade the stored fields."""
    if not isinstance(root, InstanceRoot) or root.metadata is None:
        return False
    version: int = root.metadata["version"]
    return version != root.known_layout().options.version


def complete(root: InstanceRoot) -> Callable[[], None]:
    """Upgrade the rehydrated fields, and return a last step that cannot fail.

    Raises:
        UpgradeError: A function of the program failed. Nothing was touched.
    """
    node, upgraded = root._node_, None
    assert node is not None
    if root.metadata is not None:
        layout, version = root.known_layout(), root.metadata["version"]
        upgraded = layout.options.upgraded(copy_dict(root), version, root.state_name(), layout.name)
    show(root)

    def finish() -> None:
        if upgraded is not None:
            root.replace(upgraded)
        if root.metadata is not None:
            root.push()
        bind(root)

    return finish


def bind(root: InstanceRoot) -> None:
    """Begin to scan the object."""
    node, layout = root._node_, root.layout
    assert node is not None
    assert layout is not None
    layout.own_dict(root.instance)
    ROOTS[id(root.instance)] = root
    node.tracker.part(Scan).add(root)
    offer(root)


def offer(root: InstanceRoot) -> None:
    """Save the fields that a constructor made and the store never had."""
    fields = root.read()
    if root.claimed:
        entries, former = root.bound_to().entries, root.known_layout().offered
        names = entries.defaults | fields.keys()
        # Mostly the names that another object has: very many objects keep one set of them.
        former[:] = [names] if names not in former else former
        entries.defaults = former[0]
    root.take(fields)


def _swap(root: InstanceRoot, name: str, new: Any, box: list[Any]) -> bool:
    """Replace a container in a field, unless somebody holds the former one."""
    return compare_and_swap(root, name, new, box, alone=_alone()) <= _alone()


def release(root: InstanceRoot) -> None:
    """Make the object a plain one."""
    ROOTS.pop(id(root.instance), None)
    root.bound_to().tracker.part(Scan).forget()


register_kind(
    Kind(
        name="object",
        shape="mapping",
        builtin=Mirror,
        tracked=InstanceRoot,
        copy=copy_dict,
        fill=dict.update,
        refill=dict.update,
        raw=frozenset(),
        describe=describe,
        configure=configure,
        show=show,
        complete=complete,
        release=release,
        swap=_swap,
        holds=2,  # the object and its mirror
        has_fields=True,
        step=".{}".format,
    )
)
