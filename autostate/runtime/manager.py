"""A state manager: one store and its live state objects by name."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from autostate import hub, logs
from autostate.errors import (
    FencedError,
    FlushError,
    StoreError,
    UnsupportedTypeError,
    forget_locals,
)
from autostate.ownership import program
from autostate.ownership.state_names import of_programs
from autostate.process import lifecycle
from autostate.process.interrupts import Worker
from autostate.runtime.names import check_name, name_of, node_of
from autostate.runtime.store_use import StoreUse
from autostate.settings import OF_PROGRAMS, SettingsByName

if TYPE_CHECKING:
    from autostate.runtime.companion import Companion
    from autostate.runtime.info import Info
    from autostate.saving.rendezvous import ActiveLoop
    from autostate.saving.statistics import Statistics
    from autostate.stores import Store
    from autostate.tracking import Tracker
    from autostate.tracking.atomic import AtomicBlock

C = TypeVar("C", bound="Companion")

logger: logging.Logger = logging.getLogger("autostate")

AFTER_FAILURE = 2.0
"""Seconds for the last save of `async with` if the save before it failed or was cancelled."""

current: contextvars.ContextVar[StateManager | None] = contextvars.ContextVar(
    "autostate_manager", default=None
)
"""The manager of the innermost `with autostate.open(...)`."""

around_waits: Callable[[str, StateManager], AbstractContextManager[None]] | None = None
"""Gives what a call of `flush` or `durable`, by this name, is made in; `otel.py` sets it."""

resumers: dict[str, str] = {}
"""Modules whose `resume(manager)` goes on with what a former process has left, by the names of the
library's own state objects that keep it."""


