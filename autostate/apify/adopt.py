"""Taking over the content of a record of a key-value store, once.

The fact *that* a record was taken over has to survive a kill: else a key that the program deleted
would come back, or progress would return to the content of the record. So a state object of the
library keeps, for each state object, its record and a status:

    (nothing) ──▶ WANTED ──────────────▶ TAKEN     together with the content, in one atomic step
        │            └──────────────────▶ NOTHING   there was no record
        └──────────────────────────────▶ KEPT      there was a state of that name already

WANTED is noted in the same step that makes the state object. If the process is killed while it
reads the record, the state object may be saved with nothing but its defaults; the note tells the
next start. All state objects are saved as of one moment, so the note and the content are both
durable, or neither.

The record is only read. A program that is rolled back to an earlier version finds it unchanged.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, overload

from autostate import hub
from autostate.codec.options import is_persisted
from autostate.containers.dict import PersistedDict
from autostate.containers.root import blank
from autostate.deadline import Deadline, retried
from autostate.errors import CorruptStateError, StateTypeError
from autostate.ownership.state_names import OWN
from autostate.process import lifecycle
from autostate.runtime.api import current_manager
from autostate.runtime.manager import StateManager
from autostate.stores.apify_record import check_key, read_record
from autostate.warned import shows_warnings

logger: logging.Logger = logging.getLogger("autostate")

T = TypeVar("T")

NOTES: Final = f"{OWN}adopt"
"""The name of the state object that keeps the status of each record."""

WANTED, TAKEN, NOTHING, KEPT = "wanted", "taken", "nothing there", "state was there before"

_SHOWN: Final = 5
_lock = threading.RLock()


@overload
def adopt(
    key: str,
    defaults: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    store: str | None = None,
    convert: Callable[[Any], Mapping[str, Any]] | None = None,
) -> PersistedDict[str, Any]: ...
@overload
def adopt(
    key: str,
    *,
    into: Callable[[], T],
    store: str | None = None,
    convert: Callable[[Any], Mapping[str, Any]] | None = None,
) -> T: ...
@shows_warnings
def adopt(
    key: str,
    defaults: Mapping[str, Any] | None = None,
    *,
    into: Callable[[], Any] | None = None,
    name: str | None = None,
    store: str | None = None,
    convert: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Any:
    """Make a state object that takes over a record of `Actor.use_state`, or of a crawler, once.

    At the first start the entries of the record replace the defaults. Once that is saved, the state
    object is independent: the record is never read for it again, whatever happens to either of
    them. The record is left unchanged. If there is no record at the first start, there is nothing
    to take over, and a record that appears later is ignored.

    Args:
        key: The key of the record: "APIFY_GLOBAL_STATE" for `Actor.use_state`, from Python or
            JavaScript; "CRAWLEE_STATE_0" for the first crawler of a Python program,
            "CRAWLEE_STATE" for a crawler of a JavaScript program without an id; or any other.
        defaults: Entries of a new `PersistedDict`, as the program gave them to `use_state`.
        into: Makes the state object, in place of a `PersistedDict`: a `@persisted` class, whose
            fields are the record's keys, or a function without arguments:
            `lambda: PersistedDict("progress", page=1)`.
        name: The name of the new `PersistedDict`; by default the key.
        store: The name of the key-value store that holds the record (`kvs_name` in `use_state`);
            by default the run's default store. State objects may be saved in another store.
        convert: Called once with the content of the record, any JSON; returns the entries.

    Returns:
        The state object, live like any other: a second call returns the same object.

    Raises:
        CorruptStateError: The record is damaged, or holds no JSON object. It is left unchanged,
            and nothing was taken over.
        StateTypeError: The record has keys for which the class has no field.
        StoreUnavailableError: The store of the record was not reached in `flush_timeout`.
        StoreError: The store of the record refused; the message says what to do.
        TypeError: `into` makes no object with entries or fields, or was passed with `defaults`.
        ValueError: The key, the store or the name cannot exist.

    Example:
        >>> import autostate
        >>> state = autostate.adopt("APIFY_GLOBAL_STATE", {"page": 1, "done": []})
        >>> state["page"] += 1
        >>> state
        {'page': 2, 'done': []}
    """
    check_key(key)
    if defaults is not None and not isinstance(defaults, Mapping):
        raise TypeError(f"the defaults are a dict, not {type(defaults).__name__}")
    if into is not None and (defaults is not None or name is not None):
        raise TypeError("into= makes the whole state object: give it its name and defaults itself")
    make = into or (lambda: PersistedDict(key if name is None else name, defaults or {}))
    record = _Record(key, store, convert)
    _watched.setdefault(record.source, record)
    _warn_of_use_state()
    with _lock:  # held while the record is read, so that two threads do not take it over twice
        return _adopted(current_manager(), record, make)


def _adopted(manager: StateManager, record: _Record, make: Callable[[], Any]) -> Any:
    """Make the state object and note its record, in one step; then take over the record if due."""
    with manager.atomic():
        made = make()
        about = manager.info(_state_object(made))
        notes = _notes(about.name)
        if record.source not in notes:
            notes[record.source] = KEPT if about.resumed else WANTED
            if about.resumed:
                logger.warning(
                    "the state object %r was there before %s was to be adopted: it goes on from "
                    "its own state, and the record is left alone. To begin from the record, choose "
                    "another name",
                    about.name,
                    record,
                )
    if notes[record.source] == WANTED:
        _take(manager, record, about.name, made)
    return made


class _Record:
    """A record that is to be taken over.

    Args:
        key: The key of the record.
        store: The name of its store; None: the default one.
        convert: The program's conversion of its content.
    """

    def __init__(
        self, key: str, store: str | None, convert: Callable[[Any], Mapping[str, Any]] | None
    ) -> None:
        self.key = key
        self.store = store
        self.source: str = f"apify:{store or ''}/{key}"
        self._convert = convert

    def __str__(self) -> str:
        where = f"key-value store {self.store!r}" if self.store else "default key-value store"
        return f"the record {self.key} of the {where}"

    def entries(self, timeout: float) -> Mapping[str, Any] | None:
        """Read the entries to take over; None if there is no record."""
        data = self._read(timeout)
        content = None if data is None else self._parsed(data)
        if content is None:  # the SDKs, too, take `null` for no record
            return None
        if self._convert is not None:
            content = self._convert(content)
            if not isinstance(content, Mapping):
                raise TypeError(
                    f"convert= has made a {type(content).__name__} of {self}: it must give a dict"
                )
        elif not isinstance(content, dict):
            raise CorruptStateError(
                f"{self} holds no JSON object, but a {type(content).__name__}: it was left as it "
                "is, and nothing was taken over. Give adopt() a function convert= that makes a "
                "dict of it"
            )
        return content

    def _read(self, timeout: float) -> bytes | None:
        """Read the record, again and again while the store is not reached."""
        return retried(
            lambda *, timeout: read_record(self.store, self.key, timeout=timeout),
            Deadline.after(timeout),
            gives_up=lambda error, _: error.lasting,
            report=lambda error: logger.warning(
                "%s cannot be read yet, and autostate tries again: %s", self, error
            ),
            pause=time.sleep,
        )

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise CorruptStateError(
                f"{self} cannot be read as JSON: it was left as it is, and nothing was taken over. "
                "Mend or delete it, or do not adopt it, to begin from the defaults"
            ) from error


def _take(manager: StateManager, record: _Record, name: str, made: Any) -> None:
    """Fill the state object and note that the record was taken over, in one step."""
    entries = record.entries(manager.settings.flush_timeout)
    with manager.atomic():
        if entries is not None:
            _fill(made, entries, record)
        _notes(name)[record.source] = NOTHING if entries is None else TAKEN
    if entries is None:
        logger.info("%s is not there: %r begins from its defaults", record, name)
    else:
        logger.info("%s was taken over into the state object %r", record, name)


def _notes(name: str) -> dict[str, str]:
    """Give the notes about one state object, which are made if there are none."""
    return _all_notes(current_manager()).setdefault(name, {})


def _all_notes(manager: StateManager) -> PersistedDict[str, dict[str, str]]:
    notes: PersistedDict[str, dict[str, str]] = manager.create(
        NOTES, "dict", functools.partial(blank, PersistedDict), own=True
    )
    return notes


def forget(manager: StateManager, name: str) -> None:
    """Forget that records were taken over into a state object, so that the next start does it."""
    if manager.kind(NOTES) is not None:
        _all_notes(manager).pop(name, None)


def _fields(made: Any) -> dict[str, Any] | None:
    """Give the fields of an instance of a `@persisted` class; None for any other object."""
    if not is_persisted(type(made)):
        return None
    from autostate.objects.decorator import fields_of

    return fields_of(made)


def _state_object(made: Any) -> Any:
    """Refuse an object that has neither entries by key nor fields."""
    if not isinstance(made, dict) and _fields(made) is None:
        raise TypeError(
            f"into= has made a {type(made).__name__}, but a record is taken over into a "
            "PersistedDict or an instance of a @persisted class"
        )
    return made


def _fill(made: Any, entries: Mapping[str, Any], record: _Record) -> None:
    if isinstance(made, dict):
        for key, value in entries.items():
            made[key] = value
        return
    fields = _fields(made) or {}
    unknown = [str(key) for key in entries if key not in fields]
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (", …" if unknown[_SHOWN:] else "")
        raise StateTypeError(
            f"{record} has keys for which {type(made).__name__} has no field: {shown}. Nothing was "
            "taken over: add the fields, or give adopt() a function convert= that renames the keys "
            "or leaves them out"
        )
    for key, value in entries.items():
        setattr(made, key, value)


_watched: Final[dict[str, _Record | None]] = {}
"""The records that the program should no longer use itself, by source; None: it was warned."""


def _warn_of_use_state(_sender: object = None, **_details: Any) -> None:
    """Warn once if the program still keeps such a record with the SDK; import nothing."""
    module = sys.modules.get("crawlee.storages._key_value_store")
    live = getattr(getattr(module, "KeyValueStore", None), "_autosaved_values", {})
    for source, record in list(_watched.items()):
        if record is not None and any(record.key in values for values in live.values()):
            _watched[source] = None
            logger.warning(
                "%s is in use in this process by use_state() too, which may not have saved its "
                "latest changes, and goes on writing to it: the two know nothing of each other. "
                "Remove the call of use_state()",
                record,
            )


hub.persist_state.connect(_warn_of_use_state)  # use_state() may be called after adopt()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


lifecycle.on_fork(_after_fork_in_child)
