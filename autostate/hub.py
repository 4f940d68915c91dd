"""The signals of autostate: events of the world for the library, and of the library for programs.

Connect to them as to any blinker signal:

    import autostate

    @autostate.hub.migrating.connect
    def note(sender, *, time_remaining, **rest):
        print("moving, seconds left:", time_remaining)

They differ from plain blinker signals where blinker would lose a save or a receiver:

- The library's own handlers are called first, are held strongly, and are not among the receivers:
  a user who mutes or disconnects everything does not switch off saving.
- A receiver that raises is logged; the others are still called. (blinker stops at the first.) The
  same holds for `sys.exit()`, except in the main thread: in another one it would end no process,
  and the call that has sent the signal, a save that succeeded for example, would fail.
- `connect` holds receivers strongly. blinker's default is weak, and a bound method of an object
  that nobody else holds is then silently never called. Pass `weak=True` for blinker's way.
- A coroutine function is refused when it is connected: signals may be sent by any thread, also
  where no event loop runs.

Receivers run in the thread that sends: the flush thread's for the outbound signals. Keep them
short. Take `**rest`, so that a later version can say more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import blinker

from autostate import announced

logger: logging.Logger = logging.getLogger("autostate")

Receiver = TypeVar("Receiver", bound=Callable[..., Any])
Results = list[tuple[Callable[..., Any], Any]]


class HubSignal(blinker.Signal):
    """A blinker signal whose receivers cannot hurt the library or each other."""

    def __init__(self, name: str, doc: str) -> None:
        super().__init__(doc)
        self.name = name
        self._own: list[Callable[..., Any]] = []

    def __repr__(self) -> str:
        return f"<autostate signal {self.name}>"

    def connect(
        self, receiver: Receiver, sender: Any = blinker.ANY, weak: bool = False
    ) -> Receiver:
        """Call `receiver(sender, **details)` whenever this signal is sent.

        Args:
            receiver: A plain function or method; not a coroutine function.
            sender: Only signals of this sender (a `StateManager`); all by default.
            weak: Forget the receiver when nobody else holds it.

        Returns:
            The receiver, so that `connect` works as a decorator.

        Raises:
            TypeError: The receiver is a coroutine function.
        """
        if iscoroutinefunction(receiver):
            raise TypeError(
                f"hub.{self.name}: a receiver must be a plain function, and "
                f"{getattr(receiver, '__qualname__', 'this one')} is a coroutine function. "
                "Connect a function that calls loop.call_soon_threadsafe."
            )
        return super().connect(receiver, sender, weak)

    def connect_own(self, handler: Callable[..., Any]) -> None:
        """Call the library's `handler` before all receivers. Not for users."""
        self._own.append(handler)

    def disconnect_own(self, handler: Callable[..., Any]) -> None:
        """Undo `connect_own`; a handler that is not there is no error."""
        with contextlib.suppress(ValueError):
            self._own.remove(handler)

    def send(self, sender: Any | None = None, /, **details: Any) -> Results:
        """Call the library's handlers, then the receivers. Never raises an `Exception` of theirs.

        In the main thread SystemExit is raised.

        Args:
            sender: Whom the signal is about.
            details: What happened; see the documentation of each signal.

        Returns:
            Pairs of receiver and returned value, without those that raised.
        """
        results: Results = []
        for own in tuple(self._own):
            self._call(own, sender, details, results)
        if not self.is_muted:
            for receiver in list(self.receivers_for(sender)):
                self._call(receiver, sender, details, results)
        return results

    def _call(
        self,
        receiver: Callable[..., Any],
        sender: object,
        details: dict[str, Any],
        results: Results,
    ) -> None:
        """Call one receiver; log its exception, so that the others are called."""
        try:
            results.append((receiver, receiver(sender, **details)))
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and _is_main():
                raise
            name = getattr(receiver, "__qualname__", type(receiver).__qualname__)
            logger.exception("hub.%s: the receiver %s raised; the others go on", self.name, name)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


class KillSignal(HubSignal):
    """A signal that announces a kill; it also holds for state objects that are made later."""

    def send(self, sender: Any | None = None, /, **details: Any) -> Results:
        """Call the library's handlers, then the receivers; see `HubSignal.send`."""
        announced.note_kill(details.get("time_remaining"))
        return super().send(sender, **details)


migrating: HubSignal = KillSignal(
    "migrating",
    """Inbound: this process will be killed and go on elsewhere. All is saved at once, and from
    now on shortly after every change. `time_remaining`: seconds, or None when it is not known.""",
)
aborting: HubSignal = KillSignal(
    "aborting",
    """Inbound: this process will be ended for good. Saved as for `migrating`.
    `time_remaining`: seconds, or None.""",
)
persist_state: HubSignal = HubSignal(
    "persist_state",
    """Inbound: save soon. What has not changed is not written. `is_migrating`: bool.""",
)
shutdown: HubSignal = HubSignal(
    "shutdown",
    """Inbound: an orderly end; what receivers change is still saved. `timeout`: seconds that
    the first save may take. `reason`: "exit", or the name of a signal such as "SIGTERM".""",
)
rehydrated: HubSignal = HubSignal(
    "rehydrated",
    """Outbound: a state object was made. `name`, `kind`, `resumed` (bool), `downtime` (seconds
    since the previous process's last save, or None).""",
)
flushed: HubSignal = HubSignal(
    "flushed",
    """Outbound: changes became durable. `bytes`, `writes`, `entries`, `duration` (seconds).""",
)
flush_failed: HubSignal = HubSignal(
    "flush_failed",
    """Outbound: an attempt to save failed; it is tried again. `error`, `failures` (how many in a
    row). Or an entry cannot be saved while everything else is: once for each, with an
    UnsupportedTypeError and no failures.""",
)
delivery_failed: HubSignal = HubSignal(
    "delivery_failed",
    """Outbound: an outbox could not deliver. `outbox` (its name), `error`, `failures` (how many
    in a row), `aside` (whether the item was set aside). It is tried again unless the item was set
    aside, or the error is a DeliveryRefusedError.""",
)
fenced: HubSignal = HubSignal(
    "fenced",
    """Outbound: a later process has taken over; nothing is saved any more. `error`.""",
)
