"""The purge: outside of the platform the Apify SDK empties the default store when it starts.

So every local run begins afresh. A state that was resumed before, at module level, would then be
written on top of records that are gone. So the start of an Actor is watched: if records of the
library have vanished, the managers of that store save everything in full again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autostate.errors import AutostateError
from autostate.stores.apify import local_folder, purges_on_start
from autostate.stores.apify_folder import ApifyFolderStore
from autostate.stores.apify_platform import MAX_RECORD

if TYPE_CHECKING:
    from autostate.runtime.incarnation import Incarnation
    from autostate.runtime.manager import StateManager

logger: logging.Logger = logging.getLogger("autostate")


@contextlib.contextmanager
def surviving_a_purge(managers: Iterable[StateManager]) -> Generator[None]:
    """Save everything again if the body has emptied the local default store.

    Args:
        managers: The managers that may keep state there.
    """
    if not purges_on_start():
        yield
        return
    with contextlib.ExitStack() as stack:
        owners = list(_owners(managers, local_folder(None)))
        for owner in owners:  # nothing is written between the purge and the check after it
            stack.enter_context(owner.flush_thread.exclusive())
        before = _records()
        yield
        if before - _records():
            logger.warning(
                "The Apify SDK has emptied the local default key-value store, where autostate "
                "keeps its records%s. To resume local runs set APIFY_PURGE_ON_START=0, or use a "
                "named store: autostate.configure('apify:NAME').",
                "; state that was loaded before is saved again, the rest is gone" if owners else "",
            )
            for owner in owners:
                owner.store_wiped(purged=True)


def _records() -> set[str]:
    """Give the keys of the library's records in the purged store."""
    store = ApifyFolderStore(local_folder(None), "apify:", MAX_RECORD)
    with contextlib.suppress(AutostateError):
        return set(store.list("autostate-"))
    return set()


def _owners(managers: Iterable[StateManager], folder: Path) -> Iterator[Incarnation]:
    """Give the incarnations that keep state in this folder."""
    for each in managers:
        incarnation = each._incarnation
        store = None if incarnation is None else incarnation.store
        if incarnation and getattr(store, "folder", None) == folder:
            yield incarnation
