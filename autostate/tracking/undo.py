"""What `atomic()` needs to roll memory back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from autostate.tracking.barrier import kind_of

if TYPE_CHECKING:
    from autostate.tracking.instance import InstanceRoot
    from autostate.tracking.tracker import Tracker

_MISSING: Final = object()


class Frame:
    """The former contents of the containers that one `atomic()` block has written.

    Of a dict or set only the entries that were assigned or added are kept, so that what other
    threads and tasks write to it meanwhile stays, until something else is done to it in the
    block: then the whole content is kept, and put back.

    Args:
        plain: Containers without a barrier; their contents are kept from the beginning.
        instances: The roots of objects, and their fields.
    """

    def __init__(
        self, plain: Iterable[Any], instances: list[tuple[InstanceRoot, dict[str, Any]]]
    ) -> None:
        self._instances = instances
        self._whole: dict[int, tuple[Any, Any]] = {}
        self._entries: dict[int, tuple[Any, dict[Any, Any]]] = {}
        self._plain = [(container, kind_of(container).copy(container)) for container in plain]

    def remember(self, container: Any, keys: tuple[Any, ...] | None) -> None:
        """Keep what a write is going to change: all, or the entries of these keys."""
        if id(container) in self._whole:
            return
        if keys is None:
            self._whole[id(container)] = (container, self._former(container))
            return
        _, entries = self._entries.setdefault(id(container), (container, {}))
        for key in keys:
            if key not in entries:
                known = isinstance(container, dict) and dict.__contains__(container, key)
                entries[key] = dict.__getitem__(container, key) if known else _MISSING

    def _former(self, container: Any) -> Any:
        """The content at the beginning of the block."""
        content = kind_of(container).copy(container)
        _, entries = self._entries.pop(id(container), (None, {}))
        _restore(content, entries)
        return content

    def roll_back(self) -> Iterator[tuple[Any, bool]]:
        """Put the former contents back; yields the persisted containers, and whether whole."""
        for container, entries in self._entries.values():
            _restore(container, entries)
            yield container, False
        for container, content in self._whole.values():
            kind_of(container).refill(container, content)
            yield container, True
        for container, content in self._plain:
            kind_of(container).refill(container, content)
        for root, fields in self._instances:
            if root._node_ is not None and not root.busy:
                root.take(root.read())
                root.put_back(fields)

    def merge_into(self, outer: tuple[Frame, ...]) -> None:
        """Leave to the block around this one what it would need to roll back."""
        if not outer:
            return
        frame = outer[-1]
        for container, entries in self._entries.values():
            if id(container) not in frame._whole:
                known = frame._entries.setdefault(id(container), (container, {}))[1]
                known.update({key: old for key, old in entries.items() if key not in known})
        for key, (container, content) in self._whole.items():
            if key not in frame._whole:
                _, entries = frame._entries.pop(key, (None, {}))
                _restore(content, entries)
                frame._whole[key] = (container, content)


def _restore(content: Any, entries: dict[Any, Any]) -> None:
    for key, old in entries.items():
        if isinstance(content, set):
            set.discard(content, key)
        elif old is _MISSING:
            kind_of(content).builtin.pop(content, key, None)
        else:
            kind_of(content).builtin.__setitem__(content, key, old)


frames: ContextVar[dict[Tracker, tuple[Frame, ...]]] = ContextVar("frames", default={})  # noqa: B039
"""The open blocks of this thread or task, by tracker."""
