"""A handle that keeps a shared container in memory, and the seam that gives it out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autostate.runtime.info import SharedInfo
from autostate.shared import handle as seam
from autostate.shared.frozen import frozen
from autostate.shared.handle import ABSENT


class FakeHandle:
    """Applies operations to the container at once, and counts the calls.

    `others` is what other processes have written; a refresh applies it.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, options
        self.lock = threading.RLock()
        self.container: Any = None
        self.writes: list[dict[Any, Any]] = []
        self.others: list[dict[Any, Any]] = []
        self.refreshes: list[float | None] = []
        self.held: list[bool] = []  # whether the caller of each write held the lock

    def write(self, operations: Mapping[Any, Any], /) -> None:
        """Record and apply the operations of one call."""
        is_owned: Callable[[], bool] = vars(type(self.lock))["_is_owned"].__get__(self.lock)
        self.held.append(is_owned())
        with self.lock:
            self.writes.append(dict(operations))
            self._apply(operations)

    def refresh(self, timeout: float | None = None) -> None:
        """Apply what other processes have written."""
        self.refreshes.append(timeout)
        with self.lock:
            for operations in self.others:
                self._apply(operations)
            self.others.clear()

    def info(self) -> SharedInfo:
        """Tell nothing but the name."""
        return SharedInfo(self.name, "", 0, 0, 0.0, "")

    def _apply(self, operations: Mapping[Any, Any]) -> None:
        apply: Callable[[Any, Any], None] = getattr(
            self, f"_apply_{self.container._builtin_.__name__.lower()}"
        )
        for key, operation in operations.items():
            apply(key, operation)

    def _apply_counter(self, key: Any, difference: Any) -> None:
        assert type(difference) in {int, float}
        assert math.isfinite(difference)
        total = dict.get(self.container, key, 0) + difference
        if total:
            dict.__setitem__(self.container, key, total)
        else:
            dict.pop(self.container, key, None)

    def _apply_set(self, member: Any, added: Any) -> None:
        (set.add if added is True else set.discard)(self.container, member)

    def _apply_dict(self, key: Any, value: Any) -> None:
        if value is ABSENT:
            dict.pop(self.container, key, None)
            return
        merge = self.options.get("merge")
        merge = merge if callable(merge) or merge is None else merge.get(key)
        if merge is not None and dict.__contains__(self.container, key):
            value = merge(dict.__getitem__(self.container, key), value)
        dict.__setitem__(self.container, key, frozen(value))


@contextmanager
def attached() -> Iterator[dict[str, Any]]:
    """Replace the seam; give the live objects by name."""
    live: dict[str, Any] = {}

    def attach(cls: Any, name: str, options: Mapping[str, Any], /) -> Any:
        if name not in live:
            fake = FakeHandle(name, options)
            handle: seam.Handle = fake
            live[name] = fake.container = cls._made_(handle, options)
        return live[name]

    former, seam.attach = seam.attach, attach
    try:
        yield live
    finally:
        seam.attach = former
