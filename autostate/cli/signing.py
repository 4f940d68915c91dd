"""Signing all records of a store: with a new key, or after the store was renamed or copied."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from autostate.errors import FencedError, StateInUseError
from autostate.journal import Journal
from autostate.journal.head import CORRUPT, OWNER, PREFIX
from autostate.journal.verifying import holds_pickled
from autostate.runtime.claim import Claim
from autostate.runtime.copying import parts_of
from autostate.runtime.opening import open_state
from autostate.runtime.place import SHARED_KEYS
from autostate.runtime.stored_state import read_state
from autostate.saving import spill
from autostate.settings import KEY_VARIABLE, Settings
from autostate.stores import Store
from autostate.stores.envelope import Unverified
from autostate.stores.keyed import KeyedStore


class Signed(NamedTuple):
    """The result of signing.

    Attributes:
        records: The number of records that were written again.
        left: The keys of records that were left unchanged, because no configured key fits.
    """

    records: int
    left: list[str]


def check(url: str, *, remove: bool = False) -> str:
    """Check that there is a key, and that no live process owns the state; return the store's URL.

    Raises:
        ValueError: No key is set; or signatures are to be removed, and values are pickled.
        StateInUseError: A live process owns the state.
        AutostateError: The state cannot be read, whoever may have written it.
    """
    settings = Settings.for_store(url)
    if not settings.keys:
        raise ValueError(f"there is no key to sign with: set {KEY_VARIABLE}")
    state = read_state(url, settings, trusting=True)
    if state.alive:
        raise StateInUseError(owner=state.owner)
    if remove and holds_pickled(state.nodes.values()):
        raise ValueError(
            f"{state.url} holds pickled values, which are read only with the key that signed them: "
            "remove these values first, or keep the key"
        )
    for path in spill.pending(state.url):
        raise ValueError(
            f"{path} holds changes that a process could not save, which only the key of that "
            "process opens: start the program once with the key that it had, or move the file away"
        )
    return state.url


def sign(url: str, *, remove: bool = False) -> Signed:
    """Write every record again with the first configured key; accept unsigned records.

    Records are written one after another: after an interruption no program with the key reads the
    state until this is called again. Pickled values keep the signatures that they have.

    Args:
        url: The store.
        remove: Write the records without a signature, and not encrypted.

    Raises:
        StateInUseError: A live process owns the state.
        AutostateError: The state cannot be read, whoever may have written it.
    """
    settings = Settings.for_store(url, takeover=False, wait_for_owner=0.0)
    timeout = settings.flush_timeout
    with contextlib.closing(open_state(url, settings, trusting=True)) as store:
        own, shared = parts_of(store, settings)
        signed = Signed(0, [])
        if shared:
            signed = _sign_shared(store, timeout, remove=remove)
        if not own:
            return signed
        claim = Claim.to(store, settings)
        journal = Journal(store)
        recovered = journal.recover(timeout=timeout)
        claim.acquire(journal.epoch - 1, recovered.saved_at)
        try:
            mine = claim.wait_for_others(journal, recovered.saved_at)
            if not (mine and journal.is_current(timeout=timeout)):
                raise StateInUseError(owner=journal.last_owner(timeout=timeout))
            made = _sign(store, timeout, remove=remove)
            return Signed(signed.records + made.records, signed.left + made.left)
        finally:
            claim.release()


def _sign_shared(store: Store, timeout: float, *, remove: bool) -> Signed:
    """Write the records of a shared state again.

    None that a process has changed meanwhile, as far as the store compares them.
    """
    assert isinstance(store, KeyedStore)
    signed, left, below = 0, list[str](), store.store
    for key in store.list(SHARED_KEYS, timeout=timeout):
        while (stored := below.read(key, timeout=timeout)) is not None:  # else it was folded
            plain = store.opened(key, stored)
            if isinstance(plain, Unverified):
                left.append(key)
                break
            compares = below.conditional and not key.startswith(getattr(below, "apart", ()))
            expect = {key: stored} if compares else None
            made = plain if remove else store.sealed(key, plain)
            with contextlib.suppress(FencedError):
                below.write({key: made}, expect=expect, timeout=timeout)
                signed += 1
                break
    return Signed(signed, left)


def _sign(store: Store, timeout: float, *, remove: bool) -> Signed:
    """Write every record again, except the kept records that could not be read."""
    signed, left = 0, list[str]()
    guarded = store.atomic and store.conditional
    owner = store.read(OWNER, timeout=timeout) if guarded else None
    target = store.store if remove and isinstance(store, KeyedStore) else store
    for key in store.list(PREFIX, timeout=timeout):
        data = store.read(key, timeout=timeout)
        if isinstance(data, Unverified):
            left += [] if key.startswith(CORRUPT) else [key]  # its key in the store was another one
        elif data is not None:
            if guarded and store.read(OWNER, timeout=timeout) != owner:  # taken over meanwhile
                raise StateInUseError(owner=None)
            target.write({key: data}, timeout=timeout)
            signed += 1
    return Signed(signed, left)
