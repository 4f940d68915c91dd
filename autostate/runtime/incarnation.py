"""One life of a state in one process: from its recovery to its last save.

A manager makes an incarnation when the first state object is created, and another one after a
fork: the child can use nothing of the first one, neither its connection nor its thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from autostate import announced, hub, logs
from autostate.deadline import backoff
from autostate.errors import (
    AutostateError,
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
from autostate.journal import Journal, Recovered
from autostate.journal.commit import UNREADABLE
from autostate.ownership.owner import Owner, this_run
from autostate.ownership.state_names import listed, of_programs
from autostate.process import exit_status, lifecycle
from autostate.process.interrupts import Latch, uninterrupted
from autostate.runtime.claim import Claim, changed_since, in_use, is_related
from autostate.runtime.opening import open_state
from autostate.runtime.unreadable import begin_anew, still_unreadable
from autostate.saving import spill
from autostate.saving.job import FlushJob
from autostate.saving.policy import FlushPolicy
from autostate.saving.thread import FlushThread
from autostate.settings import Settings, scheme
from autostate.signing import Signer
from autostate.stores import Store, file_of, open_store
from autostate.stores.keyed import KeyedStore, keyed
from autostate.stores.readonly import refused
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
        anew: Whether the stored state could not be read, and was kept under another name.
        downtime: Seconds from the last save of the previous incarnation to now, or None.
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
        self.anew: bool = False
        self.place: object = None
        if instead_of is None:
            store, journal, recovered, claim = _recover(source, settings)
        else:
            found, self.anew = begin_anew(source, settings, instead_of, _recover)
            store, journal, recovered, claim = found
        try:
            self.store = store
            self.claim = claim
            self._sender = sender
            self._pid = os.getpid()
            self._is_ours = True  # the store's connection
            self._has_waited = False
            self.users: list[lifecycle.Keeper] = []
            self._journal = journal
            self._saved_before = recovered.saved_at
            self.downtime: float | None = (
                None if recovered.saved_at is None else max(0.0, time.time() - recovered.saved_at)
            )
            self._resumed: dict[str, bool] = {}
            self._spilled: Path | None = None
            self.failure: FlushError | None = None  # why unsaved changes are in a spill file
            outlives = scheme(store.url) != "memory"  # now: the program may change its directory
            self._spill_places = spill.places(store.url) if outlives else []
            self._unreadable: set[str] = set()
            self._signer = Signer(store.url, lambda: self.flush_thread.settings.keys)
            self.tracker: Tracker = Tracker(
                wake=self._wake, signer=self._signer, on_unknown=lambda: settings.on_unknown
            )
            self.tracker.load(recovered.nodes, recovered.next_id)
            self.tracker.set_gate(None if claim.held else self._claim_late)
            self.flush_thread: FlushThread = self._make_flush_thread(settings)
            self._handlers: list[tuple[hub.HubSignal, Callable[..., None]]] = [
                (hub.migrating, self._on_migrating),
                (hub.aborting, self._on_migrating),
                (hub.persist_state, self._on_persist_state),
                (hub.shutdown, self._on_shutdown),
            ]
            self._connected = False
            self._finishing = threading.RLock()
            self.finished = False
            self.ending: int | None = None
            self._over = Latch()
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
                check=self._check_claim,
                renew=self.store_wiped,
                sender=self._sender,
                first_wait=FIRST_WAIT.get(scheme(self.store.url), SLOW),
            )
        )
        made.hold_lease(self.claim.lease if self.claim.held else None)
        return made

    def connect(self) -> None:
        """Connect to the hub's signals; only after the manager, which disconnects, knows it."""
        if not self._connected:
            self._disconnect()  # the handlers of an attempt that Ctrl-C ended
            for signal, handler in self._handlers:
                signal.connect_own(handler)
            self._expect_ends()
            self._connected = True

    def _wake(self) -> None:
        self.flush_thread.wake()

    def _expect_ends(self) -> None:
        """Heed ends that were announced before there was anything to save."""
        kill = announced.seconds_to_kill()
        if kill is not None:
            self.flush_thread.announce_kill(kill)
        self.expect_timeout()

    def expect_timeout(self) -> None:
        """Save everything shortly before the run times out, as far as that is known."""
        timeout = announced.seconds_to_timeout()
        if timeout is not None:
            self.flush_thread.expect_timeout(timeout)

    def create(self, name: str, kind: str, make: Callable[[], Any]) -> tuple[Any, bool]:
        """Give the live root of that name, or make and rehydrate it; tell whether it was made."""
        found = self.tracker.kind(name)
        if found == UNREADABLE:
            raise still_unreadable(name)
        if found is not None and found != kind:
            raise StateTypeError(
                f"{name!r} is a state object of the kind {found!r}, not {kind!r}: create it as "
                f"that, use another name, or autostate.delete({name!r}) first"
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
            self._keep_aside(name)
        self.tracker.detach(name)
        self._resumed.pop(name, None)
        self.flush_thread.start()

    def _keep_aside(self, name: str) -> None:
        """Copy a root that could not be restored to records that nothing overwrites."""
        with self.flush_thread.exclusive():
            keys = self._journal.keep_aside(name, timeout=self.flush_thread.settings.flush_timeout)
        self._unreadable.discard(name)
        logger.warning(
            "%s is deleted without having been read; it is kept aside in %s, as %s",
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

    def _check_claim(self) -> None:
        """Check that this process is still the owner of the state in the store.

        Raises:
            FencedError: The store was deleted, and another process has begun anew.
            StoreGoneError: The store was deleted.
        """
        if self._journal.moved:
            self.claim.move_to(self._journal.epoch)
        if self.claim.check() or self.last_saved is None:
            return
        if not self._journal.is_stored(timeout=self.flush_thread.settings.flush_timeout):
            raise StoreGoneError(f"{self.store.url} was deleted while this process used it")

    def store_wiped(self) -> None:
        """Save everything again, after the store was emptied while it was in use.

        Raises:
            FencedError: Another process has begun anew there.
        """
        with self.flush_thread.exclusive():
            self.claim.check()
            self._journal.reset()
            self.claim.move_to(self._journal.epoch)
            self.tracker.mark_all()

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
            self._disconnect()
            if not self.flush_thread.stopped:
                self.flush_thread.stop(timeout)
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
            problem = self._spill(error)
        except BaseException as error:  # Ctrl-C during the wait: keep the known changes at once
            interrupted = error
            self.flush_thread.abandon()
            uninterrupted(lambda: self._spill(interrupted))
            if self.failure is not None:
                error.add_note(str(self.failure))
            raise
        finally:
            uninterrupted(self._untrack)
        return problem

    def _refused_at_the_end(self, error: FencedError) -> Exception:
        """Make the error for changes that cannot be saved because another process has taken over.

        The old container of an Actor's run ends anyway, and the run goes on in the new one.
        """
        owner = error.owner
        same_run = isinstance(owner, Owner) and owner.run == this_run() != ""
        if same_run or not (self.flush_thread.job.dirty or self.flush_thread.job.unsaved):
            return error
        return ChangesLostError(f"the unsaved changes are LOST: {error}")

    def _untrack(self) -> None:
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
            self._disconnect()
            return False
        if self._pid == os.getpid():
            return True
        self._pid = os.getpid()
        _of_parents.append((self.store, self.flush_thread))
        self._is_ours = False
        self.claim.forget()
        self._finishing = threading.RLock()
        self.ending = None
        self._disconnect()
        self._connected = False
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
            journal = Journal(store, on_corrupt=settings.on_corrupt, convert=convert)
            recovered = journal.recover(timeout=settings.flush_timeout)
            waits = not (lifecycle.in_child() or self._has_waited)
            patience, self._has_waited = (PARENTS_END if waits else 0.0), True
            epoch = self.claim.acquire(journal.epoch - 1, recovered.saved_at, patience)
            current = self.claim.wait_for_others(journal, recovered.saved_at)
            current = current and journal.is_current(timeout=settings.flush_timeout)
            if not current or journal.version != self._journal.version:
                self._refuse_what_is_old()
        except BaseException:
            self.claim.release()
            if not kept:
                store.close()
            raise
        if epoch is not None and epoch != journal.epoch:
            journal.begin_at(epoch)
        self.store, self._journal, self._is_ours = store, journal, True
        self.flush_thread = self._make_flush_thread(settings)
        self.tracker.set_gate(None)
        self.tracker.mark_all()
        self._begin_to_save()

    def _begin_to_save(self) -> None:
        self.flush_thread.start()
        self.flush_thread.wake()  # defaults that were filled in are waiting to be saved
        for user in self.users:
            lifecycle.register(user)
        self.connect()

    def _claim_late(self) -> None:
        """Claim the state before the first write to it; the tracker's lock is held.

        Raises:
            ReadOnlyError: The state was opened for reading only.
            StateInUseError: The state belongs to another process, or another one changed it.
        """
        if self.flush_thread.settings.readonly:
            self._refuse_to_write()
        timeout = self.flush_thread.settings.flush_timeout
        epoch = self.claim.acquire(self._journal.epoch - 1, self._saved_before)
        try:
            current = self.claim.wait_for_others(self._journal, self._saved_before)
            if not (current and self._journal.is_current(timeout=timeout)):
                self._refuse_what_is_old()
        except BaseException:
            self.claim.release()
            raise
        if epoch is not None and epoch != self._journal.epoch:
            self._journal.begin_at(epoch)
        self.tracker.set_gate(None)
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
            shout(self._spill(error))
            return self._after_exec
        return lambda: None

    def _after_exec(self) -> None:
        """Go on after a failed exec: the unsaved changes are in memory as before."""
        exit_status.forget()
        if self._spilled is not None:
            self._spilled.unlink(missing_ok=True)

    def _on_migrating(
        self, sender: object, time_remaining: float | None = None, **rest: Any
    ) -> None:
        self.flush_thread.announce_kill(time_remaining)
        self.flush_thread.flush_soon()

    def _on_persist_state(self, sender: object, **rest: Any) -> None:
        self.flush_thread.flush_soon()

    def _on_shutdown(self, sender: object, timeout: float | None = None, **rest: Any) -> None:
        with contextlib.suppress(Exception):  # logged where it was raised
            self.flush_thread.flush(timeout)

    def _disconnect(self) -> None:
        for signal, handler in self._handlers:
            signal.disconnect_own(handler)

    def _spill(self, error: BaseException) -> FlushError:
        """Keep the unsaved changes in a file, and make an error that says where."""
        cause = error.__cause__ or error
        told = f"the last save failed: {str(cause) or type(cause).__name__}"
        if not isinstance(cause, Exception):
            told = "the last save was interrupted"
        failure = FlushError(told)
        something = bool(self.flush_thread.job.unsaved) or self.flush_thread.job.dirty
        if something and scheme(self.store.url) != "memory":
            try:
                self._spilled = self._write_spill()
                failure = FlushError(
                    f"{told}. The unsaved changes are in {self._spilled}; the next start picks "
                    "them up"
                )
            except OSError as reason:
                failure = ChangesLostError(
                    f"{told}. The unsaved changes are LOST: they could not be kept in a file "
                    f"either: {reason}"
                )
            self.failure = failure
        failure.__cause__ = error
        return failure

    def _write_spill(self) -> Path:
        """Keep the unsaved changes in a file for the next start.

        Raises:
            OSError: There is nothing that could be kept, or no place for it.
        """
        changes = self.flush_thread.collect_unsaved()
        if not changes:
            raise OSError("they could not be collected")
        seal = self.store.sealed if isinstance(self.store, KeyedStore) else None
        base = spill.Base(
            self._journal.possible_writers, self._journal.sequence, self._journal.last_sequence
        )
        return spill.write(self.store.url, base, changes, where=self._spill_places, seal=seal)


_of_parents: list[object] = []
"""Connections and other objects that belong to the parent process: never freed here."""

PARENTS_END = 2.0
"""Seconds that a forked process waits for its parent's end before its first write."""

GIVING_BACK = 2.0
"""Seconds to wait for a store at the end, to tell other processes of the end."""

TAKE_OVERS = 5
"""Attempts to take over from a container that goes on saving."""


def _recover(source: str | Store, settings: Settings) -> tuple[Store, Journal, Recovered, Claim]:
    """Open the store and read the state, again and again while the store is not reached.

    `flush_timeout` limits the time for which the store does not answer. The time to read and decode
    a large state does not count: a start that gives up for it would give up every time.
    """
    left = settings.flush_timeout
    attempt = 0
    store = None if isinstance(source, str) else keyed(source, settings)
    while True:
        attempt += 1
        share = max(left / 2, min(left, 2.0))  # leaves time for another attempt
        began = time.monotonic()
        try:
            if store is None:
                store = open_state(str(source), settings, readonly=settings.readonly)
            return store, *_read(store, settings, share)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C: the next attempt opens it again
                if store is not None and isinstance(source, str):
                    store.close()
                raise
            pause = backoff(attempt, first=0.2, longest=5.0)
            left -= min(time.monotonic() - began, share) + pause
            waits = isinstance(error, StoreUnavailableError) and not error.lasting
            if left <= 0 or not waits:
                given_up = _gave_up(error, settings, source) if waits else None
                if store is not None and isinstance(source, str):
                    store.close()
                if given_up is not None:
                    raise given_up from error
                raise
            logger.warning("the state cannot be read yet, and autostate tries again: %s", error)
            time.sleep(pause)


def _gave_up(error: Exception, settings: Settings, source: str | Store) -> AutostateError:
    """Make the error for a state that could not be read: its owner may be the reason."""
    from autostate.stores.sqlite_file import owner_file_of

    url = source if isinstance(source, str) else source.url
    path = None if settings.readonly else file_of(url)
    owner = None if path is None else Claim(url, owner_file_of(path), settings).living(0)
    if owner is not None:  # it may have been stopped in the middle of a commit
        return in_use(url, owner, None)
    return StoreUnavailableError(
        f"the state could not be read, in the {settings.flush_timeout:.3g} s that the setting "
        f"flush_timeout gives to a store that does not answer: {error}"
    )


def _read(store: Store, settings: Settings, timeout: float) -> tuple[Journal, Recovered, Claim]:
    """Read the state, including spilled changes of the previous process, and claim it."""
    claim = Claim.to(store, settings)
    try:
        journal, recovered = _claimed(claim, store, settings, timeout)
        for notice in recovered.notices:
            logger.warning("%s", notice)
        if claim.held:
            journal, recovered = _with_spilled(store, journal, recovered, settings, timeout)
            claim.move_to(journal.epoch)
    except BaseException:
        claim.release()
        raise
    return journal, recovered, claim


def _claimed(
    claim: Claim, store: Store, settings: Settings, timeout: float
) -> tuple[Journal, Recovered]:
    """Read the state, and claim it unless this process may only read for now."""
    attempts = 0
    while attempts < TAKE_OVERS:
        journal = Journal(store, on_corrupt=settings.on_corrupt, convert=convert)
        recovered = journal.recover(timeout=timeout)
        if settings.readonly or lifecycle.in_child():
            return journal, recovered
        try:
            epoch = claim.acquire(journal.epoch - 1, recovered.saved_at)
        except StateInUseError as error:
            if isinstance(error.owner, Owner) and is_related(error.owner):
                return journal, recovered
            raise
        if not claim.wait_for_others(journal, recovered.saved_at):
            claim.release()
            continue
        attempts += 1
        if epoch is not None and epoch != journal.epoch:
            journal.begin_at(epoch)
        with contextlib.suppress(FencedError):  # another process has just saved
            if _at_once(store, settings):
                journal.take_over(timeout=timeout)
                return journal, recovered
            if journal.is_current(timeout=timeout):
                return journal, recovered
        if settings.takeover:
            journal.displace(timeout=timeout)
        claim.release()
    raise StoreUnavailableError(
        f"the state in {store.url} is changed by another process again and again while this one "
        "takes it over: end that process, or try again"
    )


def _at_once(store: Store, settings: Settings) -> bool:
    """Tell whether to take over now, and not with the first commit.

    On a platform the former container may still be running, and saves until it is killed. If it
    saved between this process's reading and its first commit, this process would be fenced. And
    another run may read a state that outlives runs before this run has saved anything. Also, a
    kill may come soon after its announcement: the first save must not take longer than later ones.
    Elsewhere a lock is enough.
    """
    return settings.takeover or store.metered or getattr(store, "outlives_run", False)


def _with_spilled(
    store: Store, journal: Journal, recovered: Recovered, settings: Settings, timeout: float
) -> tuple[Journal, Recovered]:
    """Add the changes that the previous process could not save."""
    opened = store.believed if isinstance(store, KeyedStore) else None
    for one in spill.find(store.url, opened):
        if not one.base.fits(*journal.version):
            logger.error(
                "%s holds changes of a process that could not save them, but the state is not the "
                "one from which they go on: another process has saved since, or it was put back. "
                "The changes were not applied",
                spill.set_aside(one.path),
            )
            continue
        if not _fits(one.changes, recovered):
            logger.error(
                "%s holds changes that do not fit the stored state, and were not applied",
                spill.set_aside(one.path),
            )
            continue
        _pick_up(one, journal, timeout)
        spill.remove(one)
        logger.warning(
            "the changes that the previous process could not save were picked up from %s", one.path
        )
        journal = Journal(store, on_corrupt=settings.on_corrupt, convert=convert)
        recovered = journal.recover(timeout=timeout)
    return journal, recovered


def _pick_up(spilled: spill.Spill, journal: Journal, timeout: float) -> None:
    """Save the changes that the previous process could not save.

    Raises:
        StoreUnavailableError: They cannot be saved now either. Without them the program would go
            on from an earlier state.
    """
    try:
        journal.commit(spilled.changes, timeout=timeout)
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"the changes that the previous process could not save cannot be saved now either: "
            f"{error}. They stay in {spilled.path}, and the next start picks them up",
            lasting=error.lasting,
        ) from error


def _fits(changes: Sequence[bytes], recovered: Recovered) -> bool:
    """Tell whether changes can be applied to the recovered state."""
    begun = set(recovered.nodes)
    try:
        for change in map(json.loads, changes):
            if change["id"] not in begun and "kind" not in change and not change.get("delete"):
                return False
            begun.add(change["id"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return True


def shout(error: Exception) -> None:
    """Say in the log and on standard error that something was not saved; never raise.

    Standard error does not depend on how logging is set up, and at this point there is no later
    chance to tell.
    """
    if isinstance(error, (FencedError, UnsupportedTypeError)):
        return  # it was logged when it was raised
    if isinstance(error, ChangesLostError):
        exit_status.note_loss()
    if logger.hasHandlers():  # else logging itself would write to standard error, too
        logs.heard().critical("%s", error)
    write_to_stderr(f"autostate: {error}\n")


def write_to_stderr(line: str) -> None:
    """Write to standard error by any way that is left."""
    for stream in (sys.stderr, sys.__stderr__):
        if stream is None:
            continue
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or missing
            stream.write(line)
            stream.flush()
            return
    with contextlib.suppress(OSError):
        os.write(2, line.encode(errors="replace"))
