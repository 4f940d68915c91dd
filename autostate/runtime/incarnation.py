"""One life of a state in one process: from its recovery to its last save.

A manager makes an incarnation when the first state object is created, and another one after a
fork: the child can use nothing of the first one, neither its connection nor its thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from autostate import logs, steps
from autostate.deadline import Deadline
from autostate.errors import (
    ChangesLostError,
    CodecError,
    FencedError,
    FlushError,
    NotStoredError,
    ReadOnlyError,
    StateInUseError,
    StateTypeError,
    StoreError,
    StoreGoneError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from autostate.journal import Journal
from autostate.journal.commit import UNREADABLE
from autostate.ownership.owner import is_of_this_run
from autostate.ownership.state_names import listed, of_programs
from autostate.process import exit_status, lifecycle
from autostate.process.interrupts import Latch, uninterrupted
from autostate.runtime.claim import Claim, changed_since
from autostate.runtime.companion import Companion
from autostate.runtime.handlers import Handlers
from autostate.runtime.last_resort import LastResort, shout
from autostate.runtime.start import start
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from autostate.saving.thread import FlushThread
from autostate.settings import Settings, scheme
from autostate.signing import Signer
from autostate.stores import Store, open_store
from autostate.stores.keyed import keyed
from autostate.tracking import Tracker, convert

logger: logging.Logger = logging.getLogger("autostate")

FIRST_WAIT = {"sqlite": 2.0, "memory": math.inf}
"""Seconds that the first attempt to save waits for a store of this kind before the wait is logged.

