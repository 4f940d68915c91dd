"""Where the shared objects of a process live, and when their changes are published.

One store for all programs that run in a folder: what is shared is shared without a setting. On a
server, and in an Actor, the user names the store.

A thread publishes changes a moment after they were made; `flush()` publishes in the calling
thread; so does the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from autostate import logs, under_test
from autostate.deadline import Deadline, retried
from autostate.errors import (
    AutostateError,
    ReadOnlyError,
    StateInUseError,
    StoreError,
    StoreUnavailableError,
)
from autostate.files import make_folder
from autostate.ownership.state_names import of_programs
from autostate.process import exit_status, lifecycle
from autostate.process.interrupts import Worker
from autostate.runtime.api import current_manager
from autostate.runtime.companion import Beside
from autostate.runtime.info import SharedInfo
from autostate.runtime.last_resort import shout
from autostate.runtime.manager import current
from autostate.runtime.names import check_name
from autostate.runtime.place import path_of
from autostate.settings import Settings
from autostate.shared import handle as seam
from autostate.shared.confirmed import Confirmed
from autostate.shared.handle import Options
from autostate.shared.keys import text_of
from autostate.shared.kinds import COUNTER, SET, DictKind, Kind
from autostate.shared.readonly import ReadOnlyHandle
from autostate.shared.refresher import Refresher
from autostate.shared.replica import Replica, Shared
from autostate.shared.resuming import Resuming
from autostate.shared.unpublished import NAME
from autostate.stores import file_of, open_store
from autostate.stores.keyed import keyed
from autostate.stores.urls import public
from autostate.tracking import Tracker
from autostate.tracking.atomic import join
from autostate.tracking.savepoint import inside

if TYPE_CHECKING:
    from autostate.runtime.incarnation import Incarnation
    from autostate.runtime.manager import StateManager

logger: logging.Logger = logging.getLogger("autostate")

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before another attempt to publish."""