class StateManager(StoreUse):
    """One store and its live state objects. Made by `configure()` and `open()`.

    State objects that are created in the body of `with` or `async with` belong to the manager;
    leaving the body saves for the last time, and the objects become plain.

    Args:
        store: A URL, a path, or a store; by default what `AUTOSTATE_URL`, an Actor around the
            program, or the working directory suggest when the first state object is created.
        settings: Attributes of `Settings`.

    Raises:
        TypeError: There is no such setting.
        ValueError: A setting's value makes no sense, or the URL is not that of a store.
        StoreError: Nothing can be saved at this path.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store | None = None,
        **settings: Unpack[SettingsByName],
    ) -> None:
        super().__init__(store, **settings)
        self._told = False
        self._resumed: tuple[object, int] | None = None
        self._tokens: list[contextvars.Token[StateManager | None]] = []

    # -- state objects ------------------------------------------------------------------------

    def create(self, name: str, kind: str, make: Callable[[], Any], *, own: bool = False) -> Any:
        """Give the live state object of that name, or make it and rehydrate it.

        The seam for `containers/`.

        Args:
            name: The name of the root.
            kind: The name of a `tracking.kind.Kind`.
            make: Makes an empty container of that kind that is bound to no store.
            own: Whether it is one of the library's own notes, whose names no program can use.

        Returns:
            The live object.

        Raises:
            ValueError: The name is empty or cannot be used, or begins with `autostate.`.
            StateTypeError: The name belongs to a state object of another kind.
            AutostateError: The state cannot be read; nothing was touched.
        """
        check_name(name, own=own)
        try:
            with self._lock:
                incarnation = self._begin()
                made, new = incarnation.create(name, kind, make)
                resumed = incarnation.resumed(name)
        except Exception as error:
            forget_locals(error, own=not isinstance(error, StoreError))
            raise
        if not own:
            incarnation.when_claimed = self._resume_later
            self.resume_left()
        if new:
            downtime = incarnation.downtime if resumed else None
            if logs.saves.isEnabledFor(logging.DEBUG):
                logs.saves.debug(
                    "the %s %r is %s",
                    *(kind, name, "restored" if resumed else "new"),
                    extra=logs.attributes(
                        "restored" if resumed else "made",
                        name=name,
                        kind=kind,
                        store=self.url,
                        downtime=downtime,
                    ),
                )
            hub.rehydrated.send(self, name=name, kind=kind, resumed=resumed, downtime=downtime)
            if not (resumed or own):
                self._tell_of_another_store(name)
        return made

    def resume_left(self) -> None:
        """Go on with what a former process has left for the library to do, if this one owns it."""
        incarnation = self._incarnation
        known = incarnation, os.getpid()
        if incarnation is None or self._resumed == known or incarnation.tracker.gate is not None:
            return
        self._resumed = known
        for name, module in resumers.items():
            if incarnation.tracker.kind(name) is not None:
                importlib.import_module(module).resume(self)

    def _resume_later(self) -> None:
        """Do the same in another thread: this one holds the tracker's lock."""
        Worker(self.resume_left, "autostate-resume").start()

    def _tell_of_another_store(self, name: str) -> None:
        """Warn once if a name that is new here is in the store of another program.

        For example, the script was renamed, or the program is a shell.
        """
        chosen = self._store is not None or os.environ.get("AUTOSTATE_URL", "").strip()
        if chosen or self._told or lifecycle.in_child():
            return
        from autostate.runtime.stored_state import beside
        from autostate.stores import file_of

        path = file_of(self.url)
        if path is None and self.url != "apify:":
            return
        usual = path or file_of(program.named(OF_PROGRAMS, here=True))
        other = None if usual is None else beside(usual, name, among=path is None)
        if other is not None:
            self._told = True
            logger.warning(
                "%r is new and empty in %s, which is the store of this program; %s holds a state "
                "object of that name. If that is the one you mean: AUTOSTATE_URL=sqlite:///%s",
                *(name, path or "the storage of an Actor", other.name, other),
                extra=logs.attributes("other_store", name=name, store=self.url),
            )

    def companion(self, name: str, make: Callable[[], C]) -> C:
        """Give what works beside a state object, such as an outbox; made once for each name.

        Args:
            name: The name of the state object, which `make` creates.
            make: Makes it.
        """
        with self._lock:
            companions = self._begin().companions
            if name not in companions:
                companions[name] = make()
            made: Any = companions[name]
            return made  # type: ignore[no-any-return]

    def companions(self) -> list[Companion]:
        """Give all that works beside state objects."""
        incarnation = self._incarnation
        return [] if incarnation is None else list(incarnation.companions.values())

    def loops(self) -> list[ActiveLoop]:
        """Give the resumable loops that run."""
        incarnation = self._incarnation
        if incarnation is None:
            return []
        running = list(incarnation.flush_thread.job.patient_cut.active_loops.running.values())
        return [loop for each in running if (loop := each()) is not None and loop.running]

    def live(self, name: str) -> Any | None:
        """Give the live state object of that name, or its root, if there is one."""
        incarnation = self._incarnation
        return None if incarnation is None else incarnation.tracker.root(name)

    def kind(self, name: str) -> str | None:
        """Give the kind of a state object, live or in the store in use; None if there is none."""
        return None if self._incarnation is None else self._incarnation.tracker.kind(name)

    def keeps(self, obj: Any) -> bool:
        """Tell whether an object is a live state object of this manager, or nested in one."""
        node, incarnation = node_of(obj), self._incarnation
        return node is not None and incarnation is not None and node.tracker is incarnation.tracker

    def info(self, obj: Any) -> Info:
        """Tell what is known about a live state object, or a name; see `autostate.info`."""
        incarnation = self._incarnation
        name = name_of(obj)
        if incarnation is None or incarnation.tracker.root(name) is None:
            raise LookupError(f"no live state object is called {name!r} in {self!r}")
        resumed, job = incarnation.resumed(name), incarnation.flush_thread.job
        inside = (f"{name}[", f"{name}.")
        error = job.outcomes.last_error
        from autostate.runtime.info import Info

        return Info(
            name=name,
            kind=incarnation.tracker.kind(name) or "",
            resumed=resumed,
            downtime=incarnation.downtime if resumed else None,
            last_saved=incarnation.last_saved,
            dirty=job.dirty,
            last_error=None if error is None else str(error),
            waiting=job.waiting,
            unsavable=tuple(
                path
                for path in list(job.outcomes.unsavable)
                if path == name or path.startswith(inside)
            ),
        )

    def infos(self) -> list[Info]:
        """Tell what is known about all live state objects of the program."""
        incarnation = self._incarnation
        names = [] if incarnation is None else of_programs(incarnation.tracker.roots)
        return [self.info(name) for name in names]

    def names(self) -> list[str]:
        """Give the names of the state objects, live or stored; see `autostate.names`."""
        incarnation = self._incarnation
        if incarnation is not None:
            return of_programs(incarnation.tracker.names)
        from autostate.runtime.stored_state import names_in
        from autostate.stores import file_of

        path = file_of(self.url)
        if path is not None and not path.exists():
            return []
        return names_in(self.url, self.settings)

    @property
    def store(self) -> Store | None:
        """The store, if it is in use."""
        return None if self._incarnation is None else self._incarnation.store

    def delete(self, obj: Any) -> None:
        """Remove a state object, given itself or by name; see `autostate.delete`."""
        self._delete(name_of(obj))

    def _delete(self, name: str) -> None:
        """Remove a state object, also one of the library's own."""
        with self._lock:
            if self.settings.readonly:
                from autostate.stores.readonly import refused

                raise refused(self.url)
            begun = self._incarnation is not None
            incarnation = self._begin(instead_of=name)
            if begun or not incarnation.anew:
                incarnation.delete(name)
            companion = incarnation.companions.pop(name, None)
        if companion is not None:
            companion.end(0.0)

    def forgo_last_resort(self) -> None:
        """Keep no changes in a file that the last save cannot save.

        For whoever is told of that, and goes by it: what has failed must not happen later, with the
        next start of the program.
        """
        if self._incarnation is not None:
            self._incarnation.last_resort.forgo()

    def atomic(self) -> AtomicBlock:
        """Save the writes of the body together or not at all; if the body raises, undo them."""
        from autostate.tracking.atomic import AtomicBlock

        return AtomicBlock(self._trackers)

    def _tracker(self) -> Tracker:
        """Give the tracker of the state objects; open the state if it is not open yet."""
        with self._lock:
            return self._begin().tracker

    def inside_atomic(self) -> bool:
        """Tell whether the calling thread or task is inside an `atomic()` block."""
        incarnation = self._incarnation
        return incarnation is not None and incarnation.tracker.inside_atomic()

    def _trackers(self) -> list[Tracker]:
        """Give the tracker for a block of `atomic()`; none if no state object is kept.

        Without a tracker the block just consists of plain writes. That is so after the last save of
        a process that ends: another thread, or code after a signal, may still run such a block, and
        is not interrupted. It is also so in a forked process before it makes a state object of its
        own: opening the parent's store would take time, and announce a takeover.
        """
        with self._lock:
            if not (self._closed and self.ended):
                return [self._begin().tracker]
            incarnation = self._incarnation
            return [] if incarnation is None or incarnation.finished else [incarnation.tracker]

    # -- saving -------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Return when all writes before the call are durable; see `autostate.flush`."""
        incarnation = self._in_use()
        if incarnation is None:
            return
        try:
            with nullcontext() if around_waits is None else around_waits("flush", self):
                incarnation.flush_thread.flush(timeout)
        except FlushError:
            lifecycle.wait_for_signal()  # the process ends by a signal, and the flush was too late
            raise

    async def durable(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
        """Flush without blocking the event loop; see `autostate.durable`."""
        incarnation = self._in_use()
        if incarnation is None:
            return
        try:
            with nullcontext() if around_waits is None else around_waits("durable", self):
                await incarnation.flush_thread.durable(timeout)
        except FlushError:
            lifecycle.wait_for_signal()
            raise

    async def durable_rest(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
        """Do the same for what goes on although a value cannot be saved: the log has told of it."""
        with contextlib.suppress(UnsupportedTypeError):  # everything else is durable
            await self.durable(timeout)

    def save_soon(self) -> None:
        """Ask for a save, without waiting for it."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.flush_thread.flush_soon()

    def advises_against_work(self, *, inside: bool = False) -> bool:
        """Tell whether no new unit of work should begin; see `FlushThread`."""
        incarnation = self._incarnation
        return incarnation is not None and incarnation.flush_thread.advises_against_work(
            inside=inside
        )

    @property
    def fenced(self) -> FencedError | None:
        """The error of a process whose state another one has taken over."""
        incarnation = self._incarnation
        return None if incarnation is None else incarnation.flush_thread.job.fenced

    async def durable_at_end(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Flush without blocking, and do not wait for errors that waiting does not mend.

        Before that, companions finish their work.
        """
        incarnation = self._in_use()
        if incarnation is not None:
            if incarnation.companions:
                import asyncio

                companions = list(incarnation.companions.values())
                await asyncio.gather(*(c.end_async(self.exit_timeout / 2) for c in companions))
            await incarnation.flush_thread.durable(timeout, ending=True)

    def statistics(self) -> Statistics:
        """Tell how much was saved, and the present state of saving."""
        from autostate.saving.statistics import Statistics

        incarnation = self._incarnation
        return Statistics() if incarnation is None else incarnation.flush_thread.job.statistics()

    def exclusive(self) -> AbstractContextManager[None]:
        """Write nothing to the store during the body."""
        incarnation = self._incarnation
        if incarnation is None:
            return nullcontext()
        return incarnation.flush_thread.exclusive()

    def close(self, timeout: float | None = None) -> None:
        """Save for the last time, detach the state objects and close the store.

        Args:
            timeout: Seconds for the save; the setting `flush_timeout` by default.

        Raises:
            FlushError: The save failed; the message says where the unsaved changes are.
            FencedError: As for `flush`.
            UnsupportedTypeError: As for `flush`.
        """
        problem = self._end(self.exit_timeout if timeout is None else timeout)
        if problem is not None:
            raise problem

    # -- the body of `with` -------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._check_open()
        self.entered = True
        self._tokens.append(current.set(self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        if exc_type is None:
            self.close()
        else:  # the program gets the body's exception
            self.finish(self.exit_timeout)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        timeout = self.exit_timeout
        try:
            await self.durable_at_end()
        except Exception:  # the last save, below, raises the error
            timeout = min(timeout, AFTER_FAILURE)
        except BaseException:  # cancelled: the task ends, and must leave nothing open
            self.finish(min(timeout, AFTER_FAILURE))
            raise
        if exc_type is None:
            self.close(timeout)
        else:
            self.finish(timeout)

    def _leave(self) -> None:
        with contextlib.suppress(ValueError, IndexError):  # the body was left in another context
            current.reset(self._tokens.pop())
