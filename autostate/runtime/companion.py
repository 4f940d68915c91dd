"""What works beside a state object and ends with it, such as an outbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from autostate.runtime.info import SharedInfo
    from autostate.tracking import Tracker


class Companion(Protocol):
    """Something that has a thread of its own, and writes to the state."""

    def end(self, timeout: float) -> None:
        """Finish the work as far as possible, and stop; called before the last save.

        Args:
            timeout: Seconds; 0: the state object was deleted.
        """
        ...

    async def end_async(self, timeout: float) -> None:  # noqa: ASYNC109 - as end
        """Finish the work without blocking the event loop; `end` is called afterwards."""
        ...


class Beside(ABC):
    """Something beside the state that `flush()` and `durable()` make durable, too.

    It is also a keeper of `process.lifecycle`.
    """

    @property
    @abstractmethod
    def tracker(self) -> Tracker:
        """The tracker that the blocks of `atomic()` cover, too."""

    @abstractmethod
    def infos(self) -> list[SharedInfo]:
        """Tell what is known about the objects that are kept beside the state."""

    @abstractmethod
    def flush(self, timeout: float | None = None) -> None:
        """Return when all changes before the call are durable."""

    @abstractmethod
    async def durable(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as flush
        """Flush without blocking the event loop."""
