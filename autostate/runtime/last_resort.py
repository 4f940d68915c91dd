"""Changes that could not be saved at the end: a file, a loud message, and the next start.

`saving/spill.py` describes the file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from autostate import logs
from autostate.errors import (
    ChangesLostError,
    FencedError,
    FlushError,
    StoreUnavailableError,
    UnsupportedTypeError,
)
from autostate.journal import Journal, Recovered
from autostate.process import exit_status
from autostate.saving import spill
from autostate.saving.thread import FlushThread
from autostate.settings import Settings, scheme
from autostate.stores import Store
from autostate.stores.keyed import KeyedStore
from autostate.tracking import convert

logger: logging.Logger = logging.getLogger("autostate")


class LastResort:
    """Keeps the unsaved changes of one incarnation in a file, if the last save fails.

    Args:
        url: The store's. The working directory counts: make this before the program changes it.

    Attributes:
        failure: Why changes are in the file or lost; None: the last save did not fail.
    """

    def __init__(self, url: str) -> None:
        self.failure: FlushError | None = None
        self._url = url
        self._places = None if scheme(url) == "memory" else spill.places(url)
        self._path: Path | None = None

    def forgo(self) -> None:
        """Keep nothing: what is not saved in time is never to be saved."""
        self._places = None

    def keep(
        self, error: BaseException, flush_thread: FlushThread, journal: Journal, store: Store
    ) -> FlushError:
        """Keep the unsaved changes in a file; make an error that says where.

        Args:
            error: Why they were not saved.
            flush_thread: The thread that has them.
            journal: The journal, which knows the state on which they build.
            store: The store, which has the key.
        """
        cause = error.__cause__ or error
        told = f"the last save failed: {str(cause) or type(cause).__name__}"
        if not isinstance(cause, Exception):
            told = "the last save was interrupted"
        failure = FlushError(told)
        if self._places is not None and (flush_thread.job.unsaved or flush_thread.job.dirty):
            try:
                self._path = self._write(flush_thread.collect_unsaved(), journal, store)
                failure = FlushError(
                    f"{told}. The unsaved changes are in {self._path}; the next start picks them up"
                )
            except OSError as reason:
                failure = ChangesLostError(
                    f"{told}. The unsaved changes are LOST: they could not be kept in a file "
                    f"either: {reason}"
                )
            self.failure = failure
        failure.__cause__ = error
        return failure

    def _write(self, changes: list[bytes], journal: Journal, store: Store) -> Path:
        """Write the file.

        Raises:
            OSError: There is nothing that could be kept, or no place for it.
        """
        if not changes:
            raise OSError("they could not be collected")
        seal = store.sealed if isinstance(store, KeyedStore) else None
        base = spill.Base(journal.possible_writers, journal.sequence, journal.last_sequence)
        return spill.write(self._url, base, changes, where=self._places, seal=seal)

    def undo(self) -> None:
        """Go on after a failed exec: the unsaved changes are in memory as before."""
        exit_status.forget()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def with_spilled(
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
                spill.renamed(one.path),
            )
            continue
        if not _fits(one.changes, recovered):
            logger.error(
                "%s holds changes that do not fit the stored state, and were not applied",
                spill.renamed(one.path),
            )
            continue
        _pick_up(one, journal, timeout)
        spill.remove(one)
        logger.warning(
            "the changes that the previous process could not save were picked up from %s",
            one.path,
            extra=logs.attributes("picked_up", store=store.url),
        )
        journal = Journal(
            store, on_corrupt=settings.on_corrupt, convert=convert, keep=settings.keep
        )
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
