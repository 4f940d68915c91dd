"""What an incarnation does at the signals of the hub, and at ends that were announced."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from autostate import announced, hub
from autostate.saving.thread import FlushThread


class Handlers:
    """The library's own handlers of the hub's inbound signals, for one incarnation.

    Args:
        flush_thread: Gives the flush thread; the child of a fork has another one.
    """

    def __init__(self, flush_thread: Callable[[], FlushThread]) -> None:
        self._flush_thread = flush_thread
        self._connected = False
        self._handlers: tuple[tuple[hub.HubSignal, Callable[..., None]], ...] = (
            (hub.migrating, self._on_migrating),
            (hub.aborting, self._on_migrating),
            (hub.persist_state, self._on_persist_state),
            (hub.shutdown, self._on_shutdown),
        )

    def connect(self) -> None:
        """Connect the handlers, unless they are connected; heed ends that were announced before."""
        if self._connected:
            return
        self.disconnect()  # the handlers of an attempt that Ctrl-C ended
        for signal, handler in self._handlers:
            signal.connect_own(handler)
        kill = announced.seconds_to_kill()
        if kill is not None:
            self._flush_thread().announce_kill(kill)
        self.expect_timeout()
        self._connected = True

    def disconnect(self) -> None:
        """Disconnect the handlers, also those of a `connect` that Ctrl-C has ended."""
        for signal, handler in self._handlers:
            signal.disconnect_own(handler)
        self._connected = False

    def expect_timeout(self) -> None:
        """Save everything shortly before the run times out, as far as that is known."""
        timeout = announced.seconds_to_timeout()
        if timeout is not None:
            self._flush_thread().expect_timeout(timeout)

    def _on_migrating(
        self, sender: object, time_remaining: float | None = None, **rest: object
    ) -> None:
        self._flush_thread().announce_kill(time_remaining)
        self._flush_thread().flush_soon()

    def _on_persist_state(self, sender: object, **rest: object) -> None:
        self._flush_thread().flush_soon()

    def _on_shutdown(self, sender: object, timeout: float | None = None, **rest: object) -> None:
        with contextlib.suppress(Exception):  # logged where it was raised
            self._flush_thread().flush(timeout)
