"""Sorts of containers and objects: how many of one sort are read in a few calls of C.

No code of the program is called: not by reading, not by comparing, which is by identity, and not by
copying. So no function may be used of which Python tells *audit hooks* (`sys.addaudithook`): a hook
is Python code, during which other threads run. Libraries add hooks, filelock 4 for example.

What does not work: `gc.get_referents`, which gives the values of dicts in a third less of the time,
but tells hooks first.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, KeysView
from itertools import chain, repeat
from operator import attrgetter, is_
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.tracking.raw import maxlen_of

if TYPE_CHECKING:
    from autostate.codec.registry import TypeEntry

Calls = list[tuple[Any, ...]]
"""Functions of C, each with its arguments."""

Parts = list[list[Any]]
"""What such calls have returned."""

_get: Final = object.__getattribute__
_factory: Final = attrgetter("default_factory")
_node: Final = attrgetter("_node_")


class Sort:
    """One way to read containers, or objects of one class.

    Attributes:
        is_plain: They are converted as soon as nobody but the state refers to them.
        is_copied: They can change without a mark, so that copies are encoded.
        spanned: So many parts have as many values for a container as the first part says; of any
            other part each container has one.
    """

    is_plain = False
    is_copied = True
    spanned = 0

    def calls(self, containers: list[Any]) -> Calls:
        """Return the calls that read containers."""
        raise NotImplementedError

    def is_same(self, parts: Parts, now: Parts) -> bool:
        """Tell whether containers have the same parts as before."""
        lengths = int(self.spanned > 0)
        if parts[:lengths] != now[:lengths]:
            return False
        pairs = zip(parts[lengths:], now[lengths:], strict=True)
        return all(len(some) == len(more) and all(map(is_, some, more)) for some, more in pairs)

    def is_valid(self) -> bool:
        """Tell whether values of this sort are still saved in the same way."""
        return True

    def blank(self, container: Any) -> Any:
        """Make an empty plain copy of a container."""
        raise NotImplementedError

    def fill(self, copy: Any, parts: Parts) -> None:
        """Give a copy its parts."""
        raise NotImplementedError


class Containers(Sort):
    """Containers of one kind.

    Args:
        builtin: The plain type.
        more: Functions that give other parts of a container.
        is_exact: All are of exactly this type. Then no class of the program can have methods of its
            own, and `len` takes a thirtieth of the time of `list.__len__`.
        is_plain: See `Sort`.
    """

    def __init__(
        self,
        builtin: Any,
        *more: Callable[[Any], Any],
        is_exact: bool = False,
        is_plain: bool = False,
    ) -> None:
        self.builtin = builtin
        self._is_exact = is_exact
        self.is_plain = is_plain
        self.is_mapping: bool = issubclass(builtin, dict)
        self.spanned = 2 if self.is_mapping else 1
        self._more: tuple[Any, ...] = (*more, _factory) if builtin is defaultdict else more

    def calls(self, containers: list[Any]) -> Calls:
        """Return the calls that read containers: lengths, values or items, keys, other parts."""
        builtin = self.builtin
        calls: Calls = [(list, map(len if self._is_exact else builtin.__len__, containers))]
        if self.is_mapping:
            calls.append((list, chain.from_iterable(map(dict.values, containers))))
        own = containers if self._is_exact else map(builtin.__iter__, containers)
        calls.append((list, chain.from_iterable(own)))
        return calls + [(list, map(get, containers)) for get in self._more]

    def blank(self, container: Any) -> Any:
        """Make an empty plain copy of a container."""
        return deque(maxlen=maxlen_of(container)) if self.builtin is deque else self.builtin()

    def fill(self, copy: Any, parts: Parts) -> None:
        """Give a copy its parts."""
        if self.is_mapping:
            dict.update(copy, zip(parts[2], parts[1], strict=True))
            if self.builtin is defaultdict:
                copy.default_factory = parts[-1][0]
        elif self.builtin is set:
            copy.update(parts[1])
        else:
            copy.extend(parts[1])


class Inline(Sort):
    """Persisted containers of atoms: each write to one of them marks the entry.

    So it is enough to know that it is still no node.
    """

    is_copied = False

    def calls(self, containers: list[Any]) -> Calls:
        """Return the call that reads to which node each container belongs."""
        return [(list, map(_node, containers))]


class Objects(Sort):
    """Objects of one class whose fields are known.

    Args:
        cls: The class.
        entry: How its objects are saved.
        names: The declared fields.
        has_dict: Whether its objects have a `__dict__`.
        slots: Their slots.

    Attributes:
        names, has_dict, slots: These.
        head: What stands before the declared fields when an object is stored.
    """

    def __init__(
        self,
        cls: type,
        entry: TypeEntry,
        names: KeysView[str],
        slots: Iterable[MemberDescriptorType],
        *,
        has_dict: bool,
    ) -> None:
        self._cls, self._entry = cls, entry
        self.names, self.has_dict, self.slots = names, has_dict, tuple(slots)
        self.head = b'{"$object":[' + codec.dump(entry.name) + b","
        self._is_checked = False

    def calls(self, containers: list[Any]) -> Calls:
        """Return the calls that read objects: classes, `__dict__`s, slots.

        Such a call raises AttributeError if a slot is unset.
        """
        calls: Calls = [(list, map(type, containers))]
        if self.has_dict:
            calls.append((list, map(_get, containers, repeat("__dict__"))))
        return calls + [(list, map(slot.__get__, containers)) for slot in self.slots]

    def is_valid(self) -> bool:
        """Tell whether the class was not registered meanwhile."""
        return self._entry is codec.entry_for(self._cls)

    def is_of(self, entry: TypeEntry) -> bool:
        """Tell whether objects are saved in this way."""
        return self._entry is entry

    def can_be_saved(self, value: Any) -> bool:
        """Tell whether objects of the class can be saved; it is asked again with another entry."""
        self._is_checked = self._is_checked or codec.problem_of(value) is None
        return self._is_checked

    def blank(self, container: Any) -> Any:
        """Make a copy of an object without its fields."""
        return object.__new__(self._cls)

    def fill(self, copy: Any, parts: Parts) -> None:
        """Give a copy its parts."""
        fields = [part for [part] in parts[1:]]
        if self.has_dict:
            object.__setattr__(copy, "__dict__", fields.pop(0))
        for slot, field in zip(self.slots, fields, strict=True):
            slot.__set__(copy, field)
