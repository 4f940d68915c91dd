"""One run over a resumable loop: its position, its fingerprints, its begin and its end.

The position is a state object like any other, a dict:

    position   (number of done items; digests of the first item; number, digests and place of a
               recently done item)
    inner      (number of an item, names of the loops that ran in its body): these loops are
               forgotten when that item is done
    within     the names of the loops around this one, and the number of the item at which each
               was: this loop's progress for another outer item does not count
    complete   the loop came to its end

An item is done when the loop asks for the next one. Then the loop writes its position, which is one
write to a small dict, and right after that write saving may cut (`saving/rendezvous.py`). Ctrl-C
may strike between any two steps. So this one write decides: when the loop goes on to its next item,
`within` of the loops in its body no longer agrees with it, at the same moment. Forgetting these
loops afterwards only frees their memory.

Digests are taken before the body, which may change the item, and only so often that they take a
small part of the time. `loops/source.py` says what they are compared with.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from autostate import codec, progress_bar
from autostate.containers.position import BEGIN, Position, position
from autostate.errors import AutostateError, ResumeError
from autostate.loops.source import Check, Checker, Prints, Source, fingerprint
from autostate.runtime.api import current_manager
from autostate.runtime.manager import StateManager
from autostate.saving.rendezvous import ActiveLoop, ActiveLoops

if TYPE_CHECKING:
    import threading

CHECK_EVERY: Final = 0.01
"""The least number of seconds between two fingerprints."""
CHECK_FIRST: Final = 32
"""The number of first items that always get a fingerprint, so that a short loop is compared."""
CHECK_SHARE: Final = 20
"""After a fingerprint, none is taken for this many times the duration of the fingerprint."""

_clock: Callable[[], float] = time.perf_counter


@dataclass
class Options:
    """The arguments of `resume`."""

    name: str
    source: Source
    key: Callable[[Any], Any] | None
    check: bool
    restart: bool
    again: bool
    progress: bool | None
    total: int | None
    batch: int | None


class LoopRun(ActiveLoop):
    """One run over a loop, by one `for` statement; it ends when the statement is left."""

    def __init__(self, options: Options) -> None:
        super().__init__(options.name)
        self._options = options
        self._source = options.source
        self._items: Any = None
        self._sampling = False
        self._sample: tuple[Any, str | None, int | None] | None = None
        self._place: int | None = None
        self._behind: int | None = None
        self._inner: tuple[str, ...] = ()
        self._within: tuple[tuple[str, int], ...] = ()
        self._due = 0.0
        self._eager = CHECK_FIRST
        self._done = 0
        self._size = 1
        self._first: Prints | None = None
        self._check: tuple[int, Prints, int | None] | None = None
        self._bar: progress_bar.Bar | None = None

    if TYPE_CHECKING:  # set from `_start` on
        _manager: StateManager
        _state: Position
        _active_loops: ActiveLoops
        _lock: threading.RLock

    @property
    def done_of(self) -> tuple[int, int | None]:
        """How many items are done, and of how many, if that is known."""
        total = self._options.total
        return self._done, self._source.total() if total is None else total

    @property
    def share(self) -> float | None:
        """How much of a file is done, from 0 to 1; None: not known, or no file."""
        found = self._source.bytes(self._place)
        return None if found is None else found[0] / found[1]

    # -- the items ----------------------------------------------------------------------------

    def items(self) -> Iterator[Any]:
        """Give the items of an iterable."""
        item: Any = None
        complete = False
        number: int | None = None
        try:
            items = self._source.begin(self._start())
            batch = self._options.batch
            if batch is not None:
                items = self._batches(items, batch)
            number = self._done - 1
            self._tick(_clock())
            advance = self._advance
            for item in items:
                number = self._done
                if self._sampling:
                    self._look_at(item)
                yield item
                advance()
            complete = True
            if item is not None:
                self._look_back(item)
        finally:
            if number is not None and self._source.once:  # no call: Ctrl-C cannot strike here
                self._source.taken = number, [item] if self._options.batch is None else item
            self._end(complete=complete)

    def _batches(self, items: Iterator[Any], batch: int) -> Iterator[list[Any]]:
        while taken := list(itertools.islice(items, batch)):
            self._size = len(taken)
            yield taken

    async def _batches_async(self, items: AsyncIterator[Any], batch: int) -> AsyncIterator[Any]:
        taken: list[Any] = []
        async for item in items:
            taken.append(item)
            if len(taken) == batch:
                self._size = batch
                yield taken
                taken = []
        if taken:
            self._size = len(taken)
            yield taken

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            if self.running:
                self._advance()
            elif self._items is None:
                self._items = await self._source.begin_async(self._start())
                if self._options.batch is not None:
                    self._items = self._batches_async(self._items, self._options.batch)
                self._tick(_clock())
            item = await anext(self._items)
        except BaseException as error:
            self._end(complete=isinstance(error, StopAsyncIteration))
            raise
        if self._source.once:
            self._source.taken = self._done, [item] if self._options.batch is None else item
        if self._sampling:
            self._look_at(item)
        return item

    def count(self) -> None:
        """Write that the current item is done."""
        self._state["position"] = (self._done + self._size, self._first, self._check)

    def _advance(self) -> None:
        """Write that the current item is done, and let a waiting save cut."""
        if self._sample is not None:
            self._keep(*self._sample)
        self._done = done = self._done + self._size
        if self._inner:
            self._advance_past_inner()
        else:
            self._state["position"] = (done, self._first, self._check)
        if self._active_loops.rendezvous is not None:  # only now: the cut has the new position
            self._active_loops.between(self)
        now = _clock()
        if now >= self._due:
            self._tick(now)

    def _advance_past_inner(self) -> None:
        """Write that the current item is done, and forget the loops in its body."""
        with self._manager._lock, self._lock:
            self._state["position"] = (self._done, self._first, self._check)
            self._forget_inner()

    def _tick(self, now: float) -> None:
        """Do the work that is due only now and then, not for each item."""
        self._due = now + CHECK_EVERY
        self._sampling = True
        if (tell := self._source.tell) is not None:
            self._place = tell()
        if self._bar is not None:
            self._bar.move(self._done, now, self._source.bytes(self._place))

    # -- fingerprints -------------------------------------------------------------------------

    def _look_at(self, item: Any) -> None:
        """Remember the digests and the place of an item that is about to be worked on."""
        self._sampling = False
        if "complete" in self._state:  # items were added since the end
            del self._state["complete"]
        if not self._options.check:
            return
        if self._options.batch is not None:
            item = item[0]
        began, cpu = _clock(), time.thread_time()
        self._sample = item, fingerprint(item, self._options.key), self._place
        if (tell := self._source.tell) is not None:
            self._behind = tell()
        took = time.thread_time() - cpu
        if self._eager:
            self._eager -= 1
            self._due = began
        else:
            self._due = began + max(CHECK_EVERY, CHECK_SHARE * took)

    def _keep(self, item: Any, before: str | None, place: int | None) -> None:
        """Put the fingerprint of an item that is done now into the position.

        Raises:
            ResumeError: The body has read from the file, or has moved in it.
        """
        if self._has_moved():
            raise ResumeError(
                f"the loop {self.name!r} goes over a file from which its body reads, too, or in "
                "which it moves: the next process would not find its place. Let a generator read "
                "from the file, and give that to the loop"
            )
        key = self._options.key
        if key is not None or type(item) not in codec.ATOMS:  # its body may have changed it
            after = fingerprint(item, key)
        else:
            after = before
        prints = before, None if after == before else after
        self._check = self._done, prints, place
        if not self._done:
            self._first = prints
        self._sample = None

    def _has_moved(self) -> bool:
        """Tell whether the body has moved in the file."""
        try:
            return self._source.tell is not None and self._source.tell() != self._behind
        except OSError:  # it has called next(file), after which the file does not tell
            return True

    def _look_back(self, item: Any) -> None:
        """Remember the last item of a file: a line without an end may become another one."""
        if self._check is None or not self._options.check:
            return
        number = self._done - 1
        last = item if self._options.batch is None else item[-1]
        found = self._source.last(last, number, Check(*self._check))
        if found is not None:
            before, after = (fingerprint(each, self._options.key) for each in found.items)
            prints = before, None if after == before else after
            self._check = number, prints, found.place
            if not number:
                self._first = prints
            self._state["position"] = (self._done, self._first, self._check)

    # -- begin and end ------------------------------------------------------------------------

    def _start(self) -> Checker:
        """Find the position, and the loop around this one; give the checks that are due."""
        options = self._options
        self._manager = manager = current_manager()
        self._state = state = position(manager, self.name)
        incarnation, node = manager._incarnation, state._node_
        if incarnation is None or node is None:
            raise RuntimeError(f"the store of the loop {self.name!r} was closed meanwhile")
        self._active_loops = incarnation.flush_thread.job.patient_cut.active_loops
        self._lock = node.tracker.lock
        if self._active_loops.is_running(self.name):
            gc.collect()  # an iterator that only a traceback has kept: those are cycles
        with manager._lock, self._lock:
            # In one step with `enter`: no cut may see this loop run before its outer loop knows it,
            # or the outer loop would not forget it.
            outer = self._active_loops.enter(self)
            if isinstance(outer, LoopRun):
                outer._adopt(self.name)
                self._within = (*outer._within, (outer.name, outer._done))
            again = options.restart or (options.again and "complete" in state)
            if self._within and state.get("within", self._within) != self._within:
                again = True  # the progress belongs to another outer item
            at, self._inner = state.get("inner", (0, ()))
            if again or at != state["position"][0]:
                self._forget_inner()
            if again:
                state["position"] = BEGIN
                state.pop("complete", None)
            if state.get("within", ()) != self._within:
                state["within"] = self._within
            options.restart = False  # last, since Ctrl-C may end an attempt before
        self._done, self._first, self._check = state["position"]
        if progress_bar.is_wanted(options.progress):
            self._show()
        first = (self._first or (None, None)) if options.check and self._done else None
        recent = None if self._check is None else Check(*self._check)
        return Checker(self.name, options.key, self._done, first, recent)

    def _show(self) -> None:
        """Show the progress."""
        self._bar = progress_bar.Bar(
            self.name, *self.done_of, at_once=self._options.progress is True
        )
        weakref.finalize(self, self._bar.close)

    def _end(self, *, complete: bool) -> None:
        """Leave the loop: it came to its end, or something raised."""
        if not self.running:
            return
        if complete and "complete" not in self._state:
            self._state["complete"] = True
        self._active_loops.leave(self)
        if self._bar is not None:
            tell = self._source.tell
            place = tell() if complete and tell is not None else self._place
            self._bar.note(self._done, self._source.bytes(place))
            self._bar.close()

    # -- inner loops --------------------------------------------------------------------------

    def _adopt(self, name: str) -> None:
        """Note a loop that runs in the body."""
        if name not in self._inner:
            self._state["inner"] = (self._done, (*self._inner, name))
            self._inner = (*self._inner, name)

    def _forget_inner(self) -> None:
        """Forget the loops that ran in the body of an item that is done."""
        for name in self._inner:
            if not self._active_loops.is_running(name):
                with contextlib.suppress(AutostateError, LookupError, RuntimeError):
                    _forget(self._manager, name)
        self._inner = ()
        self._state.pop("inner", None)  # last: after an interruption the remaining ones are known


def _forget(manager: StateManager, name: str) -> None:
    """Remove the position of a loop, and of the loops that ran in its body."""
    for inner in position(manager, name).get("inner", (0, ()))[1]:
        _forget(manager, inner)
    manager.delete(name)
