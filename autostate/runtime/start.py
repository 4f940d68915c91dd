"""The start of an incarnation: the state is read and claimed, and gets spilled changes."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import NamedTuple

from autostate.deadline import Deadline, retried
from autostate.errors import (
    AutostateError,
    FencedError,
    StateInUseError,
    StoreUnavailableError,
)
from autostate.journal import Journal, Recovered
from autostate.ownership.owner import Owner
from autostate.process import lifecycle
from autostate.runtime.claim import Claim, in_use, is_related
from autostate.runtime.last_resort import with_spilled
from autostate.runtime.opening import open_state
from autostate.settings import Settings
from autostate.stores import Store, file_of
from autostate.stores.keyed import keyed
from autostate.tracking import convert

logger: logging.Logger = logging.getLogger("autostate")

TAKE_OVERS = 5
"""Attempts to take over from a container that goes on saving."""


class Opened(NamedTuple):
    """A store, and the state that was read from it.

    Attributes:
        store: The store.
        journal: The journal, recovered.
        recovered: The state.
        claim: The claim to it; held, unless this process may only read for now.
    """

    store: Store
    journal: Journal
    recovered: Recovered
    claim: Claim


def start(source: str | Store, settings: Settings) -> Opened:
    """Open the store and read the state, again and again while the store is not reached.

    `flush_timeout` limits the time for which the store does not answer. The time to read and decode
    a large state does not count: a start that gives up for it would give up every time.
    """
    store = None if isinstance(source, str) else keyed(source, settings)
    deadline = Deadline.after(settings.flush_timeout)

    def attempt(*, timeout: float) -> Opened:
        nonlocal store
        began = time.monotonic()
        try:
            if store is None:
                store = open_state(str(source), settings, readonly=settings.readonly)
            return _read(store, settings, timeout)
        finally:
            deadline.at += max(0.0, time.monotonic() - began - timeout)

    told: list[str] = []

    def report(error: StoreUnavailableError) -> None:
        if told[-1:] != [str(error)]:  # once for each cause
            told.append(str(error))
            logger.warning("the state cannot be read yet, and autostate tries again: %s", error)

    try:
        return retried(
            attempt,
            deadline,
            gives_up=lambda error, _: error.lasting,
            report=report,
            pause=time.sleep,
        )
    except BaseException as error:  # also Ctrl-C: the next attempt opens it again
        waited = isinstance(error, StoreUnavailableError) and not error.lasting
        given_up = _gave_up(error, settings, source) if waited else None
        if store is not None and isinstance(source, str):
            store.close()
        if given_up is not None:
            raise given_up from None
        raise


def _gave_up(error: BaseException, settings: Settings, source: str | Store) -> AutostateError:
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


def _read(store: Store, settings: Settings, timeout: float) -> Opened:
    """Read the state, including spilled changes of the previous process, and claim it."""
    claim = Claim.to(store, settings)
    try:
        journal, recovered = _claimed(claim, store, settings, timeout)
        for notice in recovered.notices:
            logger.warning("%s", notice)
        if claim.held:
            journal, recovered = with_spilled(store, journal, recovered, settings, timeout)
            claim.move_to(journal.epoch)
    except BaseException:
        claim.release()
        raise
    return Opened(store, journal, recovered, claim)


def _claimed(
    claim: Claim, store: Store, settings: Settings, timeout: float
) -> tuple[Journal, Recovered]:
    """Read the state, and claim it unless this process may only read for now."""
    attempts = 0
    while attempts < TAKE_OVERS:
        journal = Journal(
            store, on_corrupt=settings.on_corrupt, convert=convert, keep=settings.keep
        )
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
