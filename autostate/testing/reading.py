"""The state objects in the key-value store of a run, read without the classes of its program."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from autostate.cli.values import Fields, Values
from autostate.journal import Journal
from autostate.runtime.stored_state import StoredState
from autostate.stores.memory import MemoryStore
from autostate.testing.key_value_store import Record

_SAVE: Final = re.compile(r"(metamorph-[0-9]+-)?autostate-head-[0-9]{8,18}-[0-9a-z]+(-[0-9]+)*")


def is_save(key: str) -> bool:
    """Tell whether a record with this key is a save of the state: each one writes one head."""
    return _SAVE.fullmatch(key) is not None


def read(records: Mapping[str, Record], prefix: str) -> Values:
    """Read what the next container would find.

    Args:
        records: The records of the store.
        prefix: What the keys of the state begin with.

    Raises:
        CorruptStateError: A record is damaged, signed or encrypted.
    """
    store = MemoryStore()
    store.atomic = store.conditional = False  # the records are those of a store that is neither
    store.write(
        {
            key.removeprefix(prefix): record.value
            for key, record in records.items()
            if key.startswith(prefix)
        }
    )
    found = Journal(store).recover(timeout=None)
    return Values(StoredState("apify:", found.nodes, found.saved_at, None, alive=False))


def plain(value: Any) -> Any:
    """Give a value in which each object of a class of the program is a dict of its fields."""
    if isinstance(value, Fields):
        return {key: plain(item) for key, item in value.fields.items()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, deque):
        return deque(map(plain, value), value.maxlen)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
