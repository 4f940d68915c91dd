"""One node's part of a capture: copies of its dirty entries, encoded after the cut.

Later writes to the node itself cannot reach the copies. The program can still reach the *inline*
containers inside the entries; these are armed, and a write to one of them first encodes its entry
(`NodeCapture.encode_now`). So the flush thread can encode without haste, batch by batch under the
lock, and still saves the state at the cut. A root that is deleted meanwhile is part of that state:
its entries are encoded before its containers are untracked.

The shapes differ in how entries are addressed and in how changes are found: `mappings.py`,
`sets.py`, `sequences.py`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Any, ClassVar, Final, Protocol

import msgspec

from autostate import codec, depth
from autostate.codec import Replaced, Unsupported
from autostate.codec.signatures import Json
from autostate.errors import UnsupportedTypeError
from autostate.memory import Pieces, encode
from autostate.process.interrupts import is_passing
from autostate.tracking.barrier import Barrier
from autostate.tracking.graph import Graph
from autostate.tracking.node import Marks, Node
from autostate.tracking.resolver import ReferenceResolver, ToBeNode
from autostate.tracking.sharing import Sharing
from autostate.tracking.watched import Watched

logger = logging.getLogger("autostate")

Changes = Iterator[dict[str, Any] | None]
"""The fields of each change to be written; None where the encoder can pause."""

UNSURE: Final = object()
"""The `metadata` of a node whose stored metadata is not known."""

SLICE: Final = 0.0005
"""Seconds for which a batch of entries may hold the lock; the size of batches adapts to it."""


_IN_PIECES: Final = frozenset({msgspec.Raw, Pieces})
"""Types of content that may be large: it is copied once, into the whole."""

LARGEST_ENTRY: Final = 16_384
"""Bytes of an entry; above that its outermost container becomes a node."""


class CaptureOutput(Protocol):
    """What the parts of one capture have in common: see `capture.Capture`.

    Attributes:
        tracker: The tracker of the nodes.
        graph: Its graph.
        watched: Its watched entries.
        changes: The commit, one JSON object a change.
        errors: The entries that could not be saved.
        entries: The number of entries to be written.
    """

    tracker: Marks
    graph: Graph
    watched: Watched
    changes: list[bytes]
    errors: list[UnsupportedTypeError]
    entries: int


class NodeCapture(ABC):
    """One node's part of a capture.

    Attributes:
        capture: What all parts of the capture have in common.
        node: The node.
        entries: What is known about the entries of the node.
        all_dirty: Whether all entries of the node are to be encoded.
        keys, touched, drops: The marks of the node: see `Entries`.
        marked: The keys of `touched`, in parts, if that is taken apart as they are encoded.
        early: Entries that are encoded already.
        seen: Hashes of encoded entries that are watched.
        defaults: The defaults that were offered before the cut.
        saved_defaults: The part of them that the store will have.
        metadata: The metadata that the store will have.
        count: The number of entries to encode.
        originals: While a copy is encoded: see `ReferenceResolver`.
        written: Whether there is anything to write.
        saved: The hashes to keep once the commit is durable.
    """

    shapes: ClassVar[dict[str, type[NodeCapture]]] = {}

    def __init__(self, capture: CaptureOutput, node: Node) -> None:
        self.capture = capture
        self.node = node
        self.entries = entries = node.entries
        self.all_dirty, entries.all_dirty = entries.all_dirty, False
        self.keys = node.close_log()
        self.touched, entries.touched = entries.touched, {}
        self.drops, entries.drops = entries.drops, {}
        self.marked: list[list[Any]] = []
        self.early: dict[Any, Any] = {}
        self.seen: dict[Any, int] = {}
        self.written = False
        self.saved: Any = None
        # Defaults and metadata as of the cut: the capture has no entry of a default that is offered
        # later, and a `default_factory` that is replaced later would make a mixture of two moments.
        self.defaults = entries.defaults
        self.saved_defaults = entries.saved_defaults
        self.metadata = entries.metadata
        self._described = node.kind.describe and self._describe_object()
        self.count = 0
        self.originals: dict[int, Any] = {}
        self._header: dict[str, Any] = {}
        self.copy()
        node.capture = self  # from now on a writer encodes the entry that it is going to change

    @abstractmethod
    def copy(self) -> None:
        """Copy the dirty entries; the lock is held."""

    @abstractmethod
    def encode_now(self, key: Any) -> None:
        """Encode one entry before it is written to; the lock is held."""

    def encode_copy(self, entry: Any, copy: Any, originals: dict[int, Any]) -> bool:
        """Encode a copy of the value of an entry; the lock is held.

        Args:
            entry: The entry.
            copy: The copy.
            originals: What the copy and the values in it are copies of, by their `id`s.

        Returns:
            Whether all of it can be saved.
        """
        errors = len(self.capture.errors)
        self.originals = originals
        try:
            self.put_copy(entry, copy)
        finally:
            self.originals = {}
        return len(self.capture.errors) == errors

    @abstractmethod
    def put_copy(self, entry: Any, copy: Any) -> None:
        """Encode a copy of the value of an entry."""

    @abstractmethod
    def holding(self, entries: list[Any], values: list[Any]) -> list[bool]:
        """Tell for each of these values whether it is to be encoded as its entry."""

    @abstractmethod
    def put_early(self, entries: list[Any], raws: list[bytes]) -> None:
        """Take over encoded entries; the lock is held."""

    @abstractmethod
    def encode_rest(self) -> None:
        """Encode entries that can still change, before the node is untracked; the lock is held."""

    @abstractmethod
    def changes(self) -> Changes:
        """Encode, and yield what is to be written."""

    @abstractmethod
    def restore(self) -> None:
        """Mark again the entries of this capture: it is not known which of them the store has."""

    @abstractmethod
    def release(self) -> None:
        """Release the copies: a container in them would look held by somebody."""

    def find_defaults(self) -> frozenset[Hashable]:
        """Return the defaults that the store is to have; encoded entries are in the store."""
        return self.entries.saved_defaults

    # -- what is written ----------------------------------------------------------------------

    def encode(self) -> Iterator[None]:
        """Encode the node's changes into the capture, pausing at every `yield`."""
        changes = self.capture.changes
        mark = len(changes)
        try:
            self._describe()
            for number, change in enumerate(self.changes()):
                if number:
                    yield
                if change is not None:
                    self._emit(change)
            if self._header:
                self._emit({})
            yield from self._defaults()
        except Exception as error:
            if is_passing(error) and not self.node.tracker.ending:
                raise  # the capture has failed, and is taken again
            self._report_all(error)
            self._header = {}
            del changes[mark:]  # all changes of a node, or none
            self.written = False
            self.saved = None  # the hashes may be partly updated
            with self.node.tracker.lock:
                # taken again when something else is marked, or at a full compare
                self.entries.all_dirty = True
            if not self.node.declared:  # something refers to it
                self._describe()
                stand_in, obj = self.node.kind.stand_in, self.node.obj
                self._emit({"assign": {k: stand_in(obj[k]) for k in obj}} if stand_in else {})
        with self.node.tracker.lock:  # a writer may be about to encode an entry early
            self.node.capture = None
            self.release()
            if self.written and self.count:
                self.entries.weight = sum(map(len, changes[mark:])) // self.count + 1

    def _report_all(self, error: Exception) -> None:
        """Note that the user's own code failed, the `__eq__` of a key for example."""
        logger.debug("%s could not be read", self.node.path, exc_info=error)
        problem = f"its content could not be read ({type(error).__name__})"
        self.capture.errors.append(UnsupportedTypeError(self.node.path, problem))

    def _describe(self) -> None:
        """Put kind, name and metadata into the next change, as far as they are new."""
        node, header = self.node, self._header
        if not node.declared:
            header["kind"] = node.kind.name
            if node.name is not None:
                header["name"] = node.name
        metadata = self._described
        if metadata != self.entries.metadata or (metadata is not None and not node.declared):
            header["metadata"] = self.metadata = metadata

    def _defaults(self) -> Iterator[None]:
        """Emit the defaults that no later process fills in again."""
        node, same = self.node, self.defaults is self.saved_defaults
        if same and node.declared and not (self.entries.bad or node.kind.has_fields):
            return
        before = self.entries.saved_defaults if node.declared else frozenset()
        now = self.find_defaults()
        if now is not before and now != before:
            verb = "more_defaults" if before <= now else "defaults"
            for batch in batches(iter(now - before if verb == "more_defaults" else now)):
                keys = [codec.encode_key(key) for key in batch if is_key(key)]
                self._emit({verb: msgspec.Raw(codec.dump(keys))})
                verb = "more_defaults"
                yield
            if verb == "defaults":
                self._emit({"defaults": []})
        self.saved_defaults = now

    def _describe_object(self) -> Json | object:
        assert self.node.kind.describe is not None
        try:
            return self.node.kind.describe(self.node.obj)
        except Unsupported as problem:
            path = self.node.path + problem.path
            self.capture.errors.append(UnsupportedTypeError(path, problem.problem))
            return None if self.entries.metadata is UNSURE else self.entries.metadata

    def _emit(self, change: dict[str, Any]) -> None:
        fields = {"id": self.node.id, **self._header, **change}
        if _IN_PIECES.isdisjoint(map(type, change.values())):
            self.capture.changes.append(encode(fields))
        else:
            self.capture.changes.append(Pieces.of(fields).joined())
        self._header = {}
        self.written = True

    # -- values -------------------------------------------------------------------------------

    def encode_value(self, entry: Any, value: Any, key: Any) -> bytes | None:
        """Encode one value.

        Args:
            entry: The entry of the node in which it is.
            value: The value.
            key: Its key, member or index, for messages.

        Returns:
            The JSON; None if the value cannot be saved. A part that cannot be saved is replaced.
            Both are reported.
        """
        encoded = self._reported(key, value, lambda: self._encoded(entry, value))
        if encoded is None:
            replaced = Replaced()
            with contextlib.suppress(Unsupported, ValueError, RecursionError, depth.TooDeepError):
                encoded = self._encoded(entry, value, replaced)
                self._report_others(key, replaced)
        return encoded

    def _report_others(self, key: Any, replaced: Replaced) -> None:
        """Note what else was replaced in an entry, beside the value that was met first."""
        first = self.capture.errors[-1].path
        for problem in replaced.problems:
            if self._path(key, problem) != first:
                self.report(key, problem)
        if replaced.more:
            # The same path however many there are, because each path is logged once.
            others = Unsupported(f"{replaced.more:,} more values in it cannot be saved")
            others.steps.append("…")
            self.report(key, others)

    def _encoded(self, entry: Any, value: Any, replaced: Replaced | None = None) -> bytes:
        current: object = self.node.tracker.capture  # another one is made only to keep hashes
        large = None  # the container that becomes a node, unless the entry is stored as it is
        while True:
            if replaced is not None:
                replaced.clear()
            divide = large is None and self.capture is current
            resolver = ReferenceResolver(
                self.capture.graph,
                self.node,
                entry,
                replaced=replaced,
                divide=divide,
                originals=self.originals,
            )
            try:
                encoded = codec.dump(codec.jsonable(value, resolver))
            except ToBeNode as found:
                if found.container is resolver.top:
                    large = resolver.top  # not at once: the entry may be stored as a whole already
                else:
                    self._make_node(found.container, entry)
                continue
            if len(encoded) > LARGEST_ENTRY and large is None:
                large = resolver.top
            if large is None or self._is_stored(entry, encoded):
                return encoded
            self._make_node(large, entry)
            large = None

    def _is_stored(self, entry: Any, encoded: bytes) -> bool:
        """Tell whether the store is known to have an entry in exactly this form."""
        return False

    def _make_node(self, value: Any, entry: Any) -> None:
        """Make a node of a value that was not found to be shared before."""
        known = entry in self.entries.touched
        if issubclass(type(value), Barrier):
            self.capture.graph.promote(value)
        else:
            self.node.tracker.part(Sharing).promote(value, self.node, entry)
        if not known:  # the entry is encoded again right here
            self.entries.touched.pop(entry, None)

    def _reported(self, key: Any, value: Any, encode: Callable[[], bytes]) -> bytes | None:
        """Encode a value; report it and return None if it cannot be saved."""
        try:
            try:
                return encode()
            except (RecursionError, codec.TooDeep):
                return depth.with_room(encode, codec.levels_of(value))
        except Unsupported as problem:
            self.report(key, problem)
        except ValueError as problem:  # of an int with too many digits, says the interpreter
            self.report(key, Unsupported(str(problem)))
        except (RecursionError, depth.TooDeepError):
            self.report(key, Unsupported("nested too deeply to be saved"))
        return None

    def report(self, key: Any, problem: Unsupported) -> None:
        """Note that an entry cannot be saved."""
        error = UnsupportedTypeError(self._path(key, problem), problem.problem)
        self.entries.bad[key] = error
        self.capture.errors.append(error)

    def _path(self, key: Any, problem: Unsupported) -> str:
        return self.node.path + self.entries.step(key) + problem.path


def dump_key(key: Any) -> bytes:
    """Encode a key or a member."""
    try:
        return codec.dump(codec.encode_key(key))
    except (RecursionError, codec.TooDeep):
        return depth.with_room(lambda: codec.dump(codec.encode_key(key)), codec.levels_of(key))


def is_key(key: Any) -> bool:
    """Tell whether a key can be saved."""
    if type(key) in codec.NATIVE:
        return True
    try:
        dump_key(key)
    except (Unsupported, ValueError, RecursionError, depth.TooDeepError):
        return False
    return True


def batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Divide into batches that take about `SLICE` each."""
    size = 32
    while batch := [*islice(items, size)]:
        started = time.perf_counter()
        yield batch
        spent = time.perf_counter() - started
        size = min(size * 2, 512) if spent < SLICE else max(size // 2, 1)
