"""The tracker of one store: which containers are dirty, the cut, and `atomic()`.

A cut works in four steps under the lock, while every writer that it concerns waits:

1. *Collect*: re-arm all containers that were written (`barrier.py` says why all of them first).
2. *Settle*: adopt the plain containers that they now hold; those that somebody else still
   references become watched. `prepare` does most of it beforehand, in slices, so that little
   is left for the cut itself: adoption is invisible and needs no common moment.
3. *Add* what may have changed without a mark: watched entries, and at a sweep all contents that
   can be compared.
4. *Take*: shallow copies of the dirty entries (`capture.py`).
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from autostate import codec
from autostate.errors import CodecError, CorruptStateError
from autostate.tracking import adoption
from autostate.tracking.barrier import (
    FORM_SETS,
    FORMS,
    KINDS,
    PLAIN,
    arm,
    changed,
    disarm,
    forms_of,
    size,
)
from autostate.tracking.capture import Capture
from autostate.tracking.graph import Graph
from autostate.tracking.node import LARGE, Node
from autostate.tracking.pending import Pending
from autostate.tracking.rehydration import Rehydration, State
from autostate.tracking.sharing import Sharing
from autostate.tracking.undo import Frame, frames
from autostate.tracking.watch import Watch

if TYPE_CHECKING:
    import asyncio

    from autostate.signing import Signer


logger: logging.Logger = logging.getLogger("autostate")

SLICE: Final = 200
"""Containers or entries that `prepare` looks at with the lock held: less than a millisecond."""


_ROUNDS: Final = 3
"""How often `prepare` begins again with what was written meanwhile."""

_YOUNG: Final = 2_000
"""Containers to adopt before the garbage collector looks at them."""


def _collect_young() -> None:
    """Let the garbage collector look at what was adopted, while that is little.

    Adoption makes one container and frees another, so that the collector's count of young ones
    stays small while there are more and more of them. It would look at all in one go: a million
    took 0.17 s, in which no thread ran.
    """
    if gc.isenabled():
        gc.collect(1)


class Tracker:
    """What is dirty in the state objects of one store.

    Args:
        wake: Called when something becomes dirty, and when an `atomic()` block ends that had
            refused a cut. It may run under a lock and inside a signal handler: it must not block.
        signer: Signs pickled values, and verifies them; None: there are none.
        on_unknown: Gives what a stored value of a type that the program does not know does:
            "raise" or "keep".
    """

    def __init__(
        self,
        *,
        wake: Callable[[], None],
        signer: Signer | None = None,
        on_unknown: Callable[[], str] = lambda: "raise",
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.wake = wake
        self.signer = signer
        self.on_unknown = on_unknown
        self.closed: bool = False
        self.undo: int = 0
        self.nodes: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()
        self.roots: dict[str, Node] = {}
        self.deleted: list[int] = []
        self.dirty_nodes: dict[Node, None] = {}
        self._written: list[Any] = []
        self._unsettled: dict[int, Any] = {}
        self._held: list[Any] = []
        self._suspects: dict[int, tuple[Any, Any]] = {}
        self.graph: Graph = Graph(self)
        self.watch: Watch = Watch(self)
        self.sharing: Sharing = Sharing(self)
        self.adopting: set[int] = set()
        self._swept = False
        self._loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self.capture: Capture | None = None
        self._refused = False
        self._marks = 0
        self._next_id = 1
        self._rehydration = Rehydration(self, {})

    # -- what the flusher asks ----------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether anything was marked since the last cut."""
        return bool(self._written or self._unsettled or self.dirty_nodes or self.deleted)

    @property
    def needs_polling(self) -> bool:
        """Whether something can change without a mark: watched entries, late calls."""
        return bool(self.watch or self._suspects)

    @property
    def activity(self) -> int:
        """Grows with the writes that are seen; the same twice: writing pauses."""
        recorded = sum(len(node.keys) for node in self._recording())
        return self._marks + recorded

    def estimate(self) -> int:
        """Estimate the bytes that a flush would write.

        A keyed container of which most entries are dirty goes over to being saved as a whole:
        its writes are then at full speed again.
        """
        with self.lock:
            total = 0
            for container in self._written:
                node: Node = container._node
                if node.obj is not container:
                    total += (size(container) + 1) * 16
                elif type(container) is forms_of(type(container)).disarmed:
                    total += size(container) * node.weight
                else:
                    total += (len(node.keys) + len(node.drops)) * node.weight
                    if len(node.keys) * 2 > size(container) > LARGE and node.shape != "sequence":
                        changed(container)
            touched = sum(len(node.touched) for node in self.dirty_nodes)
            return total + touched * 64

    def _recording(self) -> Iterator[Node]:
        for container in self._written.copy():
            node: Node = container._node
            if node.obj is container and node.keys:
                yield node

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """A running event loop on whose thread the state is written."""
        return next((loop for loop in list(self._loops) if loop.is_running()), None)

    # -- marks --------------------------------------------------------------------------------

    def wrote(self, container: Any, *, whole: bool) -> None:
        """List a container that was armed until now; the lock is held."""
        if self.closed:
            return
        clean = not self.dirty
        if self.undo:
            self._mark(container, whole=whole)
            self._unsettled[id(container)] = container
        else:
            self._written.append(container)
        self._marks += 1
        asyncio_events = sys.modules.get("asyncio.events")
        if asyncio_events is not None:
            running = asyncio_events._get_running_loop()
            if running is not None:
                self._loops.add(running)
        if clean:
            self.wake()

    def _mark(self, container: Any, *, whole: bool) -> None:
        node: Node = container._node
        if node.obj is container:
            node.whole = node.whole or whole
            self.dirty_nodes[node] = None
        else:  # its entry is marked when it is found to be in it still
            self._unsettled[id(container)] = container

    def unsettle(self, container: Any) -> None:
        """Look at what a container holds before the next cut."""
        self._unsettled[id(container)] = container

    def touch(self, node: Node, key: Any) -> None:
        """Mark one entry of a node."""
        node.touched[key] = None
        self.dirty_nodes[node] = None

    # -- the cut ------------------------------------------------------------------------------

    def prepare(self, pause: Callable[[], None], *, sweep: bool = False) -> None:
        """Look in slices at what was written, as a cut would have to do at once.

        Args:
            pause: Called between slices, without the lock.
            sweep: The cut will be a sweep: look at everything.
        """
        for _ in range(_ROUNDS):  # writers may never come to an end
            for _ in range(0, len(self._written), SLICE):
                with self.lock:
                    self._collect(SLICE)
                pause()
            with self.lock:
                containers = list(self._unsettled.values())
            if not containers:
                break
            self._prepare(containers, pause)
            del containers
        if sweep:
            self._prepare_sweep(pause)

    def _prepare(self, containers: list[Any], pause: Callable[[], None]) -> None:
        done = 0
        since = 0
        while containers:
            container = containers.pop()
            with self.lock:
                if self._unsettled.pop(id(container), None) is None or container._node is None:
                    continue
                self.graph.forget()
                slots = self._unsettled_slots(container)
            for start in range(0, max(len(slots), 1), SLICE):
                with self.lock:
                    if container._node is not None:  # it may be let go of meanwhile
                        self._settle(container, slots[start : start + SLICE])
                done += min(SLICE, len(slots) - start) + 1
                if done >= SLICE:
                    since += done
                    done = 0
                    pause()
                if since > _YOUNG:
                    since = 0
                    _collect_young()

    def _prepare_sweep(self, pause: Callable[[], None]) -> None:
        with self.lock:
            nodes = self._to_compare()
        for node in nodes:
            with self.lock:
                slots = adoption.slots_of(node.obj)
            for start in range(0, len(slots), SLICE):
                with self.lock:
                    if not self.closed and self.nodes.get(node.id) is node:
                        self._look_inside(node, slots[start : start + SLICE], again=True)
                pause()
        self._swept = True

    def cut(self, *, sweep: bool = False) -> Capture | None:
        """Take what is dirty, as of this moment.

        Args:
            sweep: Compare also contents that may have been changed past the barrier.

        Returns:
            The capture; None while an `atomic()` block is open: `wake` is called at its end.
        """
        with self.lock:
            if self.undo:
                self._refused = True
                return None
            capture = self.capture = Capture(self)
            if self.closed:
                return capture
            self.graph.forget()
            self._late_calls()
            self._collect()
            self._settle_all()
            watched = self.watch.check()
            if sweep:
                self._sweep()
            if self.watch or self.sharing.nodes():
                with contextlib.suppress(RecursionError):  # it is reported when it is encoded
                    self.sharing.settle(list(self.watch.entries))
            self.graph.forget()
            nodes, self.dirty_nodes = self.dirty_nodes, {}
            capture.deleted, self.deleted = self.deleted, []
            capture.take(self.graph.in_use(nodes))
            self._encode_exposed(watched)
            return capture

    def _collect(self, most: int | None = None) -> None:
        """Re-arm all that was written, and only then look at any of it.

        Written for speed: a cut runs on the event loop's thread.

        Args:
            most: So many containers at the most. Only a cut needs them all at one moment.
        """
        at = 0 if most is None else -most
        written = self._written[at:]
        del self._written[at:]
        whole = []
        for container in written:
            cls = type(container)
            forms = FORMS[cls]
            whole.append(cls is forms.disarmed)
            container.__class__ = forms.armed
        container = None  # a variable is a reference
        last: Node | None = None
        unsettled, is_json = self._unsettled, codec.is_json_dict
        references, get, dicts = sys.getrefcount, dict.get, FORM_SETS["dict"]
        for index, everything in enumerate(whole):
            held = references(written[index]) > _INLINE
            one: Any = written[index]
            node: Node = one._node
            if held or node.obj is one:
                self._look_at(one, everything)
                continue
            if node is not last:
                self.dirty_nodes[node] = None
                last = node
            key = one._key
            in_place = node.shape == "mapping" and get(node.obj, key) is one
            if in_place:
                if type(one) in dicts and is_json(one):
                    # the container itself only if nothing else in this entry was looked at
                    node.touched[key] = None if key in node.touched else one
                    continue
                node.touched[key] = None
            if not in_place or not _is_flat(one):
                unsettled[id(one)] = one  # it may have been taken out

    def _look_at(self, container: Any, disarmed: bool) -> None:
        """Mark a root or a container that somebody holds, and remember what could still come.

        A late call can reach it; and what it holds at the cut has to be encoded at once.
        """
        node: Node = container._node
        self._mark(container, whole=disarmed)
        if not _is_flat(container):
            self._unsettled[id(container)] = container
        if disarmed or node.shape == "sequence":
            self._suspects[id(container)] = (container, _trace(container))
        if node.obj is not container:
            self._held.append(container)

    def _late_calls(self) -> None:
        """Mark what has another length than when it was re-armed, although nobody marked it."""
        suspects, self._suspects = self._suspects, {}
        for key in suspects:
            held = adoption.references(suspects[key], 0) > 2
            container, trace = suspects[key]
            if container._node is None or type(container) is not forms_of(type(container)).armed:
                continue
            if _trace(container) != trace:
                changed(container)
            elif held or container._node.obj is container:
                self._suspects[key] = (container, trace)

    def _unsettled_slots(self, container: Any) -> list[Any]:
        node: Node = container._node
        if node.obj is container and not node.whole and node.shape == "mapping":
            return [k for k in list(node.keys) if type(node.obj.get(k)) not in adoption.ATOMS]
        if node.obj is container and not node.whole and node.shape == "sequence":
            low, high = max(node.low - node.first, 0), max(node.high - node.first, 0)
            slots = {*range(low), *range(high, size(container))}
            return sorted(slots.union(number - node.first for number in node.keys))
        return adoption.slots_of(container)

    def _settle_all(self) -> None:
        while self._unsettled:
            _, container = self._unsettled.popitem()
            if container._node is not None:  # else it was let go of
                self._settle(container, self._unsettled_slots(container))

    def _settle(self, container: Any, slots: Iterable[Any]) -> None:
        """Adopt what a container that was written holds."""
        node: Node = container._node
        is_node = node.obj is container
        if not is_node:
            if self.graph.let_go(container):
                return
            self.touch(node, container._key)
        if not is_node and size(container) > LARGE:
            self.graph.promote(container)
            return
        if is_node and isinstance(container, dict):
            slots = adoption.adopt_flat(container, slots, node)
        if is_node:
            self._look_inside(node, slots)
            return
        for slot in slots:
            try:
                complete = adoption.adopt(container, slot, node, container._key)
            except LookupError:
                continue  # removed since the slots were listed
            except RecursionError:
                complete = False
            if not complete:
                self.watch.again(node, container._key)

    def _to_compare(self) -> list[Node]:
        """The nodes of which it is remembered what was saved, or that are small."""
        nodes = [n for n in self.nodes.values() if n.tracker is self and n.declared]
        return [n for n in nodes if not n.orphan and (n.saved is not None or size(n.obj) <= LARGE)]

    def _sweep(self) -> None:
        """Look at everything that can be compared, and again at what could not be saved."""
        if not self._swept:
            for node in self._to_compare():
                self._look_inside(node, adoption.slots_of(node.obj), again=True)
        self._swept = False
        for node in self._to_compare():
            node.whole = True
            self.dirty_nodes[node] = None
        for node in self.nodes.values():
            for key in node.bad:
                self.touch(node, key)

    def _look_inside(self, node: Node, slots: Iterable[Any], *, again: bool = False) -> None:
        """Adopt what a node holds, or watch it."""
        for slot in slots:
            with contextlib.suppress(LookupError):  # removed since the slots were listed
                if again and adoption.is_settled(node.obj[slot], node):
                    continue
                adoption.adopt_or_watch(node, slot, again=again)
        if node.shape == "sequence":
            self.graph.promote_repeated(node.obj, slots)

    def _encode_exposed(self, watched: list[tuple[Node, Any]]) -> None:
        """Encode at once what writers could reach past the barrier while the rest is encoded."""
        held, self._held = self._held, []
        entries = [(c._node, c._key) for c in held if c._node is not None and c._node.obj is not c]
        for node in self.sharing.nodes():
            entries += [(node, key) for key in adoption.entries_of(node)]
        for node, key in [*watched, *entries]:
            if node is not None and node.pending is not None:
                node.pending.encode_now(key)

    def captured(self, capture: Capture) -> None:
        """Take note that a capture has come to its end."""
        if self.capture is capture:
            self.capture = None
            self.watch.end()

    def new_id(self) -> int:
        """Give a number that no node has had."""
        node_id = self._next_id
        self._next_id += 1
        return node_id

    def collected(self, ids: Iterable[int]) -> None:
        """Take note that compaction left out nodes that nothing referenced."""
        with self.lock:
            for node_id in ids:
                node = self.nodes.get(node_id)
                if node is not None and node.name is None:
                    node.declared, node.saved, node.whole = False, None, True

    # -- roots --------------------------------------------------------------------------------

    def load(self, states: Mapping[int, State], next_id: int) -> None:
        """Take the recovered state from which roots are rehydrated."""
        with self.lock:
            self._rehydration = Rehydration(self, dict(states))
            self._next_id = max(self._next_id, next_id)

    def root(self, name: str) -> Any | None:
        """The live object of that name, if it is there (another root may refer to it)."""
        node = self.roots.get(name)
        return None if node is None else node.obj

    def kind(self, name: str) -> str | None:
        """The kind of a root, live or stored; None if there is none of that name."""
        node = self.roots.get(name)
        return node.kind if node is not None else self._rehydration.kind(name)

    def attach(self, container: Any, name: str, kind: str) -> bool:
        """Bind an empty container to a name and rehydrate it.

        Returns:
            Whether there was anything to resume.
        """
        with self.lock:
            stored = self._rehydration.attach(container, name)
            if stored is None:
                node = Node(self, self.new_id(), KINDS[kind], container, name)
                container._node = node
                self.nodes[node.id] = self.roots[name] = node
                node.whole = True
                self._unsettled[id(container)] = container
                self.dirty_nodes[node] = None
                self.wake()
            arm(container)
            return stored is not None

    def offer(self, container: Any, defaults: Mapping[Any, Any]) -> None:
        """Fill in the defaults that the stored state never had (dict, set and counter)."""
        with self.lock:
            node: Node = container._node
            offered, node.offered = node.offered, node.offered | frozenset(defaults)
            new = [key for key in defaults if key not in container and key not in offered]
            kind = KINDS[node.kind]
            if node.whole and not container:
                kind.fill(container, defaults)
            elif new:
                kind.fill(container, {key: defaults[key] for key in new})
                node.whole = node.whole or size(container) <= LARGE
                for key in new:
                    node.keys[key] = None
                self.dirty_nodes[node] = None
                self._unsettled[id(container)] = container
                self.wake()

    def begin(self, container: Any, default: list[Any]) -> None:
        """Fill a list that was never saved."""
        with self.lock:
            node: Node = container._node
            if node.whole and not node.declared and not container:
                KINDS[node.kind].fill(container, default)

    def baseline(self, node: Node) -> None:
        """Remember what is stored of a rehydrated node, to see later what changed."""
        if node.shape != "sequence" and size(node.obj) <= LARGE:
            node.whole = True
            pending = Pending.shapes[node.shape](Capture(self), node)
            for _ in pending.encode():
                pass
            node.saved = pending.saved
            node.bad = {}

    def detach(self, name: str) -> Node | None:
        """Remove a root from the state; its object goes on as a plain one."""
        with self.lock:
            node = self.roots.pop(name, None)
            if node is not None:
                self.nodes.pop(node.id, None)
            node_id = node.id if node is not None else self._rehydration.forget(name)
            if node_id is not None:
                self.deleted.append(node_id)
                self.wake()
            if node is not None:
                self._release(node)
            return node

    def _release(self, node: Node) -> None:
        rest = [node.obj]
        if node.shape == "mapping":
            for value in dict.values(node.obj):
                known = FORMS.get(type(value))
                if known is None or value._node is not node:
                    rest.append(value)
                else:
                    value._node = None
                    value.__class__ = known.disarmed
                    if not _is_flat(value):
                        rest.append(value)
        for container in [*adoption.inline(rest), node.obj]:
            if type(container) not in PLAIN and container._node is node:  # else of sharing.py
                container._node = None
                disarm(container)
        node.whole, node.keys, node.drops = False, {}, {}
        self.dirty_nodes.pop(node, None)
        self._written = [c for c in self._written if c._node is not None]
        self._unsettled = {i: c for i, c in self._unsettled.items() if c._node is not None}
        self._suspects = {i: s for i, s in self._suspects.items() if s[0]._node is not None}
        self.watch.forget(lambda other: other is node)
        self._held = [c for c in self._held if c._node is not None]

    def mark_all(self) -> None:
        """Mark everything: the store has lost it, also what nobody has asked for yet."""
        with self.lock:
            for name in self._rehydration.names:
                try:
                    self._rehydration.attach(None, name)
                except CodecError as error:
                    logger.critical("%s; the store has lost it", error)
            for node in list(self.nodes.values()):
                node.declared, node.saved, node.whole = False, None, True
                self.dirty_nodes[node] = None
            self.wake()

    def close(self) -> None:
        """Let go of all objects: they go on as plain ones, at full speed."""
        with self.lock:
            self.closed = True
            for node in list(self.nodes.values()):
                self._release(node)
            self.roots.clear()

    # -- atomic -------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Generator[None]:
        """Never cut inside the block; roll memory back if it raises."""
        with self.lock:
            self._collect()
            self._settle_all()
            self.undo += 1
            frame = Frame(self._plain())
        token = frames.set({**frames.get(), self: (*frames.get().get(self, ()), frame)})
        try:
            yield
        except BaseException:
            with self.lock:
                for container, whole in frame.roll_back():
                    self._mark(container, whole=whole)
                    self._unsettled[id(container)] = container
            raise
        else:
            frame.merge_into(frames.get()[self][:-1])
        finally:
            frames.reset(token)
            with self.lock:
                self.undo -= 1
                if not self.undo and self._refused:
                    self._refused = False
                    self.wake()

    def _plain(self) -> list[Any]:
        """The plain containers in watched entries: no barrier tells when they change."""
        entries = ((n, slot) for n, key in self.watch.entries for slot in self.graph.slots(n, key))
        values = (node.obj[slot] for node, slot in entries)
        return [plain for value in values for plain in adoption.plain_inside(value)]

    def remember(self, container: Any, keys: tuple[Any, ...] | None) -> None:
        """Keep the former content of what is about to be written inside `atomic()`."""
        mine = frames.get().get(self)
        if mine:
            mine[-1].remember(container, keys)

    def inside_atomic(self) -> bool:
        """Whether the calling thread or task is inside an `atomic()` block."""
        return bool(frames.get().get(self))

    def corrupt(self, name: str) -> CorruptStateError:
        """An error for a state that refers to what is not stored."""
        return CorruptStateError(
            f"{name}: the stored state refers to a part that is not stored; "
            'open it with on_corrupt="previous" to go back to the previous snapshot'
        )


def _trace(container: Any) -> Any:
    """What every late call changes: the length, or the items at the ends of a bounded deque."""
    maxlen = getattr(container, "maxlen", None)
    if maxlen is not None and container:
        return size(container), id(container[0]), id(container[-1])
    return size(container)


def _is_flat(container: Any) -> bool:
    """Whether there is nothing to settle about a container: few entries, and only atoms."""
    if size(container) > LARGE:
        return False
    if isinstance(container, dict):
        return adoption.ATOMS.issuperset(map(type, container.values()))
    return isinstance(container, set) or adoption.ATOMS.issuperset(map(type, container))


_INLINE: Final = 1 + adoption.references([[None]], 0) + adoption.MEASURING
"""References to an inline container that nobody holds: its parent's and that of `_collect`."""
