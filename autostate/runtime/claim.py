"""A process's claim to a state: the process owns it, or may only read it until it claims it.

A process that creates its first state object claims the state at once. If another live process owns
the state, that is an error at this moment: the values that this process has read would be old by
the time it writes. Three sorts of processes are treated differently, because they often create
state objects unintentionally, by importing the module that does. They read the last saved state,
and claim it with their first write, which raises before anything has changed if another process
owns the state:

- children of `multiprocessing`: a worker must not lock its parent out;
- other descendants of the owner, and workers that one server has forked, like the owner;
- processes that were forked from the owner, with copies of its objects.

With `readonly=True` a state is never claimed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, Self

from autostate import logs
from autostate.deadline import Deadline
from autostate.errors import FencedError, StateInUseError
from autostate.journal import Journal
from autostate.ownership.lock import LocksUnsupportedError, OwnerLock
from autostate.ownership.owner import Owner, ancestors, is_dying, is_sibling, program
from autostate.process import exit_status
from autostate.settings import Settings
from autostate.stores import Store

logger: logging.Logger = logging.getLogger("autostate")

ENDING: Final = 10.0
"""The least number of seconds to wait for an owner that has begun to end."""

TELLING: Final = 2.0
"""Seconds after which the wait for an owner's end is logged."""

ASKING: Final = 2.0
"""Seconds between two requests to a platform whether an owner lives."""

LOOK: Final = 0.05
"""Seconds between two checks whether an owner has gone."""

NAMING: Final = 2.0
"""Seconds within which a new owner has to write who it is."""


