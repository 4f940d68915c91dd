"""One shared object of a process: its entries, and the container that shows them."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from autostate.errors import AutostateError, UnknownTypeError, UnsupportedTypeError
from autostate.runtime.info import SharedInfo
from autostate.shared.handle import ABSENT
from autostate.shared.keys import key_of, text_of
from autostate.shared.kinds import Entries, Kind

if TYPE_CHECKING:
    from autostate.shared.confirmed import Confirmed
    from autostate.shared.own_writer import OwnWriter
    from autostate.shared.replica import Replica


class Shared:
    """One shared object of this process; what containers see of it is `handle.Handle`.

    Args:
        replica: The shared objects of the process.
        name: Its name.
        kind: How its entries are merged.

    Attributes:
        name: Its name.
        kind: How its entries are merged.
        entries: What is known, by the texts of keys.
        lock: Held while the object changes.
        container: The object of the program.
        read_at: When what it shows of others was read, by a clock that never jumps.
    """

    def __init__(self, replica: Replica, name: str, kind: Kind) -> None:
        self.name: str = name
        self.kind: Kind = kind
        self.entries: Entries = {}
        self.lock: threading.RLock = replica.lock
        self.container: Any = None
        self.read_at: float = -math.inf
        self._replica = replica
        self._unclear: Mapping[str, Any] = {}  # keys of which the container may not show what is

    def __str__(self) -> str:
        return f"shared {self.kind.name} {self.name!r}"

    @contextlib.contextmanager
    def named(self) -> Generator[None]:
        """Name the object in errors about its values."""
        try:
            yield
        except UnknownTypeError as error:
            raise UnknownTypeError(error.name, f"the {self}") from None
        except AutostateError:
            raise
        except Exception as error:  # of a function of the user that merges
            error.add_note(f"of the {self}")
            raise

    def write(self, operations: Mapping[Any, Any]) -> None:
        """Check, record and show changes of one call, all or none.

        Args:
            operations: By key. Of a counter the difference; of a set True to add, False to remove
                what is in view; of a dict the value, or ABSENT to delete.

        Raises:
            UnsupportedTypeError: A key or value cannot be stored; nothing was changed.
        """
        try:
            self._write(operations)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(f"{self}: {error.path}", error.problem) from None

    def _write(self, operations: Mapping[Any, Any]) -> None:
        texts = {text_of(key): operation for key, operation in operations.items()}
        origin: OwnWriter | Confirmed = self._replica.confirmed() or self._replica.writer
        with self.lock:
            if self._unclear:
                with contextlib.suppress(Exception):  # a refresh tells of what cannot be shown
                    self._replica.show_again(self.name)
            kind, entries = self.kind, self.entries
            made = {
                text: kind.entry(text, operation, entries.get(text), origin)
                for text, operation in texts.items()
            }
            merged = {
                text: entry if text not in entries else kind.merge(text, entries[text], entry)
                for text, entry in made.items()
            }
            self._unclear = merged
            try:
                origin.contribute(self.name, kind, made)
                entries.update(merged)
                self._show(merged)
                self._unclear = {}
            except BaseException:  # Ctrl-C may have struck after the contribution
                self._replica.show_again(self.name)
                self._replica.wake()
                raise
            if self._replica.is_refreshed:
                self._replica.tracker.note_loop()
        self._replica.wake()

    def refresh(self, timeout: float | None = None) -> None:
        """Read what others have published."""
        self._replica.refresh(timeout)

    def info(self) -> SharedInfo:
        """Tell what is known about the object."""
        replica = self._replica
        error = replica.last_error()
        with self.lock:
            return SharedInfo(
                name=self.name,
                kind=self.kind.name,
                entries=len(self.container),
                unpublished=len(replica.unpublished(self.name)),
                age=time.monotonic() - self.read_at,
                url=replica.shelf.store.url,
                last_error=None if error is None else str(error),
            )

    @property
    def unclear(self) -> Iterable[str]:
        """The keys of which Ctrl-C may have left the container behind; the lock is held."""
        return self._unclear

    def show_again(self, found: Entries, keys: Iterable[str]) -> None:
        """Show what is known about some keys; the lock is held."""
        self._unclear = unclear = {**self._unclear, **dict.fromkeys(keys)}
        self._show({key: found.get(key) for key in unclear})
        for key in unclear:
            self.entries.pop(key, None)
        self.entries.update(found)
        self._unclear = {}

    def set_entries(self, entries: Entries) -> None:
        """Show what a refresh has found; the lock is held."""
        before, unclear = self.entries, self._unclear
        gone = {text: None for text in (*before, *unclear) if text not in entries}
        changed = {
            t: one for t, one in entries.items() if before.get(t, gone) != one or t in unclear
        }
        self._unclear = changed = changed | gone
        self._show(changed)  # may raise: then the next refresh finds the same changes
        self.entries, self._unclear = entries, {}

    def _show(self, entries: Mapping[str, Any]) -> None:
        """Change the container, by the builtin's functions."""
        puts: dict[Any, Any] = {}
        drops: list[Any] = []
        for text, entry in entries.items():
            value = ABSENT if entry is None else self.kind.show(text, entry)
            if value is ABSENT:
                drops.append(key_of(text))
            else:
                puts[key_of(text)] = value
        put, drop = _METHODS[self.kind.name]
        if puts:
            put(self.container, puts)  # in one step: other threads read without the lock
        if drops:
            drop(self.container, drops)


def _drop_keys(container: dict[Any, Any], keys: list[Any]) -> None:
    for key in keys:
        dict.pop(container, key, None)


_METHODS: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "counter": (dict.update, _drop_keys),
    "dict": (dict.update, _drop_keys),
    "set": (set.update, set.difference_update),
}
