"""The open blocks of `atomic()` of one tracker: what they have written, and how it is undone.

While a block is open, containers stay armed, and each write is noted before it happens (`undo.py`).
A cut takes out the writes of blocks that are held, for as long as it reads, and waits for others.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from autostate.process.interrupts import is_owned
from autostate.tracking.barrier import Barrier, kind_of
from autostate.tracking.cell import Cell
from autostate.tracking.differences import same_items
from autostate.tracking.graph import Graph
from autostate.tracking.instances import Scanned
from autostate.tracking.kind import PLAIN
from autostate.tracking.node import Marks, Node
from autostate.tracking.raw import item_of
from autostate.tracking.savepoint import Membership, Savepoint, innermost, refuse_late
from autostate.tracking.scan import Scan
from autostate.tracking.search import all_inside, slots_of
from autostate.tracking.sharing import Sharing
from autostate.tracking.undo import UndoLog
from autostate.tracking.watched import Watched
from autostate.tracking.written import Written

logger: logging.Logger = logging.getLogger("autostate")

LONGEST_HOLD: Final = 5.0
"""Seconds for which a new block waits for a save, at most."""

_SOME: Final = ("closed",)
"""`Marks.savepoints` while a context of a closed block lives: each of its writes has to be seen."""

HOLD_CHECK: Final = 0.002
"""Seconds between checks whether the block still has to wait."""


class Blocks:
    """The open blocks of one tracker.

    Attributes:
        open: The blocks, in the order in which they began; also `Marks.savepoints`, unless a
            context of a closed block lives.
        refused: Whether a cut was refused since a block is open.
        afterwards: Is called when a block has ended, without the lock.
    """

    def __init__(self, tracker: Marks) -> None:
        self._tracker = tracker
        self._written = tracker.part(Written)
        self._watched = tracker.part(Watched)
        self._graph = tracker.part(Graph)
        self._log = UndoLog()
        self._may_begin = True
        self._warned_of_orphaned = False
        self._warned_of_plain = False
        self.refused = False
        self.afterwards: list[Callable[[], None]] = []
        self._is_aside = False
        self.open: dict[Savepoint, None] = {}
        self._closed: dict[int, weakref.ref[Membership]] = {}
        tracker.savepoints = self.open
        tracker.note_write = self.note_write
        tracker.note_same = self.note_same
        tracker.convert_put = self.convert_put
        tracker.note_field = self.note_field
        # The fields that were noted since any block is open, by the `id` of the object's root. A
        # record may be gone before that: nobody undoes a write outside of blocks.
        self._noted: dict[int, tuple[Any, set[str]]] = {}

    def wrote(self, container: Any) -> None:
        """Note that a write is done; the lock is held."""
        self._log.written(container)

    def forked(self) -> bool:
        """Undo the blocks that no frame of this child will end, but not those around the fork.

        Returns:
            Whether all could be undone: another thread was in the midst of a write otherwise.
        """
        self._may_begin, complete = True, True
        for point in reversed(list(self.open)):
            if threading.get_ident() not in point.threads:
                point.outcome = False
                try:
                    self._end(point)
                except Exception:
                    self.open.pop(point, None)
                    complete = False
        return complete

    def begin(self, point: Savepoint) -> None:
        """Begin a block. A block inside no other waits for a cut that waits for blocks."""
        # An inner block has to begin, or its outer one never ends; nothing may hold an event loop.
        if not (point.outer is not None or self._may_begin or _runs_loop()):
            self._give_way()
        with self._tracker.lock:
            self._tracker.note_loop()
            self.end_left()
            scan = self._resolve()
            if not self.open and self._watched.loose:  # what lies at two places can be converted
                with contextlib.suppress(RecursionError):  # it is reported when it is encoded
                    self._tracker.part(Sharing).resolve(self._loose())
            point.instances = [] if scan is None else scan.contents()
            point.plain = self._copies()
            for other in self.open:
                known = not (point.is_alone or other.is_alone)
                if not (known or point.is_inside(other) or other.is_inside(point)):
                    point.is_alone = other.is_alone = False
            self.open[point] = None
            if scan is not None:
                scan.guard(on=True)

    def _loose(self) -> list[tuple[Node, Any]]:
        return [(node, key) for node, keys in self._watched.loose.items() for key in keys]

    def _resolve(self) -> Scan | None:
        """Arm and resolve all containers, so that every write to them is seen."""
        self._written.collect()
        scan = self._tracker.part_in_use(Scan)
        if scan is not None:
            scan.collect()
        self._written.resolve_all()
        return scan

    def stepped_forward(self) -> None:
        """Let containers belong to the state again that a step back had taken out of it.

        They were detached in the cut: what is written to them now would not be noted.
        """
        if self.open:
            self._resolve()

    def _copies(self) -> list[tuple[Any, Any]]:
        """Copy the contents of the plain containers in the state.

        Blocks that are open at the same time share the copies of unchanged contents.

        A container that is put into the state later is not copied: its writer holds it at that
        moment, and may write to it later. To restore the content that it had then would undo these
        writes. The reference to the container would also prevent its conversion, so that all later
        writes to it would have this problem.
        """
        last = next(reversed(self.open), None)
        pairs = () if last is None else last.plain
        known = {id(plain): content for plain, content in pairs if type(plain) in (list, dict, set)}
        copies = []
        for plain in self._plain():
            content = known.get(id(plain))
            if content is None or not _is_same(plain, content):
                content = kind_of(plain).copy(plain)
            copies.append((plain, content))
        return copies

    def _give_way(self) -> None:
        """Wait until blocks may begin, for `LONGEST_HOLD` at the most.

        What does not work: an Event, which is written in Python; Ctrl-C in it raises RuntimeError.
        """
        end = time.monotonic() + LONGEST_HOLD
        while not self._may_begin and time.monotonic() < end:
            time.sleep(HOLD_CHECK)

    def end(self, point: Savepoint) -> None:
        """End a block as its outcome says. Call it again if Ctrl-C interrupts it.

        If this thread is in the middle of another operation, as when the garbage collector closes
        a generator, the next cut or block ends this one.
        """
        if not is_owned(self._tracker.lock):
            with self._tracker.lock:
                self._end(point)
            self._do_afterwards()

    def _do_afterwards(self) -> None:
        while self.afterwards:
            step = self.afterwards[-1]
            step()
            with contextlib.suppress(ValueError):  # another thread has done it, too
                self.afterwards.remove(step)

    def _end(self, point: Savepoint) -> None:
        if point not in self.open:
            return
        if self._tracker.writing is not None:
            self._tracker.finish_write()
        outer = point.outer if point.outer is not None and point.outer.is_open else None
        for follow in point.when_ended:
            follow(outer)
        if point.outcome:
            if outer is not None:
                outer.when_undone += point.when_undone
            self._log.hand_over(point, outer)
            point.when_undone = []
        else:
            self._log.undo(point)
            self._put_back_plain(point)
            for root, fields in point.instances:
                if root._node_ is not None and not root.busy:
                    self._put_back_unnoted(root, fields)
            while point.when_undone:
                point.when_undone.pop()()
        point.holder = None
        if len(self.open) == 1:
            self._noted = {}
        del self.open[point]  # until here the end can be repeated
        point.plain = []  # contexts keep the savepoint; what it holds could not be converted
        point.when_ended = []
        if self.refused:
            self.refused = bool(self.open)
            self._tracker.wake()

    def _put_back_plain(self, point: Savepoint) -> None:
        """Undo what was written to plain containers, unless another block may have written that.

        Nothing tells the writers of a plain container apart.
        """
        for plain, content in point.plain:
            if point.is_alone:
                kind_of(plain).refill(plain, content)
            elif not self._warned_of_plain and not _is_same(kind_of(plain).copy(plain), content):
                self._warned_of_plain = True
                logger.warning(
                    "a block of atomic(), or an attempt of a handler, has failed; what it has "
                    "written to %s is not undone, since others may have written that: it is a "
                    "plain container, because a variable of the program has held it since it was "
                    "put there; let no variable hold it, or put it there as a default of its "
                    "state object",
                    self._path_of(plain),
                )

    def _path_of(self, plain: Any) -> str:
        """Name an entry in which a plain container lies."""
        for node, key in self._watched:
            if any(one is plain for one in all_inside([*node.entries.values(key)], node)):
                return f"{node.path}{node.entries.step(key)}"
        shared = self._tracker.shared.get(id(plain))
        return "a container at several places" if shared is None else shared.path

    def close(self, point: Savepoint, member: Membership | None) -> None:
        """Undo a block and those inside it, and refuse what its contexts write later.

        Args:
            point: The block.
            member: Its membership; None: no context refers to it.
        """
        with self._tracker.lock:
            for each in reversed(list(self.open)):
                if each.is_inside(point):
                    each.outcome = False
                    self._end(each)
            if member is not None:  # not before: the undo writes too
                member.is_closed = True
                key, closed = id(member), self._closed
                closed[key] = weakref.ref(member, lambda _: closed.pop(key, None))
                self._tracker.savepoints = _SOME
        if not is_owned(self._tracker.lock):
            self._do_afterwards()

    def end_left(self) -> None:
        """End blocks whose frames are gone, or whose end was put off; forget closed ones."""
        if not self._closed:
            self._tracker.savepoints = self.open
        for point in reversed(list(self.open)):  # inner blocks first
            if point.is_abandoned():
                point.outcome = False
            if not point.is_open:
                self._end(point)

    def undo_open(self) -> None:
        """Undo blocks that do not end: while they are open nothing could be saved."""
        blocks = sum(not point.is_unit for point in self.open)
        if blocks:
            logger.warning(
                "%s of atomic() did not end before the last save: what was written in it is not "
                "saved, everything else is",
                "a block" if blocks == 1 else f"{blocks} blocks",
            )
        units = sum(point.is_unit and point.outer is None for point in self.open)
        if units:
            logger.info(
                "the last save leaves out what %s unfinished had written: it is done again",
                "a piece of work that is" if units == 1 else f"{units} pieces of work that are",
            )
        for point in reversed(list(self.open)):
            point.outcome = False
            self._end(point)

    def note_write(self, container: Any, key: Any, *, removes: bool = False) -> None:
        """Note the content before a write, for the undo of open blocks; the lock is held.

        Raises:
            LateWriteError: The block of this context was closed.
        """
        if self._closed:
            refuse_late()
        self._log.note(container, key, self._writer(), removes=removes)

    def note_same(self, container: Any, key: Any) -> None:
        """Note that somebody writes what is there already; the lock is held."""
        self._log.note_same(container, key, self._writer())

    def convert_put(self, container: Any, key: Any) -> None:
        """Convert a value that was just put into a mapping, unless somebody holds it.

        The container is still listed as unresolved: whatever is not converted here is then watched.
        """
        node = container._node_
        entry = node.entries.at(key) if node.obj is container else container._key_
        with contextlib.suppress(RecursionError):
            self._graph.convert(container, key, node, entry)

    def _writer(self) -> Savepoint | None:
        """Return the block that writes now; None: this context is in no block."""
        writer = None if self._is_aside else innermost(self._tracker) or self._orphaned()
        if writer is not None:
            writer.threads.add(threading.get_ident())  # a cut asks whether all are held
        return writer

    def here(self) -> Savepoint | None:
        """Return the block to which a change that is made now belongs; the lock is held.

        Raises:
            LateWriteError: The block of this context was closed.
        """
        if self._closed:
            refuse_late()
        return innermost(self._tracker) or self._orphaned()

    def write_aside(self, write: Callable[[], object]) -> None:
        """Call a function whose writes belong to no block; the lock is held."""
        self._is_aside = True
        try:
            contextvars.Context().run(write)
        finally:
            self._is_aside = False

    def note_field(self, root: Any, name: str) -> None:
        """Note a field of an object before a write, for the undo of open blocks."""
        with self._tracker.lock:
            if self.open:
                self._noted.setdefault(id(root), (root, set()))[1].add(name)
            if self._tracker.savepoints:
                self.note_write(root, name)

    def note_new(self, node: Node, slots: list[Any]) -> None:
        """Note the plain containers in a state object that the block of this context has made.

        Args:
            node: The node of the object; the lock is held.
            slots: The slots that the constructor has filled.
        """
        writer = innermost(self._tracker) or self._orphaned() if self.open else None
        if writer is None or node.obj._node_ is not node:
            return
        values = [item_of(node.obj, slot) for slot in slots]
        found = [one for one in all_inside(values, node) if type(one) in PLAIN]
        if found:
            writer.may_step_back = False  # no cut can tell what is written to them from now on
            writer.plain += [(one, kind_of(one).copy(one)) for one in found]

    def _unnoted(self, root: Scanned, fields: dict[str, Any]) -> list[str]:
        """List the fields that an object had otherwise at the beginning, without a note of that.

        A write that bypasses the class has changed them, whose writer is not known.
        """
        now, (_, noted) = root.read(), self._noted.get(id(root), (root, set()))
        others = {*fields, *now} - noted - root.unknown_fields
        return [name for name in others if fields.get(name, self) is not now.get(name, self)]

    def _put_back_unnoted(self, root: Scanned, fields: dict[str, Any]) -> None:
        """Undo writes to an object that bypassed its class."""
        names = self._unnoted(root, fields)
        if names:
            root.take(root.read())  # what the block did since the last scan
            kept = {name: root[name] for name in [*root.keys()] if name not in names}
            root.put_back(kept | {name: fields[name] for name in names if name in fields})

    def note_use(self) -> None:
        """Note that an object may have changed, which cannot be undone; the lock is held."""
        writer = innermost(self._tracker) or self._orphaned() if self.open else None
        if writer is not None:
            writer.may_step_back = False

    def _orphaned(self) -> Savepoint | None:
        """Return the block that owns the writes of contexts that are in no block.

        If a block was begun in a context that has ended, its writes are made in other contexts.
        With several such blocks nothing tells their writes apart, so that none of them undoes a
        write.
        """
        orphaned = [point for point in self.open if point.is_orphaned]
        if len(orphaned) > 1 and any(
            later.outer is not point for point, later in itertools.pairwise(orphaned)
        ):
            if not self._warned_of_orphaned:
                self._warned_of_orphaned = True
                logger.warning(
                    "several blocks of atomic() were begun in contexts that have ended, as in "
                    "FastAPI dependencies that are no coroutines; what is written now cannot be "
                    "told apart, and none of these blocks undoes it: begin them where they write"
                )
            return None
        return orphaned[-1] if orphaned else None

    @property
    def oldest(self) -> Savepoint | None:
        """The open block that began first."""
        return next(iter(self.open), None)

    @contextmanager
    def holding_back(self) -> Generator[None]:
        """Let no block begin during the body, except in blocks and on threads of event loops."""
        self._may_begin = False
        try:
            yield
        finally:
            self._may_begin = True

    def step_back(self, paused: int | None, forward: list[Callable[[], None]]) -> bool:
        """Undo the writes of open blocks for the moment of a cut.

        The blocks of this thread, and those of `paused`, wait during the cut: nobody sees the
        undone state. Blocks of other threads run, and would see it. Changes of watched values, and
        of objects past their classes, have no known writer: if there are any, they can be neither
        undone nor saved. This does not concern values that an open block has put into the state.

        Args:
            paused: Another thread, whose blocks wait.
            forward: As for `UndoLog.step_back`.

        Returns:
            Whether the writes were undone; else the cut has to wait.
        """
        here = {threading.get_ident(), paused}
        points = self.open
        if not all(point.threads <= here and self._may_step_back(point) for point in points):
            return False
        self._convert_unheld()  # now: the steps forward hold what is in the containers
        self._log.step_back(points, forward)
        # What the blocks have put into the state is out of it. What others have put there since is
        # converted if nobody holds it any more; else a block may have written to it.
        known = set(map(id, self._plain()))
        plain: list[Any] = []
        if known:
            self._written.collect()
            self._written.resolve_all()
            plain = [one for one in self._plain() if id(one) in known]
        if not all(map(functools.partial(_is_as_before, plain), points)):
            return False
        if plain:
            self._let_go(forward)
        return True

    def _let_go(self, forward: list[Callable[[], None]]) -> None:
        """Hold no plain container during a cut, which may find that nobody else does.

        Otherwise no container would be converted as long as blocks overlap. All of them are as they
        were at the beginning of each block, so that they can be copied again after the cut.
        """
        former = {point: {id(plain) for plain, _ in point.plain} for point in self.open}

        def copy_again() -> None:
            copies = self._copies()
            for point, idents in former.items():
                point.plain = [pair for pair in copies if id(pair[0]) in idents]

        forward.append(copy_again)
        for point in self.open:
            point.plain = []

    def _convert_unheld(self) -> None:
        """Convert plain containers that nobody holds but open blocks and former cuts.

        A container that somebody puts into the state while a block is open would stop each cut
        until that block has ended, which may wait for a cut. When nobody holds it any more, the
        copies of a block that has begun later still do, and the picture of a cut that came early. A
        container that was written to since it was copied stays as it is: it has to be undone.
        """
        plain = self._plain()
        if all(map(functools.partial(_is_as_before, plain), self.open)):
            return
        known = set(map(id, plain))
        plain.clear()  # each reference prevents a conversion
        self._watched.forget_pictures()
        contents: list[dict[int, Any]] = []
        for point in self.open:
            pairs, point.plain = point.plain, []
            same: dict[int, Any] = {}
            while pairs:
                one, content = pairs.pop()
                if id(one) in known and _is_same(kind_of(one).copy(one), content):
                    same[id(one)] = content
                else:
                    point.plain.append((one, content))
            contents.append(same)
        one = content = None
        self._written.collect()
        self._written.resolve_all()
        for node, key in list(self._watched):
            self._graph.look_inside(node, [*node.entries.slots(key)], again=True)
        left = {id(one): one for one in self._plain()}
        for point, same in zip(self.open, contents, strict=True):
            point.plain += [(left[key], same[key]) for key in same if key in left]

    def _may_step_back(self, point: Savepoint) -> bool:
        """Tell whether all writes of a block to objects were noted."""
        if not point.may_step_back:
            return False
        return not any(
            root._node_ is not None and (root.busy or self._unnoted(root, fields))
            for root, fields in point.instances
        )

    def _plain(self) -> list[Any]:
        """List the plain containers in watched entries, which have no barrier."""
        entries = [(n, k, slot) for n, k in self._watched for slot in n.entries.slots(k)]
        shared = list(self._tracker.shared.values())
        for node in shared:
            entries += [(node, node.entries.at(s), s) for s in slots_of(node.obj)]
        found = [node.obj for node in shared if type(node.obj) is not Cell]
        for node, key, slot in entries:
            inside = [*all_inside([item_of(node.obj, slot)], node)]
            found += [one for one in inside if type(one) in PLAIN]
            for one in inside:
                if issubclass(type(one), Barrier) and one._node_ is None:
                    self._graph.claim(one, node, key)  # detached elsewhere, and now only here
        return list({id(plain): plain for plain in found}.values())

    def is_inside(self) -> bool:
        """Tell whether the calling thread or task is inside a block that the program has written.

        A unit of work (`unit.py`) is none.
        """
        if not self.open:
            return False
        if not is_owned(self._tracker.lock):
            with self._tracker.lock:
                self.end_left()
        point = innermost(self._tracker)
        while point is not None and (point.is_unit or not point.is_open):
            point = point.outer
        return point is not None

    def waits_for_itself(self) -> bool:
        """Tell whether a save would wait for the end of a unit that the caller is in.

        No cut can leave out what several threads have written in it: see `step_back`.
        """
        with self._tracker.lock:
            point = innermost(self._tracker) if self.open else None
            while point is not None:
                if point.is_open and not self._may_leave_out(point):
                    return True
                point = point.outer
        return False

    def _may_leave_out(self, point: Savepoint) -> bool:
        return len(point.threads) == 1 and self._may_step_back(point)


def _runs_loop() -> bool:
    """Tell whether an event loop runs in this thread; loads no asyncio for that."""
    events: Any = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def _is_as_before(plain: list[Any], point: Savepoint) -> bool:
    """Tell whether plain containers are as they were when a block began."""
    former = {id(one): content for one, content in point.plain}
    return all(
        id(one) in former and _is_same(kind_of(one).copy(one), former[id(one)]) for one in plain
    )


def _is_same(content: Any, former: Any) -> bool:
    """Tell whether two plain containers hold the same objects, in the same order."""
    if isinstance(content, set):
        return set(map(id, content)) == set(map(id, former))
    if isinstance(content, dict) and not same_items(content.values(), former.values()):
        return False
    return same_items(content, former)