class Claim:
    """A claim to the state in one store.

    Args:
        url: The URL of the state.
        owner_file: The attribute of that name of the `Store`.
        settings: The settings, which say whether to wait or to take over.

    Attributes:
        held: Whether this process owns the state.
        lease: Seconds for which other processes believe that this process owns the state without
            seeing a sign of life; None: they can find out whether it lives.
    """

    def __init__(self, url: str, owner_file: Path | None, settings: Settings) -> None:
        self.held: bool = False
        self.lease: float | None = None
        self._waits_since = math.inf
        self._has_warned = False
        self._has_told = False
        self._asks: Callable[[Owner], bool | None] | None = None
        self._url = url
        self._settings = settings
        self._me = Owner.this()
        self._lock = None if owner_file is None else OwnerLock(owner_file)

    @classmethod
    def to(cls, store: Store, settings: Settings) -> Self:
        """Make a claim to the state in a store."""
        made = cls(store.url, getattr(store, "owner_file", None), settings)
        made._asks = getattr(store, "owner_lives", None)
        return made

    def acquire(self, epoch: int, saved_at: float | None, patience: float = 0.0) -> int | None:
        """Become the owner.

        Args:
            epoch: The epoch of the state that was read.
            saved_at: When that state was saved, in seconds since 1970.
            patience: Seconds to wait for a living owner, if the settings do not say more.

        Returns:
            The epoch that this process must use; None: it may choose.

        Raises:
            StateInUseError: Another live process owns the state.
        """
        began = time.monotonic()
        while True:
            living = self.living(epoch, take=True)
            if living is None:
                self.held = True
                return None if self._lock is None else self._lock.byte
            limit = patience
            if not is_ancestor(living):
                wait = self._settings.wait_for_owner
                ends = living.ending or is_dying(living)
                limit = max(wait, patience, ENDING if ends else 0.0)
            waited = time.monotonic() - began
            if waited >= limit:
                raise in_use(self._url, living, saved_at)
            if waited >= TELLING and not self._has_told:
                self._has_told = True
                logger.warning(
                    "the state in %s belongs to %s: its end is waited for, %.0f s more",
                    *(self._url, living, limit - waited),
                    extra=logs.attributes("waits_for_owner", duration=waited, store=self._url),
                )
            time.sleep(LOOK)

    def wait_for_others(self, journal: Journal, saved_at: float | None) -> bool:
        """Check that no owner on another machine lives; wait for it as the settings say.

        Returns:
            Whether the state is still the recovered one; else it has to be read again.

        Raises:
            StateInUseError: An owner on another machine lives.
            StoreError: The store could not be read.
        """
        if self._asks is None:
            return True
        self.lease = self._settings.lease if self._asks(self._me) is None else None
        journal.hold_lease(self.lease)
        if self._settings.takeover:
            return True
        timeout = self._settings.flush_timeout
        record, owner = journal.owner_record(timeout=timeout)
        seen = time.monotonic()
        self._waits_since = min(self._waits_since, seen)
        while owner is not None and (lives := self._lives(owner)) is not False:
            now = time.monotonic()
            patience = self._settings.wait_for_owner - (now - self._waits_since)
            if lives is None:
                # Nobody can be asked: only its signs of life can tell. A sign is a renewed record
                # of the owner, or a commit; after the latter the state has to be read again.
                renewed, now_named = journal.owner_record(timeout=timeout)
                current = journal.is_current(timeout=timeout)
                showed_life = renewed != record or not current
                if renewed != record:
                    record, owner, seen = renewed, now_named or owner, now
                if patience <= 0 and showed_life and not owner.ended:
                    raise in_use(self._url, owner, saved_at)
                if not current:
                    return False
                patience = seen + (owner.lease or self._settings.lease) - now
                if patience <= 0:  # no sign for a whole lease: it counts as gone, or is fenced
                    return True
                if not self._has_warned:
                    logger.warning(
                        "the state in %s was last owned by %s. Whether that lives could not be "
                        "found out: it counts as gone if it shows no sign of life for %.0f s, as "
                        "the setting lease says",
                        *(self._url, owner, patience),
                    )
                    self._has_warned = True
            elif patience <= 0:
                raise in_use(self._url, owner, saved_at)
            else:
                seen = now  # alive, without a sign of life
            time.sleep(min(ASKING, max(LOOK, patience)))
        return True

    def _lives(self, owner: Owner) -> bool | None:
        """Tell whether an owner lives; an earlier container of the same run counts as gone."""
        assert self._asks is not None
        if owner.ended or (owner.run and owner.run == self._me.run):
            return False
        return self._asks(owner)

    def move_to(self, epoch: int) -> None:
        """Move to a later epoch: a new state was begun in place of the old one."""
        if self._lock is not None and self.held:
            with self._without_if_refused():
                self._lock.move_to(epoch, self._me)

    def check(self, journal: Journal) -> bool:
        """Check that other processes find the lock file; lock a new one if it was deleted.

        Args:
            journal: The journal of the state, which may have moved to a later epoch.

        Returns:
            Whether the file was in place; else the store may have been deleted with the file.

        Raises:
            FencedError: The file was deleted, and another process has begun anew since.
        """
        if journal.moved:
            self.move_to(journal.epoch)
        if self._lock is None or not self.held or self._lock.is_in_place():
            return True
        living = None
        with self._without_if_refused():
            living = self._lock.keep(self._me)
        if living is not None:
            self.held = False
            raise FencedError(
                f"the state in {self._url} belongs to {living}: the lock file of this process was "
                "deleted, perhaps with the state. What it changes from now on is not saved. Stop "
                "it, or let it use another store",
                owner=living,
            )
        return False

    @contextlib.contextmanager
    def _without_if_refused(self) -> Generator[None]:
        """Do without a lock if its file was deleted and no new one can be made."""
        try:
            yield
        except (OSError, LocksUnsupportedError) as error:
            self._do_without(f"its lock file was deleted, and cannot be made anew ({error})")

    def living(self, epoch: int, *, take: bool = False) -> Owner | None:
        """Give the owner of the state if it lives; else become the owner, if `take` is true."""
        lock = self._lock
        if lock is None:
            return None
        try:
            if not take:
                return _named(lambda: lock.living(epoch))
            beside = self._takes_over(lock, epoch)
            return _named(lambda: lock.acquire(epoch, self._me, beside=beside))
        except LocksUnsupportedError as error:
            self._do_without(f"its file system has no locks ({error})")
        except OSError as error:
            with contextlib.suppress(OSError):  # the file may be another user's
                if (owner := lock.living(epoch)) is not None:
                    return owner
            self._do_without(f"the lock file {lock.path} cannot be used ({error.strerror})")
        return None

    def _takes_over(self, lock: OwnerLock, epoch: int) -> bool:
        """Tell whether to become the owner although another one lives.

        Not if the living owner is a related process: this one may have its environment, and with
        it the setting, from there.
        """
        if not self._settings.takeover:
            return False
        owner = _named(lambda: lock.living(epoch))
        return owner is None or not is_related(owner)

    def _do_without(self, why: str) -> None:
        """Go on where nobody can tell who lives: a later process will take over unnoticed."""
        self._lock = None
        logger.warning(
            "nobody can tell whether another process uses the state in %s: %s. Let only one "
            "process at a time use it",
            self._url,
            why,
        )

    def announce_end(self) -> None:
        """Tell a process that wants the state that waiting is worthwhile."""
        if self._lock is not None and self.held:
            self._lock.announce(self._me.about_to_end())

    def release(self) -> None:
        """Release the state."""
        self.held = False
        if self._lock is not None:
            self._lock.release()

    def forget(self) -> None:
        """Forget, in a forked child, what its parent owns."""
        self.held = False
        if self._lock is not None:
            self._lock.forget()
        self._me = Owner.this()