A full disk or a missing folder is an error at once. SQLite waits for locks, and a reader that holds
one for a second is not worth a message.
"""
SLOW = 10.0
"""The same for any other store."""


class Incarnation:
    """A store, its journal, its tracker and its flush thread.

    Args:
        source: A URL, or a store that is open; it is closed at the end.
        settings: When to save, and what to do about damage.
        sender: The sender of the hub's signals: the manager.
        instead_of: A name that is deleted: begin anew if the state cannot be read.

    Attributes:
        place: A key that is the same for all URLs of the store.
        tracker: The tracker of the state objects.
        flush_thread: The thread that saves them.
        handlers: The handlers of the hub's signals. Connect them only when a manager, which
            disconnects them, knows this incarnation.
        anew: Whether the stored state could not be read, and was kept under another name.
        downtime: Seconds from the last save of the previous incarnation to now, or None.
        companions: What works beside state objects, by their names.
        when_claimed: Is called when this process has become the owner after the beginning; the
            tracker's lock is held.
        ending: The thread in which the last manager leaves this incarnation; None: none does.

    Raises:
        CorruptStateError: The stored state cannot be read.
        StoreError: The store cannot be used, or was not reached in `flush_timeout`.
    """

    def __init__(
        self,
        source: str | Store,
        settings: Settings,
        sender: object,
        *,
        instead_of: str | None = None,
    ) -> None:
        if instead_of is None:
            opened, anew = start(source, settings), False
        else:
            from autostate.runtime.unreadable import begin_anew

            opened, anew = begin_anew(source, settings, instead_of)
        store, journal, recovered, claim = opened
        self.anew: bool = anew
        self.place: object = None
        self.users: list[lifecycle.Keeper] = []
        self.finished: bool = False
        self.ending: int | None = None
        self.when_claimed: Callable[[], None] = lambda: None
        self.companions: dict[str, Companion] = {}
        self._sender = sender
        self._pid = os.getpid()
        self._is_ours = True  # the store's connection
        self._has_waited = False
        self._finishing = threading.RLock()
        self._over = Latch()
        try:
            self.store: Store = store
            self.claim: Claim = claim
            self._journal = journal
            self._saved_before = saved_at = recovered.saved_at
            self.downtime: float | None = (
                None if saved_at is None else max(0.0, time.time() - saved_at)
            )
            self._resumed: dict[str, bool] = {}
            self._unreadable: set[str] = set()
            self.last_resort: LastResort = LastResort(store.url)
            self._signer = Signer(store.url, lambda: self.flush_thread.settings.keys)
            self.tracker: Tracker = Tracker(
                wake=self._wake, signer=self._signer, on_unknown=lambda: settings.on_unknown
            )
            self.tracker.load(recovered.nodes, recovered.next_id)
            self.tracker.set_gate(None if claim.held else self._claim_late)
            self.flush_thread: FlushThread = self._make_flush_thread(settings)
            self.handlers: Handlers = Handlers(lambda: self.flush_thread)
        except BaseException:  # Ctrl-C: the next attempt opens it again
            claim.release()
            if isinstance(source, str):
                store.close()
            raise

    def _make_flush_thread(self, settings: Settings) -> FlushThread:
        made = FlushThread(
            FlushJob(
                self.tracker,
                self._journal,
                FlushPolicy(settings),
                conditional=self.store.conditional and self.store.atomic,
                check=partial(self.claim.check, self._journal),
                check_stored=self._check_stored,
                renew=self.store_wiped,
                sender=self._sender,
                first_wait=FIRST_WAIT.get(scheme(self.store.url), SLOW),
            )
        )
        made.hold_lease(self.claim.lease if self.claim.held else None)
        return made

    @property
    def claim_epoch(self) -> int:
        """The epoch under which this process writes."""
        return self._journal.epoch

    def _wake(self) -> None:  # the child of a fork has another thread
        self.flush_thread.wake()

    def create(self, name: str, kind: str, make: Callable[[], Any]) -> tuple[Any, bool]:
        """Give the live root of that name, or make and rehydrate it; tell whether it was made."""
        found = self.tracker.kind(name)
        if found == UNREADABLE:
            from autostate.runtime.unreadable import still_unreadable

            raise still_unreadable(name)
        if found is not None and found != kind:
            raise StateTypeError(
                f"{name!r} is a state object of the kind {found!r}, not {kind!r}: create it as "
                f"that, use another name; or first {steps.delete(name)}"
            )
        live = self.tracker.root(name)
        if live is not None:
            self.flush_thread.start()
            self._resumed.setdefault(name, True)  # rebuilt because another root refers to it
            return live, False
        if found is None and self.flush_thread.settings.readonly:
            raise self._not_stored(name)
        container = make()
        self._resumed[name] = found is not None  # first: Ctrl-C may strike after `attach`
        try:
            self.tracker.attach(container, name, kind)
        except CodecError:
            self._unreadable.add(name)
            raise
        self._unreadable.discard(name)
        self.flush_thread.start()
        return container, True

    def delete(self, name: str) -> None:
        """Remove a root from the state; its live object becomes a plain one.

        Raises:
            KeyError: There is no root of that name, neither live nor stored.
            StateInUseError: This process may not write.
            ReadOnlyError: The state was opened for reading only.
        """
        if self.tracker.kind(name) is None:
            raise KeyError(f"no state object is called {name!r}")
        self.tracker.pass_gate()
        if name in self._unreadable:
            self._keep_copy(name)
        self.tracker.detach(name)
        self._resumed.pop(name, None)
        self.flush_thread.start()

    def _keep_copy(self, name: str) -> None:
        """Copy a root that could not be restored to records that nothing overwrites."""
        with self.flush_thread.exclusive():
            keys = self._journal.keep_copy(name, timeout=self.flush_thread.settings.flush_timeout)
        self._unreadable.discard(name)
        logger.warning(
            "%s is deleted without having been read; a copy is kept in %s, as %s",
            name,
            self.store.url,
            ", ".join(keys),
        )

    def resumed(self, name: str) -> bool:
        """Tell whether a root was found in the store when it was created."""
        return self._resumed.get(name, True)

    @property
    def last_saved(self) -> float | None:
        """The time of the last save by this or the previous incarnation, in seconds since 1970."""
        return self.flush_thread.job.saved_at or self._saved_before

    def _check_stored(self) -> None:
        """Check that the store was not deleted together with the lock file.

        Raises:
            StoreGoneError: It was.
        """
        timeout = self.flush_thread.settings.flush_timeout
        if self.last_saved is not None and not self._journal.is_stored(timeout=timeout):
            raise StoreGoneError(f"{self.store.url} was deleted while this process used it")

    def store_wiped(self, *, purged: bool = False) -> None:
        """Save everything again, after the store was emptied while it was in use.

        Args:
            purged: Whether it was emptied to begin anew: then what nobody has opened is gone.

        Raises:
            FencedError: Another process has begun anew there.
        """
        with self.flush_thread.exclusive():
            self.claim.check(self._journal)
            # First: changes of what was saved before do not make a state in an empty store.
            self.tracker.mark_lost(unopened=not purged)
            if purged:
                self._unreadable.clear()
            self._journal.reset()
            self.claim.move_to(self._journal.epoch)

    def finish(self, timeout: float) -> Exception | None:
        """Save for the last time, untrack the objects, close the store.

        If Ctrl-C strikes before anything was done, call this method again. If it strikes later,
        the unsaved changes are spilled.

        Args:
            timeout: Seconds for the save.

        Returns:
            The error, if the save failed; the unsaved changes are then in a spill file if at all
                possible.
        """
        with self._finishing:
            return None if self.finished else self._finish(timeout)

    def wait_for_end(self, timeout: float) -> None:
        """Wait until the last save is done, and the store is closed.

        Raises:
            StoreUnavailableError: The last save takes longer, or waits for this thread.
        """
        done = False
        if threading.get_ident() != self.ending and not self.flush_thread.is_this_thread():
            with self.flush_thread.job.patient_cut.standing_still():
                done = self._over.wait(timeout)
        if not done:
            raise StoreUnavailableError(
                f"{self.store.url} is just being saved for the last time and closed, by another "
                "thread of this process or by what has called this: try again when that is done"
            )

    def _finish(self, timeout: float) -> Exception | None:
        problem: Exception | None = None
        try:
            end = Deadline.after(timeout)
            for companion in list(self.companions.values()):
                companion.end(end.left() / 2)
            if not self.flush_thread.stopped:
                self.flush_thread.stop(end.left())
        except FencedError as error:
            problem = self._refused_at_the_end(error)
        except UnsupportedTypeError as error:
            problem = error  # a spill would not help
        except (StateInUseError, ReadOnlyError) as error:
            problem = ChangesLostError(
                "values that this process holds in state objects were changed past these, and the "
                f"changes are LOST: {error}"
            )
        except Exception as error:
            problem = self._keep_unsaved(error)
        except BaseException as error:  # Ctrl-C during the wait: keep the known changes at once
            interrupted = error
            self.flush_thread.abandon()
            uninterrupted(lambda: self._keep_unsaved(interrupted))
            if self.last_resort.failure is not None:
                error.add_note(str(self.last_resort.failure))
            raise
        finally:
            uninterrupted(self._untrack)
        return problem

    def _refused_at_the_end(self, error: FencedError) -> Exception:
        """Make the error for changes that cannot be saved because another process has taken over.

        The old container of an Actor's run ends anyway, and the run goes on in the new one.
        """
        if is_of_this_run(error.owner) or not (
            self.flush_thread.job.dirty or self.flush_thread.job.unsaved
        ):
            return error
        return ChangesLostError(f"the unsaved changes are LOST: {error}")

    def _untrack(self) -> None:
        self.handlers.disconnect()
        self.tracker.close()
        if self._is_ours:
            if not self.flush_thread.busy():
                self._give_lease_back()
            self.flush_thread.when_ended(self.store.close)
        self.claim.release()
        self.finished = True
        self._over.set()

    def _give_lease_back(self) -> None:
        """Tell processes that cannot find it out that this process has ended."""
        if self.claim.held and self.claim.lease is not None and not self._journal.fenced:
            with contextlib.suppress(StoreError, FencedError):  # then they wait for the lease's end
                self._journal.renew(ended=True, timeout=GIVING_BACK)

    # -- a process that does not own the state ------------------------------------------------

    def forked(self) -> bool:
        """Go on in the child of a fork: to read, and to write as soon as the parent has ended.

        The store's connection is the parent's: it is kept unused, so that nothing closes it. The
        same holds for the flush thread and for locks of threads that do not exist here.

        Returns:
            Whether there is a state to go on with. A state in memory is the parent's alone, and
            its objects become plain ones.
        """
        if scheme(self.store.url) == "memory":
            _of_parents.append(self)
            self.tracker.lock, self.tracker.closed = threading.RLock(), True
            self.handlers.disconnect()
            return False
        if self._pid == os.getpid():
            return True
        self._pid = os.getpid()
        _of_parents.append((self.store, self.flush_thread))
        self._is_ours = False
        self.claim.forget()
        self._finishing = threading.RLock()
        self.ending = None
        self.handlers.disconnect()
        self.tracker.forked(self._claim_after_fork)
        self.flush_thread = self._make_flush_thread(self.flush_thread.settings)
        return True

    def _claim_after_fork(self) -> None:
        """Claim the state that was the parent's; the tracker's lock is held.

        The parent of a daemon may not have ended yet. This process holds the values that the parent
        had at the fork: if the parent has saved since, they are old.

        Raises:
            StateInUseError: The parent lives, or somebody has saved since the fork.
        """
        settings = self.flush_thread.settings
        if settings.readonly:
            self._refuse_to_write()
        kept = getattr(self.store, "is_stateless", False)  # the store has no connection to share
        store = self.store if kept else keyed(open_store(self.store.url), settings)
        try:
            journal = Journal(
                store, on_corrupt=settings.on_corrupt, convert=convert, keep=settings.keep
            )
            recovered = journal.recover(timeout=settings.flush_timeout)
            waits = not (lifecycle.in_child() or self._has_waited)
            patience, self._has_waited = (PARENTS_END if waits else 0.0), True
            self._claim_current(journal, recovered.saved_at, patience)
        except BaseException:
            if not kept:
                store.close()
            raise
        self.store, self._journal, self._is_ours = store, journal, True
        self.flush_thread = self._make_flush_thread(settings)
        self.tracker.mark_all()
        self._begin_to_save()

    def _claim_current(
        self, journal: Journal, saved_at: float | None, patience: float = 0.0
    ) -> None:
        """Claim the state that a journal has recovered, if this process holds the same state.

        Raises:
            StateInUseError: The state belongs to another process, or another one changed it.
        """
        epoch = self.claim.acquire(journal.epoch - 1, saved_at, patience)
        try:
            is_current = self.claim.wait_for_others(journal, saved_at) and journal.is_current(
                timeout=self.flush_thread.settings.flush_timeout
            )
            if not is_current or journal.version != self._journal.version:
                self._refuse_what_is_old()
        except BaseException:
            self.claim.release()
            raise
        if epoch is not None and epoch != journal.epoch:
            journal.begin_at(epoch)

    def _begin_to_save(self) -> None:
        self.tracker.set_gate(None)
        self.flush_thread.start()
        self.flush_thread.wake()  # defaults that were filled in are waiting to be saved
        for user in self.users:
            lifecycle.register(user)
        self.handlers.connect()
        self.when_claimed()

    def _claim_late(self) -> None:
        """Claim the state before the first write to it; the tracker's lock is held.

        Raises:
            ReadOnlyError: The state was opened for reading only.
            StateInUseError: The state belongs to another process, or another one changed it.
        """
        if self.flush_thread.settings.readonly:
            self._refuse_to_write()
        self._claim_current(self._journal, self._saved_before)
        self.flush_thread.hold_lease(self.claim.lease)
        self._begin_to_save()

    def _refuse_what_is_old(self) -> NoReturn:
        error = changed_since(self.store.url)
        if self.flush_thread.settings.on_fenced == "exit":
            logs.heard().critical("%s", error)
            lifecycle.finish_others(self._sender)
            exit_status.refuse()
        raise error

    def _refuse_to_write(self) -> NoReturn:
        from autostate.stores.readonly import refused

        raise refused(self.store.url)

    def _not_stored(self, name: str) -> NotStoredError:
        return NotStoredError(
            f"{self.store.url} holds no state object {name!r}, and readonly=True makes none. "
            f"{listed(of_programs(self.tracker.names))}"
        )

    def before_exec(self, timeout: float) -> Callable[[], None]:
        """Save before this process becomes another program.

        Returns:
            What to call if the process goes on after all.
        """
        try:
            self.flush_thread.flush(timeout, ending=True)
        except (FencedError, UnsupportedTypeError):
            pass  # a spill would not help
        except Exception as error:
            shout(self._keep_unsaved(error))
            return self.last_resort.undo
        return lambda: None

    def _keep_unsaved(self, error: BaseException) -> FlushError:
        return self.last_resort.keep(error, self.flush_thread, self._journal, self.store)


_of_parents: list[object] = []
"""Connections and other objects that belong to the parent process: never freed here."""

PARENTS_END = 2.0
"""Seconds that a forked process waits for its parent's end before its first write."""

GIVING_BACK = 2.0
"""Seconds to wait for a store at the end, to tell other processes of the end."""
