"""Restoring the state after a test, for the plugin of pytest.

One block of `atomic()` around the test would not do: `flush()` is an error inside a block, nobody
can save while a thread is in the block, and the block deliberately does not undo the writes of
other threads and contexts. Deep copies would not do either: the program holds nested containers and
objects by reference, and they have to be the same ones afterwards.

So the content of each container and object in the state is noted by itself, shallowly: the list of
all these pairs is the whole state, aliases and cycles included. Each part is refilled in place if
its content has changed by then. A container that was taken out of the state meanwhile is still the
same object, and comes back with the container that held it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from autostate.collector import no_collections
from autostate.objects.contents import Contents
from autostate.runtime import api
from autostate.runtime.api import close_default, current_manager, flush, live
from autostate.runtime.manager import StateManager
from autostate.stores.memory import MemoryStore
from autostate.tracking import Tracker
from autostate.tracking.kind import KINDS
from autostate.tracking.mirror import InstanceRoot
from autostate.tracking.node import Node


class _Kept(NamedTuple):
    """A manager and its state objects.

    Attributes:
        manager: The manager.
        tracker: The tracker of its state objects.
        settings: The configured settings.
        roots: The kinds and the roots of the state objects, by name.
        defaults: The keys that were offered to each of them as defaults, by name.
    """

    manager: StateManager
    tracker: Tracker
    settings: dict[str, Any]
    roots: dict[str, tuple[str, Any]]
    defaults: dict[str, frozenset[Any]]


class Snapshot:
    """The live state objects at one moment, and their contents.

    Args:
        loaded: Whether autostate was loaded at that moment; else there was nothing.
    """

    def __init__(self, *, loaded: bool = True) -> None:
        default = api._default if loaded else None
        self._default: StateManager | None = default
        self._store = None if default is None else default._store
        self._settings: dict[str, Any] = {} if default is None else {**default._overrides}
        managers = live() if loaded else []
        self._kept = [_keep(one) for one in managers if one._incarnation is not None]
        self._contents = Contents()
        for kept in self._kept:
            with kept.tracker.lock, no_collections():
                _resolve(kept.tracker)
                self._contents.note(root for _, root in kept.roots.values())

    def restore(self) -> list[str]:
        """Restore everything.

        Returns:
            The places where modules hold objects that are no state objects any more, since they
            were created later.
        """
        new = [*self._new()]
        left = [*_held_by_modules([node.obj for _, node in new])]
        self._restore_default()
        for kept, node in new:
            incarnation = kept.manager._incarnation
            if incarnation is not None and node.name is not None:
                with contextlib.suppress(KeyError), kept.manager._lock:
                    incarnation.delete(node.name)
        trackers = [self._bind(kept) for kept in self._kept]
        with contextlib.ExitStack() as locks:
            for tracker in trackers:
                locks.enter_context(tracker.lock)
            self._contents.restore()
        return left

    def _new(self) -> Iterator[tuple[_Kept, Node]]:
        """Give the state objects that are new since, in the default manager and the noted ones."""
        default = api._default
        kept = [one for one in self._kept if one.manager._incarnation is not None]
        known = {id(one.tracker): one for one in kept}
        if default is not None and default._incarnation is not None:
            known.setdefault(id(default._incarnation.tracker), _keep(default)._replace(roots={}))
        for one in known.values():
            for name, node in [*one.tracker.roots.items()]:
                if one.roots.get(name, (None, None))[1] is not node.obj:
                    yield one, node

    def _restore_default(self) -> None:
        """Restore the default manager; a store that was opened meanwhile is closed."""
        former, now = self._default, api._default
        if now is not None and now is not former:
            close_default()
        if former is not None and not former._closed:
            api._default = former
            if former._incarnation is not None and not self._had_begun():
                former.finish(former.exit_timeout)
                former._closed = former.ended = False
            former._store = self._store if former._incarnation is None else former._store
            self._restore_settings(former, self._settings)
        elif self._store is not None or self._settings:
            api._default = StateManager(self._store, **self._settings)
        for one in self._kept:
            self._restore_settings(one.manager, one.settings)

    def _had_begun(self) -> bool:
        return any(one.manager is self._default for one in self._kept)

    def _restore_settings(self, manager: StateManager, settings: dict[str, Any]) -> None:
        if manager._overrides != settings:
            manager._overrides = {**settings}  # type: ignore[typeddict-item]
            if manager._incarnation is not None:
                manager._incarnation.flush_thread.settings = manager.settings

    def _bind(self, kept: _Kept) -> Tracker:
        """Make the former state objects live again, also those that were deleted or closed."""
        manager = kept.manager
        if manager._closed:
            if manager is not self._default:
                return kept.tracker  # its `with` has ended: the objects are plain
            self._contents.release()
            manager = current_manager()
        for name, (kind, root) in kept.roots.items():
            if manager.live(name) is not root:
                manager.create(name, kind, functools.partial(_blank, root, kind), own=True)
        tracker = manager._tracker()
        with tracker.lock:
            for name, defaults in kept.defaults.items():
                _take_back_offers(tracker, tracker.roots[name], defaults)
        return tracker


def reopened() -> StateManager:
    """Save, and give a manager of a copy of the store: the state that the next process finds."""
    flush()
    manager = current_manager()
    incarnation = manager._incarnation
    store = MemoryStore()
    settings: dict[str, Any] = {**manager._overrides}
    if incarnation is not None:
        with incarnation.flush_thread.exclusive():
            found = {key: incarnation.store.read(key) for key in incarnation.store.list("")}
        store.write({key: data for key, data in found.items() if data is not None})
        signer = incarnation.tracker.signer
        if signer is not None and not manager.url.startswith("memory:"):
            settings["key"] = tuple(signer._keys([])) or None
    return StateManager(store, **settings)


def _keep(manager: StateManager) -> _Kept:
    assert manager._incarnation is not None
    tracker = manager._incarnation.tracker
    roots = {name: (node.kind.name, node.obj) for name, node in tracker.roots.items()}
    defaults = {name: node.entries.defaults for name, node in tracker.roots.items()}
    return _Kept(manager, tracker, {**manager._overrides}, roots, defaults)


def _resolve(tracker: Tracker) -> None:
    """Convert plain containers before they are noted: a noted one has one more reference."""
    tracker.written.collect()
    for source in tracker.sources:
        source.collect()
    tracker.written.resolve_all()


def _take_back_offers(tracker: Tracker, node: Node, defaults: frozenset[Any]) -> None:
    """Forget defaults that were offered later, so that they are filled in when offered again."""
    if node.entries.defaults != defaults:
        node.entries.defaults, node.entries.all_dirty = defaults, True
        tracker.dirty_nodes[node] = None


def _blank(root: Any, kind: str) -> Any:
    """Make a detached root ready to be bound again: without content."""
    if isinstance(root, InstanceRoot):
        return InstanceRoot.of(root.instance, root.known_layout())
    empty = KINDS[kind].copy(root)
    empty.clear()
    KINDS[kind].refill(root, empty)
    return root


def _held_by_modules(roots: Iterable[Any]) -> Iterator[str]:
    """Give the places where modules hold these state objects, as `module.name`."""
    shown = {id(_shown(root)) for root in roots}
    if not shown:
        return
    for name, module in [*sys.modules.items()]:
        content = getattr(module, "__dict__", None)
        if type(content) is dict and name != "__main__":
            yield from (f"{name}.{key}" for key, value in [*content.items()] if id(value) in shown)


def _shown(root: Any) -> Any:
    """Give the object by which the program holds a state object."""
    if isinstance(root, InstanceRoot):
        return root.instance
    proxy: Any = getattr(root, "_proxy", None)
    return root if proxy is None else proxy
