"""A state manager: one store and its live state objects by name.

Nothing is opened before the first state object is created: `import autostate` and `configure()`
write to no disk and use no network, and at the first state object it is known whether the program
is an Actor.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from autostate import hub, under_test
from autostate.errors import FencedError, FlushError
from autostate.ownership import program
from autostate.ownership.state_names import of_programs
from autostate.process import lifecycle
from autostate.runtime.names import check_name, name_of, node_of
from autostate.runtime.place import checked, named_by_environment, path_of, place_of
from autostate.settings import OF_PROGRAMS, Settings, SettingsByName, default_url

if TYPE_CHECKING:
    from autostate.runtime.companion import Companion
    from autostate.runtime.incarnation import Incarnation
    from autostate.runtime.info import Info
    from autostate.saving.rendezvous import ActiveLoop
    from autostate.saving.statistics import Statistics
    from autostate.stores import Store
    from autostate.tracking import Tracker
    from autostate.tracking.atomic import AtomicBlock

C = TypeVar("C", bound="Companion")

logger: logging.Logger = logging.getLogger("autostate")

CREATING = 1.0
"""Seconds that the end of the process waits for a thread that is creating a state object."""

AFTER_FAILURE = 2.0
"""Seconds for the last save of `async with` if the save before it failed or was cancelled."""

current: contextvars.ContextVar[StateManager | None] = contextvars.ContextVar(
    "autostate_manager", default=None
)
"""The manager of the innermost `with autostate.open(...)`."""


class StateManager:
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
        self._store: str | Store | None = checked(store, settings)
        self._overrides: SettingsByName = {}
        self._lock = threading.RLock()
        self._incarnation: Incarnation | None = None
        self._told = False
        self._closed = False
        self.ended: bool = False
        self.entered: bool = False
        self._tokens: list[contextvars.Token[StateManager | None]] = []
        self._override(settings)

    def __repr__(self) -> str:
        return f"<StateManager of {self.url}>"

    @property
    def url(self) -> str:
        """The URL of the store; the default URL may change until the store is first used."""
        if self._incarnation is not None:
            return self._incarnation.store.url
        store = self._store
        if store is None:
            return default_url()
        return store if isinstance(store, str) else store.url

    @property
    def settings(self) -> Settings:
        """The present settings; once a state is open, the settings with which it was opened."""
        if self._incarnation is not None:
            return self._incarnation.flush_thread.settings
        return self._made_settings()

    def _made_settings(self) -> Settings:
        return Settings.for_store(self.url, **self._overrides)

    def configure(
        self, store: str | os.PathLike[str] | None = None, **settings: Unpack[SettingsByName]
    ) -> None:
        """Change the settings, and before the first state object is created also the store.

        Raises:
            RuntimeError: State objects live in another store already.
            TypeError: There is no such setting.
            ValueError: A setting's value makes no sense.
        """
        url = checked(store, {**self._overrides, **settings})
        with self._lock:
            if url is not None and url != self._store:
                if self._incarnation is not None:
                    raise RuntimeError(
                        f"state objects live in {self.url} already: call configure() before the "
                        "first one is created, or use `with autostate.open(url):` for the others"
                    )
                self._store = url
            if self._incarnation is not None:
                self._check_late(settings)
            self._override(settings)
            if self._incarnation is not None:
                self._incarnation.flush_thread.settings = self._made_settings().changed(
                    key=self.settings.key, encrypt=self.settings.encrypt
                )

    def _check_late(self, settings: SettingsByName) -> None:
        """Refuse settings about opening the state, because it is open already."""
        for name in ("readonly", "takeover", "wait_for_owner", "key", "encrypt"):
            if name in settings and settings[name] != getattr(self.settings, name):
                raise RuntimeError(
                    f"{name} says how a state is opened, and {self.url} is open: call configure() "
                    "before the first state object is created"
                )

    def _override(self, settings: SettingsByName) -> None:
        merged: SettingsByName = {**self._overrides, **settings}
        Settings.for_store(self.url, **merged)  # a wrong setting raises now, not at the first use
        self._overrides = merged

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
        with self._lock:
            incarnation = self._begin()
            made, new = incarnation.create(name, kind, make)
            resumed = incarnation.resumed(name)
        if new:
            downtime = incarnation.downtime if resumed else None
            hub.rehydrated.send(self, name=name, kind=kind, resumed=resumed, downtime=downtime)
            if not (resumed or own):
                self._tell_of_another_store(name)
        return made

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
        name = name_of(obj)
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

    def atomic(self) -> AtomicBlock:
        """Save the writes of the body together or not at all; if the body raises, undo them."""
        from autostate.tracking.atomic import AtomicBlock

        return AtomicBlock(self._trackers)

    def _tracker(self) -> Tracker:
        """Give the tracker of the state objects; open the state if it is not open yet."""
        with self._lock:
            return self._begin().tracker

    def _opened(self) -> Incarnation:
        """Give the incarnation; open the state if it is not open yet. For what works beside it."""
        with self._lock:
            return self._begin()

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
            await incarnation.flush_thread.durable(timeout)
        except FlushError:
            lifecycle.wait_for_signal()
            raise

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
            return contextlib.nullcontext()
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

    def _end(self, timeout: float) -> Exception | None:
        # Another thread may be creating a state object, and wait for the state's owner: it stops
        # waiting when it sees that this manager is closed.
        taken = self._lock.acquire(timeout=min(timeout, CREATING))
        self._closed = True
        incarnation = self._incarnation
        if taken:
            self._lock.release()
        try:
            return None if incarnation is None else self._finish(incarnation, timeout)
        finally:
            # Else Ctrl-C struck: the end has to be repeated.
            if incarnation is None or incarnation.finished or self not in incarnation.users:
                self._incarnation = None
                lifecycle.unregister(self)

    def _finish(self, incarnation: Incarnation, timeout: float) -> Exception | None:
        """Leave an incarnation; the last manager that uses it finishes it."""
        problem: Exception | None = None
        if incarnation.users != [self]:
            try:
                incarnation.flush_thread.flush(timeout, ending=True)
            except Exception as error:
                problem = error
        with _beginning:  # of two managers that end at once, one finishes
            if incarnation.users != [self]:
                incarnation.users.remove(self)
                return problem
            incarnation.ending = threading.get_ident()  # no manager joins it from here on
        return incarnation.finish(timeout)

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

    # -- the keeper of `lifecycle` --------------------------------------------------------------

    @property
    def exit_timeout(self) -> float:
        """The number of seconds that the save at exit may take."""
        return self.settings.flush_timeout

    def expect_timeout(self) -> None:
        """Save everything shortly before the run times out, if the time is known."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.handlers.expect_timeout()

    def announce_kill(self) -> None:
        """Save shortly after every change from now on; take no lock."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.flush_thread.announce_kill(None)

    def announce_end(self) -> None:
        """Tell a process that waits for this one that the end has begun."""
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.claim.announce_end()

    def finish(self, timeout: float) -> None:
        """Save for the last time, and report a failure loudly. No other default is made."""
        self.ended = True
        incarnation = self._incarnation
        problem: Exception | None = None
        try:
            problem = self._end(timeout)
        except BaseException:
            problem = None if incarnation is None else incarnation.last_resort.failure
            raise
        finally:
            if problem is not None:
                from autostate.runtime.last_resort import shout

                shout(problem)

    def before_exec(self, timeout: float) -> Callable[[], None]:
        """Save before this process becomes another program; give an undo function for failure."""
        incarnation = self._incarnation
        return _nothing if incarnation is None else incarnation.before_exec(timeout)

    def before_fork(self, timeout: float) -> Callable[[], None]:
        """Wait until no other thread is changing anything; give a function for after the fork."""
        incarnation = self._incarnation
        lock = None if incarnation is None else incarnation.tracker.lock
        taken = lock is not None and lock.acquire(timeout=max(0.0, timeout))
        return lock.release if lock is not None and taken else _nothing

    def forked(self) -> bool:
        """Go on in the child of a fork, where the state, if any, belongs to the parent."""
        self._lock = threading.RLock()
        incarnation = self._incarnation
        if incarnation is not None:
            if self._store is None or isinstance(self._store, str):
                self._store = incarnation.store.url  # the child may change its directory
            if not incarnation.forked():
                self._incarnation = incarnation = None
        return incarnation is not None

    # -- inside -------------------------------------------------------------------------------

    def _begin(self, *, instead_of: str | None = None) -> Incarnation:
        """Give the incarnation, made at the first use; the lock is held.

        Args:
            instead_of: A name that is deleted: begin anew if the state cannot be read.
        """
        self._check_open()
        incarnation = self._incarnation
        if incarnation is not None:
            lifecycle.recheck()
        else:
            source = self._store
            if source is None:  # fixed from now on
                source = named_by_environment(self.url, self._overrides)
            settings = self._made_settings()
            if isinstance(source, str) and not settings.readonly:
                under_test.check(source, path_of(source))
            try:
                lifecycle.register(self)  # first: so every state object is saved at the end
                place = place_of(source)
                while incarnation is None:
                    incarnation = self._join(place, source, settings, instead_of)
                if self._closed:  # closed meanwhile by another thread
                    self._end(0.0)
                    self._check_open()
            finally:
                if self._incarnation is None:
                    lifecycle.unregister(self)
        incarnation.handlers.connect()
        return incarnation

    def _join(
        self, place: object, source: str | Store, settings: Settings, instead_of: str | None
    ) -> Incarnation | None:
        """Use the incarnation of another manager that has the same store open, or make one.

        Returns:
            The incarnation; None if the other manager's was ending, and has ended now.
        """
        from autostate.collector import no_collections

        with no_collections(lasting=True):
            from autostate.runtime.incarnation import Incarnation

        with _beginning:
            made = self._shared(place, source, settings) or Incarnation(
                source, settings, self, instead_of=instead_of
            )
            if made.ending is None:
                made.place = place
                made.users.append(self)
                self._incarnation = made
                return made
        made.wait_for_end(settings.flush_timeout)
        return None

    def _shared(self, place: object, source: str | Store, settings: Settings) -> Incarnation | None:
        """Give the incarnation of another manager that has the same store open.

        Raises:
            RuntimeError: Its settings differ from those of this manager.
        """
        for other in lifecycle.keepers:
            made = other._incarnation if isinstance(other, StateManager) else None
            if made is None or made.finished or made.place != place:
                continue
            if isinstance(source, str) and made.flush_thread.settings.readonly != settings.readonly:
                continue  # a reader sees the saved state, as another process does
            for name, value in self._overrides.items():
                if getattr(made.flush_thread.settings, name) != value:
                    raise RuntimeError(
                        f"{made.store.url} is open in this process with another setting of {name}: "
                        "open it with the same settings, or close the other one first"
                    )
            return made
        return None

    def _in_use(self) -> Incarnation | None:
        """Give the incarnation, if there is anything to save."""
        if self._closed:
            self._check_open()
        lifecycle.recheck()
        return self._incarnation

    def _check_open(self) -> None:
        if self._closed and self.ended:
            lifecycle.wait_for_signal()
            raise RuntimeError(
                f"{self!r} is closed: it has saved for the last time, at the end of the process or "
                "of its `with` body, and keeps nothing that is begun or deleted now"
            )
        if self._closed:
            raise RuntimeError(f"{self!r} is closed: open another one")


_beginning = threading.RLock()
"""Held while a manager checks whether another manager has its store open, and opens it."""


def _after_fork_in_child() -> None:
    global _beginning
    _beginning = threading.RLock()


lifecycle.on_fork(_after_fork_in_child)


def _nothing() -> None:
    """Undo nothing."""