class Home(Beside):
    """The shared objects of one store in this process; a keeper of `process.lifecycle`.

    Args:
        url: The normalized URL of the store.
        settings: When to publish.
        manager: The manager of the program's own state.
    """

    def __init__(self, url: str, settings: Settings, manager: StateManager) -> None:
        self.url: str = url
        self._manager = manager
        self.settings: Settings = settings
        self.replica: Replica = Replica(self._open())
        self.replica.wake = self.wake
        self.replica.confirmed = self._confirm
        self.replica.last_error = self._last_error
        self._confirmed: dict[Incarnation, Confirmed] = {}
        self._parent: int | None = None
        self._is_locked = False
        self._confirming = threading.RLock()
        self.error: Exception | None = None
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: Worker | None = None
        self._refresher: Refresher | None = None
        self._starting = threading.Lock()
        self._ended = False
        self._inherited: list[object] = []

    def _open(self) -> Any:
        readonly = self.settings.readonly
        if not readonly:
            under_test.check(self.url, path_of(self.url), public)
            if (path := file_of(self.url)) is not None:
                make_folder(path.parent)
        return keyed(open_store(self.url, readonly=readonly), self.settings)

    def get(self, cls: type[Any], name: str, options: Options) -> Any:
        """Give the live object of a name; see `handle.attach`."""
        kind = _kind(cls._builtin_, options)

        def make(shared: Shared) -> Any:
            seen: Any = ReadOnlyHandle(shared, self.url) if self.settings.readonly else shared
            return cls._made_(seen, options)

        if not self.settings.readonly:
            self._confirm()  # raises now what a write would raise
        self._refresh_often()
        return self.replica.open(name, kind, make)

    def _confirm(self) -> Confirmed | None:
        """Give where changes go while this process owns a state of its own; None: it does not.

        Raises:
            RuntimeError: See `lifecycle.check_process`.
            StoreError: The own state has changes for another shared state.
        """
        lifecycle.check_process()
        found: Confirmed | None = None
        for manager in (current.get(), self._manager):
            incarnation = None if manager is None else manager._incarnation
            if manager is not None and incarnation is not None and found is None:
                found = self._confirmed_in(manager, incarnation)
        return found

    def _confirmed_in(self, manager: StateManager, incarnation: Incarnation) -> Confirmed | None:
        tracker = incarnation.tracker
        if tracker.gate is not None:
            # The parent, which owns the state, does not end because a child shares something.
            if lifecycle.in_child() or os.getppid() == self._parent:
                return None
            try:
                tracker.pass_gate()
            except (StateInUseError, ReadOnlyError):
                return None  # nothing of this process is resumed, so nothing is done again
        known = self._confirmed.get(incarnation)
        if known is not None and known.is_kept:
            return known
        names = tracker.names
        if incarnation.finished or not (NAME in names or of_programs(names)):
            return None
        with self._confirming:
            known = self._confirmed.get(incarnation)
            if known is None or not known.is_kept:
                known = Confirmed(self.replica, manager, lambda: incarnation.claim_epoch, self.url)
                self._confirmed = {
                    **{one: each for one, each in self._confirmed.items() if not one.finished},
                    incarnation: known,
                }
                lifecycle.unregister(self)
                lifecycle.register(self)  # to end after what this one publishes for
            return known

    def resume(self, manager: StateManager) -> None:
        """Publish what a former process of a program has left in its own state.

        Raises:
            StoreError: It is meant for another shared state.
        """
        incarnation = manager._incarnation
        if incarnation is not None:
            self._confirmed_in(manager, incarnation)

    def _refresh_often(self) -> None:
        """Refresh at an interval, if there is one."""
        seconds = self.settings.shared_refresh
        if seconds is None:
            return
        with self._starting:
            if self._refresher is None:
                self.replica.is_refreshed = True
                self._refresher = Refresher(self.replica, seconds)

    # -- publishing ---------------------------------------------------------------------------

    def wake(self) -> None:
        """Publish soon."""
        if self._news.empty():
            self._news.put(None)
        if self._ended or (self._thread is not None and self._thread.is_alive()):
            return
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Worker(self._run, "autostate-shared")
                with contextlib.suppress(RuntimeError):  # the interpreter is ending
                    self._thread.start()
                lifecycle.register(self)  # a child of a fork has no handlers of signals yet

    def _run(self) -> None:
        pause = 0.0
        while not self._has_ended():
            self._news.get()
            if self._has_ended():
                return
            with contextlib.suppress(queue.Empty):  # gather changes, unless the end comes
                self._wait(pause or self.settings.debounce)
            self.replica.show_undone()
            try:
                self.replica.flush(self.settings.flush_timeout)
            except Exception as error:
                if self.error is None:
                    logger.warning(
                        "changes to the shared state are not published yet: %s",
                        error,
                        extra=logs.attributes("publishing_failed", error=type(error).__name__),
                    )
                self.error = error
                pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
                self._news.put(None)
            else:
                self.error, pause = None, 0.0

    def _has_ended(self) -> bool:
        return self._ended

    def _wait(self, seconds: float) -> None:
        end = Deadline.after(seconds)
        while not self._ended and (left := end.left()):
            self._news.get(timeout=left)

    def flush(self, timeout: float | None = None) -> None:
        """Publish all changes that were made before the call.

        Raises:
            RuntimeError: Called inside `atomic()`.
        """
        if self.tracker.inside_atomic():
            raise RuntimeError(
                "flush() inside atomic() would save half of the block: call it after the block"
            )
        seconds = self.settings.flush_timeout if timeout is None else timeout
        self.replica.flush(seconds)
        for confirmed in self._live():
            confirmed.flush(seconds)

    async def durable(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
        """Publish without blocking the event loop."""
        if self.replica.writer.is_behind or any(each.is_behind for each in self._live()):
            await asyncio.to_thread(self.flush, timeout)

    def _live(self) -> list[Confirmed]:
        """Give the outboxes of the states that this process owns."""
        return [
            confirmed
            for incarnation, confirmed in self._confirmed.items()
            if not incarnation.finished and incarnation.tracker.gate is None and confirmed.is_kept
        ]

    def infos(self) -> list[SharedInfo]:
        """Tell what is known about the shared objects."""
        return [each.info() for each in list(self.replica.objects.values())]

    def _last_error(self) -> Exception | None:
        errors = [self.error, None if self._refresher is None else self._refresher.error]
        errors += [each.error for each in self._live()]
        return next(filter(None, errors), None)

    @property
    def tracker(self) -> Tracker:
        """The tracker whose blocks hold changes back that are published from memory."""
        return self.replica.tracker

    # -- a keeper of `lifecycle` --------------------------------------------------------------

    @property
    def exit_timeout(self) -> float:
        """Seconds that the last publication may take."""
        return self.settings.flush_timeout

    def announce_kill(self) -> None:
        """Do nothing: changes are published soon anyway."""

    def announce_end(self) -> None:
        """Do nothing: nobody waits for the end of a writer."""

    def finish(self, timeout: float) -> None:
        """Publish for the last time, and report a failure loudly."""
        self._ended = True
        self._news.put(None)
        try:
            self.flush(timeout)
        except AutostateError as error:
            shout(error)
        finally:
            if self._refresher is not None:
                self._refresher.end(min(timeout, 1.0))
            if self._thread is not None:
                self._thread.join(min(timeout, 1.0))
            homes.pop(_key(self.url, self.settings), None)
            lifecycle.unregister(self)
            self.replica.close()

    def before_exec(self, timeout: float) -> Callable[[], None]:
        """Publish before this process becomes another program."""
        with contextlib.suppress(AutostateError):
            self.replica.flush(timeout)
        return _nothing

    def before_fork(self, timeout: float) -> Callable[[], None]:
        """Wait until no other thread is changing anything; give a function for after the fork."""
        lock = self.replica.lock
        self._is_locked = lock.acquire(timeout=max(0.0, timeout))
        return lock.release if self._is_locked else _nothing

    def forked(self) -> bool:
        """Go on in the child of a fork, as another writer, on a connection of its own."""
        before = self.replica.leave_to_parent(self._open, is_locked=self._is_locked)
        self._inherited.append((before, self._refresher))
        self._news, self._thread = queue.SimpleQueue(), None
        self._starting, self._confirming = threading.Lock(), threading.RLock()
        self._parent = os.getppid()
        if self._refresher is not None:  # a child may never open another object
            self._refresher = Refresher(self.replica, self._refresher.seconds)
        return True


def _kind(builtin: type[Any], options: Options) -> Kind:
    if builtin is Counter:
        return COUNTER
    if builtin is set:
        return SET
    merge = options.get("merge")
    if isinstance(merge, Mapping):
        return DictKind({text_of(key): function for key, function in merge.items()})
    return DictKind(merge)


homes: dict[str, Home] = {}
"""The shared states of this process, by URL; after a blank those that are only read."""
_lock = threading.Lock()


def home(manager: StateManager | None = None) -> Home:
    """Give the shared state of the program, opened at its first use.

    Args:
        manager: The manager of the program's own state; by default the present one.
    """
    manager = manager or current_manager()
    url = manager.shared_url()
    settings = manager.shared_settings(url)
    key = _key(url, settings)
    with _lock:
        found = homes.get(key)
        if found is None:
            found = homes[key] = Home(url, settings, manager)
            lifecycle.register(found)
            if inside.get() is not None:
                join(found.tracker)
        manager.share(url)
        return found


def _key(url: str, settings: Settings) -> str:
    return f" {url}" if settings.readonly else url


def attach(cls: type[Any], name: str, options: Options) -> Any:
    """Give the live object of a class and a name; see `handle.attach`."""
    check_name(name)
    told: list[str] = []

    def attempt(*, timeout: float) -> Any:  # noqa: ARG001 - each read has a limit of its own
        return home().get(cls, name, options)

    def report(error: StoreUnavailableError) -> None:
        if told[-1:] != [str(error)]:  # once for each cause
            told.append(str(error))
            logger.warning(
                "the shared state cannot be read yet, and autostate tries again: %s", error
            )

    try:
        manager = current_manager()
        settings = manager.shared_settings(manager.shared_url())
        return retried(
            attempt,
            Deadline.after(settings.flush_timeout),
            gives_up=lambda error, _: error.lasting,
            report=report,
            pause=time.sleep,
        )
    except (StoreError, ValueError) as error:  # the URL is wrong, the server does not answer
        raise exit_status.expect(error).with_traceback(None) from None


def resume(manager: StateManager) -> None:
    """Publish what a former process has left in its own state; see `manager.resumers`."""

    def attempt() -> Callable[[float | None], None]:
        found = home(manager)
        found.resume(manager)
        return found.flush

    try:
        attempt()
    except StoreUnavailableError as error:
        logger.warning("changes to the shared state are not published yet: %s", error)
        url = manager.shared_url()
        Resuming(manager, url, manager.shared_settings(url), attempt)
    except (AutostateError, ValueError) as error:
        logger.warning("changes to the shared state are not published: %s", error)


def _nothing() -> None:
    """Undo nothing."""


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


lifecycle.on_fork(_after_fork_in_child)
seam.attach = attach