def _named(look: Callable[[], Owner | None]) -> Owner | None:
    """Find the living owner; retry while it has the lock but has not written yet who it is."""
    deadline = Deadline.after(NAMING)
    while True:
        found = look()
        if found is None or found.pid or not deadline.left():
            return found
        time.sleep(LOOK / 10)


def is_ancestor(owner: Owner) -> bool:
    """Tell whether this process descends from another one, by fork or otherwise."""
    return owner.is_here and owner.pid in ancestors()


def is_related(owner: Owner) -> bool:
    """Tell whether this process may read another one's state without `readonly=True`."""
    return owner.is_here and (owner.pid in ancestors() or is_sibling(owner.pid))


_WAYS: Final = (
    "End that process, or wait for its end (wait_for_owner=60, AUTOSTATE_WAIT_FOR_OWNER=60); or "
    "give this one a state of its own (AUTOSTATE_URL, or autostate.configure(url)); or only read "
    "this one (with autostate.open(url, readonly=True): …); or take it over, so that the other "
    "process cannot save any more (takeover=True, AUTOSTATE_TAKEOVER=1)"
)
_WAYS_OF_RELATIVES: Final = (
    "This process was started by that one, or beside it, and may read: hand results to the owner, "
    "and let it write them; or give this process a state of its own (with autostate.open(url): …)"
)
_SHARED: Final = (
    ". What several processes count or collect together goes into a SharedCounter, SharedSet or "
    "SharedDict"
)
"""For the processes of one program: that may be all that they want."""


def in_use(url: str, owner: Owner, saved_at: float | None) -> StateInUseError:
    """Make the error that says who owns the state, and names the ways out."""
    mine = is_related(owner)
    ago = None if saved_at is None else max(0.0, time.time() - saved_at)
    saved = "" if ago is None else f", last saved {ago:,.0f} s ago"
    ways = _WAYS_OF_RELATIVES if mine else _WAYS
    if mine or owner.program == program():
        ways += _SHARED
    error = StateInUseError(
        f"the state in {url} belongs to {owner}{saved}. Only one process at a time may write a "
        f"state; nothing was changed. {ways}",
        owner=owner,
    )
    return exit_status.expect(error, exit_status.EX_TEMPFAIL)


def changed_since(url: str) -> StateInUseError:
    """Make the error for a state that another process has changed since it was read."""
    error = StateInUseError(
        f"another process has changed the state in {url} since this one read it, so nothing can be "
        "written here, and nothing was. Let one process write; this one has to begin anew (with "
        "on_fenced='exit', AUTOSTATE_ON_FENCED=exit, it ends, and a server starts another one)"
    )
    return exit_status.expect(error, exit_status.EX_TEMPFAIL)


Gate = Callable[[], None]
"""Called before a write in a process that does not own the state: claims the state, or raises."""
